/** Holes of sparse files. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fs from "node:fs"
import { vi } from "vitest"
import * as Extents from "../../../src/internal/host/extents.ts"
import * as Chunks from "../../../src/internal/store/chunks.ts"
import { temporary } from "../../support.ts"

const { signal } = new AbortController()

const size = 300 * 1024 * 1024

/** A file with bytes here and there. */
const sparse = (path: string, positions: ReadonlyArray<number>) => {
  const file = Fs.openSync(path, "w")
  Fs.ftruncateSync(file, size)
  for (const position of positions) Fs.writeSync(file, Buffer.from("x"), 0, 1, position)
  Fs.closeSync(file)
}

/** Many, so that a list of them is longer than what tar reads at once. */
const positions = [0, ...Array.from({ length: 1500 }, (_, index) => 1_000_003 + index * 200_003), size - 1].filter(
  (position) => position < size
)

const chunksOf = (path: string) =>
  Effect.map(
    Effect.promise(() => Chunks.scan(path, 0, signal)),
    (chunks) => chunks.map(({ number }) => number)
  )

describe("the parts of a sparse file", () => {
  it.effect("contain all of its data", () =>
    Effect.gen(function* () {
      const path = `${yield* temporary}/disk with a space`
      sparse(path, positions)
      const extents = yield* Effect.promise(() => Extents.list(path, signal))
      assert.isAbove(extents.length, 1000)
      for (const position of positions) {
        assert.isTrue(
          extents.some(({ from, to }) => from <= position && position < to),
          `${position}`
        )
      }
      assert.deepStrictEqual(yield* chunksOf(path), [
        ...new Set(positions.map((position) => Math.floor(position / Chunks.chunkBytes)))
      ])
    })
  )

  it.effect("are all of it, if it has no holes, or there is no program that finds them", () =>
    Effect.gen(function* () {
      const folder = yield* temporary
      const whole = [{ from: 0, to: size }]
      sparse(`${folder}/disk`, positions)
      vi.stubEnv("PATH", folder)
      yield* Effect.addFinalizer(() => Effect.sync(() => vi.unstubAllEnvs()))
      assert.deepStrictEqual(yield* Effect.promise(() => Extents.list(`${folder}/disk`, signal)), whole)
      // What it says must make sense.
      for (const text of ["", "exit 1", "head -c 100000 /dev/zero", "yes 1"]) {
        Fs.writeFileSync(`${folder}/tar`, `#!/bin/sh\nPATH=/usr/bin:/bin\n${text}\n`, { mode: 0o755 })
        assert.deepStrictEqual(yield* Effect.promise(() => Extents.list(`${folder}/disk`, signal)), whole, text)
      }
      Fs.writeFileSync(`${folder}/small`, Buffer.alloc(1000))
      assert.deepStrictEqual(yield* Effect.promise(() => Extents.list(`${folder}/small`, signal)), [
        { from: 0, to: 1000 }
      ])
    })
  )
})
