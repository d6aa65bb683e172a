/** Tests a project of this machine in a sandbox, with a cache that stays. Build it first: snapshots/define.ts */
import { Console, Effect } from "effect"
import { Lightbox, MicrosandboxLocal, Sandbox } from "effect-lightbox"

Sandbox.run(
  {
    snapshot: "python-ci",
    name: "test-run",
    mounts: { "/work": "./my-project", "/cache": { volume: "py-cache" } },
    cwd: "/work",
    env: { PYTHONPYCACHEPREFIX: "/cache" }
  },
  (sandbox) => sandbox.shell("python3 -m unittest", { check: true })
).pipe(
  Effect.flatMap((out) => Console.log(out.stderr)),
  Effect.provide(MicrosandboxLocal.layer()),
  Lightbox.runMain()
)
