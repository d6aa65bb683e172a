/**
 * Tests of `program.ts` without a virtual machine.
 *
 * npx vitest run examples/testing
 */
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { TestClock } from "effect/testing"
import { MicrosandboxMemory } from "effect-lightbox/testing"
import { grade } from "./program.ts"

/** Stands for Node.js: "runs" a program by printing what is in quotes. */
const node: MicrosandboxMemory.Command = ({ argv, files, stdout }) =>
  files.readFileString(argv[1] ?? "").pipe(
    Effect.flatMap((source) => stdout(`${/"(.*)"/.exec(source)?.[1]}\n`)),
    Effect.as(0)
  )

/** The number of boots; fails if a machine is left. */
const bootsOf = Effect.gen(function* () {
  const control = yield* MicrosandboxMemory.Control
  assert.deepStrictEqual((yield* control.inventory).sandboxes, [])
  return (yield* control.calls).filter(({ operation }) => operation === "createSandbox").length
})

describe("grade", () => {
  it.effect("grades a right and a wrong answer", () =>
    Effect.gen(function* () {
      assert.strictEqual(yield* grade('console.log("42")'), "right")
      assert.strictEqual(yield* grade('console.log("41")'), "wrong")
      assert.strictEqual(yield* bootsOf, 2)
    }).pipe(Effect.provide(MicrosandboxMemory.layer({ commands: { node } })))
  )

  it.effect("retries once, in a new sandbox, when the sandbox dies", () =>
    Effect.gen(function* () {
      const control = yield* MicrosandboxMemory.Control
      assert.strictEqual(yield* grade('console.log("42")'), "right")
      assert.strictEqual(yield* bootsOf, 2)

      yield* control.inject(MicrosandboxMemory.killGuestAt("guest.spawn", { times: 2 }))
      const error = yield* Effect.flip(grade('console.log("42")'))
      assert.strictEqual(error.reason._tag, "GuestLost")
      assert.strictEqual(yield* bootsOf, 4)
    }).pipe(
      Effect.provide(
        MicrosandboxMemory.layer({ commands: { node }, faults: [MicrosandboxMemory.killGuestAt("guest.spawn")] })
      )
    )
  )

  it.effect("stops a program after ten seconds", () =>
    Effect.gen(function* () {
      const isRunning = yield* Deferred.make<void>()
      const endless: MicrosandboxMemory.Command = () =>
        Effect.andThen(Deferred.succeed(isRunning, undefined), Effect.never)
      yield* Effect.gen(function* () {
        const grading = yield* Effect.forkChild(grade("for (;;) {}"))
        yield* Deferred.await(isRunning)
        yield* TestClock.adjust("10 seconds")
        assert.strictEqual(yield* Fiber.join(grading), "too slow")
        assert.strictEqual(yield* bootsOf, 1)
      }).pipe(Effect.provide(MicrosandboxMemory.layer({ commands: { node: endless } })))
    })
  )
})
