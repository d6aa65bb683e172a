/**
 * What files of a guest cost by Effect's `FileSystem`, one call for each of them or for a whole folder, and by `tar` over
 * the same channel.
 */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import type { PlatformError } from "effect/PlatformError"
import { unpackTar } from "modern-tar"
import type { LightboxError } from "../../src/LightboxError.ts"
import * as Sandbox from "../../src/Sandbox.ts"
import * as SandboxServices from "../../src/SandboxServices.ts"
import { reference as image } from "../images/Busybox.ts"
import * as Row from "./Row.ts"

type Failure = LightboxError | PlatformError

const resources = { cpus: 1, memory: "256M" } as const

const folder = "/root/files"
const target = "/root/copy"

const write = (count: number) =>
  `mkdir ${folder} && cd ${folder} && i=0 && while [ $i -lt ${count} ]; do echo "this is file $i" > $i; i=$((i+1)); done`

const expectFiles = (expected: number, count: number) =>
  count === expected ? Effect.void : Effect.die(new Error(`there are ${count} files, not ${expected}`))

/** A sandbox with small files in a folder, and measurements with its file system. */
const withFiles = <A, E, R>(
  count: number,
  use: (sandbox: Sandbox.Sandbox, fs: FileSystem.FileSystem) => Effect.Effect<A, E, R>
) =>
  Effect.gen(function* () {
    const sandbox = yield* Sandbox.launch({ image, resources })
    yield* sandbox.shell(write(count), { check: true })
    return yield* Effect.flatMap(FileSystem.FileSystem, (fs) => use(sandbox, fs)).pipe(
      Effect.provide(SandboxServices.fromSandbox(sandbox))
    )
  })

export const benches: ReadonlyArray<Row.Bench> = [
  {
    name: "services-read",
    rows: (n) =>
      withFiles(1000, (sandbox, fs) =>
        Effect.gen(function* () {
          const files = Effect.flatMap(fs.readDirectory(folder), (names) =>
            Effect.forEach(names, (name) => fs.readFile(`${folder}/${name}`), { concurrency: "unbounded" })
          )
          const tar = Effect.flatMap(
            sandbox.exec("tar", ["-c", "-f", "-", "-C", folder, "."], { check: true }),
            ({ stdoutBytes }) => Effect.promise(() => unpackTar(stdoutBytes))
          )
          yield* Effect.flatMap(files, (files) => expectFiles(1000, files.filter(({ length }) => length > 0).length))
          const row = yield* Row.compare<Failure, never>(
            "read 1,000 small files",
            n,
            { what: "FileSystem.readFile", round: Row.millisOf(files) },
            { what: "tar, unpacked", round: Row.millisOf(tar) },
            { target: 2 }
          )
          return [row]
        })
      )
  },
  {
    name: "services-copy",
    rows: (n) =>
      withFiles(2000, (sandbox, fs) =>
        Effect.gen(function* () {
          const copy = fs.copy(folder, target)
          const tar = sandbox.shell(`mkdir ${target} && tar -c -f - -C ${folder} . | tar -x -f - -C ${target}`, {
            check: true
          })
          const measured = <A, E>(copying: Effect.Effect<A, E>) =>
            Row.millisOf(copying).pipe(
              Effect.tap(Effect.flatMap(fs.readDirectory(target), ({ length }) => expectFiles(2000, length))),
              Effect.tap(fs.remove(target, { recursive: true }))
            )
          const row = yield* Row.compare<Failure, never>(
            "copy a folder of 2,000 files",
            n,
            { what: "FileSystem.copy", round: measured(copy) },
            { what: "tar to tar", round: measured(tar) },
            { target: 2 }
          )
          return [row]
        })
      )
  }
]
