/** Following what a sandbox logs, and what it is marked with. */
import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import * as Microsandbox from "../../src/Microsandbox.ts"
import * as MicrosandboxMemory from "../../src/MicrosandboxMemory.ts"
import * as Sandbox from "../../src/Sandbox.ts"
import * as SandboxPool from "../../src/SandboxPool.ts"
import { turn } from "../support.ts"

/** Follows the logs of a sandbox, and returns what was seen so far. */
const follow = Effect.fnUntraced(function* (sandbox: Sandbox.Sandbox, query: Microsandbox.LogQuery) {
  let seen = ""
  const fiber = yield* Stream.runForEach(sandbox.logs({ ...query, follow: true }), ({ bytes }) =>
    Effect.sync(() => {
      seen += new TextDecoder().decode(bytes)
    })
  ).pipe(Effect.forkChild({ startImmediately: true }))
  const until = (text: string) =>
    Effect.repeat(Effect.andThen(TestClock.adjust("250 millis"), turn), { until: () => seen.includes(text) })
  return { fiber, seen: () => seen, until }
})

const lines = (from: number, to: number): string =>
  Array.from({ length: to - from + 1 }, (_, index) => `${from + index}\n`).join("")

it.effect("following logs misses no new entry, whatever the tail", () =>
  Effect.gen(function* () {
    const sandbox = yield* Sandbox.launch({ image: "plain" })
    const empty = yield* follow(sandbox, { sources: ["stdout"], tail: 1 })
    for (let line = 1; line <= 3; line++) yield* sandbox.shell(`echo ${line}`)
    yield* empty.until("3\n")
    assert.strictEqual(empty.seen(), lines(1, 3))
    const last = yield* follow(sandbox, { sources: ["stdout"], tail: 1 })
    yield* last.until("3\n")
    for (let line = 4; line <= 6; line++) yield* sandbox.shell(`echo ${line}`)
    yield* last.until("6\n")
    assert.strictEqual(last.seen(), lines(3, 6))
    yield* empty.until("6\n")
    assert.strictEqual(empty.seen(), lines(1, 6))

    // Interrupted, it ends; otherwise it ends with the sandbox.
    yield* Fiber.interrupt(last.fiber)
    yield* sandbox.stop()
    yield* Effect.repeat(TestClock.adjust("250 millis"), { until: () => empty.fiber.pollUnsafe() !== undefined })
    yield* Fiber.join(empty.fiber)
  }).pipe(Effect.scoped, Effect.provide(MicrosandboxMemory.layer()))
)

it.live("sandboxes carry the label of their role", () =>
  Effect.gen(function* () {
    const driver = yield* Microsandbox.Microsandbox
    yield* Sandbox.launch({ image: "plain", name: "scoped" })
    yield* SandboxPool.make({ image: "plain", min: 1, max: 1 })
    const roles = Effect.map(driver.listSandboxes(), (all) => all.map(({ labels }) => labels["lightbox.role"]))
    yield* Effect.repeat(Effect.andThen(turn, roles), { until: (found) => found.length === 2 })
    assert.sameMembers([...(yield* roles)], ["scoped", "pool"])
  }).pipe(Effect.scoped, Effect.provide(MicrosandboxMemory.layer()))
)
