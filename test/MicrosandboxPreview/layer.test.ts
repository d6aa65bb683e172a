import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Fs from "node:fs"
import * as MicrosandboxPreview from "../../src/MicrosandboxPreview.ts"
import { temporary } from "../support.ts"

const reasonOf = (options: MicrosandboxPreview.Options) =>
  Effect.map(Effect.flip(Effect.scoped(Layer.build(MicrosandboxPreview.layer(options)))), ({ reason }) => reason)

describe("the preview's layer", () => {
  it.effect("fails with RuntimeMissing, and says what to install, without the package of the runtime", () =>
    Effect.gen(function* () {
      const home = yield* temporary
      const nowhere = yield* reasonOf({ home, runtime: `${home}/nowhere` })
      assert.deepInclude(nowhere, {
        _tag: "RuntimeMissing",
        problem: `${home}/nowhere is not the package of a runtime`
      })
      assert.match(nowhere.message, /npm install microsandbox-next@npm:\S+@0\.7\.2/)
      Fs.writeFileSync(`${home}/package.json`, JSON.stringify({ version: "0.7.16" }))
      const later = yield* reasonOf({ home, runtime: home })
      assert.deepInclude(later, {
        _tag: "RuntimeMissing",
        problem: `version 0.7.2 of the runtime is not installed: ${home} has version 0.7.16`
      })
      Fs.writeFileSync(`${home}/package.json`, JSON.stringify({ version: "0.7.2" }))
      assert.strictEqual((yield* reasonOf({ home, runtime: home }))._tag, "RuntimeMissing")
    })
  )

  it.effect("refuses the home of another version, which the runtime would change for good", () =>
    Effect.gen(function* () {
      const home = yield* temporary
      Fs.mkdirSync(`${home}/db`)
      Fs.writeFileSync(`${home}/db/msb.db`, "")
      const reason = yield* reasonOf({ home, runtime: `${home}/nowhere` })
      assert.deepInclude(reason, { _tag: "Unsupported", feature: "this home directory" })
      assert.match(reason.message, /another version of the runtime/)
      Fs.mkdirSync(`${home}/lightbox`, { recursive: true })
      Fs.writeFileSync(`${home}/lightbox/preview-version`, "0.7.9\n")
      assert.match((yield* reasonOf({ home, runtime: `${home}/nowhere` })).message, /belongs to version 0\.7\.9/)
      Fs.writeFileSync(`${home}/lightbox/preview-version`, "0.7.2\n")
      assert.strictEqual((yield* reasonOf({ home, runtime: `${home}/nowhere` }))._tag, "RuntimeMissing")
    })
  )

  it.effect("names a wrong option", () =>
    Effect.gen(function* () {
      const home = yield* temporary
      const reason = yield* reasonOf({ home, cpus: 0 })
      assert.deepInclude(reason, { _tag: "InvalidConfig", field: "cpus" })
    })
  )
})
