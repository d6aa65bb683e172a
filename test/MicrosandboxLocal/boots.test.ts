/** Boots that take too long or are interrupted, with processes that look like virtual machines. */
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/testing/TestClock"
import * as ChildProcess from "node:child_process"
import * as Fs from "node:fs"
import * as Path from "node:path"
import type * as Ownership from "../../src/Ownership.ts"
import * as Owner from "../../src/internal/ownership/owner.ts"
import * as Boots from "../../src/internal/driver/local/boots.ts"
import { leftoversEnd } from "../../src/internal/driver/sdk/calls.ts"
import { BootFailed, LightboxError } from "../../src/LightboxError.ts"
import { temporary } from "../support.ts"

/** Starts processes named like those of the runtime, which end only when killed. */
const machines = Effect.gen(function* () {
  const folder = yield* temporary
  Fs.writeFileSync(Path.join(folder, "sandbox"), "echo booted; read forever\n")
  const started: Array<ChildProcess.ChildProcess> = []
  yield* Effect.addFinalizer(() =>
    Effect.sync(() => {
      for (const child of started) child.kill("SIGKILL")
    })
  )
  return (name: string): Promise<ChildProcess.ChildProcess> => {
    const child = ChildProcess.spawn("/bin/sh", ["sandbox", "--name", name], { cwd: folder, argv0: "msb" })
    started.push(child)
    return new Promise((resolve) => child.stdout.once("data", () => resolve(child)))
  }
})

const hasEnded = (child: ChildProcess.ChildProcess): boolean => child.signalCode !== null

const exit = (child: ChildProcess.ChildProcess): Promise<void> =>
  new Promise((resolve) => (hasEnded(child) ? resolve() : child.once("exit", () => resolve())))

const bootOf = <A>(
  name: string,
  start: Boots.Boot<A>["start"],
  options?: { readonly limit?: Duration.Duration; readonly cleanUp?: Effect.Effect<void> }
): Effect.Effect<A, LightboxError> =>
  Boots.boot({
    method: "test",
    name,
    limit: options?.limit ?? Duration.minutes(1),
    start,
    fail: (cause) =>
      Effect.fail(
        new LightboxError({ method: "test", reason: new BootFailed({ name, problem: String(cause), lastLines: [] }) })
      ),
    cleanUp: options?.cleanUp ?? Effect.void
  })

describe("a boot", () => {
  it.live("is killed and cleaned up when interrupted, and spares a running sandbox of the same name", () =>
    Effect.gen(function* () {
      const machine = yield* machines
      const running = yield* Effect.promise(() => machine("worker"))
      const begun = yield* Deferred.make<ChildProcess.ChildProcess>()
      let cleanUps = 0
      const booting = yield* Effect.forkChild(
        bootOf(
          "worker",
          async () => {
            const child = await machine("worker")
            Deferred.doneUnsafe(begun, Effect.succeed(child))
            await exit(child)
            throw new Error("killed")
          },
          {
            cleanUp: Effect.sync(() => {
              cleanUps++
            })
          }
        )
      )
      const child = yield* Deferred.await(begun)
      yield* Fiber.interrupt(booting)
      assert.isTrue(hasEnded(child))
      assert.isFalse(hasEnded(running))
      assert.strictEqual(cleanUps, 1)
    }).pipe(Effect.scoped)
  )

  it.effect("waits for an abandoned boot of the same name, not of another", () =>
    Effect.gen(function* () {
      const pull = Promise.withResolvers<string>()
      const begun = yield* Deferred.make<void>()
      const steps: Array<string> = []
      const pulling = yield* Effect.forkChild(
        bootOf(
          "worker",
          () => {
            Deferred.doneUnsafe(begun, Effect.void)
            return pull.promise
          },
          { cleanUp: Effect.sync(() => steps.push("cleaned up")) }
        )
      )
      yield* Deferred.await(begun)
      const interrupting = yield* Effect.forkChild(Fiber.interrupt(pulling), { startImmediately: true })
      yield* TestClock.adjust("5 seconds")
      yield* Fiber.join(interrupting)
      assert.deepStrictEqual(steps, [])

      const next = yield* Effect.forkChild(
        bootOf("worker", () => {
          steps.push("booted")
          return Promise.resolve("second")
        }),
        { startImmediately: true }
      )
      assert.strictEqual(yield* bootOf("other", () => Promise.resolve("other")), "other")
      assert.deepStrictEqual(steps, [])
      pull.resolve("first")
      assert.strictEqual(yield* Fiber.join(next), "second")
      assert.deepStrictEqual(steps, ["cleaned up", "booted"])
      yield* leftoversEnd
    })
  )

  it.live("is killed, cleaned up and retried once when it takes too long", () =>
    Effect.gen(function* () {
      const machine = yield* machines
      const steps: Array<string> = []
      const booted = yield* bootOf(
        "worker",
        async (onPulled) => {
          steps.push("begun")
          onPulled()
          if (steps.length > 1) return "booted"
          await exit(await machine("worker"))
          throw new Error("killed")
        },
        { limit: Duration.millis(500), cleanUp: Effect.sync(() => steps.push("cleaned up")) }
      )
      assert.strictEqual(booted, "booted")
      assert.deepStrictEqual(steps, ["begun", "cleaned up", "begun"])
    }).pipe(Effect.scoped)
  )

  it.live("fails with what its start throws", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(
        bootOf("worker", () => {
          throw new Error("thrown")
        })
      )
      assert.deepInclude(error.reason, { _tag: "BootFailed" })
      assert.include(error.message, "thrown")
    })
  )
})

describe("a sandbox name", () => {
  it.live("counts as being made while a living owner has a note of another sandbox with it", () =>
    Effect.gen(function* () {
      const home = yield* temporary
      const owner = yield* Owner.make(home)
      const note: Ownership.Note = { kind: "sandbox", token: "first", name: "worker" }
      assert.isFalse(yield* Boots.isBeingMade(home, "worker", "second"))
      yield* owner.note(note)
      assert.isTrue(yield* Boots.isBeingMade(home, "worker", "second"))
      assert.isFalse(yield* Boots.isBeingMade(home, "worker", "first"))
      assert.isFalse(yield* Boots.isBeingMade(home, "another", "second"))
      yield* owner.forget(note)
      assert.isFalse(yield* Boots.isBeingMade(home, "worker", "second"))
    }).pipe(Effect.scoped)
  )
})
