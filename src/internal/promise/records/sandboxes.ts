/** Records of ended sandboxes for programs that use promises. No declaration may mention a type of Effect. */
// @effect-diagnostics asyncFunction:off globalDate:off
import * as DateTime from "effect/DateTime"
import * as Schema from "effect/Schema"
import * as Records from "../../../SandboxRecord.ts"
import { intBetween, optionsStruct, RecordId } from "../../config/schemas.ts"
import { callFields, checked, None } from "../input.ts"
import type { CallOptions } from "../options.ts"
import { run } from "../runtime.ts"

/**
 * A sandbox that has ended, in a list.
 *
 * @category models
 * @since 0.1.0
 */
export interface EndedSandboxSummary {
  /** The id of the record. */
  readonly id: string
  /** The name of the sandbox. */
  readonly name: string
  /** How it was launched. Undefined if another program made it. */
  readonly role?: "scoped" | "detached" | "pool"
  readonly imageRef?: string
  /** The snapshot that it was launched from. */
  readonly snapshot?: string
  /** Its state when it was removed: one that was `crashed` or `stopped` had ended by itself. */
  readonly status: "created" | "starting" | "running" | "draining" | "paused" | "stopped" | "crashed"
  /**
   * Why it was removed. `released`: the program that launched it was done with it. `failed`: its launch failed, or was
   * interrupted. `removed`: by name. `replaced`: another launch took its name. `expired`: it was detached for a time, which
   * is over. `swept`: its program ended without removing it.
   */
  readonly cause: "released" | "failed" | "removed" | "replaced" | "expired" | "swept"
  /** The same in words. */
  readonly reason: string
  readonly createdAt?: Date
  readonly endedAt: Date
  /** The program that removed it. */
  readonly by: { readonly program: string; readonly pid: number }
}

/**
 * A sandbox that has ended, with the last lines that it wrote.
 *
 * @category models
 * @since 0.1.0
 */
export interface EndedSandbox extends EndedSandboxSummary {
  /** The last lines that its commands wrote: up to 100, and 32 KiB. */
  readonly output: ReadonlyArray<string>
  /** The last lines of its system log, from the kernel and the runtime: as many. */
  readonly system: ReadonlyArray<string>
}

/**
 * Options of {@link listEndedSandboxes}.
 *
 * @category options
 * @since 0.1.0
 */
export interface ListEndedSandboxesOptions extends CallOptions {
  /** Only sandboxes with this name. Default: all. */
  readonly name?: string | undefined
  /** Maximum number of records. Default: unlimited. */
  readonly limit?: number | undefined
}

const summaryOf = ({ createdAt, endedAt, image, ...summary }: Records.Summary): EndedSandboxSummary => ({
  ...summary,
  ...(image === undefined ? {} : { imageRef: image }),
  ...(createdAt === undefined ? {} : { createdAt: DateTime.toDateUtc(createdAt) }),
  endedAt: DateTime.toDateUtc(endedAt)
})

const decodeList = checked(
  "listEndedSandboxes",
  None,
  optionsStruct<ListEndedSandboxesOptions>()({
    ...callFields,
    name: Schema.optional(Schema.NonEmptyString),
    limit: Schema.optional(intBetween(1, 1_000_000))
  })
)

/**
 * Lists the sandboxes of this machine that have ended, the last one first: when and why each was removed. The last 200 are
 * kept, for up to 30 days. `configure({ records: false })` turns recording off.
 *
 * **Example** (See what a sandbox wrote before it ended)
 *
 * ```ts
 * import { getEndedSandbox, listEndedSandboxes } from "effect-lightbox/promise"
 *
 * const [last] = await listEndedSandboxes({ name: "agent-1", limit: 1 })
 * if (last !== undefined) {
 *   console.log(last.status, last.reason, (await getEndedSandbox(last.id)).output.slice(-3))
 * }
 * ```
 *
 * @category operations
 * @since 0.1.0
 */
export const listEndedSandboxes = async (options?: ListEndedSandboxesOptions): Promise<Array<EndedSandboxSummary>> => {
  const { limit, name, signal } = decodeList({}, options)
  return (await run(Records.list({ name, limit }), signal)).map(summaryOf)
}

const decodeGet = checked("getEndedSandbox", Schema.Struct({ id: RecordId }), Schema.Struct(callFields))

/**
 * Gets the record of an ended sandbox by the record's id. Rejects with `NotFound` if there is none, because the sandbox
 * exists, was never recorded, or ended longer ago than is kept.
 *
 * @category operations
 * @since 0.1.0
 */
export const getEndedSandbox = async (id: string, options?: CallOptions): Promise<EndedSandbox> => {
  const { id: wanted, signal } = decodeGet({ id }, options)
  const { output, system, ...summary } = await run(Records.get(wanted), signal)
  return { ...summaryOf(summary), output, system }
}
