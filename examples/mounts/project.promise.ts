/**
 * Tests a project of this machine in a sandbox, with a cache that stays.
 *
 * Build it first: snapshots/define.promise.ts
 */
import { runInSandbox } from "effect-lightbox/promise"

const out = await runInSandbox(
  {
    snapshot: "python-ci",
    name: "test-run",
    mounts: { "/work": "./my-project", "/cache": { volume: "py-cache" } },
    workdir: "/work",
    env: { PYTHONPYCACHEPREFIX: "/cache" }
  },
  (sb) => sb.shell("python3 -m unittest")
)
console.log(out.stderr())
process.exitCode = out.code
