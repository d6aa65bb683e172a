/** Archives that a program sends to a host, or fetches from it. */
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as FsSync from "node:fs"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import * as NodeStream from "node:stream"
import type { LightboxError } from "../../../LightboxError.ts"
import { fileFailure } from "../../host/fileFailure.ts"
import type { Client } from "./client.ts"
import * as Failures from "./failures.ts"
import * as Protocol from "./protocol.ts"

const { pipeline } = NodeStream.promises

/** A failure of a file of this machine, or of the connection. */
const toError =
  (method: string, host: string, path: string) =>
  (cause: unknown): LightboxError =>
    cause instanceof LocalFailure
      ? fileFailure(method, "file", path)(cause.cause)
      : Failures.toError(method, host)(Failures.ofConnection(cause))

class LocalFailure extends Error {}

const onThisMachine = (cause: unknown): never => {
  throw new LocalFailure("a file of this machine", { cause })
}

const pieceBytes = 256 * 1024

/** Reads a file as it is sent. */
const contentOf = (file: Fs.FileHandle): ReadableStream<Uint8Array<ArrayBuffer>> =>
  new ReadableStream({
    pull: async (controller) => {
      const piece = new Uint8Array(pieceBytes)
      const { bytesRead } = await file.read(piece)
      if (bytesRead === 0) controller.close()
      else controller.enqueue(piece.subarray(0, bytesRead))
    }
  })

/** A failure to write a file of this machine. */
const isWrite = (cause: unknown): boolean => Predicate.hasProperty(cause, "syscall") && cause.syscall === "write"

/** Sends a file. Returns its id at the host. */
export const send = (client: Client, method: string, path: string): Effect.Effect<string, LightboxError> =>
  client.request((headers) =>
    Effect.tryPromise({
      try: async (signal) => {
        const file = await Fs.open(path).catch(onThisMachine)
        try {
          const stats = await file.stat()
          if (stats.isDirectory()) {
            onThisMachine(Object.assign(new Error("a host takes archives that are files"), { code: "EISDIR" }))
          }
          // A body that is a stream needs `duplex`, which the types of browsers lack.
          const init = { method: "PUT", headers, body: contentOf(file), duplex: "half", signal }
          const response = await Failures.request(`${client.url}${Protocol.paths.files}`, init)
          return await response.text()
        } finally {
          await file.close()
        }
      },
      catch: toError(method, client.url, path)
    })
  )

/** Creates the folder of a file, as a driver of this machine does for images. */
export const makeParent = (method: string, path: string): Effect.Effect<void, LightboxError> =>
  Effect.tryPromise({
    try: () => Fs.mkdir(Path.dirname(Path.resolve(path)), { recursive: true }),
    catch: fileFailure(method, "file", path)
  })

/** How a host calls the archives that it was sent. */
const staged = /[^\s"']*\/staged\.[0-9a-f]{12}/g

const encode = Schema.encodeSync(Protocol.ErrorBody)
const decode = Schema.decodeOption(Protocol.ErrorBody)

/** Replaces the path of an archive at the host by that of this machine. */
export const called =
  (path: string) =>
  (error: LightboxError): LightboxError =>
    Option.getOrElse(decode(encode(error).replaceAll(staged, JSON.stringify(path).slice(1, -1))), () => error)

/** Fetches a file, and removes it at the host. A file that is not complete is removed here. */
export const fetchTo = (client: Client, method: string, id: string, path: string): Effect.Effect<void, LightboxError> =>
  client
    .request(
      (headers) =>
        Effect.tryPromise({
          try: async (signal) => {
            const response = await Failures.request(`${client.url}${Protocol.paths.files}/${id}`, { headers, signal })
            const file = await Fs.open(path, "w").catch(onThisMachine)
            try {
              const target = FsSync.createWriteStream(path, { fd: file })
              if (response.body === null) target.end()
              else {
                await pipeline(response.body, target, { signal }).catch((cause: unknown) =>
                  isWrite(cause) ? onThisMachine(cause) : Promise.reject(cause)
                )
              }
            } catch (cause) {
              await Fs.rm(path, { force: true })
              throw cause
            }
          },
          catch: toError(method, client.url, path)
        }),
      { isOfSession: true }
    )
    .pipe(Effect.ensuring(Effect.ignore(client.end(method, (rpc, call) => rpc.dropFile({ file: id }, call)))))
