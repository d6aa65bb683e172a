/** Looks around where a build failed. */
import { Console, Effect } from "effect"
import { Lightbox, MicrosandboxLocal, Sandbox, Snapshot } from "effect-lightbox"

const broken = Snapshot.make("broken", "busybox").pipe(
  Snapshot.shell("mkdir /work"),
  Snapshot.shell("cat /work/package.json")
)

Effect.gen(function* () {
  yield* Snapshot.build(broken, { keepBuilder: true }).pipe(Effect.catch(Console.error))

  const sandbox = yield* Sandbox.connect(`${broken.name}-builder`)
  yield* sandbox.attachShell

  yield* Sandbox.remove(sandbox.name, { force: true })
}).pipe(Effect.scoped, Effect.provide(MicrosandboxLocal.layer()), Lightbox.runMain())
