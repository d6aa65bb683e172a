/**
 * Records of sandboxes that have ended: when and why each was removed, and the last
 * lines that it wrote.
 *
 * A sandbox takes its logs along when it is removed. Whoever removes one (its scope,
 * `Sandbox.remove`, another launch that takes its name, a sweep) first keeps its
 * state, the last 100 lines of its commands' output and the last 100 lines of its
 * system log, up to 32 KiB each. So "what did it print before it died?" can be
 * answered afterwards and from another process. Builders have no records: see
 * `BuildRecord`. The last 200 records are kept, none for longer than 30 days, and all
 * of them together up to 16 MiB.
 *
 * Records are kept in the home of the machine on which the sandbox ran. The option
 * `records: false` of a driver's layer turns recording off. A record that cannot be
 * written fails nothing. To remove all records, remove the folder `lightbox/ended` of
 * the home.
 *
 * **Gotchas**
 *
 * Redacted values that a program passed to its sandbox are hidden in the output when
 * its scope removes the sandbox. Who removes it otherwise does not know them. A
 * sandbox that ends by itself and is not removed has no record yet: it is still in
 * `Sandbox.list`, with its logs.
 *
 * **Example** (Finding out why a sandbox is gone)
 *
 * ```ts
 * import { Console, Effect } from "effect"
 * import { SandboxRecord } from "effect-lightbox"
 *
 * export const program = Effect.gen(function* () {
 *   const [last] = yield* SandboxRecord.list({ name: "agent-1", limit: 1 })
 *   if (last === undefined) return
 *   const { output } = yield* SandboxRecord.get(last.id)
 *   yield* Console.log(last.status, last.reason, output.slice(-3))
 * })
 * ```
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Struct from "effect/Struct"
import { intBetween, RecordId } from "./internal/config/schemas.ts"
import { decoder, optionsDecoder } from "./internal/config/validation.ts"
import * as Endings from "./internal/store/endings.ts"
import { LightboxError, NotFound } from "./LightboxError.ts"
import * as Microsandbox from "./Microsandbox.ts"

// =============================================================================
// Models
// =============================================================================

/**
 * Why a sandbox was removed.
 *
 * - `released`: the scope of its launch closed.
 * - `failed`: its launch failed, or was interrupted.
 * - `removed`: somebody removed it by name.
 * - `replaced`: another launch took its name.
 * - `expired`: it was detached for a time, which is over.
 * - `swept`: the program that launched it ended without removing it.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Cause = Endings.Cause

/**
 * The type of {@link Cause}.
 *
 * @category models
 * @since 0.1.0
 */
export type Cause = typeof Cause.Type

/**
 * An ended sandbox in a list.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Summary = Schema.Struct(Endings.summary)

/**
 * The type of {@link Summary}.
 *
 * @category models
 * @since 0.1.0
 */
export type Summary = typeof Summary.Type

/**
 * An ended sandbox, with the last lines that it wrote.
 *
 * @category schemas
 * @since 0.1.0
 */
export const SandboxRecord = Endings.Ended

/**
 * The type of {@link SandboxRecord}.
 *
 * @category models
 * @since 0.1.0
 */
export type SandboxRecord = typeof SandboxRecord.Type

// =============================================================================
// Operations
// =============================================================================

/**
 * Options of {@link list}.
 *
 * @category options
 * @since 0.1.0
 */
export interface ListOptions {
  /** Only sandboxes with this name. Default: all. */
  readonly name?: string | undefined
  /** Maximum number of records. Default: unlimited. */
  readonly limit?: number | undefined
}

const decodeList = optionsDecoder(
  "SandboxRecord.list",
  Schema.Struct({ name: Schema.optional(Schema.NonEmptyString), limit: Schema.optional(intBetween(1, 1_000_000)) })
)

/**
 * Lists sandboxes that have ended, the last one first.
 *
 * @category operations
 * @since 0.1.0
 */
export const list = Effect.fn("SandboxRecord.list")(function* (
  options?: ListOptions
): Effect.fn.Return<ReadonlyArray<Summary>, LightboxError, Microsandbox.Microsandbox> {
  const { limit, name } = yield* decodeList(options)
  const { home } = yield* Microsandbox.Microsandbox
  const found = yield* Endings.readAll("SandboxRecord.list", home)
  return found
    .filter((record) => name === undefined || record.name === name)
    .slice(0, limit)
    .map((record) => Struct.omit(record, ["output", "system"]))
})

const decodeGet = decoder(Schema.Struct({ id: RecordId }), "SandboxRecord.get")

/**
 * Gets a record by its id. Fails with `NotFound` if there is none, because the sandbox
 * exists, was never recorded, or ended longer ago than is kept.
 *
 * @category operations
 * @since 0.1.0
 */
export const get = Effect.fn("SandboxRecord.get")(function* (
  id: string
): Effect.fn.Return<SandboxRecord, LightboxError, Microsandbox.Microsandbox> {
  const method = "SandboxRecord.get"
  const { id: wanted } = yield* decodeGet({ id })
  const { home } = yield* Microsandbox.Microsandbox
  const found = yield* Endings.read(method, home, wanted)
  return found ?? (yield* new LightboxError({ method, reason: new NotFound({ resource: "record", name: wanted }) }))
})
