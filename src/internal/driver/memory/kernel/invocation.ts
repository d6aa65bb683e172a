/** Commands that a user declares. */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as Stream from "effect/Stream"
import { FileError, LightboxError } from "../../../../LightboxError.ts"
import type { Command, Invocation, InvocationFiles } from "../../../../MicrosandboxMemory.ts"
import * as ByteString from "./byteString.ts"
import { attempt, errno, type Errno } from "./errno.ts"
import { type Process, type Program, restartable } from "./process.ts"

const method = "MicrosandboxMemory.Invocation"

const fail = (operation: string, path: string, { code, problem }: Errno): LightboxError =>
  new LightboxError({ method, reason: new FileError({ operation, path, code, problem }) })

const onFile =
  (operation: string, path: string) =>
  <A>(effect: Effect.Effect<A, Errno>): Effect.Effect<A, LightboxError> =>
    Effect.mapError(effect, (error) => fail(operation, path, error))

const bytesOf = (data: string | Uint8Array): Uint8Array => (typeof data === "string" ? Buffer.from(data) : data)

const filesOf = (process: Process): InvocationFiles => {
  const onPath = <A>(operation: string, path: string, use: (at: string) => Effect.Effect<A, Errno>) =>
    onFile(operation, path)(use(ByteString.fromText(path)))
  const read = (operation: string, path: string) => onPath(operation, path, (at) => process.readFile(at))
  return {
    readFile: (path) => Effect.map(read("readFile", path), ByteString.toBytes),
    readFileString: (path) => Effect.map(read("readFile", path), ByteString.toText),
    writeFile: (path, data, options) =>
      onPath("writeFile", path, (at) => process.writeFile(at, ByteString.fromBytes(bytesOf(data)), options?.mode)),
    makeDirectory: (path) => onPath("makeDirectory", path, (at) => attempt(() => process.makeFolders(at))),
    remove: (path) =>
      onPath("remove", path, (at) =>
        attempt(() => (process.lookAt(at, false) === undefined ? undefined : process.remove(at)))
      ),
    list: (path) => onPath("list", path, (at) => attempt(() => process.list(at).map(ByteString.toText).toSorted())),
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
  process.writeBytes(fd, bytesOf(data)).pipe(onFile("write", fd === 1 ? "standard output" : "standard error"))

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
    isResumed: process.isResumed,
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
                    write: (data) => onFile("write", `port ${port}`)(socket.write(bytesOf(data)))
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

export const programOf = (name: string, command: Command): readonly [string, Program] => {
  const program: Program = (process) =>
    Effect.catchTag(command(invocationOf(process)), "LightboxError", (error) =>
      // As with any program, a write to a closed pipe ends the process.
      error.reason._tag === "FileError" && error.reason.code === "EPIPE"
        ? Effect.fail(errno("EPIPE"))
        : Effect.as(process.complain(ByteString.fromText(`${name}: ${error.message}`)), 1)
    )
  restartable.add(program)
  return [ByteString.fromText(name), program]
}
