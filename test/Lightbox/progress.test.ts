import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Lightbox from "../../src/Lightbox.ts"
import * as MicrosandboxMemory from "../../src/MicrosandboxMemory.ts"
import * as Sandbox from "../../src/Sandbox.ts"
import * as Snapshot from "../../src/Snapshot.ts"

const twin = Layer.fresh(MicrosandboxMemory.layer({ images: { "progress:1": {}, "progress:2": {} } }))

/** The progress lines of a program. */
const linesOf = Effect.fnUntraced(function* <E, R>(program: Effect.Effect<unknown, E, R>) {
  const lines: Array<string> = []
  yield* Effect.provideService(program, Lightbox.Progress, (line) => lines.push(line))
  return lines
})

describe("progress", () => {
  it.effect("says what a build and a launch wait for, once per process", () =>
    Effect.gen(function* () {
      const definition = Snapshot.make("tools", "progress:1").pipe(Snapshot.shell("echo one > /one"))
      const program = Effect.scoped(Sandbox.launch({ snapshot: Snapshot.build(definition) }))
      const first = yield* linesOf(program)
      assert.deepStrictEqual(
        first.filter((line) => line !== "pulling progress:1"),
        ['building "tools"', 'building "tools": echo one > /one', 'saving "tools"', "booting a sandbox"]
      )
      assert.deepStrictEqual(yield* linesOf(program), [])
    }).pipe(Effect.provide(twin))
  )

  it.effect("says nothing about a build that has its own listener", () =>
    Effect.gen(function* () {
      const definition = Snapshot.make("listened", "progress:2").pipe(Snapshot.shell("true"))
      assert.deepStrictEqual(yield* linesOf(Snapshot.build(definition, { onEvent: () => Effect.void })), [])
    }).pipe(Effect.provide(twin))
  )
})
