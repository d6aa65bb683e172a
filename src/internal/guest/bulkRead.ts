/**
 * Reads many small files at the price of few messages.
 *
 * A file costs four messages of the agent, however small it is, and a message
 * costs more than what is in such a file. So reads that are asked for at the same
 * time are put together: the guest's `tar` sends all of them in one stream. What
 * that does not give for certain (it is not there, not a file, it changed
 * while it was read, it says that it is empty as those of `/proc` do) is read by
 * the agent, which also knows the kernel's error.
 */
import * as Effect from "effect/Effect"
import * as Request from "effect/Request"
import * as RequestResolver from "effect/RequestResolver"
import { unpackTar } from "modern-tar"
import type * as Guest from "../../Guest.ts"
import type { LightboxError } from "../../LightboxError.ts"
import * as Execution from "./execution.ts"

/** From so many on, starting a program is cheaper than the messages. */
const worthwhile = 16

/** As many as a command line has room for, and an answer that is not too long in coming. */
const batchSize = 256

/** More than that is no batch of small files. */
const maxBytes = 16 * 1024 * 1024

interface ReadFile extends Request.Request<Uint8Array, LightboxError> {
  readonly _tag: "ReadFile"
  readonly path: string
}

const ReadFile = Request.tagged<ReadFile>("ReadFile")

/** Reads files whole: `readOne` by one, or many at once. */
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

/** Those of the files that `tar` sends whole. */
const readMany = (guest: Guest.Guest, paths: ReadonlySet<string>): Effect.Effect<ReadonlyMap<string, Uint8Array>> =>
  Effect.gen(function* () {
    const { exitCode, stdout } = yield* Execution.collect<never, never>(
      guest,
      "FileSystem.readFile",
      {
        // Names that begin with a slash would lose it, and say so.
        argv: ["tar", "-c", "-h", "-f", "-", "-C", "/", ...[...paths].map((path) => `.${path}`)],
        user: "0:0",
        cwd: "/"
      },
      { input: undefined, maxOutput: maxBytes }
    )
    // It failed on one of them, and may have filled up another with zeros.
    if (exitCode !== 0) return new Map()
    const entries = yield* Effect.tryPromise(() => unpackTar(stdout))
    return new Map(
      entries.flatMap(({ data, header }) =>
        header.type === "file" && data !== undefined && data.length > 0
          ? [[header.name.replace(/^(\.?\/)?/, "/"), data] as const]
          : []
      )
    )
  }).pipe(Effect.orElseSucceed(() => new Map()))
