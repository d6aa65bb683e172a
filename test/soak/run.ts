/**
 * Several processes on one home launch, build, execute, interrupt and are killed at random, and time and again everything
 * that is left is compared with what should be:
 * `test/bootstrap test/soak/run.ts [--minutes N] [--seed N] [--rounds N] [--real]`
 *
 * On the twin, or with `--real` on microVMs, in the test host. Before that, one owner works so many rounds beside another
 * that sweeps all the time. Prints its seed first, and in the end what was done, and fails at the first thing that should
 * not be.
 */
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Clock from "effect/Clock"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Console from "effect/Console"
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Path from "effect/Path"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as assert from "node:assert/strict"
import * as ChildProcess from "node:child_process"
import { fileURLToPath } from "node:url"
import * as Microsandbox from "../../src/Microsandbox.ts"
import * as Ownership from "../../src/Ownership.ts"
import * as MicrosandboxLocal from "../../src/MicrosandboxLocal.ts"
import * as MicrosandboxMemory from "../../src/MicrosandboxMemory.ts"
import * as Reaper from "../../src/Reaper.ts"
import * as Sandbox from "../../src/Sandbox.ts"
import * as Snapshot from "../../src/Snapshot.ts"
import * as Volume from "../../src/Volume.ts"
import { isAnybodys, readVersion, unverified } from "../crash/work.ts"
import * as Interrupt from "../host/Interrupt.ts"
import { foreground, run } from "../host/Subprocess.ts"
import { reference as image } from "../images/Busybox.ts"
import { generator, names, volume } from "./common.ts"

type Backend = "memory" | "microvm"

const worker = fileURLToPath(new URL("worker.ts", import.meta.url))
const sweeper = fileURLToPath(new URL("../crash/programs/sweeper.ts", import.meta.url))

const Holdings = Schema.Struct({ heap: Schema.Finite, files: Schema.Int })

const Report = Schema.Struct({
  counts: Schema.Record(Schema.String, Schema.Int),
  first: Holdings,
  last: Holdings
})

const decodeReport = Schema.decodeUnknownEffect(Schema.fromJsonString(Report))

// =============================================================================
// Audit
// =============================================================================

/** Everything that a home should hold while nobody but this process uses it. */
const audit = Effect.gen(function* () {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const driver = yield* Microsandbox.Microsandbox
  const entries = (...folder: ReadonlyArray<string>) =>
    Effect.orElseSucceed(fs.readDirectory(path.join(driver.home, ...folder)), (): Array<string> => [])
  const own = yield* (yield* Ownership.Ownership).id
  // The time for which some sandboxes were detached.
  yield* Effect.sleep("1 second")
  const report = yield* Reaper.sweep()
  assert.deepEqual(
    report.verdicts.filter(({ verdict }) => verdict === "failed"),
    [],
    "what a sweep could not remove"
  )
  assert.deepEqual(
    (yield* driver.listSandboxes()).map(({ name }) => name),
    [],
    "sandboxes"
  )
  assert.deepEqual(yield* entries("sandboxes"), [], "folders of sandboxes")
  assert.deepEqual(yield* entries("lightbox", "disks"), [], "disks above snapshots")
  assert.deepEqual(yield* entries("run", "sandboxes"), [], "what runs")
  assert.deepEqual(yield* entries("run", "locks"), [], "locks of names")
  assert.deepEqual(yield* entries("run", "creation-locks"), [], "locks of names that are being made")
  assert.deepEqual((yield* entries("lightbox", "owners")).toSorted(), [own, `${own}.lease`], "owners")
  assert.deepEqual(yield* entries("lightbox", "detached"), [], "what was detached")
  // A lock that was being made when its process was killed is given some seconds.
  yield* Effect.andThen(Reaper.sweep(), entries("lightbox", "locks")).pipe(
    Effect.repeat({
      until: (locks) => locks.length === 0,
      schedule: Schedule.spaced("1 second").pipe(Schedule.upTo({ times: 20 }))
    })
  )
  assert.deepEqual(yield* entries("lightbox", "locks"), [], "locks")

  assert.deepEqual(
    (yield* Snapshot.list()).map(({ name }) => name),
    names,
    "names of snapshots"
  )
  const all = yield* driver.listSnapshots()
  assert.deepEqual(
    (yield* entries("snapshots")).toSorted(),
    [...names, ...all.map(({ name }) => name)].toSorted(),
    "folders of snapshots"
  )
  for (const { name } of all) assert.equal(yield* driver.verifySnapshot(name), true, `the checksum of ${name}`)
  for (const name of names) {
    const [first, second] = (yield* readVersion(name)).split("\n")
    assert.equal(first, second, `what ${name} holds`)
  }
  assert.deepEqual(
    (yield* Volume.list()).map(({ name }) => name),
    [volume],
    "volumes"
  )
})

// =============================================================================
// Processes
// =============================================================================

interface Worker {
  readonly child: ChildProcess.ChildProcess
  readonly seed: number
  /** What it printed, when it has ended. */
  readonly ended: Promise<{ readonly status: number | null; readonly stdout: string }>
}

const start = (backend: Backend, home: string, seed: number): Worker => {
  const args = ["--expose-gc", worker, backend, home, image, String(seed)]
  const child = ChildProcess.spawn(process.execPath, args, { stdio: ["pipe", "pipe", "inherit"] })
  let stdout = ""
  child.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text))
  return { child, seed, ended: new Promise((resolve) => child.on("close", (status) => resolve({ status, stdout }))) }
}

/** Lets a worker come to its end, and looks at what it has done and what it still holds. */
const finish = ({ child, ended, seed }: Worker) =>
  Effect.gen(function* () {
    child.stdin?.end()
    const { status, stdout } = yield* Effect.promise(() => ended)
    assert.equal(status, 0, `the process with the seed ${seed} failed`)
    // Before that, Effect may have logged.
    const { counts, first, last } = yield* decodeReport(stdout.trimEnd().split("\n").at(-1))
    assert.ok(last.files <= first.files + 16, `files grew from ${first.files} to ${last.files}`)
    assert.ok(last.heap <= first.heap * 1.5 + 32e6, `the heap grew from ${first.heap} to ${last.heap}`)
    return counts
  })

const kill = ({ child, ended }: Worker) =>
  Effect.promise(() => {
    // One that has failed before has another status.
    assert.equal(child.exitCode, null, "a process failed")
    child.kill("SIGKILL")
    return ended
  })

// =============================================================================
// The soak
// =============================================================================

const prepare = Effect.gen(function* () {
  yield* Volume.ensure(volume)
  yield* Sandbox.run({ image, mounts: { "/shared": { volume } } }, (sandbox) =>
    sandbox.shell("echo kept > /shared/kept", { check: true })
  )
  for (const name of names) yield* Snapshot.build(unverified(name, image, "0"))
})

const decodeSweep = Schema.decodeUnknownEffect(
  Schema.fromJsonString(Schema.Array(Schema.Struct({ resource: Schema.String, name: Schema.String })))
)

/** Works beside a process that does nothing but sweep, and tells how often it did. */
const siblings = Effect.fnUntraced(function* (backend: Backend, rounds: number) {
  const { home } = yield* Microsandbox.Microsandbox
  const child = ChildProcess.spawn(process.execPath, [sweeper, backend, home], { stdio: ["ignore", "pipe", "inherit"] })
  let said = ""
  child.stdout.setEncoding("utf8").on("data", (text: string) => (said += text))
  yield* Effect.repeat(Effect.sleep("20 millis"), { until: () => said.includes("\n") || child.exitCode !== null })
  for (let round = 0; round < rounds; round++) {
    const { stdout } = yield* Sandbox.run({ image }, (sandbox) => sandbox.exec("echo", [`${round}`], { check: true }))
    assert.equal(stdout, `${round}\n`)
    if (round % 25 === 0) yield* Snapshot.build(unverified(names[0], image, `round ${round}`), { keep: 1 })
  }
  assert.equal(child.exitCode, null, `the sweeper failed: ${said.slice(-2000)}`)
  child.kill("SIGKILL")
  const lines = said.split("\n").slice(0, -1)
  const touched = (yield* Effect.forEach(lines, (line) => decodeSweep(line))).flat()
  assert.deepEqual(
    touched.filter((verdict) => !isAnybodys(verdict)),
    []
  )
  assert.ok(lines.length > 0, "nobody swept")
  return lines.length
})

const soak = Effect.fnUntraced(function* (backend: Backend, minutes: number, seed: number, rounds: number) {
  const random = generator(seed)
  const { home } = yield* Microsandbox.Microsandbox
  const isMemory = backend === "memory"
  const counts: { [what: string]: number } = { kills: 0, sweeps: 0, audits: 0 }
  const count = (what: string, many = 1) => (counts[what] = (counts[what] ?? 0) + many)
  yield* prepare
  const swept = yield* siblings(backend, rounds)
  yield* Console.log(`siblings: ${rounds} rounds beside ${swept} sweeps`)
  yield* audit

  const begin = yield* Clock.currentTimeMillis
  const length = minutes * 60_000
  const phase = Math.min(5 * 60_000, length / 3)
  let seeds = seed
  for (let now = begin; now - begin < length; now = yield* Clock.currentTimeMillis) {
    const workers = Array.from({ length: isMemory ? 3 : 2 }, () => start(backend, home, ++seeds))
    for (let at = now; at - now < phase; at = yield* Clock.currentTimeMillis) {
      yield* Effect.sleep((isMemory ? 300 : 5000) + random() * (isMemory ? 1500 : 20_000))
      if (random() < 0.3) {
        yield* Reaper.sweep()
        count("sweeps")
        continue
      }
      // The first lives as long as the phase: what grows shows in it.
      const position = 1 + Math.floor(random() * (workers.length - 1))
      const victim = workers[position]
      if (victim === undefined) continue
      yield* kill(victim)
      workers[position] = start(backend, home, ++seeds)
      count("kills")
    }
    for (const worker of workers) {
      for (const [what, many] of Object.entries(yield* finish(worker))) count(what, many)
    }
    yield* audit
    count("audits")
  }
  const done = Object.entries(counts).map(([what, many]) => `${many} ${what}`)
  yield* Console.log(`soak: seed ${seed}, ${minutes} minutes on ${backend}: ${done.join(", ")}; leaked: 0`)
})

/** A driver on a home of this run. */
const driver = (backend: Backend) =>
  Layer.unwrap(
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      // Holds sockets, whose paths must be short.
      const home = `${yield* fs.makeTempDirectoryScoped({ prefix: "k" })}/home`
      if (backend === "memory") return MicrosandboxMemory.layer({ home })
      yield* run("cp", ["-a", yield* Config.String("MSB_HOME"), home])
      return MicrosandboxLocal.layer({ home, memory: "256M", bootTimeout: "100 seconds" })
    })
  )

/** The same on microVMs, where they boot. */
const onHost = (minutes: number, seed: number, rounds: number) =>
  Effect.gen(function* () {
    const path = (relative: string) => fileURLToPath(new URL(relative, import.meta.url))
    const host = [path("../host/run.ts"), "--timeout", `${Math.ceil(minutes) + 30} minutes`, "--", process.execPath]
    const words = ["--minutes", String(minutes), "--seed", String(seed), "--rounds", String(rounds)]
    const status = yield* foreground([process.execPath, ...host, path("run.ts"), "--backend", "microvm", ...words])
    assert.equal(status, 0, "it failed")
  })

const command = Command.make(
  "run.ts",
  {
    minutes: Flag.Finite("minutes").pipe(Flag.withDefault(30)),
    seed: Flag.Int("seed").pipe(Flag.withDefault(Math.floor(Math.random() * 1e9))),
    rounds: Flag.Int("rounds").pipe(Flag.withDescription("Beside the sweeper: 1000, or 3 on microVMs"), Flag.optional),
    real: Flag.Boolean("real").pipe(Flag.withDescription("On microVMs, in the test host"), Flag.withDefault(false)),
    backend: Flag.Literals("backend", ["memory", "microvm"]).pipe(
      Flag.withDescription("What to work on, here and now"),
      Flag.withDefault("memory")
    )
  },
  ({ backend, minutes, real, rounds, seed }) => {
    const many = Option.getOrElse(rounds, () => (real || backend === "microvm" ? 3 : 1000))
    return Effect.gen(function* () {
      if (real) return yield* onHost(minutes, seed, many)
      yield* Console.log(`seed ${seed}`)
      yield* Effect.provide(soak(backend, minutes, seed, many), driver(backend))
    })
  }
)

Command.run(command, { version: "0" }).pipe(
  Effect.scoped,
  Effect.as(0),
  Effect.provide(NodeServices.layer),
  Interrupt.runMain
)
