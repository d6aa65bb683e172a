/** Pattern 1: jobs that run side by side, and later ones, share a cache. Build it first: snapshots/define.ts */
import { Console, Effect } from "effect"
import { Lightbox, MicrosandboxLocal, Sandbox } from "effect-lightbox"

Effect.forEach(
  ["unit", "integration"],
  (suite) =>
    Sandbox.run(
      {
        snapshot: "python-ci",
        name: `ci-${suite}`,
        mounts: { "/work": "./my-project", "/cache": { volume: "py-cache" } },
        cwd: "/work",
        env: { PYTHONPYCACHEPREFIX: "/cache" }
      },
      (sandbox) => Effect.map(sandbox.shell(`python3 -m unittest test_${suite}.py`), (out) => out.exitCode)
    ),
  { concurrency: "unbounded" }
).pipe(
  Effect.flatMap((codes) => Console.log(codes)),
  Effect.provide(MicrosandboxLocal.layer()),
  Lightbox.runMain()
)
