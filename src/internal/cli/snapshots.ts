/** `ls`, `rollback`, `prune`, `save` and `load`. */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Cleanup from "../../Cleanup.ts"
import * as Snapshot from "../../Snapshot.ts"
import { bytes, driver, print, table } from "./environment.ts"
import { nameFlags } from "./failure.ts"
import * as Flags from "./flags.ts"
import * as Shapes from "./json.ts"

const name = Argument.String("name").pipe(
  Argument.withMetavar("NAME"),
  Argument.withDescription("Name of the snapshot")
)

export const ls = Command.make(
  "ls",
  {
    name: name.pipe(Argument.withDescription("Show the generations of this snapshot"), Argument.optional),
    layers: Flags.toggle("layers", "Include results of builds that have no name")
  },
  Effect.fnUntraced(function* ({ layers, name }) {
    if (Option.isSome(name)) return yield* generations(name.value)
    const all = yield* Snapshot.list({ layers })
    yield* print(Shapes.Snapshots, all, {
      full: table(
        ["NAME", "GENERATION", "IMAGE", "SIZE", "CREATED"],
        all.map(({ allocated, createdAt, generation, image, name }) => [
          name,
          generation === undefined ? "-" : `${generation}`,
          image,
          bytes(allocated),
          DateTime.formatIso(createdAt)
        ]),
        "There are no snapshots."
      ),
      brief: all.map(({ name }) => name).join("\n")
    })
  })
).pipe(
  Command.withDescription("List snapshots, or the generations of one"),
  Command.provide(() => driver())
)

const generations = Effect.fnUntraced(function* (name: string) {
  const all = yield* Snapshot.generations(name)
  yield* print(Shapes.Generations, all, {
    full: table(
      ["GENERATION", "CREATED", ""],
      all.map(({ createdAt, generation, isCurrent }) => [
        `${generation}`,
        DateTime.formatIso(createdAt),
        isCurrent ? "current" : ""
      ]),
      "This snapshot has no generations: another tool made it."
    ),
    brief: all.map(({ generation }) => `${generation}`).join("\n")
  })
})

export const rollback = Command.make(
  "rollback",
  {
    name,
    to: Flag.Int("to").pipe(
      Flag.withMetavar("GENERATION"),
      Flag.withDescription("Generation to return to (default: the one before the current)"),
      Flag.optional
    )
  },
  Effect.fnUntraced(function* ({ name, to }) {
    const snapshot = yield* Snapshot.rollback(name, Option.getOrUndefined(to)).pipe(
      Effect.mapError(nameFlags({ to: "--to" }))
    )
    yield* print(Snapshot.Snapshot, snapshot, {
      full: `${name} now points to generation ${snapshot.generation}`,
      brief: ""
    })
  })
).pipe(
  Command.withDescription("Point a name to an earlier generation"),
  Command.provide(() => driver())
)

export const prune = Command.make(
  "prune",
  {
    keep: Flag.Int("keep").pipe(
      Flag.withMetavar("COUNT"),
      Flag.withDescription("Number of generations to keep of each name (default: all)"),
      Flag.optional
    ),
    olderThan: Flags.duration("older-than").pipe(
      Flag.withDescription("Keep results used within this time"),
      Flag.optional
    ),
    maxBytes: Flag.String("max-bytes").pipe(
      Flag.withMetavar("SIZE"),
      Flag.withDescription("Keep the most recently used results up to this total size, such as 20G"),
      Flag.optional
    ),
    dryRun: Flags.toggle("dry-run", "Only show what would be removed")
  },
  Effect.fnUntraced(function* ({ dryRun, keep, maxBytes, olderThan }) {
    const report = yield* Snapshot.prune({
      keep: Option.getOrUndefined(keep),
      olderThan: Option.getOrUndefined(olderThan),
      maxBytes: yield* Flags.bytesOf("--max-bytes", maxBytes),
      dryRun
    }).pipe(Effect.mapError(nameFlags({ keep: "--keep", olderThan: "--older-than", maxBytes: "--max-bytes" })))
    const { freedBytes, verdicts } = report
    yield* print(Cleanup.Report, report, {
      full: [
        table(
          ["VERDICT", "SNAPSHOT", "SIZE", "USED", "REASON"],
          verdicts.map(({ bytes: allocated, definition, name, reason, usedAt, verdict }) => [
            verdict,
            definition === undefined ? name : `${definition} (${name})`,
            bytes(allocated),
            usedAt === undefined ? "-" : DateTime.formatIso(usedAt),
            reason
          ]),
          "There is nothing to remove."
        ),
        `${bytes(freedBytes)} ${dryRun ? "would be" : "were"} freed`
      ].join("\n"),
      brief: verdicts.flatMap(({ name, verdict }) => (verdict === "kept" ? [] : [name])).join("\n")
    })
  })
).pipe(
  Command.withDescription("Remove build results that nothing needs"),
  Command.withExamples([
    { command: "lightbox prune --dry-run", description: "Show what would be removed, and why" },
    { command: 'lightbox prune --keep 1 --older-than "30 days"' }
  ]),
  Command.provide(() => driver())
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
    yield* Snapshot.save(name, file, { generations: current ? "current" : "all", withImage, compress })
    yield* print(Shapes.File, { path: file }, { full: `Saved ${name} to ${Flags.typed(file)}`, brief: "" })
  })
).pipe(
  Command.withDescription("Save a snapshot to a file that another machine can load"),
  Command.provide(() => driver())
)

export const load = Command.make(
  "load",
  {
    file: Flags.file("File written by save"),
    as: Flag.String("as").pipe(
      Flag.withMetavar("NAME"),
      Flag.withDescription("Name of the snapshot (default: the name it was saved under)"),
      Flag.optional
    ),
    overwrite: Flags.toggle("overwrite", "Point the name to the loaded snapshot even if the name exists"),
    trusted: Flags.toggle("trusted", "Let builds reuse the results in the file, whose author you trust")
  },
  Effect.fnUntraced(function* ({ as, file, overwrite, trusted }) {
    const snapshot = yield* Snapshot.load(file, { name: Option.getOrUndefined(as), overwrite, trusted }).pipe(
      Effect.mapError(nameFlags({ name: "--as", path: "FILE" }))
    )
    yield* print(Snapshot.Snapshot, snapshot, { full: `Loaded ${snapshot.name}`, brief: snapshot.name })
  })
).pipe(
  Command.withDescription("Load a snapshot from a file"),
  Command.provide(() => driver())
)
