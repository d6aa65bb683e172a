/** Pattern 1: jobs that run side by side, and later ones, share a cache. Build it first: snapshots/define.promise.ts */
import { runInSandbox } from "effect-lightbox/promise"

const codes = await Promise.all(
  ["unit", "integration"].map((suite) =>
    runInSandbox(
      {
        snapshot: "python-ci",
        name: `ci-${suite}`,
        mounts: { "/work": "./my-project", "/cache": { volume: "py-cache" } },
        workdir: "/work",
        env: { PYTHONPYCACHEPREFIX: "/cache" }
      },
      async (sb) => (await sb.shell(`python3 -m unittest test_${suite}.py`)).code
    )
  )
)
console.log(codes)
