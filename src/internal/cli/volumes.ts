/** `volume ls`, `volume create`, `volume rm` and `volume prune`. */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as Volume from "../../Volume.ts"
import { bytes, driver, mebibytes, print, printList, printRemoved, printReport } from "./environment.ts"
import { namedArgument, nameFlags } from "./failure.ts"
import * as Flags from "./flags.ts"
import { inspectOnly } from "./inspect.ts"
import * as Shapes from "./json.ts"

const name = Flags.nameOf("Name of the volume")

const ls = Command.make(
  "ls",
  {
    usage: Flags.toggle("usage", "Show the space that each volume uses, which is slow with very many files"),
    ...Flags.listing
  },
  Effect.fnUntraced(function* ({ usage, ...listing }) {
    const volumes = yield* Volume.list()
    const all = usage
      ? yield* Effect.forEach(volumes, (volume) =>
          Effect.map(Volume.usage(volume.name), ({ used }) => ({ ...volume, used }))
        )
      : volumes.map((volume) => ({ ...volume, used: undefined }))
    yield* printList(
      Shapes.Volumes,
      all,
      {
        columns: ["NAME", "KIND", "QUOTA", "USED", "CREATED"],
        row: ({ createdAt, kind, name, quota, used }) => [name, kind, mebibytes(quota), bytes(used), createdAt],
        none: "There are no volumes."
      },
      listing
    )
  })
).pipe(Command.withDescription("List volumes"))

const create = Command.make(
  "create",
  {
    name,
    kind: Flags.choice(
      "kind",
      ["directory", "disk"],
      "A folder, or a disk that one sandbox can mount at a time (default: directory)"
    ),
    quota: Flags.text("quota", "SIZE", "Capacity, such as 4G (default: unlimited)"),
    labels: Flags.labels
  },
  Effect.fnUntraced(function* ({ kind, labels, name, quota }) {
    const volume = yield* Volume.ensure(name, {
      kind,
      quota: yield* Flags.bytesOf("--quota", quota),
      // Without the flag, any labels will do.
      labels: Object.keys(labels).length === 0 ? undefined : labels
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
    const found = yield* Effect.filter(names, (name) =>
      force ? Volume.exists(name) : Effect.as(Volume.get(name), true)
    )
    yield* Effect.forEach(found, Volume.remove, { discard: true })
    yield* printRemoved(found)
  }, namedArgument)
).pipe(Command.withDescription("Remove volumes and their contents"))

const prune = Command.make(
  "prune",
  {
    labels: Flags.labels.pipe(Flag.withDescription("Only volumes with this label")),
    olderThan: Flags.duration("older-than", "Only volumes created longer ago than this"),
    dryRun: Flags.toggle("dry-run", "Only show what would be removed"),
    force: Flags.unasked
  },
  Effect.fnUntraced(function* ({ dryRun, labels, olderThan }) {
    const report = yield* Volume.prune({ labels, olderThan, dryRun }).pipe(
      Effect.mapError(nameFlags({ labels: "--label", olderThan: "--older-than" }))
    )
    yield* printReport(report, {
      columns: ["VERDICT", "NAME", "REASON"],
      row: ({ name, reason, verdict }) => [verdict, name, reason],
      none: "No volumes match."
    })
  })
).pipe(Command.withDescription("Remove volumes and their contents, by label and age"))

export const volume = Command.make("volume").pipe(
  Command.withDescription("List, create and remove volumes"),
  Command.withSubcommands([ls, create, inspectOnly("volume"), rm, prune]),
  Command.provide(driver())
)
