/** Runs in a sandbox, as a program on Effect: `effect.ts` */
import { Lightbox, MicrosandboxLocal, Sandbox } from "effect-lightbox"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"

Sandbox.run({ snapshot: "quick-start" }, (sandbox) =>
  Effect.gen(function* () {
    const { stdout } = yield* sandbox.exec("cat", ["/etc/baked"], { check: true })
    const pieces = yield* sandbox.shellStream("seq 3").pipe(
      Stream.filter((event) => event._tag === "Stdout"),
      Stream.map(({ bytes }) => bytes),
      Stream.decodeText(),
      Stream.mkString
    )
    yield* Console.log(JSON.stringify([stdout, pieces]))
  })
).pipe(Effect.provide(MicrosandboxLocal.layer({ memory: "256M", bootTimeout: "100 seconds" })), Lightbox.runMain())
