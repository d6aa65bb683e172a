/** `ended`: records of sandboxes that have ended. */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { LightboxError } from "../../LightboxError.ts"
import type * as Microsandbox from "../../Microsandbox.ts"
import * as SandboxRecord from "../../SandboxRecord.ts"
import { elapsed } from "../report/buildLine.ts"
import { clean } from "../report/terminalText.ts"
import { driver, print, printList } from "./environment.ts"
import { namedArgument, nameFlags } from "./failure.ts"
import * as Flags from "./flags.ts"
import * as Shapes from "./json.ts"
import * as Lists from "./lists.ts"

const lived = ({ createdAt, endedAt }: SandboxRecord.Summary): string =>
  createdAt === undefined ? "" : elapsed(DateTime.toEpochMillis(endedAt) - DateTime.toEpochMillis(createdAt))

const list = Effect.fnUntraced(function* (listing: Flags.Listing) {
  yield* printList(
    Shapes.EndedSandboxes,
    yield* SandboxRecord.list(),
    {
      columns: ["ID", "NAME", "SOURCE", "STATUS", "WHY", "LIVED", "ENDED"],
      row: (sandbox) => [
        sandbox.id,
        sandbox.name,
        sandbox.snapshot ?? sandbox.image,
        sandbox.status,
        sandbox.cause,
        lived(sandbox),
        sandbox.endedAt
      ],
      none: "No ended sandbox is recorded here."
    },
    listing
  )
})

const find = Effect.fnUntraced(function* (
  typed: string | undefined
): Effect.fn.Return<SandboxRecord.SandboxRecord, LightboxError, Microsandbox.Microsandbox> {
  const wanted = yield* Lists.idOf("ended", "ID", typed, yield* SandboxRecord.list(), {
    nameOf: ({ name }) => name,
    none: "no ended sandbox is recorded here",
    many: "records"
  })
  return yield* SandboxRecord.get(wanted).pipe(Effect.mapError(nameFlags({ id: "ID" })))
})

const section = (title: string, lines: ReadonlyArray<string>): ReadonlyArray<string> =>
  lines.length === 0 ? [] : ["", title, ...lines.map((line) => `  ${clean(line)}`)]

const showOf = (record: SandboxRecord.SandboxRecord): string => {
  const { by, cause, endedAt, name, output, reason, snapshot, status, system } = record
  const source = snapshot === undefined ? record.image : `snapshot ${snapshot}`
  const time = lived(record)
  return [
    [name, ...(source === undefined ? [] : [`from ${source}`])].join(", "),
    `${cause}${time === "" ? "" : ` after ${time}`}, at ${DateTime.formatIso(endedAt)}: ${reason}`,
    `It was ${status} when ${by.program} (process ${by.pid}) removed it.`,
    ...section("Its last output:", output),
    ...section("Its system log:", system)
  ].join("\n")
}

const show = Command.make(
  "show",
  {
    id: Argument.String("id").pipe(
      Argument.withMetavar("ID"),
      Argument.withDescription(
        "Id of a record, or a sandbox's name for its last (default: the last sandbox that ended)"
      ),
      Argument.optional
    )
  },
  Effect.fnUntraced(function* ({ id }) {
    const record = yield* find(Option.getOrUndefined(id))
    yield* print(SandboxRecord.SandboxRecord, record, { full: showOf(record), brief: record.id })
  }, namedArgument)
).pipe(
  Command.withDescription("Show why a sandbox ended, and the last lines that it wrote"),
  Command.withExamples([{ command: "lightbox ended show agent-1", description: "The last one with this name" }])
)

export const ended = Command.make("ended", Flags.listing, list).pipe(
  Command.withDescription("List sandboxes that have ended, and show what they wrote last"),
  Command.withSubcommands([show]),
  Command.provide(driver())
)
