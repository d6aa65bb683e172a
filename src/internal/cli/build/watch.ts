/** Builds again whenever a definition, or a file that it copies, changes. */
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import * as ChildProcess from "node:child_process"
import * as Fs from "node:fs"
import * as Path from "node:path"
import type { Services } from "../../../Driver.ts"
import { addedBy } from "../../plan/units.ts"
import { Outputs, Quiet } from "../environment.ts"
import { shortPath } from "../../config/schemas.ts"
import * as Definitions from "./definitions.ts"

/** Collects the changes of one save, which editors make in several steps. */
const settling = "200 millis"

/** The paths that a definition and its bases copy. */
const copiedBy = ({ base, steps }: Definitions.Definition): ReadonlyArray<string> => [
  ...(base._tag === "Definition" ? copiedBy(base.definition) : []),
  ...steps.flatMap((step) => {
    if (step._tag === "Copy") return [step.from]
    if (step._tag !== "Add" && step._tag !== "Exec") return []
    return addedBy(step).flatMap((source) =>
      source._tag === "Context" ? [source.root] : source._tag === "Snapshot" ? copiedBy(source.definition) : []
    )
  })
]

/** Calls back on changes of a file, or of anything in a folder. A path that does not exist is not watched. */
const watchPath = (path: string, onChange: () => void): ReadonlyArray<Fs.FSWatcher> => {
  const kind = Fs.statSync(path, { throwIfNoEntry: false })
  if (kind === undefined) return []
  // A file that is replaced is another one: its folder tells.
  const watcher = kind.isDirectory()
    ? Fs.watch(path, { recursive: true }, onChange)
    : Fs.watch(Path.dirname(path), (_, name) => (name === Path.basename(path) ? onChange() : undefined))
  // Such as a folder that is removed.
  return [watcher.on("error", onChange)]
}

/** Watches the module, the modules beside it, and what its definitions copy, for the scope. */
const watchInputs = Effect.fnUntraced(function* (
  input: Definitions.Input,
  round: number,
  onChange: () => void
): Effect.fn.Return<void, never, Scope.Scope | Services> {
  // A file that cannot be loaded is reported by its build.
  const definitions = yield* Effect.orElseSucceed(Definitions.load("build", input, round), () => [])
  const dockerfile = Definitions.dockerfileOf(input)?.path
  yield* Effect.acquireRelease(
    Effect.sync(() => [
      dockerfile === undefined
        ? Fs.watch(Path.dirname(input.file), (_, name) =>
            name === null || /\.(?:[cm]?[jt]sx?|json)$/.test(name) ? onChange() : undefined
          )
        : Fs.watch(Path.dirname(dockerfile), (_, name) =>
            name === null || name.startsWith(Path.basename(dockerfile)) ? onChange() : undefined
          ),
      ...definitions.flatMap(copiedBy).flatMap((path) => watchPath(path, onChange))
    ]),
    (watchers) => Effect.sync(() => watchers.forEach((watcher) => watcher.close()))
  )
})

/**
 * Runs this command without `--watch` in a process of its own, which loads all modules afresh. It gets only one signal:
 * a terminal would send another one to it than this process does, and a second one ends it without its release.
 */
const buildOnce = Effect.callback<void>((resume) => {
  const args = process.argv.slice(1).filter((word) => word !== "--watch")
  const child = ChildProcess.spawn(process.execPath, [...process.execArgv, ...args], {
    stdio: ["ignore", "inherit", "inherit"],
    detached: true
  })
  const onResize = () => child.kill("SIGWINCH")
  process.on("SIGWINCH", onResize)
  const ended = new Promise<void>((resolve) => {
    child.once("exit", () => resolve()).once("error", () => resolve())
  }).finally(() => process.off("SIGWINCH", onResize))
  void ended.then(() => resume(Effect.void))
  return Effect.suspend(() => {
    child.kill("SIGINT")
    return Effect.promise(() => ended)
  })
})

/** Builds, and builds again on changes, until it is interrupted. */
export const watch = Effect.fnUntraced(function* (input: Definitions.Input) {
  const { stderr } = yield* Outputs
  const isQuiet = yield* Quiet
  const changes = yield* Queue.sliding<void>(1)
  for (let round = 0; ; round++) {
    yield* Effect.scoped(
      Effect.gen(function* () {
        // From before the build, so that no change is missed.
        yield* watchInputs(input, round, () => void Queue.offerUnsafe(changes, undefined))
        yield* buildOnce
        if (!isQuiet)
          stderr.write(
            `Watching ${shortPath(Definitions.dockerfileOf(input)?.path ?? input.file)} and what it copies; Ctrl+C ends.\n`
          )
        yield* Queue.take(changes)
        yield* Effect.sleep(settling)
      })
    )
    yield* Queue.clear(changes)
  }
})
