/** Implements Effect's `ChildProcessSpawner` for a guest. */
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { PlatformError } from "effect/PlatformError"
import * as ChildProcess from "effect/process/ChildProcess"
import * as ChildProcessSpawner from "effect/process/ChildProcessSpawner"
import * as CommandLine from "effect/process/CommandLine"
import * as Redacted from "effect/Redacted"
import * as Scope from "effect/Scope"
import * as Sink from "effect/Sink"
import * as Stream from "effect/Stream"
import { posix as Path } from "node:path"
import type * as Guest from "../../Guest.ts"
import type { LightboxError } from "../../LightboxError.ts"
import { keyboard } from "./attach.ts"
import * as Descriptors from "./descriptors.ts"
import * as Environment from "./environment.ts"
import { openInput } from "./input.ts"
import * as GuestProcess from "./process.ts"
import { failure, type Operation, refusal, toPlatformError } from "./platformErrors.ts"
import { signals } from "../config/signals.ts"

type Handle = ChildProcessSpawner.ChildProcessHandle
type Input = Sink.Sink<void, Uint8Array, never, PlatformError>
type Output = Stream.Stream<Uint8Array, PlatformError>

/** Default time for a process to end with its scope before it is killed. */
const defaultGracePeriod = Duration.seconds(10)

export const make = Effect.fnUntraced(function* (
  guest: Guest.Guest,
  base: string
): Effect.fn.Return<ChildProcessSpawner.ChildProcessSpawner["Service"], never, Scope.Scope> {
  const services = yield* Effect.scope
  const inherited = yield* Effect.cached(Environment.inherited(guest))
  const leaders = new Set<number>()

  /** Starts a command, with wrappers for what the agent does not support. */
  const start = Effect.fnUntraced(function* (
    command: ChildProcess.StandardCommand,
    wrapper: ReadonlyArray<string>,
    policy: Guest.OutputPolicy | undefined
  ): Effect.fn.Return<Guest.Process, LightboxError, Scope.Scope> {
    const { options } = command
    const cwd = options.cwd === undefined ? undefined : Path.resolve(base, options.cwd)
    const environment = yield* Environment.make(options, inherited)
    const [program, ...args] = wordsOf(command)
    const [first, ...others] = [...Environment.wrapper(environment), ...wrapper]
    const spawn = (...argv: Guest.Command["argv"]) => guest.spawn({ argv, cwd, env: environment.set }, policy)
    if (first === undefined) return yield* spawn(program, ...args)
    // A wrapper would not report a missing program.
    const path = yield* Environment.searchPath(environment, inherited)
    const found = yield* Environment.findProgram(guest, program, { path, cwd: cwd ?? base })
    return yield* spawn(first, ...others, found, ...args)
  })

  const spawnOne = Effect.fnUntraced(function* (
    command: ChildProcess.StandardCommand
  ): Effect.fn.Return<Handle, PlatformError, Scope.Scope> {
    const { options } = command
    const shown = CommandLine.display([command.command, ...command.args])
    const on = (method: string): Operation => ({ module: "ChildProcess", method, path: shown })
    const problem = problemOf(command)
    if (problem !== undefined) return yield* refusal(on("spawn"), problem)
    const endingOfScope = yield* endingOf(on("spawn"), options, defaultGracePeriod)
    const stdinConfig = stdinOf(options.stdin)
    const sinks = { Stdout: outputOf(options.stdout), Stderr: outputOf(options.stderr) }
    const targets = { Stdout: targetOf(sinks.Stdout), Stderr: targetOf(sinks.Stderr) }

    // In a separate scope, because an unreferenced process outlives the caller's.
    const scope = yield* Scope.fork(services)
    const state: { isReferenced: boolean; life: GuestProcess.Life | undefined } = {
      isReferenced: true,
      life: undefined
    }
    yield* Effect.addFinalizer((exit) =>
      Effect.suspend(() => {
        if (!state.isReferenced) return Effect.void
        const end = state.life === undefined ? Effect.void : Effect.ignore(state.life.end(endingOfScope))
        return Effect.andThen(end, Scope.close(scope, exit))
      })
    )

    return yield* Effect.gen(function* () {
      const inputFailure = yield* Deferred.make<never, PlatformError>()
      // A process that did not get all of its input has failed, whatever its exit code.
      const feed = (stream: Output, sink: Input) =>
        Effect.forkScoped(
          Stream.run(
            Stream.tapError(stream, (error) => Deferred.fail(inputFailure, error)),
            sink
          )
        )

      const { descriptors, running } = yield* Effect.gen(function* () {
        const descriptors = yield* Descriptors.make(guest, on("spawn"), options, feed)
        const isSilent = targets.Stdout === "ignore" && targets.Stderr === "ignore"
        return {
          descriptors,
          running: yield* start(command, descriptors.wrapper, isSilent ? { overflow: "discard" } : undefined)
        }
      }).pipe(Effect.mapError(toPlatformError(on("spawn"))))
      const life = yield* GuestProcess.follow(guest, running, leaders)
      state.life = life

      const stdin: Input = Sink.mapError(
        stdinConfig.endOnDone === false ? yield* openInput(running) : running.stdin,
        toPlatformError(on("stdin"))
      )
      const source = sourceOf(stdinConfig.stream)
      if (source !== undefined) yield* feed(source, stdin)

      const outputs = yield* GuestProcess.outputs(running, targets)
      const read = (tag: Guest.Output["_tag"]): Output => {
        const stream = Stream.mapError(outputs[tag], toPlatformError(on(tag.toLowerCase())))
        const sink = sinks[tag]
        return Sink.isSink(sink) ? Stream.transduce(stream, sink) : stream
      }
      const stdout = read("Stdout")
      const stderr = read("Stderr")
      const reref = Effect.sync(() => {
        state.isReferenced = true
      })

      return ChildProcessSpawner.makeHandle({
        pid: ChildProcessSpawner.ProcessId(running.pid),
        exitCode: Effect.raceFirst(
          Effect.mapError(life.exitCode, toPlatformError(on("exitCode"))),
          Deferred.await(inputFailure)
        ).pipe(
          Effect.flatMap((code) =>
            code === -1
              ? Effect.fail(failure(on("exitCode"), { code: "UNKNOWN", problem: "the process was ended by a signal" }))
              : Effect.succeed(ChildProcessSpawner.ExitCode(code))
          )
        ),
        isRunning: life.isRunning,
        kill: (options) =>
          Effect.flatMap(endingOf(on("kill"), options), (ending) =>
            Effect.mapError(life.end(ending), toPlatformError(on("kill")))
          ),
        stdin,
        stdout,
        stderr,
        all: Stream.merge(stdout, stderr),
        getInputFd: (fd) => descriptors.inputs.get(fd) ?? Sink.drain,
        getOutputFd: (fd) => descriptors.outputs.get(fd) ?? Stream.empty,
        unref: Effect.sync(() => {
          state.isReferenced = false
          return reref
        })
      })
    }).pipe(Scope.provide(scope))
  })

  const spawnPiped = Effect.fnUntraced(function* (
    command: ChildProcess.PipedCommand
  ): Effect.fn.Return<Handle, PlatformError, Scope.Scope> {
    const first = yield* spawn(command.left)
    const last = yield* spawn(fed(command.right, outputFrom(first, command.options.from), command.options.to))
    return ChildProcessSpawner.makeHandle({
      ...last,
      stdin: first.stdin,
      kill: (options) => Effect.andThen(Effect.ignore(last.kill(options)), Effect.ignore(first.kill(options))),
      unref: Effect.map(Effect.all([last.unref, first.unref]), (rerefs) => Effect.all(rerefs, { discard: true }))
    })
  })

  const spawn = (command: ChildProcess.Command): Effect.Effect<Handle, PlatformError, Scope.Scope> =>
    command._tag === "StandardCommand" ? spawnOne(command) : spawnPiped(command)

  return ChildProcessSpawner.make(spawn)
})

const isShell = ({ shell }: ChildProcess.CommandOptions): boolean => shell !== undefined && shell !== false

const wordsOf = ({ args, command, options }: ChildProcess.StandardCommand): Guest.Command["argv"] => {
  if (!isShell(options)) return [command, ...args]
  return [typeof options.shell === "string" ? options.shell : "/bin/sh", "-c", command]
}

/** Describes an invalid option of a command, without its value. */
const problemOf = (command: ChildProcess.StandardCommand): string | undefined => {
  const { args, options } = command
  const hasNul = (word: string | Redacted.Redacted<string>) =>
    (Redacted.isRedacted(word) ? Redacted.value(word) : word).includes("\0")
  if (isShell(options) && args.length > 0) {
    return "The shell option cannot be combined with arguments; pass the whole script as the command"
  }
  if (hasNul(command.command)) return "The command contains a NUL character"
  const index = args.findIndex(hasNul)
  if (index !== -1) return `Argument ${index + 1} contains a NUL character`
  for (const [name, value] of Object.entries(options.env ?? {})) {
    if (value !== undefined && hasNul(value)) return `The environment variable ${name} contains a NUL character`
  }
  return Descriptors.problemOf(options)
}

const endingOf = (
  operation: Operation,
  { forceKillAfter, killSignal = "SIGTERM" }: ChildProcess.KillOptions = {},
  otherwise?: Duration.Duration
): Effect.Effect<GuestProcess.Ending, PlatformError> =>
  killSignal === "SIGBREAK" || killSignal === "SIGLOST" || killSignal === "SIGINFO"
    ? Effect.fail(refusal(operation, `${killSignal} is not a signal of the guest's kernel`))
    : Effect.succeed({
        signal: signals[killSignal],
        forceKillAfter: forceKillAfter === undefined ? otherwise : Duration.fromInputUnsafe(forceKillAfter)
      })

/** A command whose input or descriptor is the output of another. */
const fed = (
  command: ChildProcess.Command,
  stream: Output,
  to: ChildProcess.PipeToOption = "stdin"
): ChildProcess.Command => {
  if (command._tag === "PipedCommand")
    return ChildProcess.pipeTo(fed(command.left, stream, to), command.right, command.options)
  const { args, options } = command
  const fd = ChildProcess.parseFdName(to)
  if (fd === undefined) {
    return ChildProcess.make(command.command, args, { ...options, stdin: { ...stdinOf(options.stdin), stream } })
  }
  const name = `fd${fd}` as const
  const type = options.additionalFds?.[name]?.type === "duplex" ? "duplex" : "input"
  return ChildProcess.make(command.command, args, {
    ...options,
    additionalFds: { ...options.additionalFds, [name]: { type, stream } }
  })
}

const outputFrom = (handle: Handle, from: ChildProcess.PipeFromOption = "stdout"): Output => {
  const fd = ChildProcess.parseFdName(from)
  if (fd !== undefined) return handle.getOutputFd(fd)
  return from === "stderr" || from === "all" ? handle[from] : handle.stdout
}

const stdinOf = (option: ChildProcess.CommandOptions["stdin"]): ChildProcess.StdinConfig =>
  option === undefined
    ? { stream: "pipe" }
    : typeof option === "string" || Stream.isStream(option)
      ? { stream: option }
      : option

/** The stream to send to a process, unless its handle does that. */
const sourceOf = (input: ChildProcess.CommandInput): Output | undefined =>
  input === "ignore" ? Stream.empty : input === "inherit" ? keyboard : Stream.isStream(input) ? input : undefined

const outputOf = (option: ChildProcess.CommandOptions["stdout"]): ChildProcess.CommandOutput =>
  option === undefined ? "pipe" : typeof option === "string" || Sink.isSink(option) ? option : (option.stream ?? "pipe")

const targetOf = (output: ChildProcess.CommandOutput): GuestProcess.Target =>
  output === "inherit" || output === "ignore" ? output : "pipe"
