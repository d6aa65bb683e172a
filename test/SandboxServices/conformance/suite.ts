/** Runs the behaviours, and prints which hold where. */
import { assert, type Vitest } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type { Behaviour, Services } from "./Behaviour.ts"
import * as FileSystem from "./fileSystem.ts"
import * as Path from "./path.ts"
import * as Process from "./process.ts"

export const behaviours: ReadonlyArray<Behaviour> = [
  ...FileSystem.behaviours,
  ...Path.behaviours,
  ...Process.behaviours
]

/** Where behaviours are observed. */
export interface Place {
  readonly name: string
  readonly kind: "host" | "guest"
  /** Behaviours that cannot be tested, by what is missing. */
  readonly without?: { readonly [what: string]: ReadonlyArray<string> } | undefined
}

const results = new Map<string, Map<string, string>>()

const expectedAt = ({ expected }: Behaviour, { kind }: Place): unknown =>
  "everywhere" in expected ? expected.everywhere : kind === "host" ? expected.onHost : expected.inGuest

/** A test for each behaviour. */
export const register = (it: Vitest.MethodsNonLive<Services>, place: Place): void => {
  const missing = new Set(Object.values(place.without ?? {}).flat())
  for (const name of missing)
    assert.isTrue(
      behaviours.some((behaviour) => behaviour.name === name),
      name
    )
  for (const behaviour of behaviours.filter(({ name }) => !missing.has(name))) {
    it.effect(behaviour.name, () =>
      Effect.gen(function* () {
        const row = results.get(behaviour.name) ?? new Map<string, string>()
        results.set(behaviour.name, row.set(place.name, "FAILS"))
        assert.deepStrictEqual(yield* behaviour.observe, expectedAt(behaviour, place))
        row.set(
          place.name,
          "everywhere" in behaviour.expected ? "holds" : place.kind === "host" ? "as Node.js" : "differs"
        )
      })
    )
  }
}

/** Which behaviours have held where, and why some differ. */
export const table = (): string => {
  const places = [...new Set([...results.values()].flatMap((row) => [...row.keys()]))]
  const width = Math.max(...[...results.keys()].map((name) => name.length))
  const line = (name: string, cells: ReadonlyArray<string>, note: string) =>
    [name.padEnd(width), ...cells.map((cell) => cell.padEnd(10)), note].join("  ").trimEnd()
  return [
    line("", places, ""),
    ...behaviours.flatMap(({ expected, name }) => {
      const row = results.get(name)
      const note = "because" in expected ? expected.because : ""
      return row === undefined
        ? []
        : [
            line(
              name,
              places.map((place) => row.get(place) ?? ""),
              note
            )
          ]
    })
  ].join("\n")
}
