/**
 * Unpacks a project, installs it, runs its tests and reads their report: with Effect's services, and nothing that says
 * where that is.
 */
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Path from "effect/Path"
import type { PlatformError } from "effect/PlatformError"
import * as ChildProcess from "effect/process/ChildProcess"
import * as ChildProcessSpawner from "effect/process/ChildProcessSpawner"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"

const Report = Schema.Struct({ passed: Schema.Int, failed: Schema.Array(Schema.String) })
const decodeReport = Schema.decodeUnknownEffect(Schema.fromJsonString(Report))

/** Tests a project that comes as a tar archive. */
export const program = Effect.fnUntraced(function* (archive: Stream.Stream<Uint8Array, PlatformError>) {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const spawner = yield* ChildProcessSpawner.ChildProcessSpawner

  const work = yield* fs.makeTempDirectoryScoped()
  const project = path.join(work, "project")
  const prefix = path.join(work, "local")
  yield* fs.makeDirectory(project)

  yield* spawner.exitCode(ChildProcess.make("tar", ["-x", "-f", "-"], { cwd: project, stdin: archive }))
  yield* Console.log(`unpacked ${(yield* fs.readDirectory(project)).toSorted().join(", ")}`)

  yield* spawner.exitCode(ChildProcess.make("sh", ["install.sh", prefix], { cwd: project }))
  const installed = yield* fs.glob("**/*", { root: prefix })
  yield* Console.log(`installed ${installed.join(", ")}`)

  const test = yield* ChildProcess.make("sh", ["test.sh"], { cwd: project, env: { PREFIX: prefix }, extendEnv: true })
  yield* test.all.pipe(
    Stream.decodeText,
    Stream.splitLines,
    Stream.runForEach((line) => Console.log(`| ${line}`))
  )
  yield* Console.log(`the tests ended with ${yield* test.exitCode}`)

  const report = yield* Effect.flatMap(fs.readFileString(path.join(project, "report.json")), decodeReport)
  yield* Console.log(`${report.passed} passed, ${report.failed.length} failed`)
}, Effect.scoped)
