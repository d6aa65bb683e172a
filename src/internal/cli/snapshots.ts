/** `ls`, `rollback`, `prune`, `save` and `load`. */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Snapshot from "../../Snapshot.ts"
import { bytes, driver, instant, print, printList, printReport } from "./environment.ts"
import { namedArgument, nameFile, nameFlags } from "./failure.ts"
import * as Flags from "./flags.ts"
import * as Shapes from "./json.ts"

const name = Flags.nameOf("Name of the snapshot")

export const ls = Command.make(
  "ls",
  {
    name: Flags.nameOf("Show the generations of this snapshot").pipe(Argument.optional),
    layers: Flags.toggle("layers", "Include results of builds that have no name"),
    ...Flags.listing
  },
  Effect.fnUntraced(function* ({ layers, name, ...listing }) {
    if (Option.isSome(name)) return yield* namedArgument(generations(name.value, listing))
    yield* printList(
      Shapes.Snapshots,
      yield* Snapshot.list({ layers }),
      {
        columns: ["NAME", "GENERATION", "IMAGE", "SIZE", "CREATED"],
        row: ({ allocated, createdAt, generation = "-", image, name }) => [
          name,
          `${generation}`,
          image,
          bytes(allocated),
          instant(createdAt)
        ],
        none: "There are no snapshots."
      },
      listing
    )
  })
).pipe(Command.withDescription("List snapshots, or the generations of one"), Command.provide(driver()))

const generations = Effect.fnUntraced(function* (name: string, listing: Flags.Listing) {
  yield* printList(
    Shapes.Generations,
    yield* Snapshot.generations(name),
    {
      columns: ["GENERATION", "CREATED", ""],
      row: ({ createdAt, generation, isCurrent }) => [`${generation}`, instant(createdAt), isCurrent ? "current" : ""],
      none: "This snapshot has no generations: another tool made it."
    },
    listing
  )
})

export const rollback = Command.make(
  "rollback",
  {
    name,
    to: Flags.count("to", "GENERATION", "Generation to return to (default: the one before the current)")
  },
  Effect.fnUntraced(function* ({ name, to }) {
    const snapshot = yield* Snapshot.rollback(name, to).pipe(Effect.mapError(nameFlags({ name: "NAME", to: "--to" })))
    yield* print(Snapshot.Snapshot, snapshot, {
      full: `${name} now points to generation ${snapshot.generation}`,
      brief: ""
    })
  })
).pipe(Command.withDescription("Point a name to an earlier generation"), Command.provide(driver()))

export const prune = Command.make(
  "prune",
  {
    keep: Flags.count("keep", "COUNT", "Number of generations to keep of each name (default: all)"),
    olderThan: Flags.duration("older-than", "Keep results used within this time"),
    maxBytes: Flags.text("max-bytes", "SIZE", "Keep the most recently used results up to this total size, such as 20G"),
    dryRun: Flags.toggle("dry-run", "Only show what would be removed")
  },
  Effect.fnUntraced(function* ({ dryRun, keep, maxBytes, olderThan }) {
    const report = yield* Snapshot.prune({
      keep,
      olderThan,
      maxBytes: yield* Flags.bytesOf("--max-bytes", maxBytes),
      dryRun
    }).pipe(Effect.mapError(nameFlags({ keep: "--keep", olderThan: "--older-than", maxBytes: "--max-bytes" })))
    yield* printReport(
      report,
      {
        columns: ["VERDICT", "SNAPSHOT", "SIZE", "USED", "REASON"],
        row: ({ bytes: allocated, definition, name, reason, usedAt, verdict }) => [
          verdict,
          definition === undefined ? name : `${definition} (${name})`,
          bytes(allocated),
          instant(usedAt),
          reason
        ],
        none: "There is nothing to remove."
      },
      `${bytes(report.freedBytes)} ${dryRun ? "would be" : "were"} freed`
    )
  })
).pipe(
  Command.withDescription("Remove build results that nothing needs"),
  Command.withExamples([
    { command: "lightbox prune --dry-run", description: "Show what would be removed, and why" },
    { command: "lightbox prune --keep 1 --older-than 30d" }
  ]),
  Command.provide(driver())
)

export const save = Command.make(
  "save",
  {
    name,
    file: Flags.file("File to write"),
    current: Flags.toggle("current", "Save only the current generation"),
    withImage: Flag.Boolean("image").pipe(
      Flag.withDescription("Include the base image, so that loading needs no network (default: yes)"),
      Flag.withDefault(true)
    ),
    compress: Flag.Boolean("compress").pipe(
      Flag.withDescription("Compress with Zstandard (default: yes)"),
      Flag.withDefault(true)
    )
  },
  Effect.fnUntraced(function* ({ compress, current, file, name, withImage }) {
    yield* Snapshot.save(name, file, { generations: current ? "current" : "all", withImage, compress }).pipe(
      Effect.mapError(nameFlags({ name: "NAME", path: "FILE" }))
    )
    yield* print(Shapes.File, { path: file }, { full: `Saved ${name} to ${Flags.typed(file)}`, brief: "" })
  })
).pipe(Command.withDescription("Save a snapshot to a file that another machine can load"), Command.provide(driver()))

export const load = Command.make(
  "load",
  {
    file: Flags.file("File written by save"),
    as: Flags.text("as", "NAME", "Name of the snapshot (default: the name it was saved under)"),
    overwrite: Flags.toggle("overwrite", "Point the name to the loaded snapshot even if the name exists"),
    trusted: Flags.toggle("trusted", "Let builds reuse the results in the file, whose author you trust")
  },
  Effect.fnUntraced(function* ({ as, file, overwrite, trusted }) {
    const snapshot = yield* Snapshot.load(file, { name: as, overwrite, trusted }).pipe(
      Effect.mapError(nameFlags({ name: "--as", path: "FILE" })),
      Effect.mapError(nameFile(file))
    )
    yield* print(Snapshot.Snapshot, snapshot, { full: `Loaded ${snapshot.name}`, brief: snapshot.name })
  })
).pipe(Command.withDescription("Load a snapshot from a file"), Command.provide(driver()))
