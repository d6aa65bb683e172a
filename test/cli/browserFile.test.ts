/** The file that leads the browser of a desktop to the page. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import * as BrowserFile from "../../src/internal/cli/serve/browserFile.ts"
import { temporary } from "../support.ts"

const url = "http://lightbox-1.localhost:7500/?token=secret"

describe("the file that leads a browser to the page", () => {
  it.effect("is for its user only, and is gone after the scope", () =>
    Effect.gen(function* () {
      const folder = yield* temporary
      const file = yield* Effect.scoped(
        Effect.gen(function* () {
          const file = yield* BrowserFile.write(url, [folder])
          assert.isDefined(file)
          assert.include(Fs.readFileSync(file, "utf8"), url)
          assert.strictEqual(Fs.statSync(file).mode & 0o077, 0)
          assert.strictEqual(Fs.statSync(Path.dirname(file)).mode & 0o077, 0)
          return file
        })
      )
      assert.isFalse(Fs.existsSync(file))
      assert.deepStrictEqual(Fs.readdirSync(folder), [])
    })
  )

  it.effect("is written where it can be, or nowhere, which is no failure", () =>
    Effect.gen(function* () {
      const folder = yield* temporary
      const missing = Path.join(folder, "missing")
      assert.isUndefined(yield* BrowserFile.write(url, [missing]))
      const file = yield* BrowserFile.write(url, [missing, folder])
      assert.strictEqual(Path.dirname(Path.dirname(file ?? "")), folder)
    })
  )

  it.effect("is in the home where there are snaps, which have other temporary files", () =>
    Effect.gen(function* () {
      const folder = yield* temporary
      assert.deepStrictEqual(BrowserFile.folders(folder), [Os.homedir(), Os.tmpdir()])
      assert.deepStrictEqual(BrowserFile.folders(Path.join(folder, "missing")), [Os.tmpdir(), Os.homedir()])
    })
  )
})
