import { assert, layer } from "@effect/vitest"
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as MicrosandboxMemory from "../../src/MicrosandboxMemory.ts"
import * as Places from "./places.ts"
import * as Row from "./Row.ts"
import * as Table from "./table.ts"

layer(Layer.merge(MicrosandboxMemory.layer(), NodeServices.layer), { excludeTestServices: true })(
  "benchmarks",
  (it) => {
    it("have unique names, and each a place", () => {
      const names = Places.benches.map(({ name }) => name)
      assert.deepStrictEqual([...new Set(names)], names)
      const placed = new Set(Row.Place.literals.flatMap((place) => Places.benchesOf(place, [])))
      assert.deepStrictEqual(
        Places.benches.filter((bench) => !placed.has(bench)),
        []
      )
    })

    it.effect("of this machine report their times and ratio", () =>
      Effect.gen(function* () {
        const rows = yield* Effect.forEach(Places.benchesOf("machine", ["plan"]), ({ rows }) => rows(1, "machine"))
        for (const row of rows.flat()) {
          assert.isAbove(row.ours.p50, 0)
          assert.strictEqual(row.ratio, row.ours.p50 / (row.reference?.p50 ?? 0))
        }
        assert.strictEqual(rows.length, 1)
      })
    )

    it("report a missed target", () => {
      const row = (limits: Partial<Pick<Row.Row, "limit" | "target">>) =>
        Row.make("launch", { ours: ["ours", [3, 1, 2]], reference: ["by hand", [1, 1, 1]] }, limits)
      assert.deepInclude(row({}), { n: 3, ratio: 2 })
      assert.deepStrictEqual(row({}).ours, { what: "ours", p50: 2, p95: 3 })
      assert.isUndefined(Row.isMet(row({})))
      assert.isTrue(Row.isMet(row({ target: 2 })))
      assert.isTrue(Row.isMet(row({ limit: 2 })))
      assert.isFalse(Row.isMet(row({ target: 1.9 })))
      assert.isFalse(Row.isMet(row({ target: 2, limit: 1 })))
      assert.include(Table.line(row({ target: 1.9 })), "MISSED, at most 1.90 x")
      assert.include(Table.table([row({ limit: 2 })]), "met, at most 2.00 ms")
    })

    it.effect("alternate, and do not count warm-up rounds", () =>
      Effect.gen(function* () {
        const turns: Array<string> = []
        const side = (name: string) => Effect.sync(() => turns.push(name))
        const values = yield* Row.alternate(2, [side("a"), side("b")], { warmUp: 1 })
        assert.deepStrictEqual(turns.join(""), "baabba")
        assert.deepStrictEqual(values, [
          [3, 6],
          [4, 5]
        ])
      })
    )
  }
)
