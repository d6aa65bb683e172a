/** The global flags, the driver and the output of all commands. */
import * as Flag from "effect/cli/Flag"
import * as GlobalFlag from "effect/cli/GlobalFlag"
import * as Clock from "effect/Clock"
import * as Console from "effect/Console"
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Fs from "node:fs"
import * as Cleanup from "../../Cleanup.ts"
import type { Services } from "../../Driver.ts"
import type { Output } from "../../BuildReporter.ts"
import { HostUnavailable, LightboxError } from "../../LightboxError.ts"
import * as MicrosandboxLocal from "../../MicrosandboxLocal.ts"
import * as Attach from "../guest/attach.ts"
import { invalid, renameFields } from "../config/validation.ts"
import { escapeJson } from "../report/printable.ts"
import { clean } from "../report/terminalText.ts"
import * as Contexts from "./serve/contexts.ts"
import type { Listing } from "./flags.ts"
import * as Shapes from "./json.ts"
import * as Lists from "./lists.ts"

// =============================================================================
// Flags
// =============================================================================

export const Json = GlobalFlag.Setting("json")({
  flag: Flag.Boolean("json").pipe(
    Flag.withDescription("Print results, progress and errors as JSON"),
    Flag.withDefault(false)
  )
})

export const Quiet = GlobalFlag.Setting("quiet")({
  flag: Flag.Boolean("quiet").pipe(
    Flag.withAlias("q"),
    Flag.withDescription("Hide progress, and print only the names in lists"),
    Flag.withDefault(false)
  )
})

export const Home = GlobalFlag.Setting("home")({
  flag: Flag.String("home").pipe(
    Flag.withMetavar("FOLDER"),
    Flag.withDescription("Folder for all data (default: $MSB_HOME, or ~/.microsandbox)"),
    Flag.optional
  )
})

export const Host = GlobalFlag.Setting("host")({
  flag: Flag.String("host").pipe(
    Flag.withMetavar("URL"),
    Flag.withDescription("Use the machine that runs `lightbox host` there (token: $LIGHTBOX_TOKEN)"),
    Flag.optional
  )
})

export const ContextName = GlobalFlag.Setting("context")({
  flag: Flag.String("context").pipe(
    Flag.withMetavar("NAME"),
    Flag.withDescription(
      "Use the machine of this context (default: $LIGHTBOX_CONTEXT, else that of `context use`); `local` is this one"
    ),
    Flag.optional
  )
})

// =============================================================================
// Driver
// =============================================================================

/** The layer of the driver; tests replace it. */
export const Driver = Context.Reference<(options: MicrosandboxLocal.Options) => Layer.Layer<Services, LightboxError>>(
  "effect-lightbox/internal/cli/Driver",
  { defaultValue: () => MicrosandboxLocal.layer }
)

/** Finds the machine that a command uses: `--host` wins. `undefined`: this one. */
export const machine = Effect.fnUntraced(function* (host: string | undefined, context: string | undefined) {
  if (host !== undefined) return { url: host, token: process.env[tokenVariable], context: undefined }
  const chosen = yield* Contexts.chosen(context)
  if (chosen === undefined) return undefined
  yield* Contexts.trust(chosen, chosen.name)
  return { url: chosen.url, token: chosen.token, context: chosen.name }
})

/** Provides the driver. With `here`, a context is used only if a flag names it. */
export const driver = ({
  here = false,
  ...options
}: Pick<MicrosandboxLocal.Options, "sweep"> & { readonly here?: boolean } = {}) =>
  Layer.unwrap(
    Effect.gen(function* () {
      const layer = yield* Driver
      const home = Option.getOrUndefined(yield* Home)
      const context = Option.getOrUndefined(yield* ContextName)
      const other = yield* machine(Option.getOrUndefined(yield* Host), context ?? (here ? Contexts.here : undefined))
      if (other !== undefined) return yield* remote(other, home)
      // Likely a typing error: an empty home has no snapshots, sandboxes or volumes.
      if (home !== undefined && home !== "" && !(yield* Json) && !(yield* Effect.sync(() => Fs.existsSync(home)))) {
        yield* Console.error(`note: ${clean(home)} does not exist yet`)
      }
      return layer({ ...options, home })
    })
  )

/** Says of which context a host is. */
const ofContext =
  (context: string) =>
  (error: LightboxError): LightboxError => {
    const { method, reason } = error
    if (reason._tag !== "HostUnavailable") return renameFields({ home: "--home" })(error)
    const { cause, kind, problem } = reason
    const host = `${reason.host} of the context "${context}"`
    return new LightboxError({
      method,
      reason: new HostUnavailable({ host, kind, problem, ...(cause === undefined ? {} : { cause }) })
    })
  }

/** The variable with the token of a host. */
export const tokenVariable = "LIGHTBOX_TOKEN"

/** The variable with the directory of a fleet. */
export const directoryVariable = "LIGHTBOX_DIRECTORY"

/** The variable with the token of the host that a snapshot is pulled from. */
export const fromTokenVariable = "LIGHTBOX_FROM_TOKEN"

/** The driver of another machine, or of a fleet. */
export const remote = Effect.fnUntraced(function* (
  { context, token, url }: Effect.Success<ReturnType<typeof machine>> & {},
  home: string | undefined
) {
  if (token === undefined) return yield* invalid("lightbox", tokenVariable, "expected the token of the host")
  const options = { token: Redacted.make(token), home }
  const layer = /^(sqlite|postgres(ql)?):/.test(url)
    ? (yield* Effect.promise(() => import("../../MicrosandboxFleet.ts"))).layer({ ...options, directory: url })
    : (yield* Effect.promise(() => import("../../MicrosandboxRemote.ts"))).layer({ ...options, url })
  const named =
    context === undefined
      ? renameFields({ url: "--host", directory: "--host", token: tokenVariable, home: "--home" })
      : ofContext(context)
  return layer.pipe(Layer.catch((error) => Layer.effectContext(Effect.fail(named(error)))))
})

// =============================================================================
// Output
// =============================================================================

/** Where the progress of builds is written; tests replace it. */
export const Outputs = Context.Reference<{ readonly stdout: Output; readonly stderr: Output }>(
  "effect-lightbox/internal/cli/Outputs",
  { defaultValue: () => process }
)

/** The keys of a terminal, and its changes of size; tests replace them. */
export const Keyboard = Context.Reference<{
  /** Passes on each key at once until the scope closes. Does nothing if the input is not a terminal. */
  readonly start: Effect.Effect<unknown, never, Scope.Scope>
  readonly keys: Stream.Stream<Uint8Array>
  readonly resizes: Stream.Stream<void>
}>("effect-lightbox/internal/cli/Keyboard", {
  defaultValue: () => ({
    start: Effect.suspend(() => (process.stdin.isTTY ? Attach.rawMode : Effect.void)),
    // Input that is not typed is no keys.
    keys: Stream.suspend(() => (process.stdin.isTTY ? Attach.keyboard : Stream.never)),
    resizes: Attach.resizes
  })
})

/** Prints a result: as JSON, in brief with `--quiet`, or in full. */
export const print = Effect.fnUntraced(function* <A, I>(
  schema: Schema.Codec<A, I>,
  value: A,
  text: { readonly full: string; readonly brief?: string | undefined }
) {
  if (yield* Json) return yield* Console.log(toJson(schema)(value))
  const { brief, full } = text
  const lines = (yield* Quiet) && brief !== undefined ? brief : full
  if (lines !== "") yield* Console.log(lines)
})

export const toJson = <A, I>(schema: Schema.Codec<A, I>): ((value: A) => string) => {
  const encode = Schema.encodeSync(Schema.fromJsonString(Schema.toCodecJson(schema)))
  return (value) => escapeJson(encode(value))
}

/** A time is shown as an age. */
export type Cell = string | DateTime.DateTime | undefined

interface Table<Row> {
  readonly columns: ReadonlyArray<string>
  readonly row: (row: Row) => ReadonlyArray<Cell>
  /** Printed if there are no rows. */
  readonly none: string
}

/** Formats rows as a table that fits into the window. */
export const format = Effect.fnUntraced(function* <Row>(rows: ReadonlyArray<Row>, { columns, none, row }: Table<Row>) {
  if (rows.length === 0) return none
  const now = yield* Clock.currentTimeMillis
  const { columns: width = Number.POSITIVE_INFINITY } = (yield* Outputs).stdout
  const cells = rows.map((one) => row(one).map((cell) => clean(cellText(cell, now))))
  return Lists.layOut(columns, cells, width)
})

const cellText = (cell: Cell, now: number): string =>
  typeof cell === "string" ? cell : cell === undefined ? "-" : Lists.age(now - DateTime.toEpochMillis(cell))

/** Prints a list: of the rows that the filters leave, in the format; with `--quiet`, only the first column. */
export const printList = Effect.fnUntraced(function* <Row, I>(
  schema: Schema.Codec<ReadonlyArray<Row>, I>,
  all: ReadonlyArray<Row>,
  table: Table<Row>,
  { filters, format: wanted }: Listing = { filters: [], format: undefined }
) {
  const isChosen = yield* Lists.matcher(schema, filters)
  const encoded = Lists.encode(schema, all)
  const rows = all.filter((_, index) => isChosen(encoded[index]))
  const render =
    wanted === undefined || wanted === "table" || wanted === "json" ? undefined : yield* Lists.renderer(schema, wanted)
  if (wanted === "json") return yield* Console.log(toJson(schema)(rows))
  if (render !== undefined && !(yield* Json)) {
    const lines = encoded.filter(isChosen).map(render)
    return lines.length === 0 ? undefined : yield* Console.log(lines.join("\n"))
  }
  yield* print(schema, rows, {
    full: rows.length === 0 && all.length > 0 ? "Nothing matches the filters." : yield* format(rows, table),
    brief: rows.map((row) => String(table.row(row)[0])).join("\n")
  })
})

/** Prints the verdicts of a cleanup; with `--quiet`, only the names of what is not kept. */
export const printReport = Effect.fnUntraced(function* (
  report: Cleanup.Report,
  table: Table<Cleanup.Verdict>,
  end?: string
) {
  yield* print(Cleanup.Report, report, {
    full: [yield* format(report.verdicts, table), ...(end === undefined ? [] : [end])].join("\n"),
    brief: report.verdicts.flatMap(({ name, verdict }) => (verdict === "kept" ? [] : [name])).join("\n")
  })
})

export const printRemoved = (names: ReadonlyArray<string>) =>
  print(Shapes.Removed, { removed: names }, { full: names.map((name) => `Removed ${name}`).join("\n"), brief: "" })

export const bytes = (count: number | undefined): string => {
  if (count === undefined) return "-"
  const mebibytes = count / 1_048_576
  if (mebibytes < 1) return count < 1024 ? `${count}B` : `${(count / 1024).toFixed(1)}K`
  return mebibytes >= 1024 ? `${(mebibytes / 1024).toFixed(1)}G` : `${mebibytes.toFixed(1)}M`
}

export const mebibytes = (count: number | undefined): string => (count === undefined ? "-" : `${count / 1_048_576}M`)

export const seconds = (millis: number): string => `${(millis / 1000).toFixed(2)} s`
