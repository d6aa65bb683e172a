/**
 * The process in the guest that runs the code of a context.
 *
 * It is a command of this connection, not a job: a context ends with its scope, the guest needs no shell for it, and
 * output arrives at once instead of by polling a log.
 */
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Crypto from "node:crypto"
import type * as Guest from "../../Guest.ts"
import type { Event, Language } from "../../Interpreter.ts"
import { CommandNotStarted, InterpreterLost, isLightboxError, LightboxError, TimedOut } from "../../LightboxError.ts"
import { mebibyte, millis } from "../config/schemas.ts"
import { timeLimit } from "../config/validation.ts"
import * as Execution from "../guest/execution.ts"
import { openInput } from "../guest/input.ts"
import * as FailureText from "../report/failureText.ts"
import { Frames } from "./frames.ts"
import * as JavaScript from "./javascriptKernel.ts"
import * as Python from "./pythonKernel.ts"
import { CodeError, Result } from "./results.ts"

export interface Options extends Pick<Guest.Command, "cwd" | "user" | "env"> {
  readonly language: Language
  readonly program?: string | undefined
  /** Bytes. */
  readonly memory?: number | undefined
  readonly interruptTimeout: Duration.Duration
}

export interface Limits {
  /** Bytes of both outputs together. */
  readonly maxOutput: number
  /** Characters of all results together. */
  readonly maxResults: number
}

/** Code that runs, or has run. */
export interface Cell {
  readonly emit: (event: Event) => void
  /** The kernel runs the code: from now on, an interrupt reaches it. */
  readonly started: Deferred.Deferred<void>
  /** Fails if the kernel was lost. */
  readonly ended: Deferred.Deferred<void, LightboxError>
  readonly maxResults: number
  /** The outputs that have not reached the end of the code. */
  readonly open: Set<Descriptor>
  readonly decoders: { readonly [K in Descriptor]: TextDecoder }
  readonly tails: { readonly [K in Descriptor]: Execution.Tail }
  outputLeft: number
  resultsLeft: number
  hasError: boolean
  truncated: boolean
}

type Descriptor = Guest.Output["_tag"]

const Message = Schema.fromJsonString(
  Schema.Union([
    Schema.Struct({ _tag: Schema.tag("Ready") }),
    Schema.Struct({ _tag: Schema.tag("Started") }),
    Schema.Struct({ _tag: Schema.tag("Result"), data: Schema.Record(Schema.String, Schema.String) }),
    Schema.Struct({
      _tag: Schema.tag("Error"),
      name: Schema.String,
      message: Schema.String,
      traceback: Schema.String
    }),
    Schema.Struct({ _tag: Schema.tag("Ended"), truncated: Schema.Boolean })
  ])
)

const decodeMessage = Schema.decodeUnknownOption(Message)

const startLimit = Duration.minutes(1)

/** Output of background work between two runs, which is kept for the next. */
const idleBytes = 64 * 1024

/** What a result counts beyond its content: there may be many empty ones. The kernels count the same. */
const resultOverhead = 256

const longestText = 128 * 1024

const defaultPrograms = { python: "python3", javascript: "node" }

const argvOf = ({ language, program = defaultPrograms[language] }: Options): Guest.Command["argv"] =>
  language === "python" ? [program, "-c", Python.source] : [program, "-e", JavaScript.source]

/** A running kernel. */
export interface Kernel {
  /** Sends code, if the kernel has not been lost. Only one cell at a time. Must not be interrupted. */
  readonly begin: (code: string, limits: Limits, emit: (event: Event) => void) => Effect.Effect<Cell, LightboxError>
  /** Interrupts a cell, and kills the kernel if the cell does not end. Returns when it has ended either way. */
  readonly stop: (cell: Cell) => Effect.Effect<void>
  /** The cell that runs, if any. */
  readonly running: Effect.Effect<Cell | undefined>
  /** Makes it fail from now on. */
  readonly lose: (problem: string) => Effect.Effect<void>
  /** The error of a cell that took too long. */
  readonly timedOut: (cell: Cell, limit: Duration.Duration) => LightboxError
}

const method = "Interpreter.make"

/** Starts a kernel, which is killed when the scope closes. */
export const start = Effect.fnUntraced(function* (
  guest: Guest.Guest,
  options: Options
): Effect.fn.Return<Kernel, LightboxError, Scope.Scope> {
  const { cwd, env, interruptTimeout, language, user } = options
  const argv = argvOf(options)
  const process = yield* guest.spawn({ argv, cwd, user, env, stdin: "open" }).pipe(Effect.mapError(withoutSource(argv)))
  const input = yield* openInput(process)
  const secrets = FailureText.secretsOf({ argv, env })
  const marker = `\0lightbox ${Crypto.randomBytes(16).toString("hex")} `
  const ready = yield* Deferred.make<void, LightboxError>()
  const tails = { Stdout: new Execution.Tail(), Stderr: new Execution.Tail() }
  let lost: LightboxError | undefined
  let cell: Cell | undefined
  let idle: ReadonlyArray<Guest.Output> = []
  let idleSize = 0
  let isIdleCut = false

  const linesOf = (of: Cell["tails"]) => ({
    stdout: Execution.tail(of.Stdout.last, secrets),
    stderr: Execution.tail(of.Stderr.last, secrets)
  })

  const fail = (error: LightboxError) =>
    Effect.sync(() => {
      lost ??= error
      Deferred.doneUnsafe(ready, Effect.fail(lost))
      const ended = cell?.ended
      cell = undefined
      if (ended !== undefined) Deferred.doneUnsafe(ended, Effect.fail(lost))
    })
  const lose = (problem: string, end: Partial<Execution.Ended> = {}) =>
    Effect.suspend(() => {
      const { exitCode } = end
      const fields = exitCode === undefined ? {} : Execution.endFields({ ...end, exitCode })
      const reason = new InterpreterLost({ language, problem, ...fields, ...linesOf(tails) })
      return fail(new LightboxError({ method: "Interpreter.run", reason }))
    })
  yield* Effect.addFinalizer(() => lose("was closed"))

  const print = (tag: Descriptor, bytes: Uint8Array) => {
    if (bytes.length === 0) return
    tails[tag].push(bytes)
    if (cell === undefined || !cell.open.has(tag)) {
      isIdleCut ||= idleSize + bytes.length > idleBytes
      if (isIdleCut) return
      idle = [...idle, { _tag: tag, bytes }]
      idleSize += bytes.length
      return
    }
    cell.tails[tag].push(bytes)
    const kept = bytes.subarray(0, cell.outputLeft)
    if (kept.length < bytes.length) cell.truncated = true
    cell.outputLeft -= kept.length
    const text = cell.decoders[tag].decode(kept, { stream: true })
    if (text !== "") cell.emit({ _tag: tag, text })
  }

  const show = (to: Cell, data: { readonly [type: string]: string }) => {
    const size = Object.entries(data).reduce((sum, [type, text]) => sum + type.length + text.length, 0)
    if (size > to.resultsLeft) {
      to.truncated = true
      return
    }
    to.resultsLeft -= size + resultOverhead
    to.emit({ _tag: "Result", result: new Result({ data }) })
  }

  const onMessage = (tag: Descriptor, text: string | undefined) => {
    const message = text === undefined ? undefined : Option.getOrUndefined(decodeMessage(text))
    if (message?._tag === "Ready") Deferred.doneUnsafe(ready, Effect.void)
    if (cell === undefined || !cell.open.has(tag)) return
    if (message === undefined) {
      cell.truncated = true
      return
    }
    switch (message._tag) {
      case "Ready":
        return
      case "Started":
        return Deferred.doneUnsafe(cell.started, Effect.void)
      case "Result":
        return show(cell, message.data)
      case "Error": {
        if (cell.hasError) return
        cell.hasError = true
        const [name, problem, traceback] = [message.name, message.message, message.traceback].map((text) =>
          text.slice(0, longestText)
        )
        const error = new CodeError({ name: name ?? "", message: problem ?? "", traceback: traceback ?? "" })
        return cell.emit({ _tag: "Error", error })
      }
      case "Ended": {
        cell.truncated ||= message.truncated
        cell.open.delete(tag)
        const rest = cell.decoders[tag].decode()
        if (rest !== "") cell.emit({ _tag: tag, text: rest })
        if (cell.open.size > 0) return
        // First, because what waits goes on within the next call, and may begin another.
        const { ended } = cell
        cell = undefined
        Deferred.doneUnsafe(ended, Effect.void)
      }
    }
  }

  const maxMessage = () => 6 * (cell?.maxResults ?? 0) + mebibyte
  const frames = { Stdout: new Frames(marker, maxMessage), Stderr: new Frames(marker, maxMessage) }
  const read = Stream.runForEach(process.output, ({ _tag, bytes }) =>
    Effect.sync(() => {
      for (const piece of frames[_tag].push(bytes)) {
        if (piece._tag === "Output") print(_tag, piece.bytes)
        else onMessage(_tag, piece.text)
      }
    })
  ).pipe(
    Effect.andThen(Execution.ended(process)),
    Effect.matchEffect({
      onFailure: fail,
      onSuccess: (end) => {
        for (const tag of ["Stdout", "Stderr"] as const) print(tag, frames[tag].end())
        return lose(FailureText.ending(Execution.endFields(end)), end)
      }
    })
  )
  yield* Effect.forkScoped(read)

  const tell = (message: object) => Stream.run(Stream.make(Buffer.from(`${JSON.stringify(message)}\n`)), input)
  yield* tell({ marker, memory: options.memory ?? null })
  yield* Deferred.await(ready).pipe(
    timeLimit(method, `starting ${argv[0]}`, startLimit, () => linesOf(tails)),
    Effect.mapError(withMethod(method))
  )

  return {
    begin: (code, { maxOutput, maxResults }, emit) =>
      Effect.suspend(() => {
        if (lost !== undefined) return Effect.fail(lost)
        const begun: Cell = {
          emit,
          started: Deferred.makeUnsafe(),
          ended: Deferred.makeUnsafe(),
          maxResults,
          open: new Set(["Stdout", "Stderr"]),
          decoders: { Stdout: new TextDecoder(), Stderr: new TextDecoder() },
          tails: { Stdout: new Execution.Tail(), Stderr: new Execution.Tail() },
          outputLeft: maxOutput,
          resultsLeft: maxResults,
          hasError: false,
          truncated: isIdleCut
        }
        cell = begun
        const before = idle
        idle = []
        idleSize = 0
        isIdleCut = false
        for (const { _tag, bytes } of before) print(_tag, bytes)
        return Effect.as(tell({ code, maxResults }), begun)
      }),
    stop: (stopped) =>
      Effect.gen(function* () {
        if (Deferred.isDoneUnsafe(stopped.ended)) return
        // A kernel that is still reading the code ignores a signal.
        const interrupt = Effect.andThen(Deferred.await(stopped.started), process.signal("SIGINT"))
        const ended = yield* Effect.exit(Deferred.await(stopped.ended)).pipe(
          Effect.raceFirst(Effect.andThen(interrupt, Effect.never)),
          Effect.timeoutOption(interruptTimeout)
        )
        if (Option.isSome(ended)) return
        yield* lose(`did not end within ${millis(interruptTimeout)} ms after an interrupt and was killed`)
        yield* process.signal("SIGKILL")
      }).pipe(Effect.catch(fail)),
    running: Effect.sync(() => cell),
    lose,
    timedOut: (late, limit) =>
      new LightboxError({
        method: "Interpreter.run",
        reason: new TimedOut({
          operation: `${language} code`,
          limitMillis: millis(limit),
          ...linesOf(late.tails)
        })
      })
  }
})

/** Replaces the method of errors with the one that the caller called. */
export const withMethod =
  (method: string) =>
  <E>(error: E): E | LightboxError =>
    isLightboxError(error) ? new LightboxError({ method, reason: error.reason }) : error

/** An error of the start need not show the whole kernel. */
const withoutSource =
  ([program]: Guest.Command["argv"]) =>
  ({ reason }: LightboxError): LightboxError => {
    if (reason._tag !== "CommandNotStarted") return new LightboxError({ method, reason })
    const { errno, kind, problem } = reason
    const shown = { argv: [program], kind, problem, ...(errno === undefined ? {} : { errno }) }
    return new LightboxError({ method, reason: new CommandNotStarted(shown) })
  }
