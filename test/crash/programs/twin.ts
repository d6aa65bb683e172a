/**
 * Works on many homes, and is killed when it has come, in each of them, to another place: `twin.ts ROOT`, in which
 * there is a folder `template`. First it tells the places in `killed.json`, by the folders that it has made beside it.
 *
 * A place is where the driver is called to change something, or where a file is about to change. For each part of the work, a first run shows
 * what places there are; each of the others stops before one of them. Then the process kills itself.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as FsSync from "node:fs"
import * as Module from "node:module"
import * as Path from "node:path"
import * as Microsandbox from "../../../src/Microsandbox.ts"
import * as MicrosandboxMemory from "../../../src/MicrosandboxMemory.ts"
import { around, isReading } from "../Calls.ts"
import { parts } from "../work.ts"

const [root = ""] = process.argv.slice(2)

// =============================================================================
// Places
// =============================================================================

interface Run {
  readonly folder: string
  readonly places: Array<string>
  /** Where to stop. */
  readonly stopAt: number
  readonly stopped: Deferred.Deferred<void>
}

const runs = new Map<string, Run>()

const makeRun = (name: string, stopAt: number): Run => {
  const folder = Path.join(root, name)
  FsSync.cpSync(Path.join(root, "template"), folder, { recursive: true, verbatimSymlinks: true })
  const run: Run = { folder, places: [], stopAt, stopped: Deferred.makeUnsafe() }
  runs.set(folder, run)
  return run
}

/** Whether this is where to stop, for ever. */
const isStop = (run: Run, place: string): boolean => {
  if (run.places.length > run.stopAt) return true
  run.places.push(place)
  if (run.places.length - 1 < run.stopAt) return false
  run.places.push("stopped")
  Deferred.doneUnsafe(run.stopped, Effect.void)
  return true
}

const changes = ["writeFile", "mkdir", "rename", "link", "symlink", "rm", "unlink", "utimes", "copyFile"] as const

/** Lets the file operations of a run stop with it. */
const watchFiles = (): void => {
  for (const name of changes) {
    const original: unknown = FsSync.promises[name]
    if (typeof original !== "function") throw new Error(`there is no ${name}`)
    Object.assign(FsSync.promises, {
      [name]: (path: unknown, ...rest: ReadonlyArray<unknown>) => {
        const folder = String(path).startsWith(root) ? Path.relative(root, String(path)).split(Path.sep)[0] : undefined
        const run = folder === undefined ? undefined : runs.get(Path.join(root, folder))
        const shown = name === "rename" || name === "symlink" || name === "link" ? String(rest[0]) : String(path)
        return run !== undefined && isStop(run, `${name} ${kindOf(run, shown)}`)
          ? new Promise(() => {})
          : Reflect.apply(original, FsSync.promises, [path, ...rest])
      }
    })
  }
  Module.syncBuiltinESMExports()
}

/** The folder of a home that a path is in. */
const kindOf = ({ folder }: Run, path: string): string =>
  Path.relative(folder, path)
    .split(Path.sep)
    .slice(0, 3)
    .join("/")
    .replace(/\/[^/]*\d[^/]*$/, "/…")

const begin = (run: Run, work: (typeof parts)[string]) =>
  Effect.gen(function* () {
    const driver = yield* Microsandbox.Microsandbox
    const watched = around(driver, (operation, call) =>
      Effect.suspend(() => (!isReading(operation) && isStop(run, operation) ? Effect.never : call))
    )
    yield* Effect.provideService(
      Effect.scoped(work("main", "plain", `${run.folder}/files`)),
      Microsandbox.Microsandbox,
      watched
    )
  }).pipe(Effect.provide(Layer.fresh(MicrosandboxMemory.layer({ home: `${run.folder}/home`, memorySnapshots: true }))))

// =============================================================================
// The process
// =============================================================================

const main = Effect.gen(function* () {
  watchFiles()
  const killedAt: { [home: string]: string } = {}
  for (const [part, work] of Object.entries(parts)) {
    const recorded = makeRun(`${part}-recorded`, Number.POSITIVE_INFINITY)
    yield* begin(recorded, work)
    for (const [place, what] of recorded.places.entries()) {
      const run = makeRun(`${part}-${place}`, place)
      const working = yield* Effect.forkDetach(begin(run, work), { startImmediately: true })
      yield* Effect.raceFirst(
        Deferred.await(run.stopped),
        Effect.andThen(Fiber.join(working), Effect.die(new Error(`${part}: never came to ${what}`)))
      )
      killedAt[`${part}-${place}`] = what
    }
  }
  FsSync.writeFileSync(Path.join(root, "killed.json"), JSON.stringify(killedAt))
  process.kill(process.pid, "SIGKILL")
})

setInterval(() => {}, 1000)
Effect.runPromise(main).catch((error: unknown) => {
  console.error(error)
  process.exit(1)
})
