/** The directory in SQLite. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Redacted from "effect/Redacted"
import * as Reactivity from "effect/reactivity/Reactivity"
import * as Scope from "effect/Scope"
import * as SqlClient from "effect/sql/SqlClient"
import * as Statement from "effect/sql/Statement"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import * as Path from "node:path"
import * as Directory from "../../../src/internal/directory/directory.ts"
import * as Directories from "../../../src/internal/directory/open.ts"
import { makeLocks } from "../../../src/internal/driver/fleet/home.ts"
import { failsWith } from "../../Microsandbox/Bench.ts"
import { folder } from "../../MicrosandboxRemote/support.ts"
import * as Cases from "./cases.ts"

const file = Effect.map(folder("d"), (path) => `sqlite:${Path.join(path, "made", "fleet.db")}`)

/** A database that does not answer any more. */
const hanging = SqlClient.make({
  acquirer: Effect.succeed({
    execute: () => Effect.never,
    executeRaw: () => Effect.never,
    executeValues: () => Effect.never,
    executeValuesUnprepared: () => Effect.never,
    executeUnprepared: () => Effect.never,
    executeStream: () => Stream.never
  }),
  compiler: Statement.makeCompilerSqlite(),
  driver: "test",
  spanAttributes: []
}).pipe(Effect.provide(Reactivity.layer))

describe("a directory in SQLite", () => {
  it.effect("keeps hosts", () => Effect.flatMap(file, Cases.keepsHosts))
  it.effect("gives a name to one creation", () => Effect.flatMap(file, Cases.givesANameOnce))
  it.effect("loses no sandbox before its host is gone and its lease has run out", () =>
    Effect.flatMap(file, (url) => Cases.losesNothingEarly(url, (millis) => TestClock.adjust(millis)))
  )
  it.effect("gives a lock to one holder, until it runs out", () =>
    Effect.flatMap(file, (url) => Cases.locksOnce(url, (millis) => TestClock.adjust(millis)))
  )
  it.effect("changes what a lock protects only while it is held", () =>
    Effect.flatMap(file, (url) => Cases.fencesWrites(url, (millis) => TestClock.adjust(millis)))
  )
  it.effect("keeps records, names, and what hosts have", () => Effect.flatMap(file, Cases.keepsRecords))
  it.effect("keeps jobs, which only the holder of their lock changes", () =>
    Effect.flatMap(file, (url) => Cases.keepsJobs(url, (millis) => TestClock.adjust(millis)))
  )
  it.effect("tells those that wait for a lock what its holder says", () =>
    Effect.flatMap(file, (url) => Cases.tellsThoseThatWait(url, (millis) => TestClock.adjust(millis)))
  )
  it.effect("keeps what the fleet agrees on", () => Effect.flatMap(file, Cases.agreesOnce))

  it.effect("gives up a database that does not answer, and says whether a change may have been made", () =>
    Effect.gen(function* () {
      const directory = Directory.of(yield* hanging, "postgres://db.example.com/fleet")
      const after = Effect.fnUntraced(function* <A, E>(effect: Effect.Effect<A, E>) {
        // What is acquired is not interrupted by others.
        const fiber = yield* Effect.forkChild(Effect.flip(Effect.uninterruptible(effect)), { startImmediately: true })
        yield* TestClock.adjust("6 seconds")
        return yield* Fiber.join(fiber)
      })
      const read = yield* after(directory.hosts)
      assert.deepInclude(read.reason, { _tag: "HostUnavailable", kind: "Unreachable" })
      assert.include(read.message, "has not answered for 5 s")
      for (const change of [directory.claim(Cases.claim("one", "a", "r")), directory.removeRecord("names/app.json")]) {
        const { outcome, reason } = yield* after(change)
        assert.deepInclude(reason, { _tag: "HostUnavailable", kind: "Lost" })
        assert.strictEqual(outcome, "unknown")
      }
    })
  )

  it.effect("loses a lock that could not be kept for as long as it lasts, however long that hangs", () =>
    Effect.gen(function* () {
      const directory = yield* Effect.flatMap(file, Cases.open)
      const locks = makeLocks({ ...directory, keepLock: () => Effect.never })
      const attempt = yield* locks.tryLock("names")
      assert.isTrue("lock" in attempt)
      yield* TestClock.adjust("29 seconds")
      yield* locks.check("test")
      yield* TestClock.adjust("1 second")
      const { kind } = yield* failsWith("HostUnavailable", locks.check("test"))
      assert.strictEqual(kind, "Ended")
    })
  )

  it.effect("refuses what a program writes that was stopped while another took its lock", () =>
    Effect.gen(function* () {
      const directory = yield* Effect.flatMap(file, Cases.open)
      // The check is made before the program is stopped, and the write arrives after that.
      const stopped = {
        ...directory,
        writeRecord: (path: string, content: string, holders?: Directory.Holders) =>
          Effect.gen(function* () {
            yield* TestClock.adjust("40 seconds")
            assert.isTrue(yield* directory.lock("names", "another"))
            yield* directory.writeRecord(path, "theirs", ["another"])
            return yield* directory.writeRecord(path, content, holders)
          }),
        // It does not run, and so renews nothing.
        keepLock: () => Effect.never
      }
      const locks = makeLocks(stopped)
      yield* locks.tryLock("names")
      const write = (path: string) => locks.fenced("test", (holders) => stopped.writeRecord(path, "late", holders))
      const { kind } = yield* failsWith("HostUnavailable", write("names/app.json"))
      assert.strictEqual(kind, "Ended")
      assert.strictEqual(yield* directory.readRecord("names/app.json"), "theirs")
    })
  )

  it.effect("does not take a lock that was given back meanwhile for one that was lost", () =>
    Effect.gen(function* () {
      const directory = yield* Effect.flatMap(file, Cases.open)
      const locks = makeLocks(directory)
      yield* locks.tryLock("names")
      const other = yield* Scope.make()
      yield* Scope.provide(locks.tryLock("builds"), other)
      yield* locks.fenced("test", (holders) =>
        Effect.andThen(Scope.close(other, Exit.void), directory.writeRecord("names/app.json", "mine", holders))
      )
      assert.strictEqual(yield* directory.readRecord("names/app.json"), "mine")
      yield* locks.fenced("test", (holders) => directory.removeRecord("names/none.json", holders))
    })
  )

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
