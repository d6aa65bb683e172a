/**
 * What all commands share: the flags that every one of them takes, where the
 * driver comes from, and how a result is said.
 */
import * as Flag from "effect/cli/Flag"
import * as GlobalFlag from "effect/cli/GlobalFlag"
import * as Console from "effect/Console"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type { Services } from "../../Driver.ts"
import type { Output } from "../../BuildReporter.ts"
import type { LightboxError } from "../../LightboxError.ts"
import * as MicrosandboxLocal from "../../MicrosandboxLocal.ts"
import { clean } from "../report/terminalText.ts"

// =============================================================================
// Flags
// =============================================================================

export const Json = GlobalFlag.Setting("json")({
  flag: Flag.Boolean("json").pipe(
    Flag.withDescription("Say results, progress and errors as JSON"),
    Flag.withDefault(false)
  )
})

export const Quiet = GlobalFlag.Setting("quiet")({
  flag: Flag.Boolean("quiet").pipe(
    Flag.withAlias("q"),
    Flag.withDescription("No progress; of lists, only the names"),
    Flag.withDefault(false)
  )
})

export const Home = GlobalFlag.Setting("home")({
  flag: Flag.String("home").pipe(
    Flag.withMetavar("FOLDER"),
    Flag.withDescription("Where everything is kept (default: $MSB_HOME, or ~/.microsandbox)"),
    Flag.optional
  )
})

// =============================================================================
// Driver
// =============================================================================

/** Where the driver comes from. Tests put another in its place. */
export const Driver = Context.Reference<(options: MicrosandboxLocal.Options) => Layer.Layer<Services, LightboxError>>(
  "effect-lightbox/internal/cli/Driver",
  { defaultValue: () => MicrosandboxLocal.layer }
)

/** The driver as the flags want it. */
export const driver = (options?: Pick<MicrosandboxLocal.Options, "sweep">) =>
  Layer.unwrap(
    Effect.gen(function* () {
      const layer = yield* Driver
      return layer({ ...options, home: Option.getOrUndefined(yield* Home) })
    })
  )

// =============================================================================
// Output
// =============================================================================

/** Where the progress of builds goes. Tests put others in their places. */
export const Outputs = Context.Reference<{ readonly stdout: Output; readonly stderr: Output }>(
  "effect-lightbox/internal/cli/Outputs",
  { defaultValue: () => process }
)

/** Says a result: as JSON, or in one of the two ways for persons. */
export const say = Effect.fnUntraced(function* <A, I>(
  schema: Schema.Codec<A, I>,
  value: A,
  text: { readonly full: string; readonly brief?: string | undefined }
) {
  if (yield* Json) return yield* Console.log(toJson(schema)(value))
  const { brief, full } = text
  const lines = (yield* Quiet) && brief !== undefined ? brief : full
  if (lines !== "") yield* Console.log(lines)
})

/** A value as one line of JSON. */
export const toJson = <A, I>(schema: Schema.Codec<A, I>): ((value: A) => string) =>
  Schema.encodeSync(Schema.fromJsonString(Schema.toCodecJson(schema)))

/** Lines of columns, or nothing but a remark when there are none. */
export const table = (
  headers: ReadonlyArray<string>,
  rows: ReadonlyArray<ReadonlyArray<string>>,
  none: string
): string => {
  if (rows.length === 0) return none
  const lines = [headers, ...rows].map((row) => row.map(clean))
  const widths = headers.map((_, column) => Math.max(...lines.map((line) => line[column]?.length ?? 0)))
  return lines
    .map((line) =>
      line
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join("   ")
        .trimEnd()
    )
    .join("\n")
}

/** A number of bytes, for a person. */
export const bytes = (count: number | undefined): string => {
  if (count === undefined) return "-"
  const mebibytes = count / 1_048_576
  return mebibytes >= 1024 ? `${(mebibytes / 1024).toFixed(1)}G` : `${mebibytes.toFixed(1)}M`
}

/** A size that is whole MiB, for a person. */
export const mebibytes = (count: number | undefined): string => (count === undefined ? "-" : `${count / 1_048_576}M`)

/** A duration, for a person. */
export const seconds = (millis: number): string => `${(millis / 1000).toFixed(2)} s`
