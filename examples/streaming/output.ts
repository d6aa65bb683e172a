/** Shows what a command writes while it runs. Build it first: snapshots/list.ts */
import { Console, Effect, Stream } from "effect"
import { Lightbox, MicrosandboxLocal, Sandbox } from "effect-lightbox"

Sandbox.run({ snapshot: "tools", name: "installer" }, (sandbox) =>
  sandbox.shellStream("for n in 1 2 3; do echo package $n; sleep 0.2; done; echo warn >&2").pipe(
    Stream.runForEach((event) => {
      switch (event._tag) {
        case "Stdout":
          return Effect.sync(() => process.stdout.write(event.bytes))
        case "Stderr":
          return Effect.sync(() => process.stderr.write(event.bytes))
        case "Exited":
          return Console.log(`exit code ${event.exitCode}`)
        case "Started":
          return Effect.void
      }
    })
  )
).pipe(Effect.provide(MicrosandboxLocal.layer()), Lightbox.runMain())
