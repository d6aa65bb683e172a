/** What a directory promises, in any database. */
import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import { graceMillis, isAlive, lockMillis } from "../../../src/internal/directory/directory.ts"
import * as Jobs from "../../../src/internal/directory/jobs.ts"
import * as Directories from "../../../src/internal/directory/open.ts"
import { localCapabilities } from "../../../src/internal/driver/parts.ts"

export const open = (url: string) => Directories.open("test", "directory", Redacted.make(url))

export const registration = (id: string, incarnation = "1") => ({
  id,
  incarnation,
  address: `http://${id}.example.com:7400`,
  version: "0",
  architecture: "x64",
  labels: { zone: "a" },
  capabilities: localCapabilities,
  cpus: 2
})

export const claim = (name: string, host: string, request: string) => ({
  name,
  host,
  incarnation: "1",
  owner: "test",
  request,
  memory: 100,
  detached: false
})

/** Lets time pass for the database. */
type Pass = (millis: number) => Effect.Effect<void>

export const keepsHosts = Effect.fnUntraced(function* (url: string) {
  const directory = yield* open(url)
  yield* directory.register(registration("a"))
  yield* directory.register(registration("b"))
  assert.isTrue(yield* directory.beat({ id: "a", incarnation: "1", memory: 1000, used: 10 }))
  assert.isFalse(yield* directory.beat({ id: "a", incarnation: "2", memory: 1000, used: 10 }))
  assert.isTrue(yield* directory.claim(claim("one", "a", "r1")))
  const [a, b] = yield* directory.hosts
  assert.deepInclude(a, { ...registration("a"), memory: 1000, used: 10, reserved: 100, sandboxes: 1, state: "up" })
  assert.isTrue(a !== undefined && isAlive(a))
  assert.deepInclude(b, { id: "b", reserved: 0, cordoned: 0, reason: null })
  assert.isTrue(yield* directory.cordon("a", "a new disk"))
  assert.isTrue(yield* directory.cordon("a", "another reason"))
  assert.isFalse(yield* directory.cordon("none", "a new disk"))
  // A restart does not end it.
  yield* directory.register(registration("a", "2"))
  assert.deepInclude((yield* directory.hosts)[0], { cordoned: 1, reason: "a new disk", incarnation: "2" })
  yield* directory.uncordon("a")
  assert.deepInclude((yield* directory.hosts)[0], { cordoned: 0, reason: null })
  yield* directory.leave({ id: "b", incarnation: "1" })
  assert.isFalse((yield* directory.hosts).slice(1).some(isAlive))
})

export const givesANameOnce = Effect.fnUntraced(function* (url: string) {
  const directory = yield* open(url)
  const other = yield* open(url)
  yield* directory.register(registration("a"))
  const claimed = yield* Effect.all([directory.claim(claim("one", "a", "r1")), other.claim(claim("one", "b", "r2"))], {
    concurrency: "unbounded"
  })
  assert.strictEqual(claimed.filter(Boolean).length, 1)
  const row = yield* directory.find("one")
  const [mine, theirs] = row?.request === "r1" ? ["r1", "r2"] : ["r2", "r1"]
  // Only the creation that has the name changes it.
  yield* directory.created("one", theirs, "wrong")
  yield* directory.forget("one", theirs)
  yield* directory.created("one", mine, "right")
  assert.deepInclude(yield* directory.find("one"), { id: "right", state: "running", request: mine })
  yield* directory.forget("one", mine)
  assert.isUndefined(yield* directory.find("one"))
})

export const losesNothingEarly = Effect.fnUntraced(function* (url: string, pass: Pass) {
  const directory = yield* open(url)
  yield* directory.register(registration("a"))
  yield* directory.register(registration("b"))
  yield* directory.claim(claim("on-a", "a", "r1"))
  yield* directory.claim(claim("on-b", "b", "r2"))
  yield* directory.created("on-a", "r1", "id")
  yield* directory.renew({ id: "a", incarnation: "1" }, graceMillis + 1000)
  assert.deepStrictEqual(yield* directory.loseOfGone, [])
  yield* pass(graceMillis + 100)
  yield* directory.beat({ id: "b", incarnation: "1", memory: 1, used: 1 })
  // Its lease has not run out.
  assert.deepStrictEqual(yield* directory.loseOfGone, [])
  yield* pass(2000)
  assert.deepStrictEqual(yield* directory.loseOfGone, ["on-a"])
  assert.deepInclude(yield* directory.find("on-a"), {
    state: "lost",
    id: "id",
    reason: "its host a has not been seen for too long"
  })
  assert.deepInclude(yield* directory.find("on-b"), { state: "creating" })
})

export const locksOnce = Effect.fnUntraced(function* (url: string, pass: Pass) {
  const directory = yield* open(url)
  const other = yield* open(url)
  const taken = yield* Effect.all([directory.lock("names", "x"), other.lock("names", "y")], {
    concurrency: "unbounded"
  })
  assert.strictEqual(taken.filter(Boolean).length, 1)
  const [holder, waiting] = taken[0] ? ["x", "y"] : ["y", "x"]
  assert.isTrue(yield* directory.keepLock("names", holder))
  assert.isFalse(yield* directory.keepLock("names", waiting))
  yield* other.unlock("names", waiting)
  assert.isTrue(yield* directory.isLocked("names"))
  yield* pass(lockMillis + 100)
  assert.isFalse(yield* directory.isLocked("names"))
  assert.isTrue(yield* other.lock("names", waiting))
  assert.isFalse(yield* directory.keepLock("names", holder))
})

export const fencesWrites = Effect.fnUntraced(function* (url: string, pass: Pass) {
  const directory = yield* open(url)
  yield* directory.lock("names", "x")
  yield* directory.lock("builds", "y")
  const both = ["x", "y"]
  assert.isTrue(yield* directory.areLocked(both))
  assert.isTrue(yield* directory.setLink("app", "lb-1", both))
  assert.isTrue(yield* directory.writeRecord("names/app.json", "1", both))
  yield* pass(lockMillis - 1000)
  yield* directory.keepLock("builds", "y")
  yield* pass(2000)
  // Only one of them is held.
  assert.isFalse(yield* directory.areLocked(both))
  assert.isFalse(yield* directory.setLink("app", "lb-2", both))
  assert.isFalse(yield* directory.writeRecord("names/app.json", "2", both))
  yield* directory.addName("late", "lb-2", "2", both)
  assert.isFalse(yield* directory.removeLink("app", both))
  assert.isFalse(yield* directory.removeRecord("names/app.json", both))
  assert.deepStrictEqual(yield* directory.links, [{ name: "app", snapshot: "lb-1" }])
  assert.strictEqual(yield* directory.readRecord("names/app.json"), "1")
  assert.isUndefined(yield* directory.readRecord("names/late.json"))
  assert.isTrue(yield* directory.removeLink("app", ["y"]))
  assert.isTrue(yield* directory.removeRecord("names/app.json", ["y"]))
})

export const keepsRecords = Effect.fnUntraced(function* (url: string) {
  const directory = yield* open(url)
  yield* directory.writeRecord("names/app.json", "1")
  yield* directory.writeRecord("names/app.json", "2")
  yield* directory.writeRecord("namesake/other", "3")
  yield* directory.setRecordTime("used/key", 42)
  assert.strictEqual(yield* directory.readRecord("names/app.json"), "2")
  assert.deepStrictEqual(yield* directory.listRecords("names"), ["app.json"])
  assert.strictEqual(yield* directory.recordTime("used/key"), 42)
  yield* directory.removeRecord("names/app.json")
  assert.isUndefined(yield* directory.readRecord("names/app.json"))
  yield* directory.setLink("app", "lb-1")
  yield* directory.setLink("app", "lb-2")
  assert.deepStrictEqual(yield* directory.links, [{ name: "app", snapshot: "lb-2" }])
  assert.isTrue(yield* directory.removeLink("app"))
  assert.isFalse(yield* directory.removeLink("app"))
  yield* directory.hold("a", [
    { kind: "snapshot", name: "lb-1" },
    { kind: "image", name: "busybox" }
  ])
  const before = yield* directory.time
  assert.deepStrictEqual(yield* directory.holders("snapshot", ["lb-1", "busybox"]), [
    { kind: "snapshot", name: "lb-1", host: "a" }
  ])
  // What was noted after a host was looked at stays.
  yield* directory.drop("a", "snapshot", "lb-1", before - 1000)
  assert.lengthOf(yield* directory.held("a"), 2)
  yield* directory.drop("a", "snapshot", "lb-1", undefined)
  assert.lengthOf(yield* directory.held("a"), 1)
})

const job = { id: "tests", execution: "first", architecture: "x64", spec: "{}" }

export const keepsJobs = Effect.fnUntraced(function* (url: string, pass: Pass) {
  const directory = yield* open(url)
  const jobs = Jobs.of(directory)
  yield* jobs.submit(job)
  // The first one has the id.
  yield* jobs.submit({ ...job, execution: "other", spec: "[]" })
  assert.deepInclude(yield* jobs.get("tests"), { ...job, runs: 0, failures: 0, host: null, ended: null, result: null })

  // Only the holder of its lock begins a run, fails one, or ends the job, and only once.
  assert.isUndefined(yield* jobs.begin(job, "a", "holder"))
  assert.isTrue(yield* directory.lock(Jobs.lockOf("tests"), "holder"))
  assert.deepStrictEqual(yield* jobs.begin(job, "a", "holder"), { runs: 1, failures: 0 })
  assert.isUndefined(yield* jobs.begin(job, "b", "other"))
  assert.isUndefined(yield* jobs.begin({ ...job, execution: "other" }, "b", "holder"))
  yield* jobs.fail(job, "other")
  yield* jobs.fail(job, "holder")
  assert.deepStrictEqual(yield* jobs.begin(job, "a", "holder"), { runs: 2, failures: 1 })
  yield* jobs.takeBack(job, "other")
  assert.deepInclude(yield* jobs.get("tests"), { runs: 2 })
  yield* jobs.takeBack(job, "holder")
  assert.deepInclude(yield* jobs.get("tests"), { runs: 1 })
  assert.isNumber((yield* jobs.get("tests"))?.started)
  // It has not begun.
  yield* jobs.takeBack(job, "holder")
  assert.deepInclude(yield* jobs.get("tests"), { runs: 0, started: null })
  assert.deepStrictEqual(yield* jobs.begin(job, "a", "holder"), { runs: 1, failures: 1 })
  assert.isFalse(yield* jobs.end(job, "other", "wrong"))
  yield* pass(lockMillis + 1)
  assert.isFalse(yield* jobs.end(job, "holder", "late"))

  // Whoever has a job in hand says so. It is given away once if nobody does.
  yield* jobs.touch(["first", "unknown"])
  yield* pass(Jobs.abandonedMillis - 1000)
  assert.deepStrictEqual(yield* jobs.abandoned("x64"), [])
  assert.isFalse(yield* jobs.revive(job, "early"))
  yield* pass(2000)
  assert.deepStrictEqual(
    (yield* jobs.abandoned("x64")).map(({ id }) => id),
    ["tests"]
  )
  assert.deepStrictEqual(yield* jobs.abandoned("arm64"), [])
  assert.isTrue(yield* jobs.revive(job, "second"))
  assert.isFalse(yield* jobs.revive(job, "third"))
  const second = { ...job, execution: "second" }
  assert.isTrue(yield* directory.lock(Jobs.lockOf("tests"), "next"))
  assert.isUndefined(yield* jobs.begin(job, "a", "next"))
  assert.deepStrictEqual(yield* jobs.begin(second, "b", "next"), { runs: 2, failures: 1 })
  assert.deepStrictEqual(yield* jobs.endedOf(["tests"]), [])
  assert.isTrue(yield* jobs.end(second, "next", "done"))
  assert.isFalse(yield* jobs.end(second, "next", "again"))
  assert.isUndefined(yield* jobs.begin(second, "b", "next"))
  assert.deepStrictEqual(
    (yield* jobs.endedOf(["tests", "unknown"])).map(({ result }) => result),
    ["done"]
  )
  yield* jobs.submit({ ...job, id: "later" })
  assert.deepStrictEqual((yield* jobs.list(10)).map(({ id }) => id).toSorted(), ["later", "tests"])
  assert.strictEqual((yield* jobs.list(1)).length, 1)

  // Results are kept for a while. What has not ended is never forgotten.
  yield* pass(5000)
  assert.deepStrictEqual(yield* jobs.forgetEnded(10_000), [])
  assert.deepStrictEqual(yield* jobs.forgetEnded(1000), [{ id: "tests", execution: "second", architecture: "x64" }])
  assert.deepStrictEqual(
    (yield* jobs.list(10)).map(({ id }) => id),
    ["later"]
  )
})

export const agreesOnce = Effect.fnUntraced(function* (url: string) {
  const directory = yield* open(url)
  assert.strictEqual(yield* directory.agree("color", "blue"), "blue")
  assert.strictEqual(yield* directory.agree("color", "red"), "blue")
  assert.isFalse(yield* directory.replace("color", "red", "green"))
  assert.isTrue(yield* directory.replace("color", "blue", "green"))
  assert.strictEqual(yield* directory.agree("color", "red"), "green")
  // The wishes of hosts that are up.
  yield* directory.register({ ...registration("a"), prune: "nightly" })
  yield* directory.register({ ...registration("b"), prune: "nightly" })
  yield* directory.register({ ...registration("c"), prune: "weekly" })
  yield* directory.register(registration("d"))
  assert.deepStrictEqual(yield* directory.prunes, ["nightly", "weekly"])
  yield* directory.leave({ id: "c", incarnation: "1" })
  yield* directory.register(registration("b", "2"))
  assert.deepStrictEqual(yield* directory.prunes, ["nightly"])
})

export const tellsThoseThatWait = Effect.fnUntraced(function* (url: string, pass: Pass) {
  const directory = yield* open(url)
  assert.isUndefined(yield* directory.holderOf("build"))
  yield* directory.lock("build", "holder")
  assert.deepStrictEqual(yield* directory.holderOf("build"), { holder: "holder", lines: 0 })
  yield* directory.announce("w1", "build", "mine")
  yield* directory.announce("w2", "build", "theirs")
  yield* directory.announce("w3", "other", "not this one")
  assert.deepStrictEqual((yield* directory.announced("build")).toSorted(), ["mine", "theirs"])
  yield* directory.addLines("holder", 1, ["one", "two"])
  // The answer was lost, and it is asked again.
  yield* directory.addLines("holder", 1, ["one", "two"])
  yield* directory.addLines("holder", 3, ["three"])
  assert.deepStrictEqual(yield* directory.holderOf("build"), { holder: "holder", lines: 3 })
  assert.deepStrictEqual(yield* directory.linesAfter("holder", 1), [
    { number: 2, line: "two" },
    { number: 3, line: "three" }
  ])
  yield* directory.withdraw("w1")
  yield* pass(8000)
  yield* directory.announce("w2", "build", "theirs")
  yield* pass(8000)
  assert.deepStrictEqual(yield* directory.announced("build"), ["theirs"])
  yield* directory.forgetLines
  assert.strictEqual((yield* directory.linesAfter("holder", 0)).length, 3)
  yield* pass(60_000)
  yield* directory.forgetLines
  assert.deepStrictEqual(yield* directory.linesAfter("holder", 0), [])
  assert.deepStrictEqual(yield* directory.announced("build"), [])
})
