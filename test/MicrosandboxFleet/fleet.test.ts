/** What becomes of sandboxes, snapshots and volumes on several hosts, of which some fail. */
import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Redacted from "effect/Redacted"
import * as TestClock from "effect/testing/TestClock"
import * as Path from "node:path"
import * as Sqlite from "node:sqlite"
import type * as MicrosandboxFleet from "../../src/MicrosandboxFleet.ts"
import { BootFailed, NoSpace } from "../../src/LightboxError.ts"
import * as Microsandbox from "../../src/Microsandbox.ts"
import * as MicrosandboxMemory from "../../src/MicrosandboxMemory.ts"
import * as Ownership from "../../src/Ownership.ts"
import * as Sandbox from "../../src/Sandbox.ts"
import * as SandboxPool from "../../src/SandboxPool.ts"
import * as Snapshot from "../../src/Snapshot.ts"
import * as Volume from "../../src/Volume.ts"
import { graceMillis } from "../../src/internal/directory/directory.ts"
import { failsWith } from "../Microsandbox/Bench.ts"
import * as Cases from "../internal/directory/cases.ts"
import { meanwhile, until } from "../MicrosandboxRemote/support.ts"
import { freePort, quiet } from "../support.ts"
import * as Support from "./support.ts"

const image = "busybox"

const gib = { twin: { budget: { memory: "1G" } } } as const

/** Lets time pass in steps, in which hosts speak to the directory. */
const pass = (seconds: number) =>
  Effect.repeat(Effect.andThen(TestClock.adjust("1 second"), quiet), { times: seconds - 1 })

const namesOn = ({ control }: { readonly control: MicrosandboxMemory.Control["Service"] }) =>
  Effect.map(control.inventory, ({ sandboxes }) => sandboxes.map(({ name }) => name).toSorted())

const driverOf = (services: Context.Context<Microsandbox.Microsandbox>) =>
  Context.get(services, Microsandbox.Microsandbox)

const request = (name: string, memory = 512) => ({
  name,
  source: { _tag: "Image", reference: image } as const,
  config: { resources: { memory: memory * 1024 * 1024 } }
})

/** A host that the directory believes in, and at which nobody answers. */
const nobody = Effect.fnUntraced(function* (url: string, memory = 64 * 1024 ** 3) {
  const directory = yield* Cases.open(url)
  const address = `http://127.0.0.1:${yield* freePort}`
  yield* directory.register({ ...Cases.registration("nobody"), architecture: process.arch, address })
  yield* directory.beat({ id: "nobody", incarnation: "1", memory, used: 0 })
  return directory
})

describe("sandboxes of a fleet", () => {
  it.effect("are spread over hosts, found from everywhere, and removed with their program", () =>
    Effect.gen(function* () {
      const url = yield* Support.directory
      const a = yield* Support.host(url, gib)
      const b = yield* Support.host(url, gib)
      const one = yield* Support.program(url)
      const two = yield* Support.program(url)
      for (const name of ["first", "second", "third"]) {
        yield* Effect.provideContext(Sandbox.launch({ image, name, resources: { memory: "256M" } }), one.services)
      }
      assert.strictEqual((yield* namesOn(a)).length + (yield* namesOn(b)).length, 3)
      assert.isTrue((yield* namesOn(a)).length > 0 && (yield* namesOn(b)).length > 0)
      const listed = yield* driverOf(two.services).listSandboxes()
      assert.deepStrictEqual(listed.map(({ name }) => name).toSorted(), ["first", "second", "third"])
      for (const name of ["first", "second", "third"]) {
        assert.strictEqual((yield* driverOf(two.services).getSandbox(name)).status, "running")
      }
      yield* one.end
      assert.deepStrictEqual([...(yield* namesOn(a)), ...(yield* namesOn(b))], [])
      yield* failsWith("NotFound", driverOf(two.services).getSandbox("first"))
    })
  )

  it.effect("leave the image that they were booted from known to the fleet", () =>
    Effect.gen(function* () {
      const url = yield* Support.directory
      yield* Support.host(url, gib)
      yield* Support.host(url, gib)
      const { services } = yield* Support.program(url)
      const directory = yield* Cases.open(url)
      assert.deepStrictEqual(yield* directory.holders("image", [image]), [])
      const { id } = yield* driverOf(services).createSandbox(request("first"))
      const [holder, ...others] = yield* directory.holders("image", [image])
      assert.strictEqual(holder?.host, id.split("~")[0])
      assert.deepStrictEqual(others, [])
    })
  )

  it.effect("go to the next host if one refuses, and to nobody who does not answer", () =>
    Effect.gen(function* () {
      const url = yield* Support.directory
      const a = yield* Support.host(url, gib)
      const b = yield* Support.host(url, gib)
      const { services } = yield* Support.program(url)
      // The directory does not know that they are full: others use them.
      yield* a.control.inject(MicrosandboxMemory.failAt("createSandbox", new NoSpace({ problem: "the disk is full" })))
      yield* Effect.forEach(["one", "two"], (name) => driverOf(services).createSandbox(request(name)))
      assert.deepStrictEqual([...(yield* namesOn(a)), ...(yield* namesOn(b))].toSorted(), ["one", "two"])

      yield* nobody(url)
      const created = yield* meanwhile(driverOf(services).createSandbox(request("three", 128)))
      assert.strictEqual(created.name, "three")
      assert.strictEqual((yield* driverOf(services).getSandbox("three")).status, "running")
    })
  )

  it.effect("wait for the budget of a host when all are full", () =>
    Effect.gen(function* () {
      const url = yield* Support.directory
      const a = yield* Support.host(url, gib)
      const { services } = yield* Support.program(url)
      const driver = driverOf(services)
      const first = yield* driver.createSandbox(request("first", 1024))
      const waiting = yield* Effect.forkScoped(driver.createSandbox(request("second", 1024)))
      const directory = yield* Cases.open(url)
      yield* until(directory.find("second"), (row) => row !== undefined)
      yield* TestClock.adjust("1 second")
      yield* quiet
      assert.isUndefined(waiting.pollUnsafe())
      yield* driver.removeSandbox(first, { force: true })
      assert.strictEqual((yield* Fiber.join(waiting)).name, "second")
      assert.deepStrictEqual(yield* namesOn(a), ["second"])
      const tooLarge = yield* failsWith("InvalidConfig", driver.createSandbox(request("third", 2048)))
      assert.strictEqual(tooLarge.field, "resources.memory")
      assert.isUndefined(yield* directory.find("third"))
    })
  )

  it.effect("wait at one that is full, whatever befell the others", () =>
    Effect.gen(function* () {
      const url = yield* Support.directory
      const a = yield* Support.host(url, gib)
      const { services } = yield* Support.program(url)
      const first = yield* driverOf(services).createSandbox(request("first", 1024))
      const directory = yield* nobody(url)
      const waiting = yield* Effect.forkChild(meanwhile(driverOf(services).createSandbox(request("second", 512))))
      // It was not reached, and the sandbox waits at the other.
      yield* until(directory.find("second"), (row) => row?.host === a.id)
      yield* Effect.repeat(quiet, { times: 50 })
      yield* driverOf(services).removeSandbox(first, { force: true })
      assert.strictEqual((yield* Fiber.join(waiting)).name, "second")
    })
  )

  it.effect("go to no host that answers at the address of another", () =>
    Effect.gen(function* () {
      const url = yield* Support.directory
      const a = yield* Support.host(url, gib)
      const directory = yield* nobody(url)
      const { services } = yield* Support.program(url)
      // As on two machines that both say that they are at a loopback address.
      yield* directory.register({ ...Cases.registration("nobody"), architecture: process.arch, address: a.url })
      const created = yield* driverOf(services).createSandbox(request("one"))
      assert.match(created.id, new RegExp(`^${a.id}~`))
      assert.deepInclude(yield* directory.find("one"), { host: a.id })
      yield* directory.hold("nobody", [{ kind: "snapshot", name: "app" }])
      const { problem } = yield* failsWith("HostUnavailable", driverOf(services).getSnapshot("app"))
      assert.include(problem, `host ${a.id} answers instead of it`)
    })
  )

  it.effect("have a name once in the fleet", () =>
    Effect.gen(function* () {
      const url = yield* Support.directory
      const a = yield* Support.host(url, gib)
      const b = yield* Support.host(url, gib)
      const one = driverOf((yield* Support.program(url)).services)
      const two = driverOf((yield* Support.program(url)).services)
      const both = yield* Effect.forEach([one, two], (driver) => Effect.exit(driver.createSandbox(request("same"))), {
        concurrency: "unbounded"
      })
      assert.strictEqual(both.filter(({ _tag }) => _tag === "Success").length, 1)
      assert.deepStrictEqual([...(yield* namesOn(a)), ...(yield* namesOn(b))], ["same"])
      yield* failsWith("AlreadyExists", two.createSandbox(request("same")))
      const before = yield* one.getSandbox("same")
      const replaced = yield* two.createSandbox({ ...request("same"), onConflict: "replace" })
      assert.notStrictEqual(replaced.id, before.id)
      assert.deepStrictEqual([...(yield* namesOn(a)), ...(yield* namesOn(b))], ["same"])
      // Whoever still thinks of the first one does not remove the second.
      yield* Effect.exit(one.removeSandbox(before, { force: true }))
      assert.deepStrictEqual([...(yield* namesOn(a)), ...(yield* namesOn(b))], ["same"])
      assert.strictEqual((yield* two.getSandbox("same")).id, replaced.id)
      yield* failsWith("Replaced", two.killSandbox({ name: "same", id: "elsewhere~memory:1" }))
    })
  )

  it.effect("are removed on the host that their id names, whether or not the directory knows them", () =>
    Effect.gen(function* () {
      const url = yield* Support.directory
      const a = yield* Support.host(url, gib)
      const { services } = yield* Support.program(url)
      const directory = yield* Cases.open(url)
      const info = yield* driverOf(services).createSandbox(request("one"))
      yield* directory.forget("one", (yield* directory.find("one"))?.request ?? "")
      const other = yield* Support.program(url)
      yield* driverOf(other.services).removeSandbox(info, { force: true })
      assert.deepStrictEqual(yield* namesOn(a), [])
    })
  )

  it.effect("keep their name after an interrupted creation unless the host says that it does not have them", () =>
    Effect.gen(function* () {
      const url = yield* Support.directory
      const a = yield* Support.host(url, gib)
      const { services } = yield* Support.program(url)
      const directory = yield* Cases.open(url)
      const interrupt = Effect.fnUntraced(function* (name: string, fault: MicrosandboxMemory.Fault) {
        yield* a.control.inject(fault)
        const creating = yield* Effect.forkChild(driverOf(services).createSandbox(request(name)))
        yield* until(a.control.calls, (calls) =>
          calls.some(({ operation, sandbox }) => operation === "createSandbox" && sandbox === name)
        )
        yield* quiet
        yield* Fiber.interrupt(creating)
        return yield* directory.find(name)
      })
      assert.isUndefined(yield* interrupt("never", MicrosandboxMemory.hangAt("createSandbox")))
      const made = yield* interrupt("made", MicrosandboxMemory.loseAnswerAt("createSandbox", { hang: true }))
      assert.deepStrictEqual(yield* namesOn(a), ["made"])
      assert.strictEqual(made?.state, "creating")
    })
  )

  it.effect("fail with the reasons of all hosts when none can take them", () =>
    Effect.gen(function* () {
      const url = yield* Support.directory
      const a = yield* Support.host(url, { member: { labels: { zone: "a" } } })
      const { services } = yield* Support.program(url)
      const directory = yield* Cases.open(url)
      yield* directory.cordon(a.id, "a new disk")
      const { problem } = yield* failsWith("NoCapacity", driverOf(services).createSandbox(request("one")))
      assert.include(problem, `${a.id}: it is cordoned: a new disk`)
      yield* directory.uncordon(a.id)
      yield* driverOf(services).createSandbox(request("one"))
      const build = (options: Partial<MicrosandboxFleet.Options>) => Effect.scoped(Support.program(url, options))
      const { kind } = yield* failsWith("HostUnavailable", build({ labels: { zone: "b" } }))
      assert.strictEqual(kind, "Unreachable")
      yield* build({ labels: { zone: "a" } })
      for (const [field, options] of Object.entries<Partial<MicrosandboxFleet.Options>>({
        token: { token: Redacted.make("") },
        directory: { directory: "mysql://db.example.com" },
        labels: { labels: { "": "x" } }
      })) {
        assert.include((yield* failsWith("InvalidConfig", build(options))).field, field)
      }
    })
  )

  it.effect("cordon a host at which they keep failing to boot", () =>
    Effect.gen(function* () {
      const url = yield* Support.directory
      const a = yield* Support.host(url, { member: { bootFailures: { count: 3 } } })
      const { services } = yield* Support.program(url)
      const directory = yield* Cases.open(url)
      const fails = new BootFailed({ name: "fails", problem: "no kernel", lastLines: [] })
      const attempt = Effect.gen(function* () {
        yield* a.control.inject(MicrosandboxMemory.failAt("createSandbox", fails))
        yield* failsWith("BootFailed", driverOf(services).createSandbox(request("fails")))
        yield* a.control.clearFaults
      })
      yield* attempt
      yield* attempt
      // One that boots ends the series.
      yield* driverOf(services).createSandbox(request("boots"))
      yield* attempt
      yield* attempt
      assert.deepInclude((yield* directory.hosts)[0], { cordoned: 0 })
      yield* attempt
      const [host] = yield* directory.hosts
      assert.strictEqual(host?.cordoned, 1)
      assert.match(host?.reason ?? "", /^3 boots in a row failed, the last one: .*no kernel/)
    })
  )
})

describe("a host of a fleet", () => {
  it.effect("tells the directory what became of creations whose programs are gone", () =>
    Effect.gen(function* () {
      const url = yield* Support.directory
      const a = yield* Support.host(url, gib)
      const { services } = yield* Support.program(url)
      const directory = yield* Cases.open(url)
      const [host] = yield* directory.hosts
      const incarnation = host?.incarnation ?? ""
      // One never reached the host, and of the other the program did not learn that it exists.
      yield* directory.claim({ ...Cases.claim("never", a.id, "r1"), incarnation })
      yield* driverOf(services).createSandbox({ ...request("made"), detached: true })
      const row = yield* directory.find("made")
      yield* directory.forget("made", row?.request ?? "")
      yield* directory.claim({ ...Cases.claim("made", a.id, "r2"), incarnation })
      yield* pass(40)
      assert.deepInclude(yield* directory.find("made"), { state: "running", id: row?.id ?? "" })
      assert.deepInclude(yield* directory.find("never"), { state: "creating" })
      yield* failsWith("AlreadyExists", driverOf(services).createSandbox(request("never")))
      yield* pass(120)
      assert.isUndefined(yield* directory.find("never"))
    })
  )

  it.effect("that is gone has lost its sandboxes, with a reason, and nothing is removed for it", () =>
    Effect.gen(function* () {
      const url = yield* Support.directory
      const a = yield* Support.host(url, gib)
      const directory = yield* nobody(url)
      const { services } = yield* Support.program(url)
      yield* directory.claim(Cases.claim("theirs", "nobody", "r1"))
      yield* directory.created("theirs", "r1", "id")
      yield* directory.renew({ id: "nobody", incarnation: "1" }, graceMillis)
      yield* pass(20)
      // Not alive any more, and not lost yet.
      yield* driverOf(services).createSandbox(request("mine"))
      const away = yield* Effect.flip(meanwhile(driverOf(services).getSandbox("theirs")))
      assert.deepInclude(away.reason, { _tag: "HostUnavailable", kind: "Unreachable" })
      assert.strictEqual(away.outcome, "failed")
      yield* pass(graceMillis / 1000)
      const lost = yield* failsWith("HostUnavailable", driverOf(services).getSandbox("theirs"))
      assert.include(lost.problem, `sandbox "theirs" is lost: its host nobody has not been seen for too long`)
      // Its name is free, and it may be removed.
      const again = yield* driverOf(services).createSandbox(request("theirs"))
      yield* driverOf(services).removeSandbox(again, { force: true })
      assert.deepStrictEqual(yield* namesOn(a), ["mine"])
    })
  )

  it.effect("does not judge others before it has seen the directory for a while", () =>
    Effect.gen(function* () {
      const url = yield* Support.directory
      const directory = yield* nobody(url)
      yield* directory.claim(Cases.claim("theirs", "nobody", "r1"))
      yield* TestClock.adjust(2 * graceMillis)
      yield* Support.host(url, gib)
      yield* pass(20)
      assert.deepInclude(yield* directory.find("theirs"), { state: "creating" })
      yield* pass(20)
      assert.deepInclude(yield* directory.find("theirs"), { state: "lost" })
    })
  )

  it.effect("tells the directory what it really has when it is back", () =>
    Effect.gen(function* () {
      const url = yield* Support.directory
      const a = yield* Support.host(url, gib)
      const directory = yield* Cases.open(url)
      const first = yield* Support.program(url)
      yield* Effect.provideContext(
        Sandbox.launch({ image, name: "kept", detached: true, resources: { memory: "256M" } }),
        first.services
      )
      yield* Effect.provideContext(
        Sandbox.launch({ image, name: "scoped", resources: { memory: "256M" } }),
        first.services
      )
      const [before] = yield* directory.hosts
      yield* a.stop
      assert.deepInclude((yield* directory.hosts)[0], { state: "stopped" })
      assert.deepInclude(yield* directory.find("scoped"), { state: "lost", reason: "its host was stopped" })
      yield* Effect.exit(meanwhile(first.end))
      // Rows of which the host knows nothing, and a sandbox of which the directory knows nothing.
      yield* directory.claim({ ...Cases.claim("dreamt", a.id, "r1"), incarnation: before?.incarnation ?? "" })
      yield* directory.created("dreamt", "r1", "id")
      const row = yield* directory.find("kept")
      yield* directory.forget("kept", row?.request ?? "")
      yield* TestClock.adjust("10 seconds")
      const back = yield* a.serve()
      assert.strictEqual(back.id, a.id)
      const [after] = yield* directory.hosts
      assert.notStrictEqual(after?.incarnation, before?.incarnation)
      assert.strictEqual(after?.state, "up")
      assert.deepInclude(yield* directory.find("dreamt"), {
        state: "lost",
        reason: `its host ${a.id} was restarted without it`
      })
      assert.deepInclude(yield* directory.find("kept"), { state: "running", host: a.id })
      const second = yield* Support.program(url)
      const found = yield* Effect.provideContext(Sandbox.connect("kept"), second.services)
      assert.strictEqual((yield* found.exec("true")).exitCode, 0)
      yield* driverOf(second.services).removeSandbox({ name: "dreamt", id: `${a.id}~id` }, { force: true })
      assert.isUndefined(yield* directory.find("dreamt"))
    })
  )

  it.effect("that is back has a sandbox whose name another has got, until it gets the name again", () =>
    Effect.gen(function* () {
      const url = yield* Support.directory
      const directory = yield* Cases.open(url)
      const a = yield* Support.host(url, gib)
      const first = yield* Support.program(url)
      yield* driverOf(first.services).createSandbox({ ...request("same"), detached: true })
      yield* meanwhile(first.end)
      yield* a.stop
      const b = yield* Support.host(url, gib)
      yield* pass(graceMillis / 1000 + 60)
      assert.deepInclude(yield* directory.find("same"), { host: a.id, state: "lost" })
      const driver = driverOf((yield* Support.program(url)).services)
      const second = yield* driver.createSandbox(request("same"))
      yield* a.serve()
      assert.deepInclude(yield* directory.find("same"), { host: b.id, state: "running" })
      // Whoever drains the host waits for it.
      assert.deepStrictEqual(
        (yield* directory.sandboxesOf(a.id)).map(({ name, state }) => ({ name, state })),
        [{ name: `same~${a.id}`, state: "running" }]
      )
      const [old] = (yield* driver.listSandboxes()).filter(({ id }) => id.startsWith(`${a.id}~`))
      assert.strictEqual((yield* driver.getSandbox("same")).id, second.id)
      yield* driver.killSandbox(old ?? { name: "same", id: "" })
      yield* driver.removeSandbox(second, { force: true })
      assert.deepStrictEqual([yield* namesOn(a), yield* namesOn(b)], [["same"], []])
      yield* pass(20)
      assert.strictEqual((yield* driver.getSandbox("same")).id, old?.id)
      assert.lengthOf(yield* directory.sandboxesOf(a.id), 1)
    })
  )

  it.effect("is found at another address after it was started again there", () =>
    Effect.gen(function* () {
      const url = yield* Support.directory
      const host = yield* Support.host(url, gib)
      const { services } = yield* Support.program(url)
      const driver = driverOf(services)
      const { id } = yield* driver.createSandbox({ ...request("kept"), detached: true })
      yield* meanwhile(host.stop)
      const again = yield* host.serve()
      assert.notStrictEqual(again.url, host.url)
      // Nothing has told the program that the host was away.
      assert.strictEqual((yield* meanwhile(driver.getSandbox("kept"))).id, id)
    })
  )

  it.effect("keeps its sandboxes, and their programs work with them, while the directory is away", () =>
    Effect.gen(function* () {
      const url = yield* Support.directory
      const a = yield* Support.host(url, gib)
      const { end, services } = yield* Support.program(url)
      const sandbox = yield* Effect.provideContext(
        Sandbox.launch({ image, name: "mine", resources: { memory: "256M" } }),
        services
      )
      const database = yield* Effect.acquireRelease(
        Effect.sync(() => new Sqlite.DatabaseSync(url)),
        (database) => Effect.sync(() => database.close())
      )
      const tables = ["hosts", "sandboxes", "holdings", "links", "unlinked", "records", "locks"]
      const rename = (from: string, to: string) => {
        for (const table of tables) database.exec(`ALTER TABLE ${from}_${table} RENAME TO ${to}_${table}`)
      }
      rename("lightbox", "away")
      for (let step = 0; step < 9; step++) {
        yield* pass(10)
        // The program renews its lease in real time.
        assert.strictEqual((yield* driverOf(services).getSandbox("mine")).status, "running")
      }
      assert.strictEqual((yield* sandbox.exec("echo", ["here"])).stdout, "here\n")
      const refused = yield* Effect.flip(driverOf(services).createSandbox(request("late")))
      assert.deepInclude(refused.reason, { _tag: "HostUnavailable", kind: "Unreachable", host: url })
      // A program that is gone loses its sandboxes as ever.
      yield* meanwhile(end)
      yield* meanwhile(until(namesOn(a), (names) => names.length === 0))
      rename("away", "lightbox")
      const directory = yield* Cases.open(url)
      yield* pass(20)
      assert.isUndefined(yield* directory.find("mine"))
      assert.isBelow((yield* directory.hosts)[0]?.age ?? Number.POSITIVE_INFINITY, 6000)
    })
  )
})

describe("snapshots and volumes of a fleet", () => {
  it.effect("are built on one host, and boot where they are", () =>
    Effect.gen(function* () {
      const url = yield* Support.directory
      const a = yield* Support.host(url, gib)
      const b = yield* Support.host(url, gib)
      const one = yield* Support.program(url)
      const two = yield* Support.program(url)
      const definition = Snapshot.make("app", image).pipe(
        Snapshot.resources({ memory: "256M" }),
        Snapshot.shell("echo built > /root/built"),
        Snapshot.shell("true")
      )
      assert.strictEqual((yield* Effect.provideContext(Snapshot.build(definition), one.services)).stepsRun, 2)
      assert.strictEqual((yield* Effect.provideContext(Snapshot.build(definition), two.services)).stepsRun, 0)
      const snapshotsOn = ({ control }: typeof a) => Effect.map(control.inventory, ({ snapshots }) => snapshots.length)
      const having = (yield* snapshotsOn(a)) > 0 ? a : b
      assert.strictEqual(yield* snapshotsOn(having === a ? b : a), 0)
      for (const name of ["x", "y"]) {
        const sandbox = yield* Effect.provideContext(
          Sandbox.launch({ snapshot: "app", name, resources: { memory: "256M" } }),
          two.services
        )
        assert.strictEqual(yield* sandbox.readFileString("/root/built"), "built\n")
      }
      assert.deepStrictEqual(yield* namesOn(having), ["x", "y"])
      // Its host has the name as well, so that a prune there keeps what the fleet needs.
      assert.deepStrictEqual((yield* having.control.inventory).snapshotLinks, ["app"])
      yield* Effect.provideContext(Snapshot.remove("app"), one.services)
      yield* failsWith("NotFound", Effect.provideContext(Snapshot.get("app"), two.services))
    })
  )

  it.effect("are loaded where their program creates its volumes, so that a sandbox can have both", () =>
    Effect.gen(function* () {
      const url = yield* Support.directory
      yield* Support.host(url, gib)
      yield* Support.host(url, gib)
      const { services } = yield* Support.program(url)
      const driver = driverOf(services)
      const archive = Path.join(yield* Support.folder("s"), "saved")
      yield* Effect.provideContext(Snapshot.build(Snapshot.make("app", image).pipe(Snapshot.shell("true"))), services)
      yield* driver.saveSnapshot("app", archive)
      yield* driver.createVolume({ name: "data", kind: "directory", quota: 8 * 1024 * 1024 })
      // Its host is the fuller one by now.
      const { id } = yield* driver.createSandbox({
        ...request("first"),
        config: { resources: { memory: 512 * 1024 * 1024 }, mounts: { "/data": { volume: "data" } } }
      })
      yield* driver.loadSnapshot(archive, "loaded")
      const second = yield* driver.createSandbox({
        name: "second",
        source: { _tag: "Snapshot", name: "loaded" },
        config: { resources: { memory: 128 * 1024 * 1024 }, mounts: { "/data": { volume: "data" } } }
      })
      assert.strictEqual(second.id.split("~")[0], id.split("~")[0])
    })
  )

  it.effect("are copied to another host when theirs can take no more", () =>
    Effect.gen(function* () {
      const url = yield* Support.directory
      const a = yield* Support.host(url, gib)
      const b = yield* Support.host(url, gib)
      const { services } = yield* Support.program(url)
      const run = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.provideContext(effect, services)
      yield* run(
        Snapshot.build(
          Snapshot.make("app", image).pipe(
            Snapshot.resources({ memory: "256M" }),
            Snapshot.shell("echo built > /root/built")
          )
        )
      )
      const snapshotsOn = ({ control }: typeof a) => Effect.map(control.inventory, ({ snapshots }) => snapshots)
      const [having, other] = (yield* snapshotsOn(a)).length > 0 ? [a, b] : [b, a]
      const launch = (name: string) => run(Sandbox.launch({ snapshot: "app", name, resources: { memory: "512M" } }))
      yield* Effect.forEach(["one", "two"], launch)
      assert.deepStrictEqual(yield* namesOn(other), [])
      const third = yield* launch("three")
      assert.strictEqual(yield* third.readFileString("/root/built"), "built\n")
      assert.deepStrictEqual(yield* namesOn(other), ["three"])
      assert.deepStrictEqual(yield* snapshotsOn(other), yield* snapshotsOn(having))
      const holders = yield* (yield* Cases.open(url)).holders("snapshot", yield* snapshotsOn(having))
      assert.strictEqual(holders.length, 2)
    })
  )

  it.effect("are copied for as long as that takes, at most once, to a host with room", () =>
    Effect.gen(function* () {
      const url = yield* Support.directory
      const all = [
        yield* Support.host(url, gib),
        yield* Support.host(url, gib),
        yield* Support.host(url, gib),
        yield* Support.host(url, { twin: { budget: { memory: "256M" } } })
      ]
      const { services } = yield* Support.program(url)
      const directory = yield* Cases.open(url)
      const run = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.provideContext(effect, services)
      const resources = { memory: "512M" } as const
      yield* run(
        Snapshot.build(Snapshot.make("app", image).pipe(Snapshot.resources(resources), Snapshot.shell("true")))
      )
      const snapshotsOn = ({ control }: (typeof all)[number]) => Effect.map(control.inventory, (has) => has.snapshots)
      const holders = Effect.filter(all, (host) => Effect.map(snapshotsOn(host), (names) => names.length > 0))
      const [having] = yield* holders
      const launch = (name: string) => run(Sandbox.launch({ snapshot: "app", name, resources }))
      const one = yield* launch("one")
      yield* launch("two")
      for (const { control } of all) {
        yield* control.inject(MicrosandboxMemory.delayAt("importSnapshot", "160 seconds"))
      }
      const third = yield* Effect.forkChild(launch("three"))
      yield* until(directory.find("three"), (row) => row !== undefined)
      while (third.pollUnsafe() === undefined) {
        yield* pass(10)
        // The program renews its lease in real time.
        yield* driverOf(services).listSandboxes()
        assert.isDefined(yield* directory.find("three"))
      }
      assert.strictEqual((yield* Fiber.join(third)).name, "three")
      assert.lengthOf(yield* holders, 2)

      yield* Effect.forEach(all, ({ control }) => control.clearFaults)
      // All that have room refuse, and only one of them gets a copy for that.
      for (const { control } of all.filter((host) => host !== having)) {
        yield* control.inject(
          MicrosandboxMemory.failAt("createSandbox", new NoSpace({ problem: "the disk is full" }), { times: 9 })
        )
      }
      const fourth = yield* Effect.forkChild(launch("four"))
      yield* until(holders, (having) => having.length === 3)
      yield* Effect.repeat(quiet, { times: 50 })
      assert.isUndefined(fourth.pollUnsafe())
      yield* driverOf(services).removeSandbox(one, { force: true })
      assert.strictEqual((yield* Fiber.join(fourth)).name, "four")
      assert.lengthOf(yield* holders, 3)
    })
  )

  it.effect("are built again elsewhere when their host is gone, and not before", () =>
    Effect.gen(function* () {
      const url = yield* Support.directory
      const a = yield* Support.host(url, gib)
      const { services } = yield* Support.program(url)
      const directory = yield* nobody(url, 0)
      yield* directory.setLink("app", "lb-1")
      yield* directory.hold("nobody", [{ kind: "snapshot", name: "lb-1" }])
      yield* pass(20)
      const away = yield* failsWith("HostUnavailable", driverOf(services).getSnapshot("app"))
      assert.include(away.problem, `only it has snapshot "lb-1"`)
      yield* pass(graceMillis / 1000)
      yield* failsWith("NotFound", driverOf(services).getSnapshot("app"))
      const definition = Snapshot.make("app", image).pipe(Snapshot.shell("true"))
      yield* Effect.provideContext(Snapshot.build(definition), services)
      const { key } = yield* Effect.provideContext(Snapshot.get("app"), services)
      assert.isDefined(key)
      assert.isAbove((yield* a.control.inventory).snapshots.length, 0)
      // What the other host has is still known.
      assert.lengthOf(yield* directory.held("nobody"), 1)
    })
  )

  it.effect("keep what was named on a host before it was part of the fleet", () =>
    Effect.gen(function* () {
      const url = yield* Support.directory
      const definition = (name: string) => Snapshot.make(name, image).pipe(Snapshot.shell(`echo ${name}`))
      const home = yield* Support.folder("h")
      yield* Effect.provide(
        Effect.andThen(Snapshot.build(definition("local")), Snapshot.build(definition("same"))),
        MicrosandboxMemory.layer({ home })
      )
      yield* Support.host(url, { twin: { home } })
      const { services } = yield* Support.program(url)
      const names = Effect.map(Effect.provideContext(Snapshot.list(), services), (all) => all.map(({ name }) => name))
      assert.deepStrictEqual(yield* names, ["local", "same"])
      yield* Effect.provideContext(Snapshot.build(definition("new")), services)
      yield* Effect.provideContext(Snapshot.remove("same"), services)
      yield* Effect.provideContext(Snapshot.prune(), services)
      yield* pass(40)
      assert.deepStrictEqual(yield* names, ["local", "new"])
      assert.strictEqual((yield* Effect.provideContext(Snapshot.get("local"), services)).generation, 1)
      // One of which the directory does not know yet.
      const [{ name: artifact } = { name: "" }] = yield* driverOf(services).listSnapshots()
      const directory = yield* Cases.open(url)
      const [link] = (yield* directory.links).filter(({ snapshot }) => snapshot === artifact)
      yield* directory.removeLink(link?.name ?? "")
      const kept = yield* failsWith("InUse", driverOf(services).removeSnapshot(artifact))
      assert.deepStrictEqual(kept.usedBy, [link?.name ?? ""])
    })
  )

  it.effect("lose names that were removed while their host was away, and keep those that were given again", () =>
    Effect.gen(function* () {
      const url = yield* Support.directory
      const directory = yield* Cases.open(url)
      const a = yield* Support.host(url, gib)
      const { services } = yield* Support.program(url)
      const definition = (name: string) => Snapshot.make(name, image).pipe(Snapshot.shell(`echo ${name}`))
      const run = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.provideContext(effect, services)
      yield* run(Effect.andThen(Snapshot.build(definition("removed")), Snapshot.build(definition("again"))))
      const linksOfA = Effect.map(a.control.inventory, ({ snapshotLinks }) => [...snapshotLinks].toSorted())
      assert.deepStrictEqual(yield* linksOfA, ["again", "removed"])
      yield* a.stop
      const b = yield* Support.host(url, gib)
      const other = driverOf((yield* Support.program(url)).services)
      yield* other.unlinkSnapshot("removed")
      yield* other.unlinkSnapshot("again")
      assert.deepStrictEqual([...(yield* directory.unlinkedOf(a.id))].toSorted(), ["again", "removed"])
      assert.deepStrictEqual(yield* directory.unlinkedOf(b.id), [])
      yield* directory.setLink("again", "lb-2")
      yield* a.serve()
      assert.deepStrictEqual(yield* directory.links, [{ name: "again", snapshot: "lb-2" }])
      assert.deepStrictEqual(yield* linksOfA, ["again"])
      assert.deepStrictEqual(yield* directory.unlinkedOf(a.id), [])
      yield* pass(40)
      assert.deepStrictEqual(yield* directory.links, [{ name: "again", snapshot: "lb-2" }])
    })
  )

  it.effect("that sandboxes mount draw them to their host", () =>
    Effect.gen(function* () {
      const url = yield* Support.directory
      const a = yield* Support.host(url, gib)
      const b = yield* Support.host(url, gib)
      const { services } = yield* Support.program(url)
      yield* Effect.provideContext(Volume.ensure("data"), services)
      yield* failsWith("AlreadyExists", driverOf(services).createVolume({ name: "data", kind: "directory" }))
      for (const name of ["x", "y"]) {
        yield* Effect.provideContext(
          Sandbox.launch({ image, name, mounts: { "/data": { volume: "data" } }, resources: { memory: "256M" } }),
          services
        )
      }
      assert.sameDeepMembers([yield* namesOn(a), yield* namesOn(b)], [[], ["x", "y"]])
      yield* Effect.provideContext(Volume.exclusive("data"), services)
      const other = yield* Support.program(url)
      const waiting = yield* Effect.forkScoped(Effect.provideContext(Volume.exclusive("data"), other.services))
      yield* pass(5)
      assert.isUndefined(waiting.pollUnsafe())
    })
  )

  it.effect("are kept by names that a lost lock does not move", () =>
    Effect.gen(function* () {
      const url = yield* Support.directory
      yield* Support.host(url, gib)
      const { services } = yield* Support.program(url)
      const driver = driverOf(services)
      const directory = yield* Cases.open(url)
      const held = yield* driver.remoteHome?.tryLock("names") ?? Effect.die("it has no home")
      assert.isTrue("lock" in held)
      yield* pass(60)
      yield* driver.remoteHome?.write("names/app.json", "{}") ?? Effect.void
      // As if this program had been stopped for a minute, and another had taken the lock.
      const database = new Sqlite.DatabaseSync(url)
      database.exec("UPDATE lightbox_locks SET holder = 'another'")
      database.close()
      yield* pass(20)
      const late = yield* failsWith(
        "HostUnavailable",
        driver.remoteHome?.write("names/app.json", "late") ?? Effect.void
      )
      assert.strictEqual(late.kind, "Ended")
      assert.strictEqual(yield* directory.readRecord("names/app.json"), "{}")
    })
  )
})

describe("what is built on sandboxes", () => {
  it.effect("works on a fleet unchanged: pools, notes of owners", () =>
    Effect.gen(function* () {
      const url = yield* Support.directory
      const a = yield* Support.host(url, gib)
      const b = yield* Support.host(url, gib)
      const { services } = yield* Support.program(url)
      yield* Effect.gen(function* () {
        const pool = yield* SandboxPool.make({ image, resources: { memory: "128M" }, min: 2, max: 2 })
        const sandbox = yield* pool.acquire()
        assert.strictEqual((yield* sandbox.exec("true")).exitCode, 0)
        assert.notStrictEqual(yield* Effect.flatMap(Ownership.Ownership, ({ id }) => id), "")
      }).pipe(Effect.scoped, Effect.provideContext(services))
      assert.deepStrictEqual([...(yield* namesOn(a)), ...(yield* namesOn(b))], [])
    })
  )
})
