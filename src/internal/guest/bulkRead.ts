/**
 * Reads many small files with few messages.
 *
 * Reading a file takes four messages, which cost more than the content of a small file. So concurrent reads are
 * combined: the guest's `tar` sends the files in one stream. Files that it does not deliver reliably (missing, not a
 * regular file, changed during the read, or of size zero like those in `/proc`) are read through the agent, which also
 * reports the kernel's error.
 */
import * as Effect from "effect/Effect"
import * as Request from "effect/Request"
import * as RequestResolver from "effect/RequestResolver"
import { unpackTar } from "modern-tar"
import type * as Guest from "../../Guest.ts"
import type { LightboxError } from "../../LightboxError.ts"
import * as Execution from "./execution.ts"

/** From this number of files on, starting a program is cheaper than the messages. */
const worthwhile = 16

/** Limited by the length of a command line and the latency of the response. */
const batchSize = 256

/** Larger batches do not consist of small files. */
const maxBytes = 16 * 1024 * 1024

interface ReadFile extends Request.Request<Uint8Array, LightboxError> {
  readonly _tag: "ReadFile"
  readonly path: string
}

const ReadFile = Request.tagged<ReadFile>("ReadFile")

/** Reads whole files: `readOne` one at a time, or many at once. */
export const makeReader = (
  guest: Guest.Guest,
  readOne: (path: string) => Effect.Effect<Uint8Array, LightboxError>
): ((path: string) => Effect.Effect<Uint8Array, LightboxError>) => {
  const resolver = RequestResolver.make<ReadFile>((entries) =>
    Effect.gen(function* () {
      const files =
        entries.length < worthwhile
          ? new Map<string, Uint8Array>()
          : yield* readMany(guest, new Set(entries.map(({ request }) => request.path)))
      yield* Effect.forEach(
        entries,
        (entry) => {
          const bytes = files.get(entry.request.path)
          const read = bytes === undefined ? readOne(entry.request.path) : Effect.succeed(bytes)
          return Effect.map(Effect.exit(read), (exit) => entry.completeUnsafe(exit))
        },
        { concurrency: "unbounded", discard: true }
      )
    })
  ).pipe(RequestResolver.batchN(batchSize))
  return (path) => Effect.request(ReadFile({ path }), resolver)
}

/** Returns the files that `tar` sends completely. */
const readMany = (guest: Guest.Guest, paths: ReadonlySet<string>): Effect.Effect<ReadonlyMap<string, Uint8Array>> =>
  Effect.gen(function* () {
    // With a leading slash, `tar` would strip it and print a warning.
    const names = [...paths].map((path) => `.${path}`)
    const { exitCode, stdout } = yield* Execution.collect(
      guest,
      "FileSystem.readFile",
      Execution.asRoot("tar", "-c", "-h", "-f", "-", "-C", "/", ...names),
      { maxOutput: maxBytes }
    )
    // `tar` failed on one file and may have padded another with zeros.
    if (exitCode !== 0) return new Map()
    const entries = yield* Effect.tryPromise(() => unpackTar(stdout, { strict: true }))
    return new Map(
      entries.flatMap(({ data, header }) =>
        header.type === "file" && data !== undefined && data.length > 0
          ? [[header.name.replace(/^(\.?\/)?/, "/"), data] as const]
          : []
      )
    )
  }).pipe(Effect.orElseSucceed(() => new Map()))
