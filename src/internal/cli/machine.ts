/** `sweep`, `doctor`, `demo` and `init`. */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import * as Path from "node:path"
import { styleText } from "node:util"
import * as Lightbox from "../../Lightbox.ts"
import * as Reaper from "../../Reaper.ts"
import * as Sandbox from "../../Sandbox.ts"
import type * as SandboxConfig from "../../SandboxConfig.ts"
import * as Snapshot from "../../Snapshot.ts"
import { HostPath, ImageReference, Name, shortPath } from "../config/schemas.ts"
import { decoder, invalid } from "../config/validation.ts"
import { reporter } from "./build/builds.ts"
import { driver, Home, print, printReport, seconds } from "./environment.ts"
import { nameFlags } from "./failure.ts"
import * as Flags from "./flags.ts"
import * as Shapes from "./json.ts"
import * as Status from "./status.ts"

export const sweep = Command.make(
  "sweep",
  {
    dryRun: Flags.toggle("dry-run", "Only show what would be removed"),
    timeout: Flags.duration("timeout", "Time limit (default: 1 minute)")
  },
  Effect.fnUntraced(function* ({ dryRun, timeout }) {
    const report = yield* Reaper.sweep({ dryRun, timeout })
    const { isComplete, verdicts } = report
    yield* printReport(
      report,
      {
        columns: ["VERDICT", "RESOURCE", "NAME", "REASON"],
        row: ({ name, reason, resource, verdict }) => [verdict, resource, name, reason],
        none: "Dead processes left nothing behind."
      },
      isComplete ? undefined : "The time limit passed before everything was checked."
    )
    if (!isComplete || verdicts.some(({ verdict }) => verdict === "failed")) {
      return yield* new Status.Ended({ status: 1 })
    }
  })
).pipe(
  Command.withDescription("Remove what crashed or killed processes left behind"),
  // The sweep at start would remove everything before it can be reported.
  Command.provide(driver({ sweep: false }))
)

export const doctor = Command.make(
  "doctor",
  {},
  Effect.fnUntraced(function* () {
    const diagnosis = yield* Lightbox.doctor({ home: Option.getOrUndefined(yield* Home) }).pipe(
      Effect.mapError(nameFlags({ home: "--home" }))
    )
    const { findings, isHealthy } = diagnosis
    yield* print(Shapes.Diagnosis, diagnosis, {
      full: Lightbox.formatDiagnosis(diagnosis).replace(/^(?:PROBLEM|warning)/gm, (word) =>
        styleText(word === "warning" ? "yellow" : "red", word, { stream: process.stdout })
      ),
      brief: findings.flatMap(({ status, topic }) => (status === "ok" ? [] : [topic])).join("\n")
    })
    if (!isHealthy) return yield* new Status.Ended({ status: 1 })
  })
).pipe(Command.withDescription("Check whether this machine can run sandboxes"))

const image = Flag.String("image").pipe(
  Flag.withMetavar("IMAGE"),
  Flag.withDescription("Base image (default: alpine)"),
  Flag.withDefault("alpine")
)

/** Also fits machines with little memory. */
const resources: SandboxConfig.Resources = { memory: "256M" }

export const demo = Command.make(
  "demo",
  { image },
  Effect.fnUntraced(function* ({ image }) {
    const definition = Snapshot.make("demo", image).pipe(
      Snapshot.resources(resources),
      Snapshot.workdir("/srv"),
      Snapshot.shell("echo 'echo Hello from a microVM, $1.' > hello.sh", { description: "write a script" }),
      Snapshot.shell("sh hello.sh builder", { description: "try it" })
    )
    const onEvent = yield* reporter()
    const [buildTime, snapshot] = yield* Effect.timed(Snapshot.buildScoped(definition, { onEvent }))
    const [rebuildTime] = yield* Effect.timed(Snapshot.buildScoped(definition, { onEvent }))
    const [useTime, { stdout }] = yield* Effect.timed(
      Sandbox.run({ snapshot, resources }, (sandbox) =>
        sandbox.shell('sh /srv/hello.sh "$(uname -sr)"', { check: true })
      )
    )
    const shown = {
      image,
      buildMillis: Duration.toMillis(buildTime),
      rebuildMillis: Duration.toMillis(rebuildTime),
      useMillis: Duration.toMillis(useTime),
      output: stdout
    }
    yield* print(Shapes.Demo, shown, {
      full: [
        stdout.trimEnd(),
        `build         ${seconds(shown.buildMillis)}`,
        `build again   ${seconds(shown.rebuildMillis)}`,
        `use, in all   ${seconds(shown.useMillis)}`,
        "Everything was removed again. Write your own definition with: lightbox init"
      ].join("\n"),
      brief: stdout.trimEnd()
    })
  }, Effect.scoped)
).pipe(Command.withDescription("Build a snapshot, run a sandbox from it, and remove both"), Command.provide(driver()))

const first = (name: string, image: string): string => `import * as Snapshot from "effect-lightbox/Snapshot"

export const definition = Snapshot.make(${JSON.stringify(name)}, ${JSON.stringify(image)}).pipe(
  Snapshot.workdir("/srv"),
  Snapshot.shell("echo 'echo Hello from a microVM, $1.' > hello.sh", { description: "write a script" }),
  Snapshot.shell("sh hello.sh builder", { description: "try it" })
)
`

export const init = Command.make(
  "init",
  {
    file: Flags.file("File to write (default: lightbox.ts)").pipe(Argument.withDefault("lightbox.ts")),
    name: Flag.String("name").pipe(
      Flag.withMetavar("NAME"),
      Flag.withDescription("Name of the snapshot (default: hello)"),
      Flag.withDefault("hello")
    ),
    image,
    overwrite: Flags.toggle("overwrite", "Replace an existing file")
  },
  Effect.fnUntraced(function* ({ file: given, image, name, overwrite }) {
    const file = Path.resolve(yield* decoder(HostPath, "init", "FILE")(given))
    yield* decoder(Name, "init", "--name")(name)
    yield* decoder(ImageReference, "init", "--image")(image)
    const fs = yield* FileSystem.FileSystem
    yield* fs
      .writeFileString(file, first(name, image), { flag: overwrite ? "w" : "wx" })
      .pipe(
        Effect.mapError(({ message, reason }) =>
          reason._tag === "AlreadyExists"
            ? invalid("init", "FILE", `${shortPath(file)} already exists; pass --overwrite to replace it`)
            : invalid("init", "FILE", message)
        )
      )
    yield* print(
      Shapes.File,
      { path: file },
      {
        full: [
          `Wrote ${shortPath(file)}. Next:`,
          `  lightbox plan ${shortPath(file)}`,
          `  lightbox build ${shortPath(file)}`,
          `  lightbox run ${name} -- sh /srv/hello.sh world`
        ].join("\n"),
        brief: ""
      }
    )
  })
).pipe(Command.withDescription("Write a file with a first definition"))
