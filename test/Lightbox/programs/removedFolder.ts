/** Calls the library in a working directory that was removed. Prints the outcome of each call as JSON. */
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"

const folder = Fs.mkdtempSync(Path.join(Os.tmpdir(), "removed-"))
const home = Fs.mkdtempSync(Path.join(Os.tmpdir(), "home-"))
process.chdir(folder)
Fs.rmdirSync(folder)

const { isLightboxError } = await import("../../../src/LightboxError.ts")
const Image = await import("../../../src/Image.ts")
const Lightbox = await import("../../../src/Lightbox.ts")
const MicrosandboxLocal = await import("../../../src/MicrosandboxLocal.ts")
const MicrosandboxMemory = await import("../../../src/MicrosandboxMemory.ts")
const Sandbox = await import("../../../src/Sandbox.ts")
const Snapshot = await import("../../../src/Snapshot.ts")

const describe = (error: unknown): string =>
  isLightboxError(error) && error.reason._tag === "InvalidConfig"
    ? `${error.reason.field}: ${error.reason.problem}`
    : String(error)

const outcomes: { [call: string]: string } = {}
const call = <R>(name: string, effect: Effect.Effect<unknown, unknown, R>): Effect.Effect<void, never, R> =>
  effect.pipe(
    Effect.as("ok"),
    Effect.catch((error) => Effect.succeed(describe(error))),
    Effect.catchDefect((defect) => Effect.succeed(`defect: ${describe(defect)}`)),
    Effect.map((outcome) => {
      outcomes[name] = outcome
    })
  )
const open = <A, E>(name: string, layer: Layer.Layer<A, E>): Effect.Effect<void> =>
  call(name, Effect.provide(Effect.void, layer))
const inSandbox = (name: string, use: Parameters<typeof Sandbox.run<unknown, unknown, never>>[1]) =>
  call(name, Sandbox.run({ image: "busybox" }, use))

const definition = Snapshot.make("removed", "busybox").pipe(Snapshot.workdir("/srv"), Snapshot.shell("true"))

await Effect.gen(function* () {
  yield* call("Snapshot.build", Snapshot.build(definition))
  yield* call("Snapshot.copy", Snapshot.build(Snapshot.copy(definition, "files", "/files")))
  yield* call("Snapshot.save", Snapshot.save("removed", "removed.tar"))
  yield* call("Snapshot.load", Snapshot.load("removed.tar"))
  yield* call("Image.load", Image.load("image.tar"))
  yield* call("Image.save", Image.save(["busybox"], "image.tar"))
  yield* call("mounts", Sandbox.launch({ image: "busybox", mounts: { "/w": "files" } }).pipe(Effect.scoped))
  yield* inSandbox("Sandbox.run", (sandbox) => sandbox.shell("true"))
  yield* inSandbox("Sandbox.copyIn", (sandbox) => sandbox.copyIn("files", "/files"))
  yield* inSandbox("Sandbox.copyOut", (sandbox) => sandbox.copyOut("/etc", "files"))
}).pipe(Effect.provide(MicrosandboxMemory.layer()), Effect.runPromise)
await Effect.gen(function* () {
  yield* call("Lightbox.doctor", Lightbox.doctor({ home: "home" }))
  yield* open("MicrosandboxMemory.layer", MicrosandboxMemory.layer({ home: "home" }))
  yield* open("MicrosandboxLocal.layer", MicrosandboxLocal.layer({ home: "home" }))
  yield* call("the real SDK", Effect.provide(Snapshot.list(), MicrosandboxLocal.layer({ home })))
}).pipe(Effect.runPromise)
Fs.rmSync(home, { recursive: true, force: true })
console.log(JSON.stringify(outcomes))
