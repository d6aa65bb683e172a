/** Reads the logs of a sandbox, running or not. */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type { LightboxError } from "../../LightboxError.ts"
import * as Microsandbox from "../../Microsandbox.ts"
import { intBetween } from "../config/schemas.ts"
import { optionsDecoder } from "../config/validation.ts"

const decodeQuery = optionsDecoder(
  "Sandbox.logs",
  Schema.Struct({
    sources: Schema.optional(Schema.Array(Microsandbox.LogEntry.fields.source)),
    tail: Schema.optional(intBetween(1, 0xffff_ffff)),
    after: Schema.optional(Schema.NonEmptyString),
    follow: Schema.optional(Schema.Boolean)
  }).check(
    Schema.makeFilter(({ after, tail }) =>
      after === undefined || tail === undefined
        ? undefined
        : { path: ["tail"], issue: "tail cannot be combined with after" }
    )
  )
)

/** Streams log entries so far; with `follow`, also new ones, until the sandbox stops. */
export const read = (
  driver: Microsandbox.Microsandbox["Service"],
  sandbox: Microsandbox.SandboxRef,
  query?: Microsandbox.LogQuery & { readonly follow?: boolean | undefined }
): Stream.Stream<Microsandbox.LogEntry, LightboxError> =>
  Stream.unwrap(
    Effect.map(decodeQuery(query), ({ follow, ...first }) =>
      Stream.paginate<Microsandbox.LogQuery, Microsandbox.LogEntry, LightboxError>(first, (query) =>
        Effect.gen(function* () {
          // Checked before reading, so that the last entries are read once more.
          const isRunning = follow === true && (yield* driver.getSandbox(sandbox.name)).status === "running"
          const entries = yield* driver.readLogs(sandbox, query)
          if (!isRunning) return [entries, Option.none()]
          if (entries.length === 0) yield* Effect.sleep("250 millis")
          const after = entries.at(-1)?.cursor ?? query.after
          // From here on only new entries, whatever the limits of the first read.
          return [entries, Option.some({ sources: first.sources, ...(after === undefined ? {} : { after }) })]
        })
      )
    )
  )

/** Sessions whose characters can be split between entries. */
const maxDecoders = 64

/** Decodes the entries of each session on its own. Of many at once, the least recent loses a split character. */
export const sessionDecoder = (): ((entry: Microsandbox.LogEntry) => string) => {
  const decoders = new Map<string, TextDecoder>()
  return ({ bytes, session, source }) => {
    const key = `${source} ${session}`
    const decoder = decoders.get(key) ?? new TextDecoder()
    decoders.delete(key)
    decoders.set(key, decoder)
    for (const oldest of decoders.keys()) {
      if (decoders.size <= maxDecoders) break
      decoders.delete(oldest)
    }
    return decoder.decode(bytes, { stream: true })
  }
}
