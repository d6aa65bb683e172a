/**
 * `build` and `plan`.
 */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Console from "effect/Console"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as BuildReporter from "../../../BuildReporter.ts"
import { isLightboxError } from "../../../LightboxError.ts"
import { invalid } from "../../config/validation.ts"
import * as Plan from "../../../Plan.ts"
import * as Snapshot from "../../../Snapshot.ts"
import { othersOf } from "../../plan/otherKeys.ts"
import * as Definitions from "./definitions.ts"
import { driver, Json, Outputs, Quiet, print, seconds, toJson } from "../environment.ts"
import { nameFlags } from "../failure.ts"
import * as Flags from "../flags.ts"
import * as Shapes from "../json.ts"
import * as Status from "../status.ts"
import * as Watch from "./watch.ts"

const file = Argument.Path("file", { mustExist: false }).pipe(
  Argument.withMetavar("FILE"),
  Argument.withDescription("Module that exports definitions, a Dockerfile, or the folder of one")
)

const names = Flags.nameOf("Names of definitions (default: all)").pipe(Argument.variadic())

const force = Flags.toggle("force", "Run all steps again, ignoring existing results").pipe(Flag.withAlias("no-cache"))

const from = Flags.count("from", "STEP", "Run this step (the first is 1) and all later steps again")

/** Flags for Dockerfiles, as docker has them. */
const dockerfile = {
  dockerfile: Flags.text("dockerfile", "FILE", "Dockerfile whose context FILE is (default: FILE/Dockerfile)", "f"),
  tag: Flags.text("tag", "NAME", "Name of a Dockerfile's snapshot (default: that of its folder)", "t"),
  target: Flags.text("target", "STAGE", "Stage of a Dockerfile to build (default: the last)"),
  args: Flags.buildArgs,
  secrets: Flags.buildSecrets
}

const pullPolicy = Flags.pullPolicy.pipe(
  Flag.withDescription("When to pull the image (default: as defined, or if-missing)")
)

/** The progress reporter that the flags ask for. */
export const reporter = Effect.fnUntraced(function* (progress?: "auto" | "plain" | "tty" | "json") {
  const { stderr, stdout } = yield* Outputs
  if (yield* Json) return BuildReporter.ndjson({ output: stdout })
  if (yield* Quiet) return undefined
  if (progress === "json") return BuildReporter.ndjson({ output: stderr })
  const live = progress === "tty" ? true : progress === "plain" ? false : undefined
  return yield* BuildReporter.terminal({ output: stderr, live })
})

const onlyOne = (method: string, force: boolean, from: number | undefined) =>
  force && from !== undefined
    ? Effect.fail(invalid(method, "--from", "cannot be combined with --force, which runs all steps"))
    : Effect.void

export const build = Command.make(
  "build",
  {
    file,
    names,
    ...dockerfile,
    force,
    from,
    pullPolicy,
    keep: Flags.count("keep", "COUNT", "Number of generations to keep, including the new one (default: 2)"),
    keepBuilder: Flags.toggle("keep-builder", "Leave the builder running as the sandbox NAME-builder"),
    checkpoints: Flags.choice(
      "checkpoints",
      ["auto", "every-step", "final", "marked"],
      "Which results to keep besides the last (default: auto)"
    ),
    warm: Flags.toggle(
      "warm",
      "Capture the memory, too, with services that run: launches resume it (preview: needs a runtime that can do so)"
    ),
    replaceForeign: Flags.toggle("replace-foreign", "Take over the name of a snapshot made by another tool"),
    progress: Flags.choice(
      "progress",
      ["auto", "plain", "tty", "json"],
      "Progress on standard error: plain lines, a live view, or JSON (default: auto, live on a terminal)"
    ),
    watch: Flags.toggle("watch", "Build again when the module, one beside it or a copied file changes, until Ctrl+C")
  },
  Effect.fnUntraced(function* ({
    checkpoints,
    force,
    from,
    keep,
    keepBuilder,
    progress,
    pullPolicy,
    replaceForeign,
    warm,
    watch,
    ...input
  }) {
    yield* onlyOne("build", force, from)
    if (progress !== undefined && (yield* Json)) {
      return yield* invalid("build", "--progress", "cannot be combined with --json, which prints all events itself")
    }
    if (watch) {
      if (warm) return yield* invalid("build", "--warm", "cannot be combined with --watch, which builds disks")
      // The first mistake ends it, later ones do not.
      yield* Definitions.load("build", input)
      return yield* Watch.watch(input)
    }
    const definitions = yield* Definitions.load("build", input)
    const built = yield* Effect.gen(function* () {
      const onEvent = yield* reporter(progress)
      return yield* Effect.forEach(
        definitions,
        (definition) =>
          Snapshot.build(definition, {
            force: from ?? force,
            keep,
            keepBuilder,
            checkpoints,
            replaceForeign,
            pullPolicy,
            warm,
            onEvent
          }),
        { concurrency: "unbounded" }
      )
    }).pipe(
      // Draw the last frame before printing below it.
      Effect.scoped,
      Effect.mapError((error) => (isLightboxError(error) ? nameBuildFlags(error) : new Status.StepFailed({ error })))
    )
    if (yield* Json) {
      return yield* Effect.forEach(
        built,
        ({ duration, ...result }) =>
          Console.log(encodeBuilt({ _tag: "Built", ...result, durationMillis: Duration.toMillis(duration) })),
        { discard: true }
      )
    }
    const lines = built.map(
      ({ duration, generation, name, stepsReused, stepsRun }) =>
        `${name}: generation ${generation}, steps: ${stepsRun} run, ${stepsReused} reused, ${seconds(Duration.toMillis(duration))}`
    )
    yield* Console.log(((yield* Quiet) ? built.map(({ name }) => name) : lines).join("\n"))
  })
).pipe(
  Command.withDescription("Build the definitions that a module exports, or a Dockerfile"),
  Command.withExamples([
    { command: "lightbox build lightbox.ts", description: "Build all definitions" },
    { command: "lightbox build -t app .", description: "Build the Dockerfile of a folder" },
    { command: "lightbox build --watch lightbox.ts", description: "Build again on each change" },
    {
      command: "lightbox build lightbox.ts node-ci --json",
      description: "Build one, and print each event as a line of JSON"
    }
  ]),
  Command.provide(driver())
)

const nameBuildFlags = nameFlags({
  force: "--from",
  keep: "--keep",
  checkpoints: "--checkpoints",
  overwrite: "--replace-foreign"
})

const encodeBuilt = toJson(Shapes.Built)

export const plan = Command.make(
  "plan",
  { file, names, ...dockerfile, force, from, pullPolicy },
  Effect.fnUntraced(function* ({ force, from, pullPolicy, ...input }) {
    yield* onlyOne("plan", force, from)
    const definitions = yield* Definitions.load("plan", input)
    // A build also builds the stages that it copies from.
    const all = definitions.flatMap((definition) => [
      ...[...othersOf(definition)].filter(({ steps }) => steps.length > 0),
      definition
    ])
    const plans = yield* Effect.forEach(all, (definition) =>
      Snapshot.plan(definition, { force: from ?? force, pullPolicy })
    ).pipe(Effect.mapError(nameFlags({ force: "--from" })))
    yield* print(Shapes.Plans, plans, {
      full: plans.map(Plan.format).join("\n\n"),
      brief: plans
        .flatMap(({ changesDefaults, isCached, snapshot }) => (isCached && !changesDefaults ? [] : [snapshot]))
        .join("\n")
    })
  })
).pipe(Command.withDescription("Show what build would do and why, without booting anything"), Command.provide(driver()))
