/** Owners, and what a sweep does with what they own. */
import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, it, layer } from "@effect/vitest"
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import * as ChildProcess from "effect/process/ChildProcess"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import * as Crypto from "node:crypto"
import * as Fs from "node:fs"
import * as Os from "node:os"
import { vi } from "vitest"
import * as Ownership from "../../src/Ownership.ts"
import { instanceLabel, ownerLabel } from "../../src/internal/ownership/labels.ts"
import * as Owner from "../../src/internal/ownership/owner.ts"
import { Unknown } from "../../src/LightboxError.ts"
import * as Microsandbox from "../../src/Microsandbox.ts"
import * as MicrosandboxMemory from "../../src/MicrosandboxMemory.ts"
import type * as Cleanup from "../../src/Cleanup.ts"
import * as Reaper from "../../src/Reaper.ts"
import * as SandboxRecord from "../../src/SandboxRecord.ts"
import * as Sandbox from "../../src/Sandbox.ts"
import * as Snapshot from "../../src/Snapshot.ts"
import * as Volume from "../../src/Volume.ts"
import { turn } from "../support.ts"

const image = "plain"

// Holds sockets, whose paths must be short.
const makeHome = FileSystem.FileSystem.use((fs) => fs.makeTempDirectoryScoped({ prefix: "r" }))

/** A driver on a home, as another process would have one. */
const onHome =
  (home: string) =>
  <A, E, R>(effect: Effect.Effect<A, E, R>) =>
    Effect.provide(effect, Layer.fresh(MicrosandboxMemory.layer({ home, sweep: false })))

// =============================================================================
// Other owners
// =============================================================================

const here = {
  pid: process.ppid,
  startedAt: 0,
  boot: Fs.existsSync("/proc/sys/kernel/random/boot_id")
    ? Fs.readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim()
    : "another start",
  host: Fs.existsSync("/etc/machine-id") ? Fs.readFileSync("/etc/machine-id", "utf8").trim() : Os.hostname()
}

/** The traces of an owner that does not answer; by default, a living process has reused its process id. */
const makeOwner = Effect.fnUntraced(function* (
  home: string,
  options?: {
    readonly record?: Partial<typeof here> | undefined
    readonly notes?: ReadonlyArray<Ownership.Note> | undefined
  }
) {
  const fs = yield* FileSystem.FileSystem
  const id = Crypto.randomBytes(6).toString("hex")
  const folder = `${home}/lightbox/owners/${id}`
  yield* fs.makeDirectory(folder, { recursive: true })
  yield* fs.writeFileString(`${folder}/owner.json`, JSON.stringify({ ...here, ...options?.record }))
  for (const { kind, name, token } of options?.notes ?? []) yield* fs.symlink(name, `${folder}/${kind}.${token}`)
  return id
})

/** The socket of a killed process. */
const leaveSocket = (path: string) =>
  Effect.scoped(
    Effect.flatMap(
      ChildProcess.make(process.execPath, [
        "--eval",
        `require("net").createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, "SIGKILL"))`
      ]),
      (child) => Effect.exit(child.exitCode)
    )
  )

const stateOf = (home: string, id: string) => Effect.map(Owner.find(home, id), ({ state }) => state)

/** Moves the clock for the life of the scope. */
const turnClock = (millis: number) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const now = Date.now
      vi.spyOn(Date, "now").mockImplementation(() => now() + millis)
    }),
    () => Effect.sync(() => vi.restoreAllMocks())
  )

const hour = 3_600_000
const year = 365 * 24 * hour

layer(NodeServices.layer, { excludeTestServices: true })("an owner", (it) => {
  it.effect("takes its lease with its first note, and releases it with its scope", () =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const home = yield* makeHome
      const scope = yield* Scope.make()
      const owner = yield* Scope.provide(Owner.make(home), scope)
      assert.deepStrictEqual(yield* Owner.list(home), [])
      const note: Ownership.Note = { kind: "sandbox", token: "t", name: "worker" }
      yield* owner.note(note)
      const id = yield* owner.id
      assert.deepStrictEqual(yield* Owner.list(home), [{ id, state: "alive", pid: process.pid, notes: [note] }])
      yield* owner.forget(note)
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual(yield* Owner.list(home), [])
      assert.deepStrictEqual(yield* fs.readDirectory(`${home}/lightbox/owners`), [])
    })
  )

  it.effect("takes its lease once, even if the first request is interrupted", () =>
    Effect.gen(function* () {
      const home = yield* makeHome
      for (let turns = 0; turns < 12; turns++) {
        const owner = yield* Owner.make(home)
        const first = yield* Effect.forkChild(owner.id, { startImmediately: true })
        for (let count = 0; count < turns; count++) yield* turn
        yield* Fiber.interrupt(first)
        assert.strictEqual(yield* stateOf(home, yield* owner.id), "alive")
      }
    })
  )

  it.effect("leaves what it could not release to the next sweep", () =>
    Effect.gen(function* () {
      const home = yield* makeHome
      const scope = yield* Scope.make()
      const owner = yield* Scope.provide(Owner.make(home), scope)
      yield* owner.note({ kind: "sandbox", token: "t", name: "worker" })
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual(yield* stateOf(home, yield* owner.id), "dead")
    })
  )

  it.effect("is dead when nobody answers, even if its process id is reused", () =>
    Effect.gen(function* () {
      const home = yield* makeHome
      const reused = yield* makeOwner(home)
      assert.strictEqual(yield* stateOf(home, reused), "dead")
      const own = yield* makeOwner(home, { record: { pid: process.pid } })
      assert.strictEqual(yield* stateOf(home, own), "dead")
      const killed = yield* makeOwner(home)
      yield* leaveSocket(`${home}/lightbox/owners/${killed}.lease`)
      assert.isTrue(Fs.lstatSync(`${home}/lightbox/owners/${killed}.lease`).isSocket())
      assert.strictEqual(yield* stateOf(home, killed), "dead")
    })
  )

  it.effect("is left alone on another machine, but not after a reboot or in a container of this one", () =>
    Effect.gen(function* () {
      const home = yield* makeHome
      const elsewhere = yield* makeOwner(home, { record: { boot: "another", host: "another" } })
      assert.strictEqual(yield* stateOf(home, elsewhere), "elsewhere")
      const before = yield* makeOwner(home, { record: { boot: "another" } })
      assert.strictEqual(yield* stateOf(home, before), "dead")
      const container = yield* makeOwner(home, { record: { host: "another" } })
      // Boots can only be compared where the kernel identifies them.
      assert.strictEqual(yield* stateOf(home, container), here.boot === "another start" ? "elsewhere" : "dead")
    })
  )

  it.effect("is left alone if another version wrote its record", () =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const home = yield* makeHome
      const newer = yield* makeOwner(home)
      yield* fs.writeFileString(`${home}/lightbox/owners/${newer}/owner.json`, JSON.stringify({ version: 9 }))
      assert.strictEqual(yield* stateOf(home, newer), "elsewhere")
    })
  )

  it.effect.each([
    { what: "of another version", file: "newkind.t", content: "" },
    { what: "that is not a link", file: "use.t", content: "base" }
  ])("keeps what it may own while it has a note $what", ({ content, file }) =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const home = yield* makeHome
      const owner = yield* makeOwner(home, { notes: [{ kind: "file", token: "f", name: `${home}/partial` }] })
      yield* fs.writeFileString(`${home}/partial`, "")
      yield* fs.writeFileString(`${home}/lightbox/owners/${owner}/${file}`, content)
      const other = yield* makeOwner(home)
      const report = yield* onHome(home)(Reaper.sweep())
      assert.deepStrictEqual(verdictsOf(report, "failed"), [`owner ${owner}`])
      assert.sameMembers(
        verdictsOf(report, "removed"),
        ["staging partial", `owner ${other}`].map((line) => line.replace("partial", `${home}/partial`))
      )
      assert.isTrue(yield* fs.exists(`${home}/lightbox/owners/${owner}/${file}`))

      // One that may be alive may use anything.
      yield* fs.writeFileString(`${home}/lightbox/owners/${owner}/owner.json`, JSON.stringify({ version: 9 }))
      const error = yield* Effect.flip(Owner.livingNotes(home, "use"))
      assert.strictEqual(error.reason._tag, "FileError")
      assert.deepStrictEqual(
        yield* Effect.flip(onHome(home)(Snapshot.prune())).pipe(Effect.map(({ reason }) => reason._tag)),
        "FileError"
      )
    })
  )

  it.effect("is alive, dead or starting, wherever the clock jumps", () =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const home = yield* makeHome
      const alive = yield* (yield* Owner.make(home)).id
      const dead = yield* makeOwner(home)
      const folder = `${home}/lightbox/owners/beginning`
      yield* fs.makeDirectory(folder)
      const states = Effect.all([stateOf(home, alive), stateOf(home, dead), stateOf(home, "beginning")])
      assert.deepStrictEqual(yield* states, ["alive", "dead", "unknown"])
      yield* Effect.scoped(
        Effect.andThen(
          turnClock(-10 * year),
          Effect.map(states, ([first, second, third]) =>
            assert.deepStrictEqual([first, second, third], ["alive", "dead", "unknown"])
          )
        )
      )
      yield* Effect.scoped(
        Effect.andThen(
          turnClock(10 * year),
          Effect.map(states, ([first, second, third]) =>
            assert.deepStrictEqual([first, second, third], ["alive", "dead", "dead"])
          )
        )
      )
    })
  )
})

// =============================================================================
// Sweeps
// =============================================================================

it.effect("a sweep leaves a snapshot that has lost its name until no build uses it", () =>
  Effect.gen(function* () {
    const home = yield* makeHome
    const living = yield* Owner.make(home)
    const used: Ownership.Note = { kind: "use", token: "u", name: "nameless" }
    yield* Effect.gen(function* () {
      const driver = yield* Microsandbox.Microsandbox
      yield* Snapshot.build(Snapshot.make("kept", image))
      yield* driver.saveSnapshot("kept", `${home}/saved`)
      yield* driver.loadSnapshot(`${home}/saved`, "nameless")
      yield* living.note(used)
      const owner = yield* makeOwner(home, { notes: [{ kind: "unnamed", token: "n", name: "nameless" }] })
      assert.deepStrictEqual(verdictsOf(yield* Reaper.sweep(), "removed"), [])
      yield* living.forget(used)
      assert.deepStrictEqual(verdictsOf(yield* Reaper.sweep(), "removed"), [`owner ${owner}`, "snapshot nameless"])
    }).pipe(onHome(home))
  }).pipe(Effect.provide(NodeServices.layer))
)

/** Everything below a folder that no living owner holds, with content and times. */
const listing = (folder: string, isIgnored: (path: string) => boolean): ReadonlyArray<string> =>
  Fs.readdirSync(folder, { recursive: true, encoding: "utf8" })
    .filter((path) => !isIgnored(path))
    .toSorted()
    .map((path) => {
      const stats = Fs.lstatSync(`${folder}/${path}`)
      const content = stats.isFile() ? Crypto.hash("sha256", Fs.readFileSync(`${folder}/${path}`)) : ""
      return `${path} ${stats.mode} ${stats.mtimeMs} ${content}`
    })

const verdictsOf = ({ verdicts }: Cleanup.Report, ...which: ReadonlyArray<Cleanup.Verdict["verdict"]>) =>
  verdicts.flatMap(({ name, resource, verdict }) => (which.includes(verdict) ? [`${resource} ${name}`] : [])).toSorted()

/** Creates a sandbox with the labels of its owner. */
const createOwned = (name: string, instance: string, owner: string | undefined) =>
  Microsandbox.Microsandbox.use((driver) =>
    driver.createSandbox({
      name,
      source: { _tag: "Image", reference: image },
      config: {},
      labels: { [instanceLabel]: instance, ...(owner === undefined ? {} : { [ownerLabel]: owner }) }
    })
  )

/** Leaves one of everything in a home, and some things that must not be touched. */
const leaveEverything = Effect.fnUntraced(function* (home: string) {
  const fs = yield* FileSystem.FileSystem
  const file = `${home}/partial`
  const artifact = `lb-${"a".repeat(40)}`
  const owner = yield* makeOwner(home, {
    notes: [
      { kind: "sandbox", token: "t1", name: "noted" },
      { kind: "sandbox", token: "t2", name: "ghost" },
      { kind: "sandbox", token: "t3", name: "replaced" },
      { kind: "capture", token: "t4", name: artifact },
      { kind: "load", token: "t5", name: "0" },
      { kind: "file", token: "t6", name: file },
      { kind: "name", token: "t7", name: "for-a-scope" },
      { kind: "unnamed", token: "t8", name: "nameless" },
      { kind: "unnamed", token: "t9", name: "plain-copy" },
      { kind: "use", token: "t10", name: "kept" },
      { kind: "disk", token: "t11", name: "unfinished" }
    ]
  })
  yield* leaveSocket(`${home}/lightbox/owners/${owner}.lease`)

  yield* createOwned("noted", "t1", owner)
  yield* createOwned("label-only", "t0", owner)
  yield* createOwned("replaced", "another", undefined)
  yield* fs.makeDirectory(`${home}/sandboxes/ghost`)
  yield* fs.makeDirectory(`${home}/sandboxes/lightbox-ghost`)
  yield* fs.makeDirectory(`${home}/sandboxes/unknown`)
  yield* fs.makeDirectory(`${home}/snapshots/.${artifact}.staging`)
  yield* fs.makeDirectory(`${home}/snapshots/.load-x`)
  yield* fs.writeFileString(file, "half")
  // Of a ghost, of a launch that was cut short, of nobody, and of a sandbox that stays.
  for (const instance of ["t2", "t11", "nobodys", "another"]) {
    yield* fs.makeDirectory(`${home}/lightbox/disks/${instance}`, { recursive: true })
    yield* fs.writeFileString(`${home}/lightbox/disks/${instance}/disk.qcow2`, "changes")
  }

  yield* Snapshot.build(Snapshot.make("for-a-scope", image).pipe(Snapshot.shell("echo 1 > /root/one")))
  yield* Snapshot.build(Snapshot.make("kept", image).pipe(Snapshot.shell("echo 2 > /root/two")))
  const driver = yield* Microsandbox.Microsandbox
  yield* driver.saveSnapshot("kept", `${home}/saved`)
  yield* driver.loadSnapshot(`${home}/saved`, "nameless")
  yield* driver.loadSnapshot(`${home}/saved`, "plain-copy")
  yield* driver.linkSnapshot("named-since", "plain-copy")

  // A lock of a killed process.
  yield* fs.makeDirectory(`${home}/lightbox/locks`, { recursive: true })
  yield* leaveSocket(`${home}/lightbox/locks/abcdef012345-00000001`)
  yield* fs.writeFileString(`${home}/lightbox/locks/abcdef012345.7`, "abcdef012345-00000001")

  yield* Volume.ensure("data")
  yield* Sandbox.run({ image, mounts: { "/data": { volume: "data" } } }, (sandbox) =>
    sandbox.shell("echo kept > /data/file", { check: true })
  )
  return {
    owner,
    removable: [
      "ghost ghost",
      "ghost lightbox-ghost",
      "lock abcdef012345.7",
      `owner ${owner}`,
      "sandbox label-only",
      "sandbox noted",
      "snapshot for-a-scope",
      "snapshot nameless",
      `staging .${artifact}.staging`,
      "staging .load-x",
      `staging ${file}`,
      "staging nobodys",
      "staging t11",
      "staging t2"
    ]
  }
})

const isLock = (verdict: string): boolean => verdict.startsWith("lock ") && verdict !== "lock abcdef012345.7"

layer(NodeServices.layer, { excludeTestServices: true })("a sweep", (it) => {
  it.effect("reports what it would remove in a dry run, then removes exactly that", () =>
    Effect.gen(function* () {
      const home = yield* makeHome
      yield* Effect.gen(function* () {
        const { removable } = yield* leaveEverything(home)
        const live = yield* Sandbox.launch({ image, name: "live" })
        // Of a running launch.
        const ownership = yield* Ownership.Ownership
        yield* ownership.note({ kind: "disk", token: "making", name: "making" })
        yield* (yield* FileSystem.FileSystem).makeDirectory(`${home}/lightbox/disks/making`)
        // Looking at a lock without changing anything leaves it as it was.
        const isOurs = (path: string) => path.startsWith("lightbox/owners/")
        const before = listing(home, isOurs)
        const dry = yield* Reaper.sweep({ dryRun: true })
        assert.deepStrictEqual(listing(home, isOurs), before)
        assert.deepStrictEqual(
          verdictsOf(dry, "removable").filter((verdict) => !isLock(verdict)),
          removable
        )
        assert.deepStrictEqual(verdictsOf(dry, "removed", "failed"), [])

        const report = yield* Reaper.sweep()
        assert.deepStrictEqual(
          verdictsOf(report, "removed").filter((verdict) => !isLock(verdict)),
          removable
        )
        assert.deepStrictEqual(verdictsOf(report, "failed"), [])
        const swept = (yield* SandboxRecord.list()).filter(({ cause }) => cause === "swept")
        assert.deepStrictEqual(swept.map(({ name }) => name).toSorted(), ["label-only", "noted"])
        assert.match(swept[0]?.reason ?? "", /its process .*has ended/)
        const kept = verdictsOf(report, "kept")
        for (const what of ["sandbox live", "sandbox replaced", "ghost unknown"]) assert.include(kept, what)
        assert.strictEqual((yield* live.exec("true")).exitCode, 0)

        const driver = yield* Microsandbox.Microsandbox
        assert.deepStrictEqual((yield* driver.listSandboxes()).map(({ name }) => name).toSorted(), ["live", "replaced"])
        assert.deepStrictEqual(yield* driver.listGhosts(), ["unknown"])
        assert.deepStrictEqual(yield* (yield* FileSystem.FileSystem).readDirectory(`${home}/lightbox/disks`), [
          "another",
          "making"
        ])
        assert.deepStrictEqual(
          (yield* Snapshot.list()).map(({ name }) => name),
          ["kept", "named-since"]
        )
        // Nothing is left for another sweep.
        assert.deepStrictEqual(
          verdictsOf(yield* Reaper.sweep(), "removed", "failed").filter((v) => !isLock(v)),
          []
        )

        assert.deepStrictEqual(
          (yield* Volume.list()).map(({ name }) => name),
          ["data"]
        )
        assert.strictEqual(Fs.readFileSync(`${home}/volumes/data/data/file`, "utf8"), "kept\n")
      }).pipe(Effect.scoped, onHome(home))
    })
  )

  it.effect("can run at the same time as other sweeps", () =>
    Effect.gen(function* () {
      const home = yield* makeHome
      const { removable } = yield* onHome(home)(leaveEverything(home))
      const reports = yield* Effect.all(
        Array.from({ length: 4 }, () => onHome(home)(Reaper.sweep())),
        { concurrency: "unbounded" }
      )
      const removed = new Set(reports.flatMap((report) => verdictsOf(report, "removed")))
      for (const what of removable) assert.include([...removed], what)
      const left = yield* onHome(home)(Reaper.sweep())
      assert.deepStrictEqual(
        verdictsOf(left, "removed", "removable", "failed").filter((v) => !isLock(v)),
        []
      )
    })
  )

  it.effect("reports what it cannot remove, continues, and removes it next time", () =>
    Effect.gen(function* () {
      const home = yield* makeHome
      yield* Effect.gen(function* () {
        const { owner, removable } = yield* leaveEverything(home)
        const control = yield* MicrosandboxMemory.Control
        const broken = new Unknown({ problem: "out of order" })
        yield* control.inject(
          // It is met twice: in the notes of its owner, and among all.
          MicrosandboxMemory.failAt("removeSandbox", broken, { sandbox: "noted", times: 2 }),
          MicrosandboxMemory.failAt("removeSnapshot", broken, {
            matching: ({ detail }) => detail["name"] === "nameless"
          }),
          MicrosandboxMemory.failAt("removeStaging", broken)
        )
        const report = yield* Reaper.sweep()
        assert.isTrue(report.isComplete)
        const failed = report.verdicts.filter(({ verdict }) => verdict === "failed")
        assert.isAbove(failed.length, 2)
        for (const { reason } of failed) assert.include(reason, "out of order")
        assert.notInclude(verdictsOf(report, "removed"), `owner ${owner}`)

        const again = yield* Reaper.sweep()
        assert.deepStrictEqual(verdictsOf(again, "failed"), [])
        const removed = [...verdictsOf(report, "removed"), ...verdictsOf(again, "removed")]
        for (const what of removable) assert.include(removed, what)
      }).pipe(onHome(home))
    })
  )

  it.effect("keeps a name that a living owner is creating a sandbox with, even if a dead one was too", () =>
    Effect.gen(function* () {
      const home = yield* makeHome
      yield* Effect.gen(function* () {
        const ownership = yield* Ownership.Ownership
        for (const name of ["db", `lightbox-${"0".repeat(8)}-1-1`]) {
          yield* makeOwner(home, { notes: [{ kind: "sandbox", token: `gone-${name}`, name }] })
          yield* ownership.note({ kind: "sandbox", token: `lives-${name}`, name })
          Fs.mkdirSync(`${home}/sandboxes/${name}`, { recursive: true })
          yield* Reaper.sweep({ dryRun: true })
          assert.isTrue(Fs.existsSync(`${home}/sandboxes/${name}`), name)
        }
        yield* Reaper.sweep()
        assert.isTrue(Fs.existsSync(`${home}/sandboxes/db`))
      }).pipe(onHome(home))
    })
  )

  it.effect("ends within its time limit, and reports that it is incomplete", () =>
    Effect.gen(function* () {
      const home = yield* makeHome
      yield* Effect.gen(function* () {
        yield* leaveEverything(home)
        const control = yield* MicrosandboxMemory.Control
        yield* control.inject(MicrosandboxMemory.hangAt("removeSandbox"))
        const report = yield* Reaper.sweep({ timeout: "50 millis" })
        assert.isFalse(report.isComplete)
        // A slow machine may not have come to it.
        yield* control.clearFaults
        assert.isTrue((yield* Reaper.sweep()).isComplete)
      }).pipe(onHome(home))
    })
  )

  it.effect("keeps detached sandboxes, for good or until their lease ends", () =>
    Effect.gen(function* () {
      const home = yield* makeHome
      const launchAll = Effect.gen(function* () {
        yield* Sandbox.run({ image, name: "detached" }, (sandbox) => sandbox.detach)
        yield* Sandbox.run({ image, name: "leased" }, (sandbox) => sandbox.detachFor("1 hour"))
      })
      yield* onHome(home)(launchAll)
      yield* Effect.gen(function* () {
        const names = Effect.map(Sandbox.list(), (all) => all.map(({ name }) => name).toSorted())
        yield* Reaper.sweep()
        assert.deepStrictEqual(yield* names, ["detached", "leased"])
        yield* turnClock(2 * hour)
        const dry = yield* Reaper.sweep({ dryRun: true })
        assert.deepStrictEqual(
          verdictsOf(dry, "removable").filter((v) => !isLock(v)),
          ["sandbox leased"]
        )
        yield* Reaper.sweep()
        assert.deepStrictEqual(yield* names, ["detached"])
        assert.deepInclude((yield* SandboxRecord.list())[0], { name: "leased", cause: "expired", role: "scoped" })
        assert.strictEqual(Fs.readdirSync(`${home}/lightbox/detached`).length, 1)
        yield* Sandbox.remove("detached", { force: true })
        yield* Reaper.sweep()
        assert.deepStrictEqual(Fs.readdirSync(`${home}/lightbox/detached`), [])
      }).pipe(Effect.scoped, onHome(home))
    })
  )

  it.effect("runs when the driver starts, and makes no call when there is nothing to do", () =>
    Effect.gen(function* () {
      const home = yield* makeHome
      yield* onHome(home)(leaveEverything(home))
      const calls = Effect.flatMap(MicrosandboxMemory.Control, ({ calls }) => calls)
      const start = Effect.provide(calls, Layer.fresh(MicrosandboxMemory.layer({ home })))
      assert.isAbove((yield* start).length, 0)
      assert.deepStrictEqual(
        (yield* Owner.list(home)).filter(({ state }) => state !== "alive"),
        []
      )
      assert.deepStrictEqual(yield* start, [])
    })
  )

  it.effect("removes the folder of a volume whose creation was cut short, and no volume", () =>
    Effect.gen(function* () {
      const home = yield* makeHome
      const fs = yield* FileSystem.FileSystem
      yield* Effect.gen(function* () {
        const path = (yield* Volume.ensure("data")).path
        const beside = `${home}/volumes`
        for (const folder of ["half", "unnoted", "data"])
          yield* fs.makeDirectory(`${beside}/${folder}`, { recursive: true })
        const notes = ["half", "data", "gone", "..", ".locks"].map((name, index): Ownership.Note => ({
          kind: "volume",
          token: `t${index}`,
          name
        }))
        const owner = yield* makeOwner(home, { notes })
        const planned = yield* Reaper.sweep({ dryRun: true })
        assert.deepStrictEqual(verdictsOf(planned, "removable"), [`owner ${owner}`, "staging half"])
        const report = yield* Reaper.sweep()
        assert.deepStrictEqual(verdictsOf(report, "removed", "failed"), [`owner ${owner}`, "staging half"])
        assert.deepStrictEqual((yield* fs.readDirectory(beside)).toSorted(), ["data", "unnoted"])
        assert.strictEqual((yield* Volume.get("data")).path, path)
      }).pipe(onHome(home))
    })
  )

  it.effect("does not touch volumes", () =>
    Effect.gen(function* () {
      const home = yield* makeHome
      yield* Effect.gen(function* () {
        yield* leaveEverything(home)
        const control = yield* MicrosandboxMemory.Control
        const before = (yield* control.calls).length
        yield* Reaper.sweep()
        const asked = (yield* control.calls).slice(before).map(({ operation }) => operation)
        assert.isAbove(asked.length, 0)
        assert.deepStrictEqual(
          asked.filter((operation) => operation.includes("Volume")),
          []
        )
      }).pipe(onHome(home))
    })
  )
})

it.effect("a driver's layer sweeps again while it is in use, and stops when it closes", () =>
  Effect.gen(function* () {
    const home = yield* makeHome
    const leave = Effect.fnUntraced(function* (name: string) {
      const file = `${home}/${name}`
      Fs.writeFileSync(file, "")
      yield* makeOwner(home, { notes: [{ kind: "file", token: name, name: file }] })
      return () => !Fs.existsSync(file)
    })
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] })
    yield* Effect.addFinalizer(() => Effect.sync(() => vi.useRealTimers()))
    const minute = Effect.andThen(
      Effect.sync(() => vi.advanceTimersByTime(60_000)),
      Effect.repeat(turn, { times: 50 })
    )
    const scope = yield* Scope.make()
    const first = yield* leave("first")
    yield* Layer.buildWithScope(Layer.fresh(MicrosandboxMemory.layer({ home })), scope)
    assert.isTrue(first())
    const second = yield* leave("second")
    yield* Effect.repeat(minute, { until: second, times: 100 })
    assert.isTrue(second())
    yield* Scope.close(scope, Exit.void)
    const third = yield* leave("third")
    yield* Effect.repeat(minute, { times: 5 })
    assert.isFalse(third())
  }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))
)

it.effect("a sweep gives another tool's snapshot its name back if the process replacing it was killed", () =>
  Effect.gen(function* () {
    const home = yield* makeHome
    yield* Effect.gen(function* () {
      const driver = yield* Microsandbox.Microsandbox
      yield* Sandbox.run({ name: "source", image }, (sandbox) =>
        Effect.andThen(sandbox.kill, driver.captureSnapshot({ sandbox: "source", name: "tool" }))
      )
      yield* driver.renameSnapshot("tool", "tool.replaced-t")
      yield* makeOwner(home, { notes: [{ kind: "renamed", token: "t", name: "tool" }] })
      const report = yield* Reaper.sweep()
      assert.deepStrictEqual(verdictsOf(report, "failed"), [])
      assert.deepStrictEqual(
        (yield* driver.listSnapshots()).map(({ name }) => name),
        ["tool"]
      )

      // The name has moved already, and keeps nothing of it.
      yield* driver.renameSnapshot("tool", "tool.replaced-u")
      yield* driver.saveSnapshot("tool.replaced-u", `${home}/saved`)
      yield* driver.loadSnapshot(`${home}/saved`, "other")
      yield* driver.linkSnapshot("tool", "other")
      yield* makeOwner(home, { notes: [{ kind: "renamed", token: "u", name: "tool" }] })
      assert.deepInclude(verdictsOf(yield* Reaper.sweep(), "removed"), "snapshot tool.replaced-u")
    }).pipe(onHome(home))
  }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))
)

it.effect.each([
  ["layer", Reaper.layer({ interval: "10 minutes" })],
  ["layerConfig", Reaper.layerConfig({ interval: Config.succeed("10 minutes") })]
] as const)("a sweep of %s continues in the background, and ends with it", ([, live]) =>
  Effect.gen(function* () {
    const home = yield* makeHome
    yield* Effect.gen(function* () {
      const leave = Effect.fnUntraced(function* (name: string) {
        const file = `${home}/${name}`
        Fs.writeFileSync(file, "")
        yield* makeOwner(home, { notes: [{ kind: "file", token: name, name: file }] })
        return () => !Fs.existsSync(file)
      })
      // What has just started is ignored.
      yield* TestClock.setTime(Date.now() + hour)
      const scope = yield* Scope.make()
      const first = yield* leave("first")
      yield* Layer.buildWithScope(live, scope)
      yield* Effect.repeat(turn, { until: first })
      const second = yield* leave("second")
      // A sweep takes its turns, and has a minute of this clock for them.
      const interval = Effect.andThen(TestClock.adjust("10 minutes"), Effect.repeat(turn, { times: 50 }))
      yield* Effect.repeat(interval, { until: second })
      yield* Scope.close(scope, Exit.void)
      const third = yield* leave("third")
      yield* Effect.repeat(interval, { times: 10 })
      assert.isFalse(third())
    }).pipe(onHome(home))
  }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))
)
