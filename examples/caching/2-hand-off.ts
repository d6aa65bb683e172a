/** Pattern 2: what one sandbox builds, another one runs. Build it first: snapshots/define.ts */
import { Console, Effect } from "effect"
import { Lightbox, MicrosandboxLocal, Sandbox } from "effect-lightbox"

Effect.gen(function* () {
  yield* Sandbox.run(
    { snapshot: "python-ci", mounts: { "/src": "./my-project", "/artifacts": { volume: "build-out" } } },
    (sandbox) =>
      sandbox.shell("python3 -m zipapp /src --python '/usr/bin/env python3' --output /artifacts/myapp", { check: true })
  )

  const out = yield* Sandbox.run({ snapshot: "python-ci", mounts: { "/app": { volume: "build-out" } } }, (sandbox) =>
    sandbox.exec("/app/myapp", ["--version"], { check: true })
  )
  yield* Console.log(out.stdout)
}).pipe(Effect.provide(MicrosandboxLocal.layer()), Lightbox.runMain())
