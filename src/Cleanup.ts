/**
 * Reports of `Snapshot.prune`, `Image.prune`, `Volume.prune` and `Reaper.sweep`.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

/**
 * The outcome for one resource, with the reason. `removable`: a real run would
 * remove it. `failed`: it could not be removed.
 *
 * A `ghost` is a name that a failed creation still occupies. `staging` is an
 * unfinished file. `lock` and `owner` are files that record what a process holds.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Verdict = Schema.Struct({
  resource: Schema.Literals(["snapshot", "image", "volume", "sandbox", "ghost", "staging", "lock", "owner"]),
  name: Schema.String,
  verdict: Schema.Literals(["removed", "removable", "kept", "failed"]),
  reason: Schema.String,
  /** The definition of a snapshot, if the library built it. */
  definition: Schema.optionalKey(Schema.String),
  /** Bytes on the host, where known. */
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
 * @category models
 * @since 0.1.0
 */
export class Report extends Schema.Class<Report>("effect-lightbox/Cleanup/Report")({
  verdicts: Schema.Array(Verdict),
  /** Bytes freed, as far as known. In a dry run: bytes that would be freed. */
  freedBytes: Schema.Finite,
  dryRun: Schema.Boolean,
  /** `false`: the time limit was reached before everything was checked. */
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
