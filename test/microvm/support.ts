/**
 * What tests on real microVMs share.
 *
 * A test file provides {@link layer} once, with `excludeTestServices`, as it works with the real clock:
 *
 * ```ts
 * layer(Support.layer, { excludeTestServices: true })("sandboxes", (it) => {
 *   it.effect("boots", () => Effect.gen(function* () {
 *     …
 *     yield* Support.assertNothingLeft()
 *   }))
 * })
 * ```
 */
import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert } from "@effect/vitest"
import * as Console from "effect/Console"
import * as Config from "effect/Config"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Path from "effect/Path"
import * as ChildProcess from "effect/process/ChildProcess"
import type { ChildProcessHandle } from "effect/process/ChildProcessSpawner"
import * as Stream from "effect/Stream"
import * as Fs from "node:fs"
import { fileURLToPath } from "node:url"
import type { Services } from "../../src/Driver.ts"
import { bootRetries } from "../../src/internal/report/metrics.ts"
import * as Microsandbox from "../../src/Microsandbox.ts"
import * as MicrosandboxLocal from "../../src/MicrosandboxLocal.ts"
import * as Snapshot from "../../src/Snapshot.ts"
import { run } from "../host/Subprocess.ts"

/** The image that tests boot from unless they need more. */
export { reference as image } from "../images/Busybox.ts"

// =============================================================================
// The home of a test file
// =============================================================================

/**
 * The home of this test file: a copy of the host's with its images, in which nobody else does anything, so that test
 * files can run at the same time.
 */
export class Home extends Context.Service<
  Home,
  {
    readonly path: string
    /** A folder on the same file system, for files that tests work with. */
    readonly files: string
  }
>()("effect-lightbox/test/microvm/support/Home") {
  static readonly layer = Layer.effect(
    Home,
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      // Holds sockets, whose paths must be short.
      const folder = yield* fs.makeTempDirectoryScoped({ prefix: "h" })
      const home = { path: `${folder}/msb`, files: `${folder}/files` }
      yield* run("cp", ["-a", yield* Config.String("MSB_HOME"), home.path])
      yield* fs.makeDirectory(home.files)
      return home
    })
  )
}

// =============================================================================
// The driver
// =============================================================================

type Driver = Microsandbox.Microsandbox["Service"]

/** The driver operations that tests observe. */
export type Operation = "boot" | "capture" | "remove"

/** Observes the driver. */
export class Observer extends Context.Service<
  Observer,
  {
    /** How often the operation has started. */
    readonly count: (operation: Operation) => number
    /** Completes when the operation starts the next time. */
    readonly next: (operation: Operation) => Effect.Effect<void>
  }
>()("effect-lightbox/test/microvm/support/Observer") {}

const observed = Layer.effectContext(
  Effect.gen(function* () {
    const driver = yield* Microsandbox.Microsandbox
    const counts = { boot: 0, capture: 0, remove: 0 }
    const waiting: { readonly [operation in Operation]: Set<Deferred.Deferred<void>> } = {
      boot: new Set(),
      capture: new Set(),
      remove: new Set()
    }
    const seen =
      (operation: Operation) =>
      <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
        Effect.suspend(() => {
          counts[operation]++
          for (const deferred of waiting[operation]) Deferred.doneUnsafe(deferred, Effect.void)
          waiting[operation].clear()
          return effect
        })
    const wrapped: Driver = {
      ...driver,
      createSandbox: (request) => seen("boot")(driver.createSandbox(request)),
      startSandbox: (sandbox, options) => seen("boot")(driver.startSandbox(sandbox, options)),
      captureSnapshot: (request) => seen("capture")(driver.captureSnapshot(request)),
      removeSandbox: (sandbox, options) => seen("remove")(driver.removeSandbox(sandbox, options))
    }
    const observer = Observer.of({
      count: (operation) => counts[operation],
      next: (operation) =>
        Effect.suspend(() => {
          const deferred = Deferred.makeUnsafe<void>()
          waiting[operation].add(deferred)
          return Deferred.await(deferred)
        })
    })
    return (yield* Effect.context<Services>()).pipe(
      Context.add(Microsandbox.Microsandbox, wrapped),
      Context.add(Observer, observer)
    )
  })
)

// In emulation, a few boots in a thousand hang until our limit.
const driver = Layer.unwrap(
  Effect.map(Home, ({ path }) => MicrosandboxLocal.layer({ home: path, memory: "256M", bootTimeout: "100 seconds" }))
)

const reportRetries = Layer.effectDiscard(
  Effect.addFinalizer(() =>
    Effect.flatMap(Metric.value(bootRetries), ({ count }) =>
      count > 0 ? Console.log(`boots that hung and were tried again: ${count}`) : Effect.void
    )
  )
)

/** The driver on this file's own home, and the platform's services. */
export const layer = Layer.mergeAll(observed, reportRetries).pipe(
  Layer.provide(driver),
  Layer.provideMerge(Home.layer),
  Layer.provideMerge(NodeServices.layer)
)

// =============================================================================
// Nothing left
// =============================================================================

const readOrNothing = (path: string): string => {
  try {
    return Fs.readFileSync(path, "utf8")
  } catch {
    // It ended in the meantime.
    return ""
  }
}

/** Virtual machines of a home, as command lines. */
const virtualMachines = Effect.fnUntraced(function* (home: string) {
  const lines =
    process.platform === "linux"
      ? Fs.readdirSync("/proc")
          .filter((name) => /^\d+$/.test(name))
          .map((pid) => `${readOrNothing(`/proc/${pid}/cmdline`)} ${readOrNothing(`/proc/${pid}/environ`)}`)
          .map((line) => line.replaceAll("\0", " "))
      : (yield* run("ps", ["-axEww", "-o", "command="])).split("\n")
  return lines.filter((line) => /^\S*msb sandbox /.test(line) && line.includes(`MSB_HOME=${home} `))
})

/** The names of all snapshots. */
export const snapshotNames = Effect.map(Snapshot.list(), (all) => all.map(({ name }) => name))

/**
 * Fails unless nothing runs and no sandbox is left in the home of this file, by the list, by the folders, and by the
 * process table; and unless its snapshots are complete, and are exactly the named ones if names are given.
 */
export const assertNothingLeft = Effect.fnUntraced(function* (expected?: {
  readonly snapshots?: ReadonlyArray<string> | undefined
}) {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const home = yield* Home
  const driver = yield* Microsandbox.Microsandbox
  assert.deepStrictEqual(
    (yield* driver.listSandboxes()).map(({ name, status }) => `${name} ${status}`),
    [],
    "sandboxes that are listed"
  )
  const entriesOf = (folder: string) =>
    Effect.orElseSucceed(fs.readDirectory(path.join(home.path, folder)), (): Array<string> => [])
  assert.deepStrictEqual(yield* entriesOf("sandboxes"), [], "folders of sandboxes")
  assert.deepStrictEqual(yield* entriesOf("run/sandboxes"), [], "sockets of sandboxes")
  assert.deepStrictEqual(yield* entriesOf("lightbox/disks"), [], "disks of sandboxes")
  assert.deepStrictEqual(yield* virtualMachines(home.path), [], "virtual machines")

  const names = yield* snapshotNames
  const all = (yield* driver.listSnapshots()).map(({ name }) => name)
  assert.deepStrictEqual(
    (yield* entriesOf("snapshots")).toSorted(),
    [...new Set([...names, ...all])].toSorted(),
    "folders of snapshots"
  )
  if (expected?.snapshots !== undefined) {
    assert.deepStrictEqual(names, expected.snapshots.toSorted(), "names of snapshots")
  }
})

// =============================================================================
// Other programs
// =============================================================================

/** Starts another program on the home of this file, killed when the scope closes. */
const spawn = Effect.fnUntraced(function* (program: string, args: ReadonlyArray<string>) {
  return yield* ChildProcess.make(program, args, {
    stdin: "ignore",
    stderr: "inherit",
    env: { MSB_HOME: (yield* Home).path },
    extendEnv: true,
    killSignal: "SIGKILL"
  })
})

/** Starts a program in its own process, on the home of this file. */
export const script = (path: string, ...args: ReadonlyArray<string>) => spawn(process.execPath, [path, ...args])

/** Starts a program of the folder `programs`. */
export const program = (name: string, ...args: ReadonlyArray<string>) =>
  script(fileURLToPath(new URL(`programs/${name}.ts`, import.meta.url)), ...args)

/** Starts the command line tool of the runtime. */
export const msb = (...args: ReadonlyArray<string>) =>
  spawn(process.execPath, [
    fileURLToPath(new URL("../bin/microsandbox.cjs", import.meta.resolve("microsandbox"))),
    ...args
  ])

/** Starts a program and waits for its end: what it printed, and its exit status. */
export const outcome = <E, R>(started: Effect.Effect<ChildProcessHandle, E, R>) =>
  Effect.scoped(
    Effect.flatMap(started, (child) =>
      Effect.all(
        { stdout: Stream.mkString(Stream.decodeText(child.stdout)), exitCode: Effect.map(child.exitCode, Number) },
        { concurrency: "unbounded" }
      )
    )
  )

// =============================================================================
// Events
// =============================================================================

export { recorder } from "../Snapshot/recorder.ts"

/** Runs an effect, and interrupts it when another completes; fails if it ends earlier. */
export const interruptAt = <A, E, R, E2, R2>(
  effect: Effect.Effect<A, E, R>,
  moment: Effect.Effect<void, E2, R2>
): Effect.Effect<void, E | E2, R | R2> =>
  // The moment first: it could be at the very start.
  Effect.raceFirst(moment, Effect.andThen(effect, Effect.die(new Error("it was not interrupted"))))
