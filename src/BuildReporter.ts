/**
 * Reporters for builds: a live terminal view, and lines of JSON.
 *
 * Pass a reporter to `Snapshot.build` as `onEvent`. One reporter serves any number
 * of concurrent builds and never slows them down.
 *
 * This module depends on unstable Effect modules, which can change in a minor
 * version. It is not part of the main entry point.
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
import * as TerminalCapabilities from "effect/cli/TerminalCapabilities"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Latch from "effect/Latch"
import type * as Scope from "effect/Scope"
import * as Sink from "effect/Sink"
import * as Stdio from "effect/Stdio"
import * as Stream from "effect/Stream"
import type { BuildEvent } from "./BuildEvent.ts"
import { encode } from "./internal/build/events.ts"
import * as Lines from "./internal/report/buildLine.ts"
import { write } from "./internal/report/output.ts"
import * as PlainView from "./internal/report/plainView.ts"
import { escapeJson } from "./internal/report/printable.ts"
import { rowsOf } from "./internal/report/terminalText.ts"
import * as TreeView from "./internal/report/treeView.ts"

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
 * The output of a reporter: `process.stdout`, `process.stderr` or a similar stream.
 *
 * @category models
 * @since 0.1.0
 */
export interface Output {
  /** Returns `false` when full, until `drain` is emitted. */
  readonly write: (text: string) => unknown
  readonly once?: ((event: "drain", listener: () => void) => unknown) | undefined
  readonly isTTY?: boolean | undefined
  /** The size of the window. It can change. */
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
  /** Show running builds in lines that are updated in place. Default: `true` on a terminal, unless `TERM` is `dumb`. */
  readonly live?: boolean | undefined
  /** Use colors. Default: as `live`, unless `NO_COLOR` is set. `FORCE_COLOR` enables them without a terminal. */
  readonly color?: boolean | undefined
}

/** How often the terminal is updated. */
const frame = "100 millis"

/** Maximum number of lines written at once. Further step output is dropped. */
const longestFrame = 1000

/**
 * Creates a reporter that shows builds on a terminal until the scope closes.
 *
 * On a terminal, each build is a tree that is updated in place: its steps with their
 * durations, the last lines of the running step, the progress of image pulls, the
 * saving of the snapshot, and the builds that it needs or waits for. Cached steps
 * share a line. A failed step shows why, where the program declares it, and the end
 * of its output. When a build ends, its tree stays in the terminal's history. Where
 * the window is too small for all trees, finished steps are left out first.
 *
 * Without a terminal, or with `TERM=dumb`, it prints lines one after the other,
 * including output. Escape sequences and control characters from guests are removed,
 * and lines are cut to the width of the window.
 *
 * **Gotchas**
 *
 * Other output to the terminal during a build is overwritten.
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
  const view = isLive ? TreeView.make() : PlainView.make()
  const draw = isLive ? overwriting(output) : appending(output)
  const isDue = yield* Latch.make()
  let lines: Array<Lines.Line> = []
  let leftOut = 0
  let isClosed = false

  const paint = Effect.map(Clock.currentTimeMillis, (now) => {
    const window = { columns: output.columns ?? (isLive ? 80 : Number.POSITIVE_INFINITY), color, now }
    if (leftOut > 0) lines.push({ mark: "note", text: `${leftOut} lines of output left out` })
    const current = isClosed ? [] : view.current(now, roomIn(output))
    draw(
      lines.flatMap((line) => Lines.show(line, { ...window, wraps: true })),
      // Their number must fit.
      current.flatMap((line) => Lines.show(line, { ...window, wraps: false }))
    )
    lines = []
    leftOut = 0
    if (current.length === 0) isDue.closeUnsafe()
  }).pipe(Effect.ignoreCause)

  yield* Effect.addFinalizer((exit) =>
    Effect.suspend(() => {
      isClosed = true
      lines.push(...view.close(Exit.hasInterrupts(exit)))
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

/** Detects terminal features the way Effect's command lines do. */
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

/** Writes permanent lines and, below them, lines that the next call overwrites. */
type Write = (lines: ReadonlyArray<string>, current: ReadonlyArray<string>) => void

const appending =
  (output: Output): Write =>
  (lines) => {
    if (lines.length > 0) output.write(lines.map((line) => `${line}\n`).join(""))
  }

const defaultRows = 24

/** Lines that can be overwritten: not those that scrolled out of the window. */
const roomIn = ({ rows = defaultRows }: Output): number => Math.max(0, rows - 1)

/** Hides the cursor and disables line wrapping while a frame is written. */
const [begin, end] = ["\x1b[?25l\x1b[?7l", "\x1b[?7h\x1b[?25h"]

const overwriting = (output: Output): Write => {
  let below: ReadonlyArray<string> = []
  return (lines, current) => {
    if (lines.length + current.length + below.length === 0) return
    const { columns = Number.POSITIVE_INFINITY } = output
    // In a window that was made narrower, earlier lines wrap.
    const height = below.reduce((sum, line) => sum + rowsOf(line, columns), 0)
    below = current
    // Erases first: after a line of the full width, that would erase its last character.
    const text = [...lines, ...below].map((line) => `\x1b[K${line}\r\n`).join("")
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
 * Creates a reporter that writes each event as a line of JSON. Decode lines with
 * the schema `BuildEvent`.
 *
 * When the output is full, the reporter waits for it; meanwhile only `StepOutput`
 * events are dropped. Control characters are escaped, so lines are safe to print.
 *
 * @category constructors
 * @since 0.1.0
 */
export const ndjson = (options?: NdjsonOptions): BuildReporter => {
  const output = options?.output ?? process.stdout
  return (event) => write(output, `${escapeJson(encode(event))}\n`)
}
