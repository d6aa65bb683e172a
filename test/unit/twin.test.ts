/** What the twin promises beyond the contract: faults, time, and what other processes have. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import * as MicrosandboxMemory from "../../src/MicrosandboxMemory.ts"
import * as Sandbox from "../../src/Sandbox.ts"

const image = "plain"

const twin = (options?: MicrosandboxMemory.Options) => Layer.fresh(MicrosandboxMemory.layer(options))

describe("logs", () => {
  it.effect("of a wrong cursor, or of a tail behind one, are refused by the names of the options", () =>
    Sandbox.run({ image }, (sandbox) =>
      Effect.gen(function* () {
        yield* sandbox.exec("echo", ["one"])
        const [entry] = yield* Stream.runCollect(sandbox.logs())
        for (const [query, field] of [
          [{ after: "nonsense" }, "after"],
          [{ after: entry?.cursor, tail: 1 }, "tail"]
        ] as const) {
          const { reason } = yield* Effect.flip(Stream.runCollect(sandbox.logs(query)))
          assert.deepInclude(reason, { _tag: "InvalidConfig", field })
        }
      })
    ).pipe(Effect.provide(twin()))
  )
})
