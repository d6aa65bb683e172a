/** A program with its arguments as they are, and a script in a shell. Build it first: snapshots/define.ts */
import { Console, Effect } from "effect"
import { Lightbox, MicrosandboxLocal, Sandbox } from "effect-lightbox"

Sandbox.run({ snapshot: "python-ci", name: "commands" }, (sandbox) =>
  Effect.gen(function* () {
    const out = yield* sandbox.exec("python3", [
      "-c",
      "import sys; print('hello'); print('oops', file=sys.stderr); exit(3)"
    ])
    yield* Console.log(out.exitCode, out.isSuccess, out.stdout, out.stderr)

    const listing = yield* sandbox.shell("ls -la /work | head -5 && echo done", { check: true })
    yield* Console.log(listing.stdout)
  })
).pipe(Effect.provide(MicrosandboxLocal.layer()), Lightbox.runMain())
