/** Faults of the twin: which sandbox they affect, and when. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as TestClock from "effect/testing/TestClock"
import * as MicrosandboxMemory from "../../src/MicrosandboxMemory.ts"
import * as Sandbox from "../../src/Sandbox.ts"

const image = "plain"

const twin = (...faults: ReadonlyArray<MicrosandboxMemory.Fault>) => Layer.fresh(MicrosandboxMemory.layer({ faults }))

const failureOf = <A, E extends { readonly reason: { readonly _tag: string } }, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.map(Effect.flip(effect), ({ reason }) => reason._tag)

const statusOf = (name: string) => Effect.map(Sandbox.get(name), ({ status }) => status)

describe("a fault", () => {
  it.effect("kills a guest at the given time after a call began", () =>
    Effect.gen(function* () {
      const sandbox = yield* Sandbox.launch({ image, name: "one" })
      const command = yield* Effect.forkChild(failureOf(sandbox.exec("sleep", ["1h"])), { startImmediately: true })
      yield* TestClock.adjust("29 seconds")
      assert.isUndefined(command.pollUnsafe())
      assert.strictEqual((yield* sandbox.exec("true")).exitCode, 0)
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* Fiber.join(command), "GuestLost")
      assert.strictEqual(yield* statusOf("one"), "crashed")
    }).pipe(Effect.scoped, Effect.provide(twin(MicrosandboxMemory.killGuestAt("guest.spawn", { after: "30 seconds" }))))
  )

  it.effect("affects only the sandbox that it names", () =>
    Effect.gen(function* () {
      const control = yield* MicrosandboxMemory.Control
      const [one, two] = [yield* Sandbox.launch({ image, name: "one" }), yield* Sandbox.launch({ image, name: "two" })]
      const both = Effect.fnUntraced(function* (...faults: ReadonlyArray<MicrosandboxMemory.Fault>) {
        yield* control.inject(...faults)
        assert.strictEqual((yield* one.exec("true")).exitCode, 0)
        return yield* Effect.forkChild(Effect.result(two.exec("touch", ["/root/made"])), { startImmediately: true })
      })

      const late = yield* both(MicrosandboxMemory.delayAt("guest.spawn", "1 minute", { sandbox: "two" }))
      yield* TestClock.adjust("59 seconds")
      assert.isFalse(yield* two.exists("/root/made"))
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* Fiber.join(late))._tag, "Success")
      assert.isTrue(yield* two.exists("/root/made"))
      yield* two.remove("/root/made")

      const hanging = yield* both(MicrosandboxMemory.hangAt("guest.spawn", { sandbox: "two" }))
      yield* TestClock.adjust("1 day")
      assert.isUndefined(hanging.pollUnsafe())
      yield* Fiber.interrupt(hanging)
      assert.isFalse(yield* two.exists("/root/made"))

      yield* control.inject(MicrosandboxMemory.loseAnswerAt("guest.makeDirectory", { sandbox: "two" }))
      yield* one.makeDirectory("/root/folder")
      assert.strictEqual(yield* failureOf(two.makeDirectory("/root/folder")), "Unknown")
      assert.isTrue(yield* two.exists("/root/folder"))

      const killed = yield* both(MicrosandboxMemory.killGuestAt("guest.spawn", { sandbox: "two" }))
      assert.strictEqual((yield* Fiber.join(killed))._tag, "Failure")
      assert.deepStrictEqual([yield* statusOf("one"), yield* statusOf("two")], ["running", "crashed"])
    }).pipe(Effect.scoped, Effect.provide(twin()))
  )
})

describe("a full disk", () => {
  it.effect("has the given space left, and does not fill other sandboxes", () =>
    Effect.gen(function* () {
      const control = yield* MicrosandboxMemory.Control
      const [one, two] = [yield* Sandbox.launch({ image, name: "one" }), yield* Sandbox.launch({ image, name: "two" })]
      const mebibyte = new Uint8Array(1024 * 1024)
      yield* control.fillDisk("two", { free: mebibyte.length + 64 * 1024 })
      yield* two.writeFile("/root/first", mebibyte)
      const { reason } = yield* Effect.flip(two.writeFile("/root/second", mebibyte))
      assert.deepInclude(reason, { _tag: "FileError", code: "ENOSPC" })
      // Other file systems have room, and removing a file frees some.
      yield* two.shell("cat /root/first > /tmp/copy && rm /root/second && echo text > /root/third", { check: true })
      yield* control.fillDisk("two")
      assert.include((yield* two.shell("cat /root/first > /root/copy")).stderr, "No space left on device")
      yield* one.writeFile("/root/first", mebibyte)
      assert.strictEqual(yield* failureOf(control.fillDisk("three")), "NotFound")
    }).pipe(Effect.scoped, Effect.provide(twin()))
  )
})
