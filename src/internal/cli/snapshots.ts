/** `ls`, `history`, `tag`, `commit`, `diff`, `rollback`, `prune`, `save`, `load`, `push`, and `pull --snapshot`. */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Sandbox from "../../Sandbox.ts"
import * as Snapshot from "../../Snapshot.ts"
import { shortPath } from "../config/schemas.ts"
import { invalid } from "../config/validation.ts"
import { snapshotLabel } from "../ownership/labels.ts"
import { clean } from "../report/terminalText.ts"
import { bytes, driver, format, Json, Outputs, print, printList, printReport, Quiet } from "./environment.ts"
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
          createdAt
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
      row: ({ createdAt, generation, isCurrent }) => [`${generation}`, createdAt, isCurrent ? "current" : ""],
      none: "This snapshot has no generations: another tool made it."
    },
    listing
  )
})

/** The lines of a generation: where it is from, and the steps that its build ran. */
const stepsOf = (
  generation: Snapshot.Generation
): ReadonlyArray<{ readonly generation?: Snapshot.Generation | undefined; readonly step: string }> => {
  const { build } = generation
  if (build === undefined) return [{ generation, step: generation.key === "" ? "(captured or loaded)" : "(built)" }]
  return [{ generation, step: `from ${build.image}` }, ...build.steps.map((step) => ({ step }))]
}

export const history = Command.make(
  "history",
  { name },
  Effect.fnUntraced(function* ({ name }) {
    const all = yield* Snapshot.generations(name)
    yield* print(Shapes.Generations, all, {
      full: yield* format(all.flatMap(stepsOf), {
        columns: ["GENERATION", "CREATED", "LABELS", "STEP"],
        row: ({ generation, step }) => [
          generation === undefined ? "" : `${name}@${generation.generation}${generation.isCurrent ? " (current)" : ""}`,
          generation === undefined ? "" : generation.createdAt,
          generation === undefined
            ? ""
            : Object.entries(generation.labels)
                .map(([key, value]) => `${key}=${value}`)
                .join(" "),
          step
        ],
        none: "This snapshot has no generations: another tool made it."
      }),
      brief: all.map(({ generation }) => `${name}@${generation}`).join("\n")
    })
  }, namedArgument)
).pipe(
  Command.withDescription("Show the generations of a snapshot, and the steps that built them"),
  Command.provide(driver())
)

export const tag = Command.make(
  "tag",
  {
    reference: Argument.String("snapshot").pipe(
      Argument.withDescription("Name of a snapshot, or a generation such as app@3")
    ),
    name: Argument.String("new-name").pipe(Argument.withDescription("Name to add")),
    overwrite: Flags.toggle("overwrite", "Point the name to the snapshot even if the name exists")
  },
  Effect.fnUntraced(function* ({ name, overwrite, reference }) {
    const snapshot = yield* Snapshot.tag(reference, name, { overwrite }).pipe(
      Effect.mapError(nameFlags({ reference: "SNAPSHOT", name: "NEW-NAME" }))
    )
    yield* print(Snapshot.Snapshot, snapshot, { full: `${name} now points to ${reference}`, brief: "" })
  })
).pipe(Command.withDescription("Give a snapshot another name"), Command.provide(driver()))

export const commit = Command.make(
  "commit",
  {
    sandbox: Argument.String("sandbox").pipe(Argument.withDescription("Name of the sandbox")),
    name,
    labels: Flags.labels,
    keep: Flags.count("keep", "COUNT", "Number of generations to keep, including the new one (default: 2)")
  },
  Effect.fnUntraced(function* ({ keep, labels, name, sandbox }) {
    const snapshot = yield* Snapshot.capture(sandbox, { name, labels, keep }).pipe(
      Effect.mapError(nameFlags({ sandbox: "SANDBOX", name: "NAME", labels: "--label", keep: "--keep" }))
    )
    yield* print(Snapshot.Snapshot, snapshot, {
      full: `Captured ${sandbox} as ${name}, generation ${snapshot.generation}`,
      brief: name
    })
  })
).pipe(
  Command.withDescription("Capture the disk of a sandbox as a snapshot; a running one is restarted"),
  Command.provide(driver())
)

export const fork = Command.make(
  "fork",
  {
    sandbox: Argument.String("sandbox").pipe(Argument.withDescription("Name of a running sandbox")),
    count: Flags.count("count", "COUNT", "Number of copies (default: 1)").pipe(Flag.withAlias("n")),
    memory: Flags.toggle("memory", "Copy the memory, too, without a restart (preview: needs a runtime that can do so)"),
    name: Flags.text("name", "NAME", "The copies are NAME-1, NAME-2 and so on (default: generated names)")
  },
  Effect.fnUntraced(
    function* ({ count, memory: withMemory, name, sandbox }) {
      const original = yield* Sandbox.connect(sandbox)
      const { cpus, memory } = yield* original.info
      const copies = yield* Sandbox.fork(
        original,
        withMemory ? { count, name, memory: true } : { count, name, options: { resources: { cpus, memory } } }
      )
      yield* Effect.forEach(copies, ({ detach }) => detach, { discard: true })
      const names = copies.map(({ name }) => name)
      yield* print(Shapes.Changed, { forked: names }, { full: names.join("\n") })
    },
    Effect.scoped,
    Effect.mapError(nameFlags({ name: "--name", count: "--count", memory: "--memory" }))
  )
).pipe(
  Command.withDescription(
    "Boot copies of a sandbox's disk, with its processors and memory size, and leave them running"
  ),
  Command.withExamples([{ command: "lightbox fork box -n 3 --name try", description: "Boot try-1, try-2 and try-3" }]),
  Command.provide(driver())
)

/** A running sandbox, or else a snapshot. */
const sideOf = Effect.fnUntraced(function* (name: string) {
  const found = yield* Sandbox.connect(name).pipe(
    Effect.asSome,
    Effect.catchReasons("LightboxError", {
      NotFound: () => Effect.succeedNone,
      // A generation such as `app@3`.
      InvalidConfig: () => Effect.succeedNone
    })
  )
  return Option.getOrElse(found, (): Snapshot.DiffSource => name)
})

/** What a single name is compared with: a sandbox with its origin, a snapshot with its previous generation. */
const originOf = Effect.fnUntraced(function* (name: string, side: Snapshot.DiffSource) {
  if (Sandbox.isSandbox(side)) {
    const { image = "", labels } = yield* side.info
    const origin = labels[snapshotLabel]
    return origin === undefined ? { image } : origin.includes("/") ? { path: origin } : origin
  }
  const all = yield* Snapshot.generations(name)
  const previous = all[all.findIndex(({ isCurrent }) => isCurrent) - 1]
  return previous === undefined
    ? yield* invalid(
        "diff",
        "A",
        `"${name}" has no earlier generation to compare with; pass two snapshots or sandboxes`
      )
    : `${name}@${previous.generation}`
})

const marks = { added: "A", changed: "C", removed: "D" } as const

export const diff = Command.make(
  "diff",
  {
    a: Argument.String("a").pipe(
      Argument.withDescription("A running sandbox, a snapshot, or a generation such as app@3")
    ),
    b: Argument.String("b").pipe(
      Argument.withDescription(
        "The same, to compare with (default: compare a sandbox with the snapshot or image it was launched from, and a snapshot with its previous generation)"
      ),
      Argument.optional
    ),
    limit: Flags.count("limit", "COUNT", "Maximum number of differences (default: 10000)")
  },
  Effect.fnUntraced(function* ({ a, b, limit }) {
    const first = yield* sideOf(a)
    const [before, after] = Option.isSome(b)
      ? [first, yield* sideOf(b.value)]
      : [yield* namedArgument(originOf(a, first)), first]
    const found = yield* Snapshot.diff(before, after, { limit }).pipe(
      Effect.mapError(nameFlags({ before: "A", after: Option.isSome(b) ? "B" : "A", limit: "--limit" }))
    )
    yield* print(Snapshot.Diff, found, {
      full: yield* format(found.differences, {
        columns: ["KIND", "SIZE", "CHANGES", "PATH"],
        row: ({ changes, kind, path, size, type }) => [
          marks[kind],
          type === "File" ? `${size}` : type === "Directory" ? "folder" : type,
          changes.join(", "),
          path
        ],
        none: "There are no differences."
      }),
      brief: found.differences.map(({ path }) => clean(path)).join("\n")
    })
    if (!found.isComplete && !(yield* Json)) {
      yield* Console.error("note: there are more differences; pass a higher --limit")
    }
  }, Effect.scoped)
).pipe(
  Command.withDescription("Show the paths that were added (A), changed (C) and removed (D) between two disks"),
  Command.withExamples([
    { command: "lightbox diff web", description: "What a sandbox has changed since its launch" },
    { command: "lightbox diff node-ci@3 node-ci@4" }
  ]),
  Command.provide(driver())
)

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
    dryRun: Flags.toggle("dry-run", "Only show what would be removed"),
    force: Flags.unasked
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
          usedAt,
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
    yield* print(Shapes.File, { path: file }, { full: `Saved ${name} to ${shortPath(file)}`, brief: "" })
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

/** Prints a line for each tenth of a transfer that takes long enough to wait for. */
const reportTransfer = Effect.fnUntraced(function* (what: string) {
  if ((yield* Quiet) || (yield* Json)) return undefined
  const { stderr } = yield* Outputs
  let reported = 0
  return ({ done, total }: Snapshot.TransferProgress) =>
    Effect.sync(() => {
      const tenths = total < worthReporting ? 0 : Math.floor((10 * done) / total)
      if (tenths > reported) stderr.write(`${what}: ${10 * tenths} % of ${bytes(total)}\n`)
      reported = Math.max(reported, tenths)
    })
})

const worthReporting = 32 * 1024 * 1024

export const push = Command.make(
  "push",
  {
    name: Argument.String("snapshot").pipe(
      Argument.withDescription("Name of a snapshot, or a generation such as app@3")
    ),
    reference: Argument.String("reference").pipe(
      Argument.withDescription("Where to push it, such as registry.example.com/ci/app:main or s3://bucket/ci/app:main")
    ),
    ...Flags.registry,
    ...Flags.s3
  },
  Effect.fnUntraced(function* ({ endpoint, name, reference, region, ...registry }) {
    const { digest, moved, total } = yield* Snapshot.push(name, reference, {
      registry: Flags.registryOf(registry),
      s3: { endpoint, region },
      onProgress: yield* reportTransfer(`pushing ${name}`)
    }).pipe(
      Effect.mapError(nameFlags({ name: "SNAPSHOT", reference: "REFERENCE", ...Flags.registryNames, ...Flags.s3Names }))
    )
    yield* print(
      Snapshot.Pushed,
      { reference, digest, moved, total },
      { full: `Pushed ${name} to ${reference}, ${digest}: sent ${bytes(moved)} for ${bytes(total)}`, brief: digest }
    )
  })
).pipe(
  Command.withDescription("Push a snapshot to a registry or a bucket, for `pull --snapshot` on another machine"),
  Command.withExamples([
    { command: "lightbox push node-ci registry.example.com/ci/node:main" },
    {
      command: "lightbox push node-ci s3://cache/ci/node:main",
      description: "Push to a bucket, with the access key in $AWS_ACCESS_KEY_ID and $AWS_SECRET_ACCESS_KEY"
    }
  ]),
  Command.provide(driver())
)

/** Pulls a snapshot, for `pull`. `flags` are the names of options that it fails with. */
export const pullSnapshot = Effect.fnUntraced(function* (
  name: string,
  reference: string | Snapshot.HostReference,
  options: Omit<Snapshot.PullOptions, "onProgress">,
  flags: { readonly [field: string]: string }
) {
  const snapshot = yield* Snapshot.pull(name, reference, {
    ...options,
    onProgress: yield* reportTransfer(`pulling ${name}`)
  }).pipe(Effect.mapError(nameFlags({ ...flags, ...Flags.registryNames, ...Flags.s3Names })))
  const from = typeof reference === "string" ? reference : `${reference.snapshot ?? name} of ${reference.host}`
  yield* print(Snapshot.Snapshot, snapshot, {
    full: `Pulled ${from} as ${name}, generation ${snapshot.generation}`,
    brief: name
  })
})
