/**
 * `build` and `plan`.
 */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Console from "effect/Console"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as BuildReporter from "../../BuildReporter.ts"
import { isLightboxError } from "../../LightboxError.ts"
import * as Plan from "../../Plan.ts"
import * as Snapshot from "../../Snapshot.ts"
import * as Definitions from "./definitions.ts"
import { driver, Json, Outputs, Quiet, say, seconds, toJson } from "./environment.ts"
import { nameFlags } from "./failure.ts"
import * as Flags from "./flags.ts"
import * as Shapes from "./json.ts"
import * as Status from "./status.ts"

const file = Flags.file("A module that exports definitions: JavaScript, or TypeScript as it is")

const names = Argument.String("name").pipe(
  Argument.withMetavar("NAME"),
  Argument.withDescription("Only these definitions"),
  Argument.variadic()
)

const force = Flags.toggle("force", "Run all steps again, whatever is there")

const from = Flag.Int("from").pipe(
  Flag.withMetavar("STEP"),
  Flag.withDescription("Run this step (from 1) and those after it again"),
  Flag.optional
)

/** Where progress is said, as the flags want it. */
export const reporter = Effect.gen(function* () {
  const { stderr, stdout } = yield* Outputs
  if (yield* Json) return BuildReporter.ndjson({ output: stdout })
  return (yield* Quiet) ? undefined : yield* BuildReporter.terminal({ output: stderr })
})

export const build = Command.make(
  "build",
  {
    file,
    names,
    force,
    from,
    keep: Flag.Int("keep").pipe(
      Flag.withMetavar("COUNT"),
      Flag.withDescription("How many generations the name keeps, the new one included (default: 2)"),
      Flag.optional
    ),
    keepBuilder: Flags.toggle("keep-builder", "Leave the builder running, as NAME-builder"),
    checkpoints: Flag.Literals("checkpoints", ["auto", "every-step", "final", "marked"]).pipe(
      Flag.withDescription("Which results are kept, beside the last (default: auto)"),
      Flag.optional
    ),
    replaceForeign: Flags.toggle("replace-foreign", "Take the name from a snapshot that another tool made")
  },
  Effect.fnUntraced(function* ({ checkpoints, file, force, from, keep, keepBuilder, names, replaceForeign }) {
    const definitions = yield* Definitions.load("build", file, names)
    const built = yield* Effect.gen(function* () {
      const onEvent = yield* reporter
      return yield* Effect.forEach(
        definitions,
        (definition) =>
          Snapshot.build(definition, {
            force: Option.getOrElse(from, () => force),
            keep: Option.getOrUndefined(keep),
            keepBuilder,
            checkpoints: Option.getOrUndefined(checkpoints),
            replaceForeign,
            onEvent
          }),
        { concurrency: "unbounded" }
      )
    }).pipe(
      // The last frame is on the terminal before anything is said below it.
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
  Command.withDescription("Build the definitions of a module, as far as they are not built"),
  Command.withExamples([
    { command: "lightbox build lightbox.ts", description: "All that it exports" },
    { command: "lightbox build lightbox.ts node-ci --json", description: "One, with a line of JSON for each event" }
  ]),
  Command.provide(() => driver())
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
  { file, names, force, from },
  Effect.fnUntraced(function* ({ file, force, from, names }) {
    const definitions = yield* Definitions.load("plan", file, names)
    const plans = yield* Effect.forEach(definitions, (definition) =>
      Snapshot.plan(definition, { force: Option.getOrElse(from, () => force) })
    ).pipe(Effect.mapError(nameFlags({ force: "--from" })))
    yield* say(Shapes.Plans, plans, {
      full: plans.map(Plan.format).join("\n\n"),
      brief: plans.flatMap(({ isCached, snapshot }) => (isCached ? [] : [snapshot])).join("\n")
    })
  })
).pipe(
  Command.withDescription("Tell what build would do, and why, without booting anything"),
  Command.provide(() => driver())
)
