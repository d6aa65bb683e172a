/** `builds`: records of builds. */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Clock from "effect/Clock"
import * as Console from "effect/Console"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import * as Fs from "node:fs/promises"
import * as BuildRecord from "../../../BuildRecord.ts"
import type { LightboxError } from "../../../LightboxError.ts"
import type * as Microsandbox from "../../../Microsandbox.ts"
import * as Plan from "../../../Plan.ts"
import { shortPath } from "../../config/schemas.ts"
import { invalid } from "../../config/validation.ts"
import { fileFailure } from "../../host/fileFailure.ts"
import { elapsed } from "../../report/buildLine.ts"
import { clean, cut, oneLine, wrap } from "../../report/terminalText.ts"
import { driver, format, Outputs, print, printList, toJson } from "../environment.ts"
import { namedArgument, nameFlags } from "../failure.ts"
import * as Flags from "../flags.ts"
import * as Shapes from "../json.ts"
import * as Lists from "../lists.ts"

const idOf = (name: string, description: string) =>
  Argument.String(name).pipe(Argument.withMetavar(name.toUpperCase()), Argument.withDescription(description))

const accepted = "Id of a build, the beginning of one, or a snapshot for its last build"

const id = idOf("id", `${accepted} (default: the last build)`).pipe(Argument.optional)

const find = Effect.fnUntraced(function* (
  argument: string,
  typed: string | undefined
): Effect.fn.Return<BuildRecord.BuildRecord, LightboxError, Microsandbox.Microsandbox> {
  const wanted = yield* Lists.idOf("builds", argument, typed, yield* BuildRecord.list(), {
    nameOf: ({ snapshot }) => snapshot,
    none: "no build is recorded here",
    many: "builds"
  })
  return yield* BuildRecord.get(wanted).pipe(Effect.mapError(nameFlags({ id: argument })))
})

// =============================================================================
// List
// =============================================================================

const stepsOf = ({ stepsReused, stepsRun }: BuildRecord.Summary): string =>
  [...(stepsRun === 0 ? [] : [`${stepsRun} run`]), ...(stepsReused === 0 ? [] : [`${stepsReused} cached`])].join(", ")

const spent = (duration: Duration.Duration | undefined): string =>
  duration === undefined ? "" : elapsed(Duration.toMillis(duration))

const list = Effect.fnUntraced(function* (listing: Flags.Listing) {
  yield* printList(
    Shapes.Builds,
    yield* BuildRecord.list(),
    {
      columns: ["ID", "SNAPSHOT", "STATUS", "STEPS", "TOOK", "STARTED"],
      row: (build) => [build.id, build.snapshot, build.status, stepsOf(build), spent(build.duration), build.startedAt],
      none: "No build is recorded here."
    },
    listing
  )
})

// =============================================================================
// Reasons
// =============================================================================

const longestValue = 60

const textOf = (value: unknown): string =>
  oneLine(Predicate.isString(value) ? value : (JSON.stringify(value) ?? "nothing"))

/** Quotes a value where it differs from another one. */
const quote = (value: unknown, other: unknown): string => {
  const [text, compared] = [textOf(value), textOf(other)]
  let same = 0
  while (same < text.length && text[same] === compared[same]) same++
  const from = text.length <= longestValue ? 0 : Math.max(0, same - longestValue / 2)
  const shown = text.slice(from, from + longestValue)
  return `"${from > 0 ? "…" : ""}${shown}${from + longestValue < text.length ? "…" : ""}"`
}

/** The kind and the arguments of a step, as they are recorded. */
const partsOf = (
  text: string
): Option.Option<readonly [kind: string, fields: { readonly [name: string]: unknown }]> => {
  const at = text.indexOf(" ")
  return Option.map(decodeArguments(text.slice(at + 1)), (fields) => [text.slice(0, at), fields])
}

const decodeArguments = Schema.decodeOption(Schema.fromJsonString(Schema.Record(Schema.String, Schema.Unknown)))

/** Explains a reason in a line. What a step runs now is in its description. */
const explain = (reason: Plan.MissReason): string => {
  if (reason._tag !== "ArgumentsChanged") return oneLine(Plan.formatReason(reason))
  const [was, now] = [partsOf(reason.was), partsOf(reason.now)]
  if (Option.isNone(was) || Option.isNone(now)) return oneLine(Plan.formatReason(reason))
  const [[kindBefore, before], [kind, after]] = [was.value, now.value]
  if (kindBefore !== kind) return `was another kind of step: ${kindBefore}`
  const names = [...new Set([...Object.keys(before), ...Object.keys(after)])]
  return names
    .filter((name) => JSON.stringify(before[name]) !== JSON.stringify(after[name]))
    .map((name) =>
      name === "script" || name === "argv"
        ? `${name === "script" ? "script" : "command"} was ${quote(before[name], after[name])}`
        : `${name} was ${quote(before[name], after[name])}, is ${quote(after[name], before[name])}`
    )
    .join("; ")
}

/** The reasons that do not depend on what was built before. */
const isOwn = ({ _tag }: Plan.MissReason): boolean =>
  _tag === "Forced" || _tag === "NotKept" || _tag === "Evicted" || _tag === "Damaged" || _tag === "EarlierChanged"

// =============================================================================
// Show
// =============================================================================

/** Lines shown of the output of a step that ran, and of one that did not end well. */
const shownLines = { ran: 3, failed: 20 }

const indent = " ".repeat(6)

const showOf = Effect.fnUntraced(function* (record: BuildRecord.BuildRecord, tail: number | undefined) {
  const { columns = Number.POSITIVE_INFINITY } = (yield* Outputs).stdout
  const age = Lists.age((yield* Clock.currentTimeMillis) - DateTime.toEpochMillis(record.startedAt))
  const under = (text: string, columnsLeft = columns - indent.length) =>
    columnsLeft < 8 ? [] : wrap(clean(text), columnsLeft).map((line) => `${indent}${line}`)
  const quoted = (lines: ReadonlyArray<string>) => lines.map((line) => cut(`${indent}│ ${clean(line)}`, columns))
  const { caller, duration, generation, image, imageDigest, parent, problem, snapshot, status } = record
  const facts: ReadonlyArray<readonly [title: string, value: string | undefined]> = [
    ["Build", record.id],
    ["Snapshot", snapshot],
    ["Image", imageDigest === undefined ? image : `${image} (${imageDigest.slice(0, "sha256:".length + 12)})`],
    ["Status", generation === undefined ? status : `${status}, generation ${generation}`],
    ["Started", age],
    ["Took", duration === undefined ? undefined : spent(duration)],
    ["By", `${caller.program}, process ${caller.pid}`],
    ["Declared", caller.declaredAt],
    ["For", parent === undefined ? undefined : `build ${parent}`],
    ["Waited", record.followed.length === 0 ? undefined : `for build ${record.followed.join(", ")}`]
  ]
  const titles = Math.max(...facts.map(([title]) => title.length)) + 3
  const steps = record.steps.flatMap((step) => {
    const { attempts, declaredAt, description, duration, index, output, outcome, reason } = step
    const took = [
      ...(duration === undefined ? [] : [spent(duration)]),
      ...(attempts > 1 ? [`${attempts} attempts`] : [])
    ]
    const isFailed = outcome === "failed" || outcome === "ended"
    const lines = output.slice(
      output.length - Math.min(output.length, tail ?? (isFailed ? shownLines.failed : shownLines.ran))
    )
    const outcomeText = [outcome, ...took].join(", ")
    return [
      cut(`${String(index).padStart(4)}  ${oneLine(description)}`, columns),
      ...under(isFailed && declaredAt !== undefined ? `${outcomeText} (${declaredAt})` : outcomeText),
      ...(reason === undefined ? [] : under(`why: ${explain(reason)}`)),
      ...quoted(lines),
      ...(isFailed && step.problem !== undefined ? under(step.problem.split("\n")[0] ?? "") : [])
    ]
  })
  const isShown = record.steps.some((step) => step.problem !== undefined)
  return [
    ...facts.flatMap(([title, value]) =>
      value === undefined
        ? []
        : wrap(clean(value), Math.max(8, columns - titles)).map(
            (line, at) => `${(at === 0 ? title : "").padEnd(titles)}${line}`
          )
    ),
    ...(steps.length === 0 ? [] : ["", ...steps]),
    // The failed step says the same, with its output.
    ...(problem === undefined || isShown
      ? []
      : ["", ...problem.split("\n").flatMap((line) => wrap(clean(line), columns))])
  ].join("\n")
})

const show = Command.make(
  "show",
  {
    id,
    tail: Flags.count(
      "tail",
      "COUNT",
      `Lines of output of each step (default: ${shownLines.ran}, or ${shownLines.failed} if it failed)`
    ).pipe(Flag.withAlias("n"))
  },
  Effect.fnUntraced(function* ({ id, tail }) {
    if (tail !== undefined && tail < 0) return yield* invalid("builds", "--tail", "expected 0 or more")
    const record = yield* find("ID", Option.getOrUndefined(id))
    yield* print(BuildRecord.BuildRecord, record, { full: yield* showOf(record, tail), brief: record.id })
  }, namedArgument)
).pipe(
  Command.withDescription("Show the steps of a build: what became of each, why, how long it took, and what it wrote"),
  Command.withExamples([
    { command: "lightbox builds show", description: "The last build" },
    { command: "lightbox builds show node-ci -n 20", description: "The last one of a snapshot" }
  ])
)

// =============================================================================
// Compare
// =============================================================================

const sideOf = (step: BuildRecord.ComparedStep | undefined): string =>
  step === undefined ? "-" : [step.outcome, spent(step.duration)].filter((part) => part !== "").join(" ")

const compare = Command.make(
  "compare",
  { a: idOf("a", accepted), b: idOf("b", accepted) },
  Effect.fnUntraced(function* ({ a, b }) {
    const before = yield* find("A", a)
    const comparison = BuildRecord.compare(before, yield* find("B", b))
    const changed = comparison.steps.filter(({ change }) => change !== "same")
    const sides = yield* format([comparison.before, comparison.after], {
      columns: ["", "ID", "SNAPSHOT", "STATUS", "TOOK", "STARTED"],
      row: (build) => [
        build === comparison.before ? "A" : "B",
        build.id,
        build.snapshot,
        build.status,
        spent(build.duration),
        build.startedAt
      ],
      none: ""
    })
    const steps = yield* format(comparison.steps, {
      columns: ["CHANGE", "A", "B", "STEP"],
      row: ({ after, before, change, description, why: differs }) => {
        const reason = after?.reason
        const why = differs ?? (reason !== undefined && isOwn(reason) ? reason : undefined)
        return [
          change,
          sideOf(before),
          sideOf(after),
          `${oneLine(description)}${why === undefined ? "" : ` <- ${explain(why)}`}`
        ]
      },
      none: "Neither build came to a step."
    })
    yield* print(BuildRecord.Comparison, comparison, {
      full: `${sides}\n\n${steps}\n\n${changed.length} of ${comparison.steps.length} steps differ`,
      brief: changed.map(({ description }) => oneLine(description)).join("\n")
    })
  })
).pipe(
  Command.withDescription("Show which steps of two builds differ, why, and how long each took"),
  Command.withExamples([{ command: "lightbox builds compare mx2n73nj mx2n73uu" }])
)

// =============================================================================
// Export
// =============================================================================

const exported = Command.make(
  "export",
  {
    id,
    format: Flags.choice(
      "format",
      ["chrome", "otlp"],
      "chrome, for Perfetto and Chrome's trace viewer, or otlp, for a collector of OpenTelemetry (default: chrome)"
    ),
    output: Flags.text("output", "FILE", "File to write (default: standard output)", "o")
  },
  Effect.fnUntraced(function* ({ format = "chrome", id, output }) {
    const record = yield* find("ID", Option.getOrUndefined(id))
    const content =
      format === "chrome"
        ? toJson(BuildRecord.Trace)(BuildRecord.toTrace(record))
        : toJson(BuildRecord.Spans)(BuildRecord.toOtlp(record))
    if (output === undefined) return yield* Console.log(content)
    yield* Effect.tryPromise({
      try: () => Fs.writeFile(output, `${content}\n`),
      catch: fileFailure("builds", "write", output)
    })
    yield* print(Shapes.File, { path: output }, { full: `Wrote ${shortPath(output)}`, brief: "" })
  })
).pipe(
  Command.withDescription("Write a build as a trace for other tools"),
  Command.withExamples([
    { command: "lightbox builds export node-ci -o build.json", description: "Open the file at ui.perfetto.dev" },
    {
      command:
        "lightbox builds export --format otlp | curl -H content-type:application/json -d @- localhost:4318/v1/traces"
    }
  ])
)

export const builds = Command.make("builds", Flags.listing, list).pipe(
  Command.withDescription("List recorded builds, and show, compare and export them"),
  Command.withSubcommands([show, compare, exported]),
  Command.provide(driver())
)
