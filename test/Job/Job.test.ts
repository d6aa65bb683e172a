/** What jobs cost. */
import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as MicrosandboxMemory from "../../src/MicrosandboxMemory.ts"
import * as Sandbox from "../../src/Sandbox.ts"

it.live("a job takes few processes and messages", () =>
  Effect.gen(function* () {
    const sandbox = yield* Sandbox.launch({ image: "alpine" })
    const { calls } = yield* MicrosandboxMemory.Control
    yield* Effect.flatMap(sandbox.start("true"), (job) => job.wait)
    const pid = Effect.map(sandbox.shell("echo $$"), ({ stdout }) => Number(stdout))
    const before = yield* pid
    const asked = (yield* calls).length
    const job = yield* sandbox.start("true")
    // One round trip.
    assert.deepStrictEqual(
      (yield* calls).slice(asked).map(({ operation }) => operation),
      ["guest.spawn"]
    )
    yield* job.wait
    // The two that ask, the folder and pipes, the command, the writer and its `dd`, two that limit it, and the end.
    assert.isAtMost((yield* pid) - before - 1, 10)
  }).pipe(Effect.scoped, Effect.provide(MicrosandboxMemory.layer({ images: { alpine: {} } })))
)
