/** The command line. */
import * as NodeChildProcessSpawner from "@effect/platform-node-shared/NodeChildProcessSpawner"
import * as NodeFileSystem from "@effect/platform-node-shared/NodeFileSystem"
import * as NodePath from "@effect/platform-node-shared/NodePath"
import * as NodeStdio from "@effect/platform-node-shared/NodeStdio"
import * as NodeTerminal from "@effect/platform-node-shared/NodeTerminal"
import * as CliConfig from "effect/cli/CliConfig"
import * as CliOutput from "effect/cli/CliOutput"
import * as Command from "effect/cli/Command"
import { up } from "./build/up.ts"
import * as Completions from "effect/cli/Completions"
import * as Flag from "effect/cli/Flag"
import * as GlobalFlag from "effect/cli/GlobalFlag"
import { TerminalCapabilities } from "effect/cli/TerminalCapabilities"
import * as Cause from "effect/Cause"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import { version } from "../config/version.ts"
import { isCode } from "../host/socket.ts"
import { build, plan } from "./build/builds.ts"
import { builds } from "./build/records.ts"
import * as Completion from "./completion.ts"
import { cp } from "./copy.ts"
import { ContextName, Home, Host, Json, Outputs, Quiet } from "./environment.ts"
import * as Failure from "./failure.ts"
import { exec, shell } from "./exec.ts"
import { fleet } from "./serve/fleet.ts"
import * as Help from "./help.ts"
import { ended } from "./ended.ts"
import { image, images, pull, rmi } from "./images.ts"
import { inspect, logs } from "./inspect.ts"
import { job, jobs } from "./jobs.ts"
import { kill, pause, restart, resume, start, stop, wait } from "./lifecycle.ts"
import { demo, doctor, init, sweep } from "./machine.ts"
import { context } from "./serve/context.ts"
import { host } from "./serve/host.ts"
import { mcp } from "./serve/mcp.ts"
import { ui } from "./serve/ui.ts"
import { port, proxy, ps, rm, run as runCommand } from "./sandboxes.ts"
import { commit, diff, fork, history, load, ls, prune, push, rollback, save, tag } from "./snapshots.ts"
import { Progress } from "../report/progress.ts"
import * as Status from "./status.ts"
import { top } from "./top/top.ts"
import { volume } from "./volumes.ts"

const described = (): Completions.CommandDescriptor => Completions.fromCommand(lightbox)

export const lightbox = Command.make("lightbox").pipe(
  Command.withDescription("Bake microVM snapshots and run sandboxes from them"),
  Command.withSubcommands([
    { group: "START", commands: [init, demo, doctor, ui] },
    { group: "SNAPSHOTS", commands: [build, plan, builds, ls, history, diff, tag, rollback, prune, save, load, push] },
    {
      group: "SANDBOXES",
      commands: [
        runCommand,
        up,
        ps,
        ended,
        inspect,
        start,
        stop,
        restart,
        kill,
        pause,
        resume,
        wait,
        commit,
        fork,
        rm,
        sweep
      ]
    },
    { group: "INSIDE A SANDBOX", commands: [exec, shell, cp, logs, port, proxy, top] },
    { group: "JOBS", commands: [jobs, job] },
    { group: "AGENTS", commands: [mcp] },
    { group: "MACHINES", commands: [host, context, fleet] },
    { group: "VOLUMES AND IMAGES", commands: [volume, images, image, pull, rmi] },
    Completion.complete(described)
  ]),
  Command.withGlobalFlags([Json, Quiet, Home, Host, ContextName])
)

/** Without a short form, which `rm -fv` of docker would run into. */
const Version = GlobalFlag.Action({
  flag: Flag.Boolean("version").pipe(Flag.withDescription("Show version information"), Flag.withDefault(false)),
  run: GlobalFlag.Version.run
})

/** As in git, `help build` is `build --help`. */
const rewritten = ([first = "", ...rest]: ReadonlyArray<string>): ReadonlyArray<string> => {
  if (first === "help") return [...rest, "--help"]
  return ["version", "-v", "-V"].includes(first) ? ["--version"] : [first, ...rest]
}

/** Runs the command line, prints everything, and returns the exit status. */
export const run = Effect.fnUntraced(function* (given: ReadonlyArray<string>) {
  const args = Completion.endFlags(described(), given)
  const end = args.indexOf("--")
  // Also applies to arguments that cannot be parsed.
  const json = args.slice(0, end < 0 ? undefined : end).includes("--json")
  const fail = (failure: Failure.Failure) => Effect.as(Console.error(Failure.show(failure, { json })), failure.status)
  const settings = Layer.mergeAll(
    CliConfig.layer({
      builtIns: [GlobalFlag.Help, Version, Completion.Scripts, GlobalFlag.LogLevel]
    }),
    CliOutput.layerPresenter({
      present: Effect.fnUntraced(function* (event) {
        if (event._tag === "InvalidInvocation") {
          yield* fail(Failure.ofInvocation(event.commandPath, event.errors))
        } else if (event._tag === "Help") {
          const { canColor } = yield* TerminalCapabilities
          const { columns = Number.POSITIVE_INFINITY } = (yield* Outputs).stdout
          yield* Console.log(Help.format(event.helpDoc, { colors: canColor, columns }))
        } else yield* CliOutput.defaultPresenter.present(event)
      })
    }),
    // Standard output is for results only.
    Logger.layer([Logger.withConsoleError(Logger.formatLogFmt)]),
    // Commands report on their own.
    Layer.succeed(Progress, () => {})
  )
  return yield* Command.runWith(lightbox, { version })(args.length === 0 ? [] : rewritten(args)).pipe(
    Effect.as(0),
    Effect.catchTags({
      Ended: ({ status }) => Effect.succeed(status),
      ShowHelp: ({ commandPath, errors }) => Effect.succeed(errors.length === 0 ? 0 : Status.ofInvocation(commandPath))
    }),
    Effect.catch((error) => fail(Failure.ofCause(Cause.fail(error)))),
    Effect.catchDefect((defect) => fail(Failure.ofCause(Cause.die(defect)))),
    Effect.provide(settings)
  )
})

const services = NodeChildProcessSpawner.layer.pipe(
  Layer.provideMerge(Layer.mergeAll(NodeFileSystem.layer, NodePath.layer, NodeStdio.layer, NodeTerminal.layer))
)

/** Fails when the reader of the output closes it, as `head` does. */
const unread = Effect.callback<never, Status.Ended>((resume) => {
  const onError = (error: unknown) =>
    resume(Effect.fail(new Status.Ended({ status: isCode(error, "EPIPE") ? Status.unread : 1 })))
  process.stdout.on("error", onError)
  return Effect.sync(() => process.stdout.off("error", onError))
})

/** The main effect of the process. Fails only with the exit status. */
export const main = (args: ReadonlyArray<string>): Effect.Effect<void, Status.Ended> =>
  run(args).pipe(
    Effect.flatMap((status) => (status === 0 ? Effect.void : Effect.fail(new Status.Ended({ status })))),
    Effect.raceFirst(unread),
    Effect.provide(services)
  )
