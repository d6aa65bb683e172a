import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { freePort } from "../support.ts"
import { Cli, ending, failing, succeeding, test } from "./support.ts"

const ask = (port: number) =>
  Effect.promise(() =>
    fetch(`http://127.0.0.1:${port}/`).then(
      ({ status }) => status,
      () => 0
    )
  )

test(
  "ui serves a page until it is interrupted",
  Effect.gen(function* () {
    const port = yield* freePort
    const running = yield* Effect.forkScoped(ending(0)("ui", "--port", String(port), "--no-open"))
    // Nobody has opened the link.
    assert.strictEqual(yield* Effect.repeat(ask(port), { until: (status) => status !== 0 }), 403)
    yield* Fiber.interrupt(running)
    assert.strictEqual(yield* ask(port), 0)
  }).pipe(Effect.scoped)
)

test(
  "ui names a wrong port, and one in use",
  Effect.gen(function* () {
    const { requests } = yield* Cli
    assert.match((yield* failing(2, "ui", "--port", "65536")).message, /^Invalid --port: /)
    const port = yield* freePort
    yield* Effect.forkScoped(ending(0)("ui", "--port", String(port), "--no-open"))
    yield* Effect.repeat(ask(port), { until: (status) => status !== 0 })
    assert.match(
      (yield* failing(2, "ui", "--port", String(port))).message,
      /^Invalid --port: port \d+ of 127\.0\.0\.1 is in use/
    )
    assert.deepStrictEqual(requests, [])
    yield* succeeding("ps")
  }).pipe(Effect.scoped)
)
