/** Volumes of the real SDK, in a home of their own and without a microVM. */
import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Microsandbox from "../../src/Microsandbox.ts"
import * as MicrosandboxLocal from "../../src/MicrosandboxLocal.ts"
import * as Volume from "../../src/Volume.ts"
import { temporary } from "../support.ts"

layer(NodeServices.layer, { excludeTestServices: true })("a volume of which only the folder is left", (it) => {
  it.effect("keeps its name until it is removed", () =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const home = `${yield* temporary}/home`
      const folder = `${home}/volumes/cache`
      yield* Effect.gen(function* () {
        const driver = yield* Microsandbox.Microsandbox
        yield* Volume.ensure("shared")
        yield* fs.makeDirectory(folder)
        yield* fs.writeFileString(`${folder}/old`, "of before")
        assert.deepStrictEqual(
          (yield* Volume.list()).map(({ name }) => name),
          ["shared"]
        )
        const refused = yield* Effect.flip(Volume.ensure("cache"))
        assert.strictEqual(refused.reason._tag, "AlreadyExists")
        assert.strictEqual(yield* fs.readFileString(`${folder}/old`), "of before")
        // What is no name is no path either.
        for (const name of ["..", ".", "shared/..", ".locks"]) yield* driver.removeVolume(name)
        yield* Volume.remove("cache")
        assert.isFalse(yield* fs.exists(folder))
        const made = yield* Volume.ensure("cache")
        assert.deepStrictEqual(yield* fs.readDirectory(made.path), [])
        assert.deepStrictEqual((yield* fs.readDirectory(`${home}/volumes`)).toSorted(), [".locks", "cache", "shared"])
        const notes = yield* fs.readDirectory(`${home}/lightbox/owners`, { recursive: true })
        assert.deepStrictEqual(
          notes.filter((path) => path.includes("volume.")),
          []
        )
      }).pipe(Effect.provide(MicrosandboxLocal.layer({ home, sweep: false })))
    })
  )
})
