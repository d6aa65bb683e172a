/**
 * `volume ls`, `volume create`, `volume rm` and `volume prune`.
 */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Cleanup from "../../Cleanup.ts"
import * as Volume from "../../Volume.ts"
import { bytes, driver, mebibytes, say, table } from "./environment.ts"
import { nameFlags } from "./failure.ts"
import * as Flags from "./flags.ts"
import * as Shapes from "./json.ts"

const name = Argument.String("name").pipe(Argument.withMetavar("NAME"), Argument.withDescription("A volume"))

const ls = Command.make(
  "ls",
  { usage: Flags.toggle("usage", "Also how full they are, which takes a while where there are very many files") },
  Effect.fnUntraced(function* ({ usage }) {
    const volumes = yield* Volume.list
    const all = usage
      ? yield* Effect.forEach(volumes, (volume) =>
          Effect.map(Volume.usage(volume.name), ({ used }) => ({ ...volume, used }))
        )
      : volumes.map((volume) => ({ ...volume, used: undefined }))
    yield* say(Shapes.Volumes, all, {
      full: table(
        ["NAME", "KIND", "QUOTA", "USED"],
        all.map(({ kind, name, quota, used }) => [name, kind, mebibytes(quota), bytes(used)]),
        "There are no volumes."
      ),
      brief: all.map(({ name }) => name).join("\n")
    })
  })
).pipe(Command.withDescription("List volumes"))

const create = Command.make(
  "create",
  {
    name,
    kind: Flag.Literals("kind", ["directory", "disk"]).pipe(
      Flag.withDescription("A folder, or a disk for one sandbox at a time (default: directory)"),
      Flag.optional
    ),
    quota: Flag.String("quota").pipe(
      Flag.withMetavar("SIZE"),
      Flag.withDescription("How much it may hold, such as 4G (default: unlimited)"),
      Flag.optional
    ),
    labels: Flags.labels
  },
  Effect.fnUntraced(function* ({ kind, labels, name, quota }) {
    const volume = yield* Volume.ensure(name, {
      kind: Option.getOrUndefined(kind),
      quota: yield* Flags.bytesOf("--quota", quota),
      labels
    }).pipe(Effect.mapError(nameFlags({ name: "NAME", kind: "--kind", quota: "--quota", labels: "--label" })))
    yield* say(Shapes.Volume, volume, { full: `${name} is there`, brief: name })
  })
).pipe(Command.withDescription("Make a volume, if there is none of the name"))

const rm = Command.make(
  "rm",
  {
    names: name.pipe(Argument.atLeast(1)),
    force: Flags.toggle("force", "Pass over what is not there").pipe(Flag.withAlias("f"))
  },
  Effect.fnUntraced(function* ({ force, names }) {
    if (!force) yield* Effect.forEach(names, Volume.get, { discard: true })
    yield* Effect.forEach(names, Volume.remove, { discard: true })
    yield* say(
      Shapes.Removed,
      { removed: names },
      { full: names.map((name) => `${name} is removed`).join("\n"), brief: "" }
    )
  })
).pipe(Command.withDescription("Remove volumes, and all that is in them"))

const prune = Command.make(
  "prune",
  {
    labels: Flags.labels.pipe(Flag.withDescription("Only those that have it")),
    olderThan: Flags.duration("older-than").pipe(
      Flag.withDescription("Only those that were made longer ago"),
      Flag.optional
    ),
    dryRun: Flags.toggle("dry-run", "Only tell")
  },
  Effect.fnUntraced(function* ({ dryRun, labels, olderThan }) {
    const report = yield* Volume.prune({ labels, olderThan: Option.getOrUndefined(olderThan), dryRun }).pipe(
      Effect.mapError(nameFlags({ labels: "--label", olderThan: "--older-than" }))
    )
    const { verdicts } = report
    yield* say(Cleanup.Report, report, {
      full: table(
        ["VERDICT", "NAME", "REASON"],
        verdicts.map(({ name, reason, verdict }) => [verdict, name, reason]),
        "There are no such volumes."
      ),
      brief: verdicts.flatMap(({ name, verdict }) => (verdict === "kept" ? [] : [name])).join("\n")
    })
  })
).pipe(Command.withDescription("Remove volumes by label and age, and all that is in them"))

export const volume = Command.make("volume").pipe(
  Command.withDescription("List, make and remove volumes"),
  Command.withSubcommands([ls, create, rm, prune]),
  Command.provide(() => driver())
)
