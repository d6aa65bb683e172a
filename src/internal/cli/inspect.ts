/** `inspect` and `logs`. */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Console from "effect/Console"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import type { Services } from "../../Driver.ts"
import * as Image from "../../Image.ts"
import type { LightboxError } from "../../LightboxError.ts"
import * as Microsandbox from "../../Microsandbox.ts"
import * as Sandbox from "../../Sandbox.ts"
import * as Snapshot from "../../Snapshot.ts"
import * as Volume from "../../Volume.ts"
import { invalid } from "../config/validation.ts"
import { write } from "../report/output.ts"
import { escapeJson } from "../report/printable.ts"
import { clean } from "../report/terminalText.ts"
import * as Logs from "../sandbox/logs.ts"
import { driver, Json, Outputs, Quiet, toJson } from "./environment.ts"
import { namedArgument, nameFlags } from "./failure.ts"
import * as Flags from "./flags.ts"
import * as Lists from "./lists.ts"
import * as Shapes from "./json.ts"
import * as Status from "./status.ts"

type Inspected = (typeof Shapes.Inspected.Type)[number]

const types = ["sandbox", "snapshot", "volume", "image"] as const

const find: {
  readonly [type in (typeof types)[number]]: (name: string) => Effect.Effect<Inspected, LightboxError, Services>
} = {
  sandbox: (name) => Effect.map(Sandbox.get(name), (info) => Object.assign({ type: "sandbox" } as const, info)),
  snapshot: (name) =>
    Effect.zipWith(Snapshot.get(name), Snapshot.generations(name), (snapshot, generations) => ({
      type: "snapshot",
      ...snapshot,
      generations
    })),
  volume: (name) => Effect.map(Volume.get(name), (info) => ({ type: "volume", ...info })),
  image: (name) => Effect.map(Image.get(name), (detail) => Object.assign({ type: "image" } as const, detail))
}

/** Finds the only thing with a name. A name of one kind can be an invalid name of another. */
const findAny = Effect.fnUntraced(function* (
  name: string
): Effect.fn.Return<Inspected, LightboxError | Status.NothingFound, Services> {
  const none = () => Effect.succeed([])
  const found = yield* Effect.forEach(types, (type) =>
    Effect.map(find[type](name), (one) => [one]).pipe(
      Effect.catchReasons("LightboxError", { NotFound: none, InvalidConfig: none })
    )
  )
  const [first, ...others] = found.flat()
  if (first === undefined) {
    return yield* new Status.NothingFound({ name })
  }
  if (others.length === 0) return first
  const all = [first, ...others].map(({ type }) => type)
  return yield* invalid("inspect", "NAME", `"${name}" is the name of a ${all.join(" and a ")}; pass --type`)
})

const encode = toJson(Shapes.Inspected)

const formatFlag = Flags.text("format", "FORMAT", 'A field, or a template such as "{{.status}}" (default: json)').pipe(
  Flag.withAlias("f")
)

const show = Effect.fnUntraced(function* (found: ReadonlyArray<Inspected>, wanted: string | undefined) {
  const line = encode(found)
  const render = wanted === undefined || wanted === "json" ? undefined : yield* Lists.renderer(Shapes.Inspected, wanted)
  if ((yield* Json) || wanted === "json") return yield* Console.log(line)
  if (render === undefined) return yield* Console.log(escapeJson(JSON.stringify(JSON.parse(line), undefined, 2)))
  yield* Console.log(Lists.encode(Shapes.Inspected, found).map(render).join("\n"))
})

export const inspect = Command.make(
  "inspect",
  {
    names: Flags.nameOf("Names of sandboxes, snapshots, volumes or images").pipe(Argument.atLeast(1)),
    type: Flags.choice("type", types, "Look only for this (default: any, if only one has the name)"),
    format: formatFlag
  },
  Effect.fnUntraced(function* ({ format, names, type }) {
    yield* show(yield* Effect.forEach(names, type === undefined ? findAny : find[type]), format)
  }, namedArgument)
).pipe(
  Command.withDescription("Show sandboxes, snapshots, volumes or images as JSON"),
  Command.withExamples([
    { command: "lightbox inspect web | jq -r '.[0].status'" },
    { command: "lightbox inspect -f '{{.status}}' web" },
    { command: "lightbox inspect --type image alpine" }
  ]),
  Command.provide(driver())
)

/** `inspect` of one kind, as a subcommand. */
export const inspectOnly = (type: (typeof types)[number]) =>
  Command.make(
    "inspect",
    { names: Flags.nameOf(`Names of ${type}s`).pipe(Argument.atLeast(1)), format: formatFlag },
    Effect.fnUntraced(function* ({ format, names }) {
      yield* show(yield* Effect.forEach(names, find[type]), format)
    }, namedArgument)
  ).pipe(Command.withDescription(`Show ${type}s as JSON`))

const encodeEntry = toJson(Shapes.LogEntry)

/** A job keeps its own output: of a sandbox that was started for one, docker's `logs` would show that. */
const noteJobs = Effect.fnUntraced(function* ({ name, status }: Microsandbox.SandboxInfo) {
  if (status !== "running" || (yield* Quiet) || (yield* Json)) return
  const found = yield* Effect.scoped(Effect.flatMap(Sandbox.connect(name), ({ jobs }) => jobs)).pipe(
    Effect.timeout("2 seconds"),
    // The logs can be read even if the guest does not answer.
    Effect.orElseSucceed(() => [])
  )
  const [first] = found
  if (first !== undefined) {
    yield* Console.error(
      `note: jobs keep their own output: lightbox job logs ${name} ${found.length === 1 ? clean(first.id) : "ID"}`
    )
  }
})

export const logs = Command.make(
  "logs",
  {
    name: Flags.nameOf("Name of a sandbox, running or not"),
    follow: Flags.toggle("follow", "Print new entries until the sandbox stops").pipe(Flag.withAlias("f")),
    tail: Flags.count("tail", "COUNT", "Number of entries to begin with (default: all)").pipe(Flag.withAlias("n")),
    since: Flags.since,
    timestamps: Flags.toggle("timestamps", "Print the time before each entry").pipe(Flag.withAlias("t")),
    system: Flags.toggle("system", "Include messages of the kernel and the runtime")
  },
  Effect.fnUntraced(function* ({ follow, name, since, system, tail, timestamps }) {
    const driver = yield* Microsandbox.Microsandbox
    const isJson = yield* Json
    const { stderr, stdout } = yield* Outputs
    const decode = Logs.sessionDecoder()
    const show = (entry: Microsandbox.LogEntry): Effect.Effect<void> => {
      if (isJson) {
        const { cursor, session, source, text, timestamp } = entry
        return write(stdout, `${encodeEntry({ timestamp, source, session, text, cursor })}\n`)
      }
      const time = timestamps ? `${DateTime.formatIso(entry.timestamp)} ` : ""
      return write(entry.source === "stderr" ? stderr : stdout, `${time}${decode(entry)}`)
    }
    const sources = system ? Microsandbox.LogEntry.fields.source.literals : undefined
    const info = yield* Sandbox.get(name)
    yield* noteJobs(info)
    const now = yield* DateTime.now
    const first =
      since === undefined ? undefined : Duration.isDuration(since) ? DateTime.subtractDuration(now, since) : since
    const entries = Logs.read(driver, info, { follow, tail, sources }).pipe(
      Stream.filter(({ timestamp }) => first === undefined || DateTime.isGreaterThanOrEqualTo(timestamp, first))
    )
    yield* Stream.runForEach(entries, show).pipe(
      Effect.mapError(nameFlags({ tail: "--tail" })),
      // One that is removed meanwhile, as `run` does at its end, has stopped.
      Effect.catchReason("LightboxError", "NotFound", (_, error) => (follow ? Effect.void : Effect.fail(error)))
    )
  }, namedArgument)
).pipe(
  Command.withDescription("Print what the commands of a sandbox have written"),
  Command.withExamples([{ command: "lightbox logs -f --tail 20 web" }]),
  Command.provide(driver())
)
