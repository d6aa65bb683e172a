/** Snapshot names: their generations, what is kept for them, and how they move. */
import { assert, describe } from "@effect/vitest"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FileSystem from "effect/FileSystem"
import * as Redacted from "effect/Redacted"
import * as Option from "effect/Option"
import { TestClock } from "effect/testing"
import type { Services } from "../../src/Driver.ts"
import { NoSpace } from "../../src/LightboxError.ts"
import * as Microsandbox from "../../src/Microsandbox.ts"
import * as MicrosandboxMemory from "../../src/MicrosandboxMemory.ts"
import * as Sandbox from "../../src/Sandbox.ts"
import type * as Cleanup from "../../src/Cleanup.ts"
import * as Snapshot from "../../src/Snapshot.ts"
import * as Owner from "../../src/internal/ownership/owner.ts"
import * as Ownership from "../../src/Ownership.ts"
import * as Support from "./support.ts"

const { test } = Support

/** A definition of a name, in several versions. */
const version = (content: string, name = "app") =>
  Snapshot.make(name, Support.image).pipe(Snapshot.shell(`echo ${content} > /root/version`))

const build = (content: string, options?: Snapshot.BuildOptions) => Snapshot.build(version(content), options)

const versionOf = (snapshot: string) => Support.readIn(snapshot, "/root/version")

/** The generations of a name, the current one in brackets. */
const numbers = (name: string) =>
  Effect.map(Snapshot.generations(name), (all) =>
    all.map(({ generation, isCurrent }) => (isCurrent ? `[${generation}]` : `${generation}`)).join(" ")
  )

/** A snapshot that the library did not make. */
const foreign = Effect.fnUntraced(function* (name: string, content: string) {
  const driver = yield* Microsandbox.Microsandbox
  yield* Sandbox.run({ name: "source", image: Support.image }, (sandbox) =>
    Effect.gen(function* () {
      yield* sandbox.shell(`echo ${content} > /root/version; sync`, { check: true })
      yield* sandbox.kill
      yield* driver.captureSnapshot({ sandbox: "source", name })
    })
  )
})

const names = Effect.map(Snapshot.list(), (all) => all.map(({ name }) => name))

describe("a name whose record was written by another version", () => {
  const unreadable = Effect.gen(function* () {
    const fs = yield* FileSystem.FileSystem
    yield* build("one")
    yield* build("two")
    const { home } = yield* Microsandbox.Microsandbox
    const path = `${home}/lightbox/names/app.json`
    yield* fs.writeFileString(path, JSON.stringify({ version: 9, generations: { all: "elsewhere" } }))
    return yield* fs.readFileString(path)
  })

  const later = Effect.gen(function* () {
    const fs = yield* FileSystem.FileSystem
    const { home } = yield* Microsandbox.Microsandbox
    return yield* fs.readFileString(`${home}/lightbox/names/app.json`)
  })

  test(
    "blocks prune, build, rollback and save, and loses nothing",
    Effect.gen(function* () {
      const driver = yield* Microsandbox.Microsandbox
      const record = yield* unreadable
      const all = (yield* driver.listSnapshots()).map(({ name }) => name)
      for (const change of [
        Snapshot.prune(),
        Snapshot.prune({ keep: 1 }),
        build("three"),
        Snapshot.rollback("app"),
        Snapshot.save("app", "/nowhere/app")
      ]) {
        const error = yield* Effect.flip(change)
        assert.deepInclude(error.reason, { _tag: "FileError", path: `${driver.home}/lightbox/names/app.json` })
        assert.include(error.message, "another version")
      }
      const left = (yield* driver.listSnapshots()).map(({ name }) => name)
      assert.includeMembers(left, all)
      assert.strictEqual(yield* later, record)
    })
  )

  test(
    "can be booted, listed and removed, and does not affect other names",
    Effect.gen(function* () {
      yield* unreadable
      assert.strictEqual(yield* versionOf("app"), "two\n")
      assert.isUndefined((yield* Snapshot.get("app")).generation)
      yield* Snapshot.build(version("one", "other"), { keep: 1 })
      yield* Snapshot.build(version("two", "other"), { keep: 1 })
      assert.deepStrictEqual(yield* names, ["app", "other"])
      yield* Snapshot.remove("app")
      assert.deepStrictEqual(yield* names, ["other"])
      yield* Snapshot.prune()
    })
  )
})

describe("a snapshot name", () => {
  test(
    "keeps the previous generation, and can roll back to it",
    Effect.gen(function* () {
      yield* build("one")
      yield* build("two")
      assert.strictEqual(yield* numbers("app"), "1 [2]")
      yield* build("three")
      assert.strictEqual(yield* numbers("app"), "2 [3]")

      const back = yield* Snapshot.rollback("app")
      assert.strictEqual(back.generation, 2)
      assert.deepStrictEqual([yield* versionOf("app"), yield* numbers("app")], ["two\n", "[2] 3"])
      assert.strictEqual((yield* Snapshot.get("app")).path, back.path)
      yield* Snapshot.rollback("app", 3)
      assert.deepStrictEqual([yield* versionOf("app"), yield* numbers("app")], ["three\n", "2 [3]"])
    })
  )

  test(
    "remembers the image and the steps of each generation, without secrets",
    Effect.gen(function* () {
      const recipes = (name: string) => Effect.map(Snapshot.generations(name), (all) => all.map(({ build }) => build))
      yield* build("one")
      const secrets = { TOKEN: Redacted.make("s3cret-value") }
      yield* Snapshot.build(
        Snapshot.make("app", Support.image).pipe(
          Snapshot.env({ A: "1" }),
          Snapshot.shell("true\nfalse || true"),
          Snapshot.shell("true", { description: "send s3cret-value", secrets })
        )
      )
      const [first, second] = yield* recipes("app")
      assert.deepStrictEqual(first, { image: Support.image, steps: ["echo one > /root/version"] })
      assert.match(second?.steps.join() ?? "", /^true,send <.+>$/)
      const { home } = yield* Microsandbox.Microsandbox
      const fs = yield* FileSystem.FileSystem
      assert.notInclude(yield* fs.readFileString(`${home}/lightbox/names/app.json`), "s3cret")
      const file = `${yield* fs.makeTempDirectoryScoped()}/app.tar`
      yield* Snapshot.save("app", file)
      yield* Snapshot.load(file, { name: "copy" })
      yield* Snapshot.tag("app@1", "old")
      assert.deepStrictEqual([yield* recipes("copy"), yield* recipes("old")], [[first, second], [first]])
      // A capture is no build.
      yield* Sandbox.run({ snapshot: "app" }, (sandbox) => Snapshot.capture(sandbox, { name: "old" }))
      assert.deepStrictEqual(yield* recipes("old"), [first, undefined])
    }).pipe(Effect.scoped)
  )

  test(
    "cannot roll back to a generation that it does not have",
    Effect.gen(function* () {
      const reasonOf = <A, R>(effect: Effect.Effect<A, { readonly reason: object }, R>) =>
        Effect.map(Effect.flip(effect), ({ reason }) => reason)
      assert.deepInclude(yield* reasonOf(Snapshot.rollback("app")), { _tag: "NotFound", resource: "snapshot" })
      assert.deepInclude(yield* reasonOf(Snapshot.generations("app")), { _tag: "NotFound", resource: "snapshot" })
      yield* build("one")
      assert.deepInclude(yield* reasonOf(Snapshot.rollback("app")), { _tag: "NotFound", resource: "generation" })
      assert.deepInclude(yield* reasonOf(Snapshot.rollback("app", 7)), { _tag: "NotFound", name: "app@7" })
      assert.strictEqual(yield* numbers("app"), "[1]")
    })
  )

  test(
    "keeps as many generations and their results as asked for, and no others",
    Effect.gen(function* () {
      const snapshots = MicrosandboxMemory.Control.use(({ inventory }) =>
        Effect.map(inventory, ({ snapshots }) => snapshots.length)
      )
      for (const content of ["one", "two", "three", "four"]) yield* build(content, { keep: 3 })
      assert.deepStrictEqual([yield* numbers("app"), yield* snapshots], ["2 3 [4]", 3])
      yield* build("five", { keep: 1 })
      assert.deepStrictEqual([yield* numbers("app"), yield* snapshots], ["[5]", 1])
    })
  )

  test(
    "keeps the current generation as the previous one when built after a rollback",
    Effect.gen(function* () {
      yield* build("one", { keep: 3 })
      yield* build("two", { keep: 3 })
      yield* Snapshot.rollback("app")
      yield* build("three", { keep: 2 })
      // A rollback returns to what the name pointed to.
      assert.strictEqual(yield* numbers("app"), "1 [3]")
      yield* Snapshot.rollback("app")
      assert.strictEqual(yield* versionOf("app"), "one\n")
    })
  )

  test(
    "returns to an existing result without a boot, as a new generation",
    Effect.gen(function* () {
      yield* build("one")
      yield* build("two")
      const { boots, built } = yield* Support.buildCounting(version("one"))
      assert.deepStrictEqual([boots, built.generation, yield* versionOf("app")], [0, 3, "one\n"])
    })
  )

  test(
    "updates changed labels without a build",
    Effect.gen(function* () {
      const labelled = (team: string) => version("one").pipe(Snapshot.labels({ team }))
      yield* Snapshot.build(labelled("a"))
      const { boots, built } = yield* Support.buildCounting(labelled("b"))
      assert.deepStrictEqual([boots, built.generation, built.labels], [0, 1, { team: "b" }])
      assert.deepStrictEqual((yield* Snapshot.get("app")).labels, { team: "b" })
      assert.deepStrictEqual((yield* Snapshot.list())[0]?.labels, { team: "b" })
    })
  )

  test(
    "shares a result with another name, and removes it with the last one",
    Effect.gen(function* () {
      const one = yield* build("one")
      const { boots, built } = yield* Support.buildCounting(version("one", "same"))
      assert.deepStrictEqual([boots, built.digest], [0, one.digest])
      yield* Snapshot.remove("app")
      assert.strictEqual(yield* versionOf("same"), "one\n")
      yield* Snapshot.remove("same")
      assert.deepStrictEqual(yield* Snapshot.list({ layers: true }), [])
      // A missing name is not an error.
      yield* Snapshot.remove("same")
    })
  )

  test(
    "starts over when it points nowhere, whatever an interrupted removal left",
    Effect.gen(function* () {
      const driver = yield* Microsandbox.Microsandbox
      yield* build("one")
      yield* build("two")
      // The record is removed after the link.
      yield* driver.unlinkSnapshot("app")
      yield* build("three")
      assert.deepStrictEqual([yield* versionOf("app"), yield* numbers("app")], ["three\n", "[1]"])
    })
  )

  test(
    "moves only after the definition's verification has passed",
    Effect.gen(function* () {
      const verified = (content: string) =>
        version(content).pipe(
          Snapshot.verify((sandbox) => sandbox.shell("grep -q good /root/version", { check: true }))
        )
      yield* Snapshot.build(verified("good"))
      const error = yield* Effect.flip(Snapshot.build(verified("bad")))
      assert.strictEqual(error.reason._tag, "CommandFailed")
      assert.deepInclude(error.step, { definition: "app", index: 2, description: "verification" })
      assert.deepStrictEqual([yield* versionOf("app"), yield* numbers("app")], ["good\n", "[1]"])
    })
  )

  test(
    "is not moved by a build with overwrite false",
    Effect.gen(function* () {
      yield* build("one")
      const [error, boots] = yield* Support.countingBoots(Effect.flip(build("two", { overwrite: false })))
      assert.deepInclude(error.reason, { _tag: "AlreadyExists", resource: "snapshot", name: "app" })
      assert.deepStrictEqual([boots, yield* versionOf("app")], [0, "one\n"])
    })
  )

  test(
    "goes to one of several builds with overwrite false",
    Effect.gen(function* () {
      const exits = yield* Effect.forEach(
        ["one", "two", "three"],
        (content) => Effect.exit(Effect.as(build(content, { overwrite: false }), content)),
        { concurrency: "unbounded" }
      )
      const won = exits.flatMap((exit) => (Exit.isSuccess(exit) ? [exit.value] : []))
      const lost = exits.flatMap((exit) => {
        const error = Option.getOrUndefined(Exit.findErrorOption(exit))
        return error === undefined ? [] : [error.reason._tag]
      })
      assert.lengthOf(won, 1)
      assert.deepStrictEqual(lost, ["AlreadyExists", "AlreadyExists"])
      assert.deepStrictEqual([yield* versionOf("app"), yield* numbers("app")], [`${won[0]}\n`, "[1]"])
    })
  )

  test(
    "can be a property name of objects",
    Effect.gen(function* () {
      for (const name of ["constructor", "toString", "hasOwnProperty"]) {
        assert.isFalse(yield* Snapshot.exists(name))
        const { generation } = yield* Snapshot.build(version("one", name), { overwrite: false })
        assert.strictEqual(generation, 1)
        yield* Snapshot.build(version("two", name))
        assert.deepStrictEqual([yield* versionOf(name), yield* numbers(name)], ["two\n", "1 [2]"])
        yield* Snapshot.remove(name)
        assert.isFalse(yield* Snapshot.exists(name))
      }
      assert.deepStrictEqual(yield* Snapshot.list({ layers: true }), [])
    })
  )

  test(
    "keeps its target and generations when it cannot be moved",
    Effect.gen(function* () {
      const control = yield* MicrosandboxMemory.Control
      yield* build("one", { keep: 3 })
      yield* control.inject(MicrosandboxMemory.failAt("linkSnapshot", new NoSpace({ problem: "full" })))
      assert.strictEqual((yield* Effect.flip(build("two", { keep: 3 }))).reason._tag, "NoSpace")
      assert.deepStrictEqual([yield* versionOf("app"), yield* numbers("app")], ["one\n", "[1]"])
    })
  )
})

describe("a snapshot made by another tool", () => {
  test(
    "gets its name back when the name cannot be moved",
    Effect.gen(function* () {
      const control = yield* MicrosandboxMemory.Control
      yield* foreign("app", "theirs")
      const theirs = Effect.gen(function* () {
        assert.deepStrictEqual([yield* versionOf("app"), yield* names], ["theirs\n", ["app"]])
      })
      for (const operation of ["renameSnapshot", "linkSnapshot"] as const) {
        for (const keep of [1, 2]) {
          yield* control.inject(MicrosandboxMemory.failAt(operation, new NoSpace({ problem: "full" })))
          const error = yield* Effect.flip(build("ours", { replaceForeign: true, keep }))
          assert.strictEqual(error.reason._tag, "NoSpace")
          yield* theirs
        }
      }
    })
  )

  test(
    "keeps its name or yields it to the complete result, wherever the move is interrupted",
    Effect.gen(function* () {
      const control = yield* MicrosandboxMemory.Control
      // An existing result needs no build: only the move is left.
      yield* Snapshot.build(version("ours", "other"))
      for (const operation of ["renameSnapshot", "linkSnapshot"] as const) {
        yield* foreign("app", "theirs")
        const before = (yield* control.calls).length
        yield* control.inject(MicrosandboxMemory.delayAt(operation, "1 second"))
        const fiber = yield* Effect.forkChild(build("ours", { replaceForeign: true }))
        yield* Support.until(
          Effect.map(control.calls, (calls) => calls.slice(before).some((call) => call.operation === operation))
        )
        yield* Support.passUntilDone(yield* Effect.forkChild(Fiber.interrupt(fiber)))
        const is = yield* versionOf("app")
        assert.include(["theirs\n", "ours\n"], is)
        assert.deepStrictEqual(yield* names, ["app", "other"])
        if (is === "ours\n") assert.strictEqual(yield* numbers("app"), "1 [2]")
        yield* Snapshot.remove("app")
      }
    })
  )

  test(
    "is listed, can be booted, and is never pruned",
    Effect.gen(function* () {
      yield* foreign("theirs", "theirs")
      yield* build("one")
      assert.deepStrictEqual(yield* names, ["app", "theirs"])
      const { generation, key } = yield* Snapshot.get("theirs")
      assert.deepStrictEqual([generation, key], [undefined, undefined])
      assert.strictEqual(yield* versionOf("theirs"), "theirs\n")
      const { verdicts } = yield* Snapshot.prune({ keep: 1, maxBytes: 0 })
      assert.deepInclude(
        verdicts.map(({ name, reason, verdict }) => ({ name, reason, verdict })),
        { name: "theirs", verdict: "kept", reason: "another program created it" }
      )
      assert.strictEqual(yield* versionOf("theirs"), "theirs\n")
    })
  )

  test(
    "loses its name only to a build with replaceForeign, and becomes a generation",
    Effect.gen(function* () {
      yield* foreign("app", "theirs")
      const refused = Effect.map(
        Support.countingBoots(Effect.flip(build("ours"))),
        ([{ reason }, boots]) => [reason._tag, boots] as const
      )
      assert.deepStrictEqual(yield* refused, ["AlreadyExists", 0])
      // Not even if only the name has to move.
      yield* Snapshot.build(version("ours", "other"))
      assert.deepStrictEqual(yield* refused, ["AlreadyExists", 0])
      assert.strictEqual(yield* versionOf("app"), "theirs\n")

      const { built } = yield* Support.buildCounting(version("ours"), { replaceForeign: true })
      assert.strictEqual(built.generation, 2)
      assert.deepStrictEqual([yield* versionOf("app"), yield* numbers("app")], ["ours\n", "1 [2]"])
      yield* Snapshot.rollback("app")
      assert.strictEqual(yield* versionOf("app"), "theirs\n")
    })
  )
})

describe("pruning", () => {
  for (const { how, drop } of [
    { how: "a prune", drop: Effect.asVoid(Snapshot.prune({ keep: 1 })) },
    { how: "a removal of its name", drop: Snapshot.remove("app") }
  ]) {
    test(
      `leaves a snapshot of another program, dropped by ${how} while a build uses it, to a sweep`,
      Effect.gen(function* () {
        const ownership = yield* Ownership.Ownership
        const { home, listSnapshots } = yield* Microsandbox.Microsandbox
        yield* foreign("app", "theirs")
        yield* build("ours", { replaceForeign: true })
        const theirs = (yield* listSnapshots()).flatMap(({ name }) => (name.startsWith("lb-") ? [] : [name]))
        assert.lengthOf(theirs, 1)
        yield* Effect.forEach(theirs, (name) => ownership.note({ kind: "use", token: "used", name }))
        yield* drop
        assert.includeMembers(
          (yield* listSnapshots()).map(({ name }) => name),
          theirs
        )
        const noted = (yield* Owner.livingNotes(home, "unnamed")).map(({ name }) => name)
        assert.deepStrictEqual(noted, theirs)
      })
    )
  }

  const layered = Support.tenSteps("ten")

  /** What is removed, or would be, and why: the number of results by reason. */
  const removed = ({ verdicts }: Cleanup.Report) => {
    const counts: { [reason: string]: number } = {}
    for (const { reason, verdict } of verdicts) {
      if (verdict !== "kept") counts[`${verdict}: ${reason}`] = (counts[`${verdict}: ${reason}`] ?? 0) + 1
    }
    return counts
  }

  test(
    "removes what only builds can use, as its dry run says",
    Effect.gen(function* () {
      yield* Snapshot.build(layered, { checkpoints: "every-step" })
      const look = yield* Snapshot.prune({ dryRun: true })
      assert.deepStrictEqual(removed(look), { "removable: only builds can use it": 9 })
      assert.isAbove(look.freedBytes, 0)
      assert.lengthOf(yield* Snapshot.list({ layers: true }), 11)
      const report = yield* Snapshot.prune()
      assert.deepStrictEqual(removed(report), { "removed: only builds can use it": 9 })
      assert.strictEqual(report.freedBytes, look.freedBytes)
      assert.deepStrictEqual(
        report.verdicts.flatMap(({ definition, reason, verdict }) =>
          verdict === "kept" ? [[definition, reason]] : []
        ),
        [["ten", "a name points to it"]]
      )
      // The name is complete, and its build has nothing to do.
      assert.deepStrictEqual((yield* Support.buildCounting(layered)).boots, 0)
      assert.deepStrictEqual(removed(yield* Snapshot.prune()), {})
    })
  )

  test(
    "removes generations above the limit",
    Effect.gen(function* () {
      for (const content of ["one", "two", "three"]) yield* build(content, { keep: 3 })
      yield* Snapshot.rollback("app", 2)
      const report = yield* Snapshot.prune({ keep: 2, dryRun: true })
      assert.deepStrictEqual(removed(report), { "removable: its name keeps 2 generations": 1 })
      assert.strictEqual(yield* numbers("app"), "1 [2] 3")
      yield* Snapshot.prune({ keep: 2 })
      assert.strictEqual(yield* numbers("app"), "[2] 3")
      yield* Snapshot.prune({ keep: 1 })
      assert.deepStrictEqual([yield* numbers("app"), yield* versionOf("app")], ["[2]", "two\n"])
    })
  )

  test(
    "removes generations that were loaded, or taken over from another tool, for good",
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const driver = yield* Microsandbox.Microsandbox
      const path = `${yield* fs.makeTempDirectoryScoped()}/saved`
      yield* build("one")
      yield* Snapshot.save("app", path)
      yield* driver.saveSnapshot("app", `${path}.foreign`)
      yield* driver.loadSnapshot(`${path}.foreign`, "tool")
      for (let time = 0; time < 2; time++) yield* Snapshot.load(path, { name: "tool", overwrite: true })
      assert.strictEqual((yield* Snapshot.list({ layers: true })).length, 2 + 1 + 3)
      const report = yield* Snapshot.prune({ keep: 1, olderThan: "1 day", maxBytes: "1G" })
      assert.deepStrictEqual(removed(report), { "removed: its name keeps 1 generation": 2 })
      assert.deepStrictEqual(
        (yield* Snapshot.list()).map(({ name }) => name),
        ["app", "tool"]
      )
      assert.strictEqual(yield* versionOf("tool"), "one\n")
    })
  )

  test(
    "keeps recently used results",
    Effect.gen(function* () {
      yield* Snapshot.build(layered, { checkpoints: "every-step" })
      yield* TestClock.adjust("2 days")
      // From the eighth step on: its result has been used.
      yield* Snapshot.build(Support.tenSteps("other", { 9: "other" }), { checkpoints: "final" })
      yield* TestClock.adjust("2 days")
      const report = yield* Snapshot.prune({ olderThan: "3 days" })
      assert.deepStrictEqual(removed(report), { "removed: only builds can use it": 8 })
      const used = report.verdicts.find(({ reason }) => reason === "it was used less than 3d ago")
      assert.strictEqual(
        used?.usedAt === undefined ? undefined : DateTime.toEpochMillis(used.usedAt),
        2 * 24 * 3_600_000
      )
    })
  )

  test(
    "keeps recently used results of forced builds",
    Effect.gen(function* () {
      yield* Snapshot.build(layered, { checkpoints: "every-step", force: true })
      yield* TestClock.adjust("2 days")
      yield* Snapshot.build(Support.tenSteps("other", { 9: "other" }), { checkpoints: "final" })
      // A build that has nothing to do uses its result as well.
      yield* Snapshot.build(layered)
      yield* Snapshot.remove("other")
      yield* TestClock.adjust("2 days")
      const { verdicts } = yield* Snapshot.prune({ olderThan: "3 days", dryRun: true })
      assert.deepStrictEqual(
        verdicts
          .flatMap(({ reason, usedAt }) =>
            reason === "only builds can use it" || usedAt === undefined
              ? []
              : [`${reason}: ${DateTime.toEpochMillis(usedAt)}`]
          )
          .toSorted(),
        [`a name points to it: ${2 * 24 * 3_600_000}`, `it was used less than 3d ago: ${2 * 24 * 3_600_000}`]
      )
    })
  )

  test(
    "keeps the most recently used results that fit the size limit",
    Effect.gen(function* () {
      yield* Snapshot.build(layered, { checkpoints: "every-step" })
      const { verdicts } = yield* Snapshot.prune({ dryRun: true })
      const total = verdicts.reduce((sum, { bytes = 0 }) => sum + bytes, 0)
      assert.deepStrictEqual(removed(yield* Snapshot.prune({ maxBytes: total })), {})
      const report = yield* Snapshot.prune({ maxBytes: total - 1 })
      assert.deepStrictEqual(removed(report), { "removed: only builds can use it": 1 })
      assert.deepStrictEqual(removed(yield* Snapshot.prune({ maxBytes: 0 })), {
        "removed: only builds can use it": 8
      })
    })
  )

  test(
    "keeps what a running build started from, however old",
    Effect.gen(function* () {
      yield* Snapshot.build(layered, { checkpoints: "every-step" })
      const reasons: Array<string> = []
      const definition = Support.tenSteps("other", { 10: "other" }).pipe(
        Snapshot.step("prune", () =>
          Effect.map(Snapshot.prune(), ({ verdicts }) => reasons.push(...verdicts.map(({ reason }) => reason)))
        )
      )
      const { steps } = yield* Support.buildCounting(definition, { checkpoints: "final" })
      assert.deepStrictEqual(steps, [10, 11])
      assert.include(reasons, "a running build or load uses it")
    })
  )
})

describe("a scoped snapshot", () => {
  test(
    "is removed with its scope, with everything that only it needs",
    Effect.gen(function* () {
      yield* Effect.scoped(
        Effect.gen(function* () {
          const scoped = yield* Snapshot.buildScoped(version("scoped"))
          assert.match(scoped.name, /^app-/)
          assert.deepStrictEqual(yield* names, [scoped.name])
          assert.strictEqual(yield* versionOf(scoped.name), "scoped\n")
        })
      )
      assert.deepStrictEqual(yield* Snapshot.list({ layers: true }), [])
    })
  )

  test(
    "reuses what others have built, and leaves it to them",
    Effect.gen(function* () {
      const shared = yield* build("shared")
      yield* Effect.scoped(
        Effect.gen(function* () {
          const { boots, built } = yield* Effect.map(
            Support.countingBoots(Snapshot.buildScoped(version("shared"))),
            ([built, boots]) => ({ built, boots })
          )
          assert.deepStrictEqual([boots, built.digest], [0, shared.digest])
        })
      )
      assert.deepStrictEqual([yield* names, yield* versionOf("app")], [["app"], "shared\n"])
    })
  )
})

describe("a saved snapshot", () => {
  /** A driver in memory with another, empty home. */
  const elsewhere = <A, E>(
    effect: Effect.Effect<A, E, Services | MicrosandboxMemory.Control | FileSystem.FileSystem>
  ) => Support.withTwin(effect, { images: {} })

  const file = Effect.map(
    FileSystem.FileSystem.use((fs) => fs.makeTempDirectoryScoped()),
    (folder) => `${folder}/app.lightbox`
  )

  /** A file with one generation. */
  const saved = Effect.tap(file, (path) => Effect.andThen(build("one"), Snapshot.save("app", path)))

  test(
    "is restored in another home with its name, generations, labels and image",
    Effect.gen(function* () {
      const path = yield* file
      yield* build("one")
      const two = yield* Snapshot.build(version("two").pipe(Snapshot.labels({ team: "platform" })))
      yield* Snapshot.save("app", path)
      yield* elsewhere(
        Effect.gen(function* () {
          const loaded = yield* Snapshot.load(path, { trusted: true })
          assert.deepStrictEqual(
            [loaded.name, loaded.generation, loaded.key, loaded.labels],
            ["app", 2, two.key, { team: "platform" }]
          )
          assert.deepStrictEqual([yield* numbers("app"), yield* versionOf("app")], ["1 [2]", "two\n"])
          // The result is used as if it had been built here.
          const { boots } = yield* Support.buildCounting(version("two"))
          assert.strictEqual(boots, 0)
          yield* Snapshot.rollback("app")
          assert.strictEqual(yield* versionOf("app"), "one\n")
          yield* Support.assertNothingRuns
        })
      )
    })
  )

  test(
    "is reused by builds only if the file is trusted",
    Effect.gen(function* () {
      const path = yield* file
      yield* build("one")
      yield* Snapshot.save("app", path)
      yield* elsewhere(
        Effect.gen(function* () {
          yield* Snapshot.load(path, { name: "curious" })
          assert.strictEqual(yield* versionOf("curious"), "one\n")
          const { boots } = yield* Support.buildCounting(version("one"))
          assert.strictEqual(boots, 1)
        })
      )
    })
  )

  test(
    "cannot take the name of a result, whoever chose it",
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const path = yield* file
      yield* build("one")
      yield* Snapshot.save("app", path)
      const name = `lb-${"0".repeat(40)}`
      const bytes = Buffer.from(yield* fs.readFile(path)).toString("latin1")
      const forged = `${path}.forged`
      yield* fs.writeFile(
        forged,
        Buffer.from(bytes.replace(/"name":"app"/, `"name":"${name}"`).replace(/\0{41}/, ""), "latin1")
      )
      for (const refused of [
        Snapshot.load(path, { name }),
        Snapshot.load(forged),
        Snapshot.build(version("two", name)),
        Snapshot.buildScoped(version("two", name))
      ]) {
        const exit = yield* Effect.exit(Effect.scoped(refused))
        assert.isTrue(Exit.isFailure(exit))
      }
      const driver = yield* Microsandbox.Microsandbox
      assert.isUndefined(yield* driver.readSnapshotLink(name))
    })
  )

  test(
    "is not loaded if the disk of an earlier generation is removed meanwhile",
    Effect.gen(function* () {
      const path = yield* file
      yield* build("one")
      yield* build("two")
      yield* Snapshot.save("app", path)
      yield* elsewhere(
        Effect.gen(function* () {
          const driver = yield* Microsandbox.Microsandbox
          let isFirst = true
          const removing = {
            ...driver,
            verifySnapshot: (name: string) =>
              Effect.tap(driver.verifySnapshot(name), () => {
                const remove = isFirst ? driver.removeSnapshot(name) : Effect.void
                isFirst = false
                return remove
              })
          }
          const load = Effect.provideService(
            Snapshot.load(path, { trusted: true }),
            Microsandbox.Microsandbox,
            removing
          )
          assert.deepInclude((yield* Effect.flip(load)).reason, { _tag: "NotFound", resource: "snapshot" })
          assert.deepStrictEqual(yield* names, [])
        })
      )
    })
  )

  test(
    "stays complete while a prune runs",
    Effect.gen(function* () {
      const path = yield* file
      yield* build("one")
      yield* build("two")
      yield* Snapshot.save("app", path)
      yield* elsewhere(
        Effect.gen(function* () {
          const services = yield* Effect.context<Services>()
          const driver = yield* Microsandbox.Microsandbox
          let spared = 0
          // When a generation is there, and no name leads to it yet.
          const disturbing = {
            ...driver,
            verifySnapshot: (name: string) =>
              Effect.tap(driver.verifySnapshot(name), () =>
                Effect.map(Effect.provideContext(Snapshot.prune(), services), ({ verdicts }) => {
                  spared += verdicts.filter(({ verdict }) => verdict === "kept").length
                })
              )
          }
          yield* Effect.provideService(Snapshot.load(path, { trusted: true }), Microsandbox.Microsandbox, disturbing)
          assert.strictEqual(spared, 1 + 2)
          assert.strictEqual(yield* versionOf("app"), "two\n")
          yield* Snapshot.rollback("app")
          assert.strictEqual(yield* versionOf("app"), "one\n")
        })
      )
    })
  )

  test(
    "contains only the current generation on request",
    Effect.gen(function* () {
      const path = yield* file
      yield* build("one")
      yield* build("two")
      yield* Snapshot.save("app", path, { generations: "current" })
      yield* elsewhere(
        Effect.gen(function* () {
          yield* Snapshot.load(path, { name: "renamed" })
          assert.deepStrictEqual([yield* numbers("renamed"), yield* versionOf("renamed")], ["[1]", "two\n"])
        })
      )
    })
  )

  test(
    "takes an existing name only with overwrite, and keeps its generations",
    Effect.gen(function* () {
      const path = yield* saved
      yield* build("two")
      const error = yield* Effect.flip(Snapshot.load(path))
      assert.deepInclude(error.reason, { _tag: "AlreadyExists", name: "app" })
      yield* Snapshot.load(path, { overwrite: true })
      assert.deepStrictEqual([yield* numbers("app"), yield* versionOf("app")], ["1 2 [3]", "one\n"])
    })
  )

  test(
    "goes to one of several loads without overwrite",
    Effect.gen(function* () {
      const path = yield* saved
      yield* elsewhere(
        Effect.gen(function* () {
          const exits = yield* Effect.forEach([1, 2, 3], () => Effect.exit(Snapshot.load(path)), {
            concurrency: "unbounded"
          })
          assert.lengthOf(exits.filter(Exit.isSuccess), 1)
          assert.deepStrictEqual([yield* numbers("app"), yield* versionOf("app")], ["[1]", "one\n"])
          yield* Support.assertNothingRuns
        })
      )
    })
  )

  test(
    "is not considered complete if its load was interrupted",
    Effect.gen(function* () {
      const path = yield* saved
      yield* elsewhere(
        Effect.gen(function* () {
          const control = yield* MicrosandboxMemory.Control
          for (const fault of [
            // Loaded, but the answer is lost.
            MicrosandboxMemory.loseAnswerAt("loadSnapshot"),
            MicrosandboxMemory.failAt("verifySnapshot", new NoSpace({ problem: "full" }))
          ]) {
            yield* control.inject(fault)
            yield* Effect.flip(Snapshot.load(path))
            assert.deepStrictEqual(yield* Snapshot.list({ layers: true }), [])
          }
          yield* Snapshot.load(path)
          assert.strictEqual(yield* versionOf("app"), "one\n")
        })
      )
    })
  )

  test(
    "is complete under its name or leaves nothing, wherever its load fails",
    Effect.gen(function* () {
      const path = yield* saved
      for (const operation of ["readSnapshotLink", "getSnapshot"] as const) {
        let exit: Exit.Exit<unknown, unknown> = Exit.fail("not loaded yet")
        for (let nth = 1; Exit.isFailure(exit); nth++) {
          exit = yield* elsewhere(
            Effect.gen(function* () {
              const control = yield* MicrosandboxMemory.Control
              yield* control.inject(MicrosandboxMemory.failAt(operation, new NoSpace({ problem: "full" }), { nth }))
              const exit = yield* Effect.exit(Snapshot.load(path))
              yield* control.clearFaults
              const { length } = yield* Snapshot.list({ layers: true })
              if (length > 0) assert.strictEqual(yield* versionOf("app"), "one\n", `${operation} ${nth}`)
              return exit
            })
          )
        }
      }
    })
  )

  test(
    "made by another tool is restored under the given name",
    Effect.gen(function* () {
      const path = yield* file
      yield* foreign("theirs", "theirs")
      yield* Snapshot.save("theirs", path)
      yield* elsewhere(
        Effect.gen(function* () {
          assert.deepInclude((yield* Effect.flip(Snapshot.load(path))).reason, { _tag: "InvalidConfig", field: "name" })
          yield* Snapshot.load(path, { name: "ours" })
          assert.deepStrictEqual([yield* versionOf("ours"), yield* names], ["theirs\n", ["ours"]])
        })
      )
    })
  )

  test(
    "that cannot be written is named as the user has named it",
    Effect.gen(function* () {
      const path = `${import.meta.filename}/app.tar`
      yield* build("one")
      yield* foreign("theirs", "theirs")
      for (const name of ["app", "theirs"]) {
        const error = yield* Effect.flip(Snapshot.save(name, path))
        assert.deepInclude(error.reason, { _tag: "FileError", path })
        assert.notInclude(error.message, "partial")
      }
    })
  )

  test(
    "that is truncated, modified or something else is rejected, and leaves nothing",
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const path = yield* file
      yield* build("one")
      yield* Snapshot.save("app", path, { withImage: false })
      const whole = yield* fs.readFile(path)
      const changed = Buffer.from(whole)
      changed.write("two", changed.indexOf("one\n"))
      const files = {
        cut: whole.subarray(0, whole.length >> 1),
        changed,
        other: new TextEncoder().encode("no archive")
      }
      for (const [name, content] of Object.entries(files)) {
        yield* fs.writeFile(`${path}.${name}`, content)
        yield* elsewhere(
          Effect.gen(function* () {
            const error = yield* Effect.flip(Snapshot.load(`${path}.${name}`, { name: "broken" }))
            assert.deepInclude(error.reason, { _tag: "SnapshotDamaged", name: `${path}.${name}` })
            assert.include(error.message, "Save it again")
            assert.notInclude(error.message, "loaded-")
            assert.deepStrictEqual(yield* Snapshot.list({ layers: true }), [])
          })
        )
      }
    })
  )
})
