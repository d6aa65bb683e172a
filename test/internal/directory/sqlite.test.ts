/** The directory in SQLite. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as TestClock from "effect/testing/TestClock"
import * as Path from "node:path"
import * as Directories from "../../../src/internal/directory/open.ts"
import { failsWith } from "../../Microsandbox/Bench.ts"
import { folder } from "../../MicrosandboxRemote/support.ts"
import * as Cases from "./cases.ts"

const file = Effect.map(folder("d"), (path) => `sqlite:${Path.join(path, "made", "fleet.db")}`)

describe("a directory in SQLite", () => {
  it.effect("keeps hosts", () => Effect.flatMap(file, Cases.keepsHosts))
  it.effect("gives a name to one creation", () => Effect.flatMap(file, Cases.givesANameOnce))
  it.effect("loses no sandbox before its host is gone and its lease has run out", () =>
    Effect.flatMap(file, (url) => Cases.losesNothingEarly(url, (millis) => TestClock.adjust(millis)))
  )
  it.effect("gives a lock to one holder, until it runs out", () =>
    Effect.flatMap(file, (url) => Cases.locksOnce(url, (millis) => TestClock.adjust(millis)))
  )
  it.effect("keeps records, names, and what hosts have", () => Effect.flatMap(file, Cases.keepsRecords))

  it.effect("names what is wrong with a URL, without its password", () =>
    Effect.gen(function* () {
      for (const url of ["", "mysql://db.example.com/fleet", "sqlite:"]) {
        const { field, problem } = yield* failsWith("InvalidConfig", Effect.scoped(Cases.open(url)))
        assert.strictEqual(field, "directory", problem)
      }
      const away = Effect.scoped(
        Directories.open("test", "directory", Redacted.make("postgres://me:hidden@127.0.0.1:1/fleet"))
      )
      const error = yield* Effect.flip(away)
      assert.strictEqual(error.reason._tag, "HostUnavailable")
      assert.include(error.message, "postgres://me@127.0.0.1:1/fleet")
      assert.notInclude(JSON.stringify(error), "hidden")
    })
  )
})
