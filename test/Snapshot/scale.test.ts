/** What a plan, a build and a sweep do is counted, for time depends on the machine. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Microsandbox from "../../src/Microsandbox.ts"
import * as MicrosandboxMemory from "../../src/MicrosandboxMemory.ts"
import * as Reaper from "../../src/Reaper.ts"
import * as Snapshot from "../../src/Snapshot.ts"

/** Adds results of others to the store. With `damaged`, their disks are lost. */
const fill = Effect.fnUntraced(function* (count: number, options?: { readonly damaged?: boolean }) {
  const { home } = yield* Microsandbox.Microsandbox
  const { path } = yield* Snapshot.build(Snapshot.make("seed", "busybox").pipe(Snapshot.shell("true")))
  for (let index = 0; index < count; index++) {
    const copy = Path.join(home, "snapshots", `lb-${String(index).padStart(40, "0")}`)
    Fs.cpSync(path, copy, { recursive: true })
    if (options?.damaged === true) Fs.rmSync(Path.join(copy, "upper.disk"))
  }
})

/** The driver's operations that an effect calls, in order. */
const callsOf = Effect.fnUntraced(function* <A, E, R>(effect: Effect.Effect<A, E, R>) {
  const control = yield* MicrosandboxMemory.Control
  const before = (yield* control.calls).length
  yield* effect
  return (yield* control.calls).slice(before).map(({ operation }) => operation)
})

const definition = Snapshot.make("app", "busybox").pipe(
  Snapshot.shell("echo 1"),
  Snapshot.checkpoint,
  Snapshot.shell("echo 2"),
  Snapshot.shell("echo 3")
)

const withResults = <A, E, R>(count: number, effect: Effect.Effect<A, E, R>, damaged = false) =>
  Effect.andThen(fill(count, { damaged }), callsOf(effect)).pipe(
    Effect.provide(MicrosandboxMemory.layer({ sweep: false }))
  )

describe("a store of many results", () => {
  for (const [name, effect] of [
    ["a plan", Effect.asVoid(Snapshot.plan(definition))],
    ["a first build", Effect.asVoid(Snapshot.build(definition, { checkpoints: "every-step" }))],
    ["a first build of a new name", Effect.asVoid(Snapshot.build(definition, { overwrite: false }))],
    [
      "a build that replaces a snapshot of another tool",
      Effect.asVoid(Snapshot.build(definition, { replaceForeign: true }))
    ]
  ] as const) {
    it.effect(`costs ${name} nothing`, () =>
      Effect.gen(function* () {
        const few = yield* withResults(1, effect)
        assert.deepStrictEqual(yield* withResults(50, effect), few)
        assert.notInclude(few, "listSnapshots")
        assert.notInclude(few, "listDamagedSnapshots")
      })
    )
  }

  it.effect("is listed by a sweep once, however many results are damaged", () =>
    Effect.gen(function* () {
      const few = yield* withResults(1, Reaper.sweep(), true)
      const many = yield* withResults(50, Reaper.sweep(), true)
      const count = (calls: ReadonlyArray<string>, operation: string) =>
        calls.filter((call) => call === operation).length
      assert.strictEqual(count(many, "removeSnapshot"), 50)
      assert.strictEqual(count(many, "listDamagedSnapshots"), count(few, "listDamagedSnapshots"))
      assert.strictEqual(count(many, "listSnapshotLinks"), count(few, "listSnapshotLinks"))
      assert.isAtMost(many.length, 50 * few.length)
    })
  )

  it.effect("costs a sweep nothing if no result is damaged", () =>
    Effect.gen(function* () {
      const few = yield* withResults(1, Reaper.sweep())
      assert.deepStrictEqual(yield* withResults(50, Reaper.sweep()), few)
    })
  )
})
