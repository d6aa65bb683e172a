/**
 * Reports of operations that remove things: `Snapshot.prune`, `Image.prune`,
 * `Volume.prune` and `Reaper.sweep`.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

/**
 * What happened to one resource, and why.
 *
 * **Details**
 *
 * `removable` is what a dry run would remove. `failed` could not be removed. A
 * `ghost` is a name that a failed creation still occupies; `staging` are
 * unfinished files, `lock` and `owner` the files in which processes record what
 * they hold.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Verdict = Schema.Struct({
  resource: Schema.Literals(["snapshot", "image", "volume", "sandbox", "ghost", "staging", "lock", "owner"]),
  name: Schema.String,
  verdict: Schema.Literals(["removed", "removable", "kept", "failed"]),
  reason: Schema.String,
  /** The definition that a snapshot was built for, if the library built it. */
  definition: Schema.optionalKey(Schema.String),
  /** Bytes that it occupies on the host, where known. */
  bytes: Schema.optionalKey(Schema.Finite),
  createdAt: Schema.optionalKey(Schema.DateTimeUtc),
  usedAt: Schema.optionalKey(Schema.DateTimeUtc)
})

/**
 * The type of {@link Verdict}.
 *
 * @category models
 * @since 0.1.0
 */
export type Verdict = typeof Verdict.Type

/**
 * The report of a prune or sweep.
 *
 * **Example** (Failing when something could not be removed)
 *
 * ```ts
 * import type { Cleanup } from "effect-lightbox"
 *
 * export const failures = (report: Cleanup.Report) => report.verdicts.filter(({ verdict }) => verdict === "failed")
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export class Report extends Schema.Class<Report>("effect-lightbox/Cleanup/Report")({
  verdicts: Schema.Array(Verdict),
  /** Bytes that were freed, or in a dry run would be, as far as known. */
  freedBytes: Schema.Finite,
  dryRun: Schema.Boolean,
  /** `false`: the time limit was reached before everything was examined. */
  isComplete: Schema.Boolean
}) {
  /** Creates a report from its verdicts. */
  static of(
    verdicts: ReadonlyArray<Verdict>,
    options: { readonly dryRun: boolean; readonly isComplete?: boolean | undefined }
  ): Report {
    return new Report({
      verdicts,
      freedBytes: verdicts.reduce(
        (sum, { bytes = 0, verdict }) => (verdict === "removed" || verdict === "removable" ? sum + bytes : sum),
        0
      ),
      dryRun: options.dryRun,
      isComplete: options.isComplete ?? true
    })
  }
}
