/**
 * Reporters for builds: a live terminal view, and lines of JSON.
 *
 * Pass a reporter as the `onEvent` of `Snapshot.build`. One reporter serves any
 * number of concurrent builds, and never slows one down.
 *
 * This module depends on unstable Effect modules, which may change in a minor
 * version. Import it by its own name.
 *
 * **Example** (Watching two builds at once)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { MicrosandboxLocal, Snapshot } from "effect-lightbox"
 * import * as BuildReporter from "effect-lightbox/BuildReporter"
 *
 * const node = Snapshot.make("node-ci", "node:22").pipe(Snapshot.shell("npm i -g pnpm@9"))
 * const python = Snapshot.make("py-data", "python:3.12").pipe(Snapshot.shell("pip install pandas"))
 *
 * export const program = Effect.gen(function* () {
 *   const onEvent = yield* BuildReporter.terminal()
 *   yield* Effect.all([Snapshot.build(node, { onEvent }), Snapshot.build(python, { onEvent })], {
 *     concurrency: "unbounded"
 *   })
 * }).pipe(Effect.scoped, Effect.provide(MicrosandboxLocal.layer()))
 * ```
 *
 * @since 0.1.0
 */
import { displayWidth } from "effect/cli/CliOutput"
import * as TerminalCapabilities from "effect/cli/TerminalCapabilities"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import type * as Scope from "effect/Scope"
import * as Sink from "effect/Sink"
import * as Stdio from "effect/Stdio"
import * as Stream from "effect/Stream"
import type { BuildEvent } from "./BuildEvent.ts"
import { encode } from "./internal/build/events.ts"
import * as BuildView from "./internal/report/buildView.ts"
import { cut } from "./internal/report/terminalText.ts"

// =============================================================================
// Models
// =============================================================================

/**
 * Receives the events of builds.
 *
 * @category models
 * @since 0.1.0
 */
export type BuildReporter = (event: BuildEvent) => Effect.Effect<void>

/**
 * The output of a reporter: `process.stdout`, `process.stderr`, or anything with
 * these parts of a writable stream.
 *
 * @category models
 * @since 0.1.0
 */
export interface Output {
  /** Returns `false` when full, until `drain` is emitted. */
  readonly write: (text: string) => unknown
  readonly once?: ((event: "drain", listener: () => void) => unknown) | undefined
  readonly isTTY?: boolean | undefined
  /** The size of the window, which may change. */
  readonly columns?: number | undefined
  readonly rows?: number | undefined
}

// =============================================================================
// Terminal
// =============================================================================

/**
 * Options of {@link terminal}.
 *
 * @category options
 * @since 0.1.0
 */
export interface TerminalOptions {
  /** Default: `process.stderr`. */
  readonly output?: Output | undefined
  /**
   * Show running builds in lines that are overwritten. Default: `true` on a terminal, unless `TERM` is `dumb`.
   */
  readonly live?: boolean | undefined
  /** Default: as for `live`, unless `NO_COLOR` is set; `FORCE_COLOR` is enough without a terminal. */
  readonly color?: boolean | undefined
}

/** How often the terminal is updated. */
const frame = "100 millis"

/** The most lines written at once; more output of steps is omitted. */
const longestFrame = 1000

/**
 * Creates a reporter that shows builds on a terminal.
 *
 * **Details**
 *
 * On a terminal, it shows what each build is doing and for how long, the last
 * lines of the running step, and the progress of image pulls. Finished steps stay
 * visible, with their duration or as cached; a failed step with the end of its
 * output. Elsewhere, and with `TERM=dumb`, it prints one line after the other,
 * including output.
 *
 * Escape sequences and control characters of guests are removed, and lines are
 * cut to the width of the window.
 *
 * **Gotchas**
 *
 * Text that something else writes to the terminal during a build is overwritten.
 *
 * **Example** (Watching a build)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Snapshot } from "effect-lightbox"
 * import * as BuildReporter from "effect-lightbox/BuildReporter"
 *
 * export const build = <E, R>(definition: Snapshot.Definition<E, R>) =>
 *   Effect.scoped(Effect.flatMap(BuildReporter.terminal(), (onEvent) => Snapshot.build(definition, { onEvent })))
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const terminal = Effect.fnUntraced(function* (
  options?: TerminalOptions
): Effect.fn.Return<BuildReporter, never, Scope.Scope> {
  const output = options?.output ?? process.stderr
  const { canAnimate, canColor } = yield* capabilitiesOf(output)
  const isLive = options?.live ?? canAnimate
  const color = options?.color ?? canColor
  const view = BuildView.make({ isLive })
  const write = isLive ? overwriting(output) : appending(output)
  const isDue = yield* Latch.make()
  let lines: Array<BuildView.Line> = []
  let leftOut = 0
  let isClosed = false

  const paint = Effect.map(Clock.currentTimeMillis, (now) => {
    const window = { columns: output.columns ?? (isLive ? 80 : Number.POSITIVE_INFINITY), color, now }
    if (leftOut > 0) lines.push({ mark: "note", text: `${leftOut} lines of output left out` })
    const current = isLive && !isClosed ? view.current(now) : []
    write(
      lines.flatMap((line) => BuildView.show(line, window)),
      current.flatMap((line) => BuildView.show(line, window))
    )
    lines = []
    leftOut = 0
    if (current.length === 0) isDue.closeUnsafe()
  }).pipe(Effect.ignoreCause)

  yield* Effect.addFinalizer(() =>
    Effect.suspend(() => {
      isClosed = true
      return paint
    })
  )
  yield* isDue.await.pipe(Effect.andThen(paint), Effect.andThen(Effect.sleep(frame)), Effect.forever, Effect.forkScoped)
  return (event) =>
    Effect.sync(() => {
      if (isClosed) return
      const added = view.accept(event)
      const room = event._tag === "StepOutput" ? Math.max(0, longestFrame - lines.length) : added.length
      lines.push(...added.slice(0, room))
      leftOut += Math.max(0, added.length - room)
      isDue.openUnsafe()
    })
})

/** What an output can show, as the command lines of Effect find out for theirs. */
const capabilitiesOf = (output: Output): Effect.Effect<TerminalCapabilities.TerminalCapabilities> =>
  TerminalCapabilities.TerminalCapabilities.pipe(
    Effect.provide(TerminalCapabilities.layer, { local: true }),
    Effect.provideService(
      Stdio.Stdio,
      Stdio.make({
        args: Effect.succeed([]),
        stdin: Stream.empty,
        stdout: () => Sink.drain,
        stderr: () => Sink.drain,
        stdoutIsTerminal: Effect.succeed(output.isTTY === true)
      })
    )
  )

/** Writes lines that stay and, below them, lines that are written over next time. */
type Write = (lines: ReadonlyArray<string>, current: ReadonlyArray<string>) => void

const appending =
  (output: Output): Write =>
  (lines) => {
    if (lines.length > 0) output.write(lines.map((line) => `${line}\n`).join(""))
  }

const defaultRows = 24

/** No cursor, and no line that goes on in the next, while a frame is written. */
const [begin, end] = ["\x1b[?25l\x1b[?7l", "\x1b[?7h\x1b[?25h"]

const overwriting = (output: Output): Write => {
  let below: ReadonlyArray<string> = []
  return (lines, current) => {
    if (lines.length + current.length + below.length === 0) return
    const { columns = Number.POSITIVE_INFINITY, rows = defaultRows } = output
    // A window that was made narrower has broken what was written before.
    const height = below.reduce((sum, line) => sum + Math.max(1, Math.ceil(displayWidth(line) / columns)), 0)
    // What is above the window could not be written over.
    const room = Math.max(0, rows - 1)
    const hidden = current.length - room + 1
    below =
      hidden <= 1
        ? current
        : room === 0
          ? []
          : [...current.slice(0, room - 1), cut(`  … ${hidden} more lines`, columns)]
    const text = [...lines, ...below].map((line) => `${line}\x1b[K\r\n`).join("")
    output.write(`${begin}${height > 0 ? `\x1b[${height}A` : ""}\r${text}\x1b[J${end}`)
  }
}

// =============================================================================
// NDJSON
// =============================================================================

/**
 * Options of {@link ndjson}.
 *
 * @category options
 * @since 0.1.0
 */
export interface NdjsonOptions {
  /** Default: `process.stdout`. */
  readonly output?: Output | undefined
}

/**
 * Creates a reporter that writes each event as a line of JSON, to be decoded with
 * the schema `BuildEvent`.
 *
 * **Details**
 *
 * When the output is full, the reporter waits for it. Meanwhile it drops only
 * `StepOutput` events. Control characters are escaped, so that lines are safe to
 * print.
 *
 * **Example** (For another program)
 *
 * ```ts
 * import { Snapshot } from "effect-lightbox"
 * import * as BuildReporter from "effect-lightbox/BuildReporter"
 *
 * export const build = <E, R>(definition: Snapshot.Definition<E, R>) =>
 *   Snapshot.build(definition, { onEvent: BuildReporter.ndjson() })
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const ndjson = (options?: NdjsonOptions): BuildReporter => {
  const output = options?.output ?? process.stdout
  return (event) =>
    Effect.callback<void>((resume) => {
      const isFull = output.write(`${escape(encode(event))}\n`) === false
      if (isFull && output.once !== undefined) output.once("drain", () => resume(Effect.void))
      else resume(Effect.void)
    })
}

const escape = (json: string): string =>
  json.replace(/[\u007f-\u009f\p{Cf}\p{Zl}\p{Zp}]/gu, (character) =>
    character
      .split("")
      .map((unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`)
      .join("")
  )
