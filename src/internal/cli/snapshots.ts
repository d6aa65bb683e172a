/**
 * `ls`, `rollback`, `prune`, `save` and `load`.
 */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Cleanup from "../../Cleanup.ts"
import * as Snapshot from "../../Snapshot.ts"
import { bytes, driver, say, table } from "./environment.ts"
import { nameFlags } from "./failure.ts"
import * as Flags from "./flags.ts"
import * as Shapes from "./json.ts"

const name = Argument.String("name").pipe(Argument.withMetavar("NAME"), Argument.withDescription("A snapshot"))

export const ls = Command.make(
  "ls",
  {
    name: name.pipe(Argument.withDescription("Its generations, instead of all snapshots"), Argument.optional),
    layers: Flags.toggle("layers", "Also the results that are kept for builds and have no name")
  },
  Effect.fnUntraced(function* ({ layers, name }) {
    if (Option.isSome(name)) return yield* generations(name.value)
    const all = yield* Snapshot.list({ layers })
    yield* say(Shapes.Snapshots, all, {
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
  yield* say(Shapes.Generations, all, {
    full: table(
      ["GENERATION", "CREATED", ""],
      all.map(({ createdAt, generation, isCurrent }) => [
        `${generation}`,
        DateTime.formatIso(createdAt),
        isCurrent ? "current" : ""
      ]),
      "There are no generations: another tool made it."
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
      Flag.withDescription("Default: the one before the current one"),
      Flag.optional
    )
  },
  Effect.fnUntraced(function* ({ name, to }) {
    const snapshot = yield* Snapshot.rollback(name, Option.getOrUndefined(to)).pipe(
      Effect.mapError(nameFlags({ to: "--to" }))
    )
    yield* say(Snapshot.Snapshot, snapshot, {
      full: `${name} now points to generation ${snapshot.generation}`,
      brief: ""
    })
  })
).pipe(
  Command.withDescription("Move a name back to an earlier generation"),
  Command.provide(() => driver())
)

export const prune = Command.make(
  "prune",
  {
    keep: Flag.Int("keep").pipe(
      Flag.withMetavar("COUNT"),
      Flag.withDescription("How many generations each name keeps (default: those it has)"),
      Flag.optional
    ),
    olderThan: Flags.duration("older-than").pipe(
      Flag.withDescription("Keep what was used within this time"),
      Flag.optional
    ),
    maxBytes: Flag.String("max-bytes").pipe(
      Flag.withMetavar("SIZE"),
      Flag.withDescription("Keep what was used last, as long as all take no more, such as 20G"),
      Flag.optional
    ),
    dryRun: Flags.toggle("dry-run", "Only tell")
  },
  Effect.fnUntraced(function* ({ dryRun, keep, maxBytes, olderThan }) {
    const report = yield* Snapshot.prune({
      keep: Option.getOrUndefined(keep),
      olderThan: Option.getOrUndefined(olderThan),
      maxBytes: yield* Flags.bytesOf("--max-bytes", maxBytes),
      dryRun
    }).pipe(Effect.mapError(nameFlags({ keep: "--keep", olderThan: "--older-than", maxBytes: "--max-bytes" })))
    const { freedBytes, verdicts } = report
    yield* say(Cleanup.Report, report, {
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
  Command.withDescription("Remove results of builds that nothing needs"),
  Command.withExamples([
    { command: "lightbox prune --dry-run", description: "What would go, and why" },
    { command: 'lightbox prune --keep 1 --older-than "30 days"' }
  ]),
  Command.provide(() => driver())
)

export const save = Command.make(
  "save",
  {
    name,
    file: Flags.file("Where to write it"),
    current: Flags.toggle("current", "Only what the name leads to now, without earlier generations"),
    withImage: Flag.Boolean("image").pipe(
      Flag.withDescription("With the base image, so that it works without a network (default: yes)"),
      Flag.withDefault(true)
    ),
    compress: Flag.Boolean("compress").pipe(
      Flag.withDescription("Compress with Zstandard (default: yes)"),
      Flag.withDefault(true)
    )
  },
  Effect.fnUntraced(function* ({ compress, current, file, name, withImage }) {
    yield* Snapshot.save(name, file, { generations: current ? "current" : "all", withImage, compress })
    yield* say(Shapes.File, { path: file }, { full: `${name} is saved in ${Flags.typed(file)}`, brief: "" })
  })
).pipe(
  Command.withDescription("Save a snapshot to a file, for another machine"),
  Command.provide(() => driver())
)

export const load = Command.make(
  "load",
  {
    file: Flags.file("What save has written"),
    as: Flag.String("as").pipe(
      Flag.withMetavar("NAME"),
      Flag.withDescription("Default: the name that it was saved under"),
      Flag.optional
    ),
    overwrite: Flags.toggle("overwrite", "Let a name that is there lead to what is loaded")
  },
  Effect.fnUntraced(function* ({ as, file, overwrite }) {
    const snapshot = yield* Snapshot.load(file, { name: Option.getOrUndefined(as), overwrite }).pipe(
      Effect.mapError(nameFlags({ name: "--as", path: "FILE" }))
    )
    yield* say(Snapshot.Snapshot, snapshot, { full: `${snapshot.name} is loaded`, brief: snapshot.name })
  })
).pipe(
  Command.withDescription("Load a snapshot from a file"),
  Command.provide(() => driver())
)
