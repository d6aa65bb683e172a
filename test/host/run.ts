/**
 * Runs a command where microVMs boot: `test/bootstrap test/host/run.ts [options] -- COMMAND ARGS…`
 *
 * That is this machine, or else an emulated one that sees this machine's files. Either way the command starts in the
 * same folder with the same environment, and:
 *
 * - `MSB_HOME` and `TMPDIR` are its own, with nothing in them but the images that were asked for.
 * - What it writes to `LIGHTBOX_OUT`, by default the repository's `.cache`, is there afterwards. In an emulated host
 *   everything else is gone.
 * - `LIGHTBOX_HOST` is `native` or `emulated`, and `node` is the one that runs this.
 * - Its standard input is empty, its standard output and error are passed on, and so is its exit status.
 * - SIGHUP, SIGINT and SIGTERM reach it, as SIGTERM does at the time limit, and it has some seconds to end.
 *
 * The host's own exit statuses: 64 for wrong usage, 69 when this machine can't be a host, 70 when the host breaks,
 * 124 at the time limit. Runs do not get in each other's way.
 */
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Argument from "effect/cli/Argument"
import * as CliError from "effect/cli/CliError"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Config from "effect/Config"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import * as Path from "effect/Path"
import * as Ref from "effect/Ref"
import * as Runtime from "effect/Runtime"
import * as Schema from "effect/Schema"
import { fileURLToPath } from "node:url"
import * as Bun from "../images/Bun.ts"
import * as Busybox from "../images/Busybox.ts"
import * as Debian from "../images/Debian.ts"
import * as EmulatedHost from "./EmulatedHost.ts"
import * as Host from "./Host.ts"
import * as ImageHome from "./ImageHome.ts"
import * as Interrupt from "./Interrupt.ts"
import * as Machine from "./Machine.ts"
import * as NativeHost from "./NativeHost.ts"

const atLeast = (minimum: number) => Schema.Int.check(Schema.isGreaterThanOrEqualTo(minimum))

const flags = {
  cpus: Flag.Int("cpus").pipe(
    Flag.withDescription("Processors of an emulated host (default: 1, which is steadier than more)"),
    Flag.withSchema(atLeast(1)),
    Flag.withDefault(1)
  ),
  memory: Flag.Int("memory").pipe(
    Flag.withDescription("Memory of an emulated host in MiB (default: a third of what is free, 2048 to 8192)"),
    Flag.withSchema(atLeast(1024)),
    Flag.optional
  ),
  fileSystem: Flag.Literals("fs", ["ext4", "xfs"]).pipe(
    Flag.withDescription("File system below MSB_HOME and TMPDIR of an emulated host; xfs has reflinks"),
    Flag.withDefault("ext4")
  ),
  timeout: Flag.String("timeout").pipe(
    Flag.withDescription(
      "Time limit for the command, counted from when its host is up; past it the exit status is 124"
    ),
    Flag.withSchema(Schema.DurationFromString),
    Flag.withDefault(Duration.hours(1))
  ),
  stall: Flag.String("stall").pipe(
    Flag.withDescription("Give up an emulated host that shows no life for this long, with status 70"),
    Flag.withSchema(Schema.DurationFromString),
    Flag.withDefault(Duration.minutes(3))
  ),
  images: Flag.String("image").pipe(
    Flag.withDescription(
      "Image that MSB_HOME holds: busybox, bun, debian or an OCI archive; may be repeated (default: busybox)"
    ),
    Flag.atLeast(0)
  ),
  fresh: Flag.Boolean("fresh").pipe(Flag.withDescription("Start with an empty MSB_HOME"), Flag.withDefault(false)),
  name: Flag.String("name").pipe(
    Flag.withDescription("Name that the host's own messages begin with"),
    Flag.withDefault("host")
  ),
  program: Argument.String("command").pipe(Argument.withDescription("What to run")),
  args: Argument.String("args").pipe(Argument.withDescription("Its arguments, after --"), Argument.variadic())
}

const archiveOf = (image: string) => {
  switch (image) {
    case "busybox":
      return Busybox.archive
    case "bun":
      return Bun.archive
    case "debian":
      return Debian.archive
    default:
      return Path.Path.use((path) => Effect.succeed(path.resolve(image)))
  }
}

const defaultMemory = Effect.map(Machine.freeMemory, (free) => Math.min(Math.max(Math.floor(free / 3), 2048), 8192))

// The same path inside and outside, so that a report can name it.
const outFolder = Effect.gen(function* () {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const asked = yield* Config.option(Config.String("LIGHTBOX_OUT"))
  const out = path.resolve(Option.getOrElse(asked, () => fileURLToPath(new URL("../../.cache", import.meta.url))))
  yield* fs.makeDirectory(out, { recursive: true })
  return yield* fs.realPath(out)
})

const host = Effect.fnUntraced(function* (input: Command.Command.Config.Infer<typeof flags>) {
  const names = input.fresh ? [] : input.images.length > 0 ? input.images : ["busybox"]
  const options = {
    command: [input.program, ...input.args] as const,
    cpus: input.cpus,
    memory: Option.isSome(input.memory) ? input.memory.value : yield* defaultMemory,
    fileSystem: input.fileSystem,
    timeout: input.timeout,
    stall: input.stall,
    out: yield* outFolder
  }
  const native = yield* Machine.canBoot
  if (!native) yield* EmulatedHost.prepare(options)
  const home = yield* ImageHome.make(yield* Effect.forEach(names, archiveOf))
  const images = names.length === 0 ? "no images" : `images ${names.join(", ")} (${home.state})`
  if (native) {
    yield* Host.say(`native, cpus ${Machine.cpus}, ${images}`)
    return yield* NativeHost.run(options, home.path)
  }
  yield* Host.say(`emulated, cpus ${options.cpus}, memory ${options.memory} MiB, ${options.fileSystem}, ${images}`)
  return yield* EmulatedHost.run(options, home.path)
})

const program = Effect.gen(function* () {
  const status = yield* Ref.make(0)
  const command = Command.make("run.ts", flags, (input) =>
    host(input).pipe(
      Effect.flatMap((ended) => Ref.set(status, ended)),
      Effect.tapError((error) => Host.say(error.message)),
      Effect.provideService(Host.Name, input.name)
    )
  )
  yield* Command.run(command.pipe(Command.withDescription("Runs a command where microVMs boot")), { version: "0" })
  return yield* Ref.get(status)
})

// The host's own failures get statuses that a command is not likely to end with.
const statusOf = (error: unknown): number => {
  const status = Runtime.getErrorExitCode(error)
  if (CliError.isCliError(error)) return status === 0 ? 0 : 64
  return status === 1 ? 70 : status
}

program.pipe(
  Effect.catch((error) => Effect.succeed(statusOf(error))),
  Effect.provide(NodeServices.layer),
  Interrupt.runMain
)
