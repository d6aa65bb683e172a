/** Builds of several programs on one fleet. */
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/testing/TestClock"
import type * as BuildEvent from "../../src/BuildEvent.ts"
import type { Services } from "../../src/Driver.ts"
import * as Snapshot from "../../src/Snapshot.ts"
import * as Cases from "../internal/directory/cases.ts"
import { quiet } from "../support.ts"
import * as Support from "./support.ts"

/** Lets a little time pass again and again, until something is so. */
const until = <A, E, R>(effect: Effect.Effect<A, E, R>, isSo: (value: A) => boolean) =>
  Effect.andThen(Effect.andThen(TestClock.adjust("10 millis"), quiet), effect).pipe(Effect.repeat({ until: isSo }))

describe("builds of one key on a fleet", () => {
  it.effect("are one build, whose events all programs see that wait for it", () =>
    Effect.gen(function* () {
      const url = yield* Support.directory
      yield* Support.host(url)
      yield* Support.host(url)
      const directory = yield* Cases.open(url)
      const one = yield* Support.program(url)
      const two = yield* Support.program(url)
      const three = yield* Support.program(url)
      const begun = yield* Deferred.make<void>()
      const gate = yield* Deferred.make<void>()
      let runs = 0
      const definition = Snapshot.make("app", "busybox").pipe(
        Snapshot.step("seed", (sandbox) =>
          Effect.gen(function* () {
            runs += 1
            yield* Deferred.succeed(begun, undefined)
            yield* Deferred.await(gate)
            yield* sandbox.shell("echo seeded > /root/seed", { check: true })
          })
        ),
        // Has a lock of its own, at which the others wait by the time that it prints.
        Snapshot.shell("sleep 5; echo told; cat /root/seed")
      )
      const build = Effect.fnUntraced(function* ({ services }: Effect.Success<ReturnType<typeof Support.program>>) {
        const events: Array<BuildEvent.BuildEvent> = []
        const onEvent = (event: BuildEvent.BuildEvent) => Effect.sync(() => void events.push(event))
        const building: Effect.Effect<Snapshot.Snapshot, unknown, Services> = Snapshot.build(definition, { onEvent })
        const fiber = yield* Effect.forkChild(Effect.provideContext(building, services), { startImmediately: true })
        return { events, fiber }
      })
      const first = yield* build(one)
      yield* until(Deferred.isDone(begun), (isDone) => isDone)
      const waiting = [yield* build(two), yield* build(three)]
      yield* until(
        directory.sql<{ count: number }>`SELECT COUNT(*) AS count FROM lightbox_waiters`,
        (found) => found[0]?.count === 2
      )
      // The first one learns of them.
      yield* until(Effect.succeed(1), () => false).pipe(Effect.timeoutOption("2 seconds"))
      yield* Deferred.succeed(gate, undefined)
      const all = [first, ...waiting].map(({ fiber }) => fiber)
      yield* until(
        Effect.sync(() => all.every((fiber) => fiber.pollUnsafe() !== undefined)),
        (isSo) => isSo
      )
      const results = yield* Effect.forEach(all, Fiber.join)
      assert.strictEqual(new Set(results.map(({ key }) => key)).size, 1)
      assert.strictEqual(runs, 1)
      const tagsOf = (events: ReadonlyArray<BuildEvent.BuildEvent>) => events.map(({ _tag }) => _tag)
      for (const { events } of waiting) {
        const tags = tagsOf(events)
        assert.include(tags, "Waiting")
        // What the first one did after they came.
        assert.isTrue(
          events.some((event) => event._tag === "StepOutput" && event.text.includes("told")),
          tags.join(", ")
        )
        assert.isTrue(events.some((event) => event._tag === "StepFinished" && event.description === "seed"))
      }
      assert.notInclude(tagsOf(first.events), "Waiting")
    })
  )
})
