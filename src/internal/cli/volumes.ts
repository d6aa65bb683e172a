/** `volume ls`, `volume create`, `volume rm` and `volume prune`. */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Cleanup from "../../Cleanup.ts"
import * as Volume from "../../Volume.ts"
import { bytes, driver, mebibytes, print, table } from "./environment.ts"
import { nameFlags } from "./failure.ts"
import * as Flags from "./flags.ts"
import * as Shapes from "./json.ts"

const name = Argument.String("name").pipe(Argument.withMetavar("NAME"), Argument.withDescription("Name of the volume"))

const ls = Command.make(
  "ls",
  { usage: Flags.toggle("usage", "Show the space that each volume uses, which is slow with very many files") },
  Effect.fnUntraced(function* ({ usage }) {
    const volumes = yield* Volume.list()
    const all = usage
      ? yield* Effect.forEach(volumes, (volume) =>
          Effect.map(Volume.usage(volume.name), ({ used }) => ({ ...volume, used }))
        )
      : volumes.map((volume) => ({ ...volume, used: undefined }))
    yield* print(Shapes.Volumes, all, {
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
      Flag.withDescription("A folder, or a disk that one sandbox can mount at a time (default: directory)"),
      Flag.optional
    ),
    quota: Flag.String("quota").pipe(
      Flag.withMetavar("SIZE"),
      Flag.withDescription("Capacity, such as 4G (default: unlimited)"),
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
    yield* print(Shapes.Volume, volume, { full: `Volume ${name} is ready`, brief: name })
  })
).pipe(Command.withDescription("Create a volume if it does not exist"))

const rm = Command.make(
  "rm",
  {
    names: name.pipe(Argument.atLeast(1)),
    force: Flags.toggle("force", "Ignore names that do not exist").pipe(Flag.withAlias("f"))
  },
  Effect.fnUntraced(function* ({ force, names }) {
    if (!force) yield* Effect.forEach(names, Volume.get, { discard: true })
    yield* Effect.forEach(names, Volume.remove, { discard: true })
    yield* print(
      Shapes.Removed,
      { removed: names },
      { full: names.map((name) => `Removed ${name}`).join("\n"), brief: "" }
    )
  })
).pipe(Command.withDescription("Remove volumes and their contents"))

const prune = Command.make(
  "prune",
  {
    labels: Flags.labels.pipe(Flag.withDescription("Only volumes with this label")),
    olderThan: Flags.duration("older-than").pipe(
      Flag.withDescription("Only volumes created longer ago than this"),
      Flag.optional
    ),
    dryRun: Flags.toggle("dry-run", "Only show what would be removed")
  },
  Effect.fnUntraced(function* ({ dryRun, labels, olderThan }) {
    const report = yield* Volume.prune({ labels, olderThan: Option.getOrUndefined(olderThan), dryRun }).pipe(
      Effect.mapError(nameFlags({ labels: "--label", olderThan: "--older-than" }))
    )
    const { verdicts } = report
    yield* print(Cleanup.Report, report, {
      full: table(
        ["VERDICT", "NAME", "REASON"],
        verdicts.map(({ name, reason, verdict }) => [verdict, name, reason]),
        "No volumes match."
      ),
      brief: verdicts.flatMap(({ name, verdict }) => (verdict === "kept" ? [] : [name])).join("\n")
    })
  })
).pipe(Command.withDescription("Remove volumes and their contents, by label and age"))

export const volume = Command.make("volume").pipe(
  Command.withDescription("List, create and remove volumes"),
  Command.withSubcommands([ls, create, rm, prune]),
  Command.provide(() => driver())
)
