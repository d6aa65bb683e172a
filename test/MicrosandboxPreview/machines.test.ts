import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fs from "node:fs"
import * as Machines from "../../src/internal/driver/next/machines.ts"
import { instanceLabel } from "../../src/internal/ownership/labels.ts"
import { temporary } from "../support.ts"

const config = (labels: { readonly [key: string]: string }) =>
  JSON.stringify({ name: "copy", labels, runtime: { shell: "/bin/sh", workdir: null }, network: { ports: [] } })

const labelsOf = (json: string): unknown => JSON.parse(json).labels

const own = { team: "blue", [instanceLabel]: "own" }

describe("what is recorded of resumed sandboxes and copies", () => {
  it.effect("completes the configuration of exactly that sandbox", () =>
    Effect.gen(function* () {
      const home = yield* temporary
      yield* Effect.promise(() => Machines.write(home, { name: "copy", id: "local:2", labels: own, cwd: "/srv" }))
      const json = Machines.completed(home, { name: "copy", id: "local:2" }, config({}))
      assert.deepStrictEqual(JSON.parse(json), {
        name: "copy",
        labels: own,
        runtime: { shell: "/bin/sh", workdir: "/srv" },
        network: { ports: [] }
      })
      assert.deepStrictEqual(labelsOf(Machines.completed(home, { name: "copy", id: "local:3" }, config({}))), {})
      assert.deepStrictEqual(labelsOf(Machines.completed(home, { name: "other", id: "local:2" }, config({}))), {})
    })
  )

  it.effect("speaks before the creation is complete only for a sandbox that can be no other", () =>
    Effect.gen(function* () {
      const home = yield* temporary
      const of = (labels: { readonly [key: string]: string }) =>
        labelsOf(Machines.completed(home, { name: "copy", id: "local:2" }, config(labels)))
      yield* Effect.promise(() => Machines.write(home, { name: "copy", labels: own }))
      assert.deepStrictEqual(of({}), own)
      assert.deepStrictEqual(of({ [instanceLabel]: "another" }), { [instanceLabel]: "another" })

      yield* Effect.promise(() => Machines.write(home, { name: "copy", original: "first", labels: own }))
      assert.deepStrictEqual(of({ [instanceLabel]: "first" }), own)
      assert.deepStrictEqual(of({ [instanceLabel]: "another" }), { [instanceLabel]: "another" })
      assert.deepStrictEqual(of({}), {})
    })
  )

  it.effect("is removed for a failed creation, unless it has become that of another", () =>
    Effect.gen(function* () {
      const home = yield* temporary
      yield* Effect.promise(() => Machines.write(home, { name: "copy", labels: own }))
      yield* Effect.promise(() => Machines.removeOf(home, "copy", "another"))
      assert.deepStrictEqual(yield* Effect.promise(() => Machines.names(home)), ["copy"])
      yield* Effect.promise(() => Machines.removeOf(home, "copy", "own"))
      assert.deepStrictEqual(yield* Effect.promise(() => Machines.names(home)), [])
      assert.deepStrictEqual(Fs.readdirSync(`${home}/lightbox/machines`), [])
    })
  )
})
