/** What the test host keeps between runs, and what it throws away after each. */
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import * as Path from "effect/Path"
import * as ChildProcess from "effect/process/ChildProcess"
import * as Stream from "effect/Stream"
import * as Crypto from "node:crypto"
import * as Os from "node:os"

/** A folder below the cache folder, which is `$XDG_CACHE_HOME/effect-lightbox` or `~/.cache/effect-lightbox`. */
export const folder = Effect.fnUntraced(function* (...names: ReadonlyArray<string>) {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const home = yield* Effect.orDie(Config.option(Config.String("XDG_CACHE_HOME")))
  const cache = path.join(
    Option.getOrElse(Option.filter(home, path.isAbsolute), () => path.join(Os.homedir(), ".cache")),
    "effect-lightbox",
    ...names
  )
  yield* fs.makeDirectory(cache, { recursive: true })
  return yield* fs.realPath(cache)
})

const isAlive = (pid: number): boolean => {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return error instanceof Error && "code" in error && error.code === "EPERM"
  }
}

// Ends at the end of its input, which is the death of the process that started it, or at SIGTERM,
// which is how a scope ends a child process. Either way it removes what it was told to.
const janitor = `
trap 'rm -rf -- "$@"' EXIT
trap 'exit 0' TERM
read -r _
`

/**
 * The socket of the file server of a run, seen from the run's folder. File servers lock the names of their sockets, so
 * each has a name of its own; always a relative one, for the path of a socket can't be long.
 */
export const socketOf = (run: string): string => `lightbox-${run}.sock`

/** Where a file server that was killed leaves a mark of its socket. */
export const sockets = "/var/run/virtiofsd"

/** A new folder on the file system of the cache that is gone after the scope, even if this process is killed. */
export const runFolder = Effect.fnUntraced(function* () {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const runs = yield* folder("runs")
  // A machine that lost power had no janitor.
  const left = (yield* fs.readDirectory(runs)).filter((name) => !isAlive(Number.parseInt(name, 10)))
  const traces = (name: string) => [path.join(runs, name), `${sockets}/${socketOf(name)}.pid`]
  yield* Effect.forEach(left.flatMap(traces), (trace) => fs.remove(trace, { recursive: true, force: true }))

  const name = `${process.pid}-${Crypto.randomUUID().slice(0, 8)}`
  const run = path.join(runs, name)
  yield* ChildProcess.make("sh", ["-c", janitor, "janitor", ...traces(name)], {
    stdin: "pipe",
    stdout: "ignore",
    stderr: "inherit"
  })
  yield* fs.makeDirectory(run, { mode: 0o700 })
  return run
})

// Takes the lock of a folder, and holds it until the end of its input.
const holder = `
open(my $folder, "<", shift) or die;
flock($folder, LOCK_EX) or die;
$| = 1;
print "locked";
<STDIN>;
`

/** Runs an effect while no other process runs one with the same folder. */
export const withLock =
  (path: string) =>
  <A, E, R>(effect: Effect.Effect<A, E, R>) =>
    Effect.scoped(
      Effect.gen(function* () {
        // In Perl, which every Debian and macOS has. The lock is the folder itself: there is nothing to clean up.
        const child = yield* ChildProcess.make("perl", ["-MFcntl=:flock", "-e", holder, path], {
          stdin: "pipe",
          stderr: "inherit"
        })
        yield* Stream.runDrain(Stream.take(child.stdout, 1))
        return yield* effect
      })
    )
