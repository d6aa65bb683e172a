/**
 * What stays and what is removed: detached sandboxes, and sandboxes by name.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as MicrosandboxMemory from "../../src/MicrosandboxMemory.ts"
import * as Sandbox from "../../src/Sandbox.ts"

const image = "alpine"

const layer = MicrosandboxMemory.layer({ images: { [image]: {} } })

describe("a sandbox", () => {
  it.effect("outlives its scope when launched with detached", () =>
    Effect.gen(function* () {
      yield* Sandbox.run({ image, name: "left", detached: true }, (sandbox) => sandbox.writeFileString("/note", "here"))
      assert.strictEqual((yield* Sandbox.get("left")).status, "running")
      const text = yield* Effect.scoped(
        Effect.flatMap(Sandbox.connect("left"), (sandbox) => sandbox.readFileString("/note"))
      )
      assert.strictEqual(text, "here")
      yield* Sandbox.remove("left", { force: true })
    }).pipe(Effect.provide(layer))
  )

  it.effect("can be given a lease after a detached launch", () =>
    Effect.gen(function* () {
      yield* Sandbox.run({ image, name: "for-now", detached: true }, (sandbox) => sandbox.detachFor("1 hour"))
      assert.strictEqual((yield* Sandbox.get("for-now")).status, "running")
    }).pipe(Effect.provide(layer))
  )

  it.effect("is stopped and killed by name, and keeps its disk", () =>
    Effect.gen(function* () {
      yield* Sandbox.run({ image, name: "box", detached: true }, () => Effect.void)
      yield* Sandbox.stop("box")
      assert.strictEqual((yield* Sandbox.get("box")).status, "stopped")
      yield* Effect.scoped(Sandbox.start("box", { detached: true }))
      yield* Sandbox.kill("box")
      assert.strictEqual((yield* Sandbox.get("box")).status, "stopped")
      for (const missing of [Sandbox.stop("none"), Sandbox.kill("none")]) {
        assert.strictEqual((yield* Effect.flip(missing)).reason._tag, "NotFound")
      }
    }).pipe(Effect.provide(layer))
  )

  it.effect("is launched from the configuration", () =>
    Effect.gen(function* () {
      const live = Sandbox.layerConfig({ image: Config.succeed(image), name: Config.succeed("configured") })
      assert.strictEqual(
        yield* Effect.provide(
          Sandbox.Sandbox.useSync(({ name }) => name),
          live
        ),
        "configured"
      )
    }).pipe(Effect.provide(layer))
  )

  it.effect("is recognized by isSandbox", () =>
    Effect.gen(function* () {
      const sandbox = yield* Sandbox.launch({ image })
      assert.isTrue(Sandbox.isSandbox(sandbox))
      assert.isFalse(Sandbox.isSandbox({ name: sandbox.name }))
    }).pipe(Effect.scoped, Effect.provide(layer))
  )
})
