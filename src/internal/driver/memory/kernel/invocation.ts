/** Commands that a user declares. */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as Stream from "effect/Stream"
import { FileError, LightboxError } from "../../../../LightboxError.ts"
import type { Command, Invocation, InvocationFiles } from "../../../../MicrosandboxMemory.ts"
import * as ByteString from "./byteString.ts"
import { attempt, errno, type Errno } from "./errno.ts"
import type { Process, Program } from "./process.ts"

const method = "MicrosandboxMemory.Invocation"

const fail = (operation: string, path: string, { code, problem }: Errno): LightboxError =>
  new LightboxError({ method, reason: new FileError({ operation, path, code, problem }) })

const onFile =
  (operation: string, path: string) =>
  <A>(effect: Effect.Effect<A, Errno>): Effect.Effect<A, LightboxError> =>
    Effect.mapError(effect, (error) => fail(operation, path, error))

const filesOf = (process: Process): InvocationFiles => {
  const { actor, machine } = process
  return {
    readFile: (path) =>
      process.readFile(ByteString.fromText(path)).pipe(onFile("readFile", path), Effect.map(ByteString.toBytes)),
    readFileString: (path) =>
      process.readFile(ByteString.fromText(path)).pipe(onFile("readFile", path), Effect.map(ByteString.toText)),
    writeFile: (path, data, options) =>
      process
        .writeFile(
          ByteString.fromText(path),
          typeof data === "string" ? ByteString.fromText(data) : ByteString.fromBytes(data),
          options?.mode
        )
        .pipe(onFile("writeFile", path)),
    makeDirectory: (path) =>
      attempt(() =>
        machine.vfs.makeFolders(ByteString.fromText(path), process.cwd, 0o777 & ~process.umask, actor)
      ).pipe(onFile("makeDirectory", path)),
    remove: (path) =>
      attempt(() => {
        const at = ByteString.fromText(path)
        if (process.lookAt(at, false) !== undefined) process.remove(at)
      }).pipe(onFile("remove", path)),
    list: (path) =>
      attempt(() => process.list(ByteString.fromText(path)).map(ByteString.toText).toSorted()).pipe(
        onFile("list", path)
      ),
    exists: (path) => Effect.sync(() => process.lookAt(ByteString.fromText(path)) !== undefined)
  }
}

const streamOf = (read: Effect.Effect<Uint8Array, Errno>, name: string): Stream.Stream<Uint8Array, LightboxError> =>
  Stream.paginate(undefined, () =>
    Effect.map(onFile("read", name)(read), (bytes) =>
      bytes.length === 0 ? [[], Option.none()] : [[bytes], Option.some(undefined)]
    )
  )

const write = (process: Process, fd: number) => (data: string | Uint8Array) =>
  process
    .writeBytes(fd, typeof data === "string" ? new TextEncoder().encode(data) : data)
    .pipe(onFile("write", fd === 1 ? "standard output" : "standard error"))

const invocationOf = (process: Process): Invocation => {
  const { actor, machine } = process
  return {
    sandbox: machine.name,
    argv: process.argv.map(ByteString.toText),
    env: Object.fromEntries(
      [...process.env].map(([name, value]) => [ByteString.toText(name), ByteString.toText(value)])
    ),
    workdir: ByteString.toText(process.cwd),
    user: { uid: actor.uid, gid: actor.gid },
    pid: process.pid,
    stdin: streamOf(process.read(0), "standard input"),
    files: filesOf(process),
    stdout: write(process, 1),
    stderr: write(process, 2),
    listen: (port, serve) =>
      Effect.scoped(
        Effect.gen(function* () {
          const connections = yield* Effect.mapError(machine.listen(port), (error) =>
            fail("listen", String(port), error)
          )
          return yield* Effect.forever(
            Effect.flatMap(Queue.take(connections), (socket) =>
              Effect.forkScoped(
                Effect.ensuring(
                  serve({
                    read: streamOf(socket.read(64 * 1024), `port ${port}`),
                    write: (data) =>
                      socket
                        .write(typeof data === "string" ? new TextEncoder().encode(data) : data)
                        .pipe(onFile("write", `port ${port}`))
                  }),
                  Effect.sync(() => socket.release())
                )
              )
            )
          )
        })
      )
  }
}

export const programOf = (name: string, command: Command): readonly [string, Program] => [
  ByteString.fromText(name),
  (process) =>
    Effect.catchTag(command(invocationOf(process)), "LightboxError", (error) =>
      // As with any program, a write to a closed pipe ends the process.
      error.reason._tag === "FileError" && error.reason.code === "EPIPE"
        ? Effect.fail(errno("EPIPE"))
        : Effect.as(process.complain(ByteString.fromText(`${name}: ${error.message}`)), 1)
    )
]
