/** `top`: what runs, and what it uses. */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import { TerminalCapabilities } from "effect/cli/TerminalCapabilities"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Output } from "../../../BuildReporter.ts"
import type { Services } from "../../../Driver.ts"
import type { LightboxError } from "../../../LightboxError.ts"
import type * as Microsandbox from "../../../Microsandbox.ts"
import * as Sandbox from "../../../Sandbox.ts"
import { invalid } from "../../config/validation.ts"
import { write } from "../../report/output.ts"
import { bytes, driver, Json, Keyboard, Outputs, printList, Quiet, toJson } from "../environment.ts"
import { namedArgument } from "../failure.ts"
import * as Flags from "../flags.ts"
import * as Shapes from "../json.ts"
import * as Lists from "../lists.ts"
import * as Status from "../status.ts"
import * as Frame from "./frame.ts"
import * as Readings from "./readings.ts"

const defaultInterval = Duration.seconds(2)

const shortestInterval = Duration.millis(100)

type IsChosen = (usage: Readings.Usage) => boolean

// =============================================================================
// Once
// =============================================================================

/** Reads sandboxes by name. One that does not run is a mistake at first, and has ended later. */
const expectRunning = (
  names: ReadonlyArray<string>
): Effect.Effect<ReadonlyArray<Readings.Usage>, LightboxError, Microsandbox.Microsandbox> =>
  Effect.flatMap(Effect.forEach(names, Sandbox.get), (found) => Effect.forEach(found, Readings.read))

/** Reads what sandboxes use, those that were named, or all that run and are measured. */
const usagesOf = Effect.fnUntraced(function* (
  names: ReadonlyArray<string>
): Effect.fn.Return<ReadonlyArray<Readings.Usage>, LightboxError, Microsandbox.Microsandbox> {
  if (names.length > 0) return yield* expectRunning(names)
  return (yield* Readings.readAll([])).flatMap(({ usage }) => (usage === undefined ? [] : [usage]))
})

const printOnce = Effect.fnUntraced(function* (names: ReadonlyArray<string>, listing: Flags.Listing) {
  yield* printList(
    Shapes.Usages,
    yield* usagesOf(names),
    {
      columns: ["NAME", "CPU", "MEMORY", "READ", "WRITTEN", "RECEIVED", "SENT", "UPTIME"],
      row: (usage) => [
        usage.name,
        `${usage.cpuPercent.toFixed(1)}%`,
        `${bytes(usage.memory)}/${bytes(usage.memoryLimit)}`,
        bytes(usage.diskRead),
        bytes(usage.diskWritten),
        bytes(usage.networkReceived),
        bytes(usage.networkSent),
        Duration.format(Duration.seconds(Math.round(usage.uptimeMillis / 1000)))
      ],
      none: "No sandbox is running, or they are not measured."
    },
    listing
  )
})

// =============================================================================
// Stream
// =============================================================================

const encodeUsages = toJson(Shapes.Usages)

/** Prints a line of JSON for each reading, until it is interrupted. */
const printLines = Effect.fnUntraced(function* (
  names: ReadonlyArray<string>,
  isChosen: IsChosen,
  interval: Duration.Duration
) {
  const { stdout } = yield* Outputs
  yield* expectRunning(names)
  const line = Effect.flatMap(Readings.readAll(names), (readings) =>
    write(
      stdout,
      `${encodeUsages(readings.flatMap(({ usage }) => (usage !== undefined && isChosen(usage) ? [usage] : [])))}\n`
    )
  )
  return yield* line.pipe(Effect.andThen(Effect.sleep(interval)), Effect.forever)
})

// =============================================================================
// Screen
// =============================================================================

/** Shows a screen of its own, and hides the cursor. */
const [enter, leave] = ["\x1b[?1049h\x1b[?25l", "\x1b[?7h\x1b[?25h\x1b[?1049l"]

/** Takes over the terminal until the scope closes, or the process exits in whatever way it can notice. */
const ownScreen = (output: Output): Effect.Effect<void, never, Scope.Scope> =>
  Effect.asVoid(
    Effect.acquireRelease(
      Effect.sync(() => {
        const restore = () => {
          process.off("exit", restore)
          output.write(leave)
        }
        process.on("exit", restore)
        output.write(enter)
        return restore
      }),
      (restore) => Effect.sync(restore)
    )
  )

/** Draws lines over what is there, which does not flicker. Erases first: after a full line, that would erase its end. */
const draw = (output: Output, lines: ReadonlyArray<string>): void =>
  void output.write(`\x1b[?7l\x1b[H${lines.map((line) => `\x1b[2K${line}`).join("\r\n")}\x1b[J\x1b[?7h`)

const orders: { readonly [key: string]: Frame.Order } = { c: "cpu", m: "memory", n: "name", a: "age" }

/** Splits what a terminal sends into keys; those with a sequence are named after it. */
const keysIn = (bytes: Uint8Array): ReadonlyArray<string> =>
  Buffer.from(bytes)
    .toString("latin1")
    .match(/\x1b[[O][0-9;]*[A-Za-z~]|[^]/g) ?? []

const scrolls: { readonly [key: string]: (page: number) => number } = {
  "\x1b[A": () => -1,
  "\x1bOA": () => -1,
  "\x1b[B": () => 1,
  "\x1bOB": () => 1,
  "\x1b[5~": (page) => -page,
  "\x1b[6~": (page) => page
}

/** Shows a table that is read again and again, until `q` or Ctrl+C. */
const watch = Effect.fnUntraced(function* (
  names: ReadonlyArray<string>,
  isChosen: IsChosen | undefined,
  interval: Duration.Duration
): Effect.fn.Return<void, LightboxError | Status.Ended, Services | Scope.Scope> {
  const { stdout } = yield* Outputs
  const { canColor } = yield* TerminalCapabilities
  const keyboard = yield* Keyboard
  yield* expectRunning(names)

  const state: Frame.State = {
    readings: [],
    details: new Map(),
    builds: [],
    buildCount: 0,
    order: "name",
    offset: 0,
    showsJobs: false,
    problem: undefined
  }
  const window = Effect.map(Clock.currentTimeMillis, (now) => ({
    columns: stdout.columns ?? 80,
    rows: stdout.rows ?? 24,
    color: canColor,
    now
  }))
  const paint = Effect.map(window, (size) => draw(stdout, Frame.frame(state, size)))

  const readAll = Readings.readAll(names).pipe(
    Effect.map((readings) =>
      isChosen === undefined ? readings : readings.filter(({ usage }) => usage !== undefined && isChosen(usage))
    )
  )
  /** The details of other sandboxes are needed. */
  const changes = yield* Queue.sliding<void>(1)
  const readDetails = Effect.gen(function* () {
    const shown = Frame.seen(state, yield* window)
    state.details = yield* Readings.readDetails(
      shown.map(({ info }) => info),
      { jobs: state.showsJobs }
    )
    yield* paint
  })
  const show = Effect.fnUntraced(function* (readings: ReadonlyArray<Readings.Reading>) {
    state.readings = readings
    const { builds, count } = yield* Effect.orElseSucceed(Readings.readBuilds(), () => ({ builds: [], count: 0 }))
    state.builds = builds
    state.buildCount = count
    state.problem = undefined
    yield* paint
    yield* readDetails
  })
  // The first failure is one of the command. Later ones are shown, and it goes on.
  const first = yield* readAll

  yield* keyboard.start
  yield* ownScreen(stdout)
  const again = Effect.sleep(interval).pipe(
    Effect.andThen(Effect.flatMap(readAll, show)),
    Effect.catch((error) => {
      state.problem = error.message
      return paint
    }),
    Effect.forever
  )
  const details = Queue.take(changes).pipe(Effect.andThen(readDetails), Effect.forever)
  const onKey = Effect.fnUntraced(function* (key: string) {
    if (key === "\x03") return yield* new Status.Ended({ status: 130 })
    const order = orders[key]
    const scroll = scrolls[key]
    if (order !== undefined) {
      state.order = order
      state.offset = 0
    } else if (scroll !== undefined) state.offset += scroll(Frame.roomIn(state, yield* window))
    else if (key === "j") state.showsJobs = !state.showsJobs
    else return
    yield* paint
    yield* Queue.offer(changes, undefined)
  })
  const keys = keyboard.keys.pipe(
    Stream.flatMap((bytes) => Stream.fromIterable(keysIn(bytes))),
    Stream.takeWhile((key) => key !== "q" && key !== "Q"),
    Stream.runForEach(onKey)
  )
  const resized = Stream.runForEach(keyboard.resizes, () => Effect.andThen(paint, Queue.offer(changes, undefined)))
  yield* Effect.forkScoped(Effect.andThen(resized, Effect.never))
  yield* Effect.forkScoped(details)
  const reading = yield* Effect.forkScoped(Effect.andThen(show(first), again))
  yield* Effect.raceFirst(keys, Fiber.join(reading))
}, Effect.scoped)

// =============================================================================
// Command
// =============================================================================

export const top = Command.make(
  "top",
  {
    names: Flags.nameOf("Names of running sandboxes (default: all)").pipe(Argument.variadic()),
    once: Flags.toggle("once", "Print once, as without a terminal").pipe(Flag.withAlias("no-stream")),
    interval: Flags.duration("interval", "Time between two readings (default: 2 seconds)"),
    ...Flags.listing
  },
  Effect.fnUntraced(function* ({ filters, format, interval, names, once }) {
    if (once && interval !== undefined) {
      return yield* invalid("top", "--interval", "cannot be combined with --once, which reads once")
    }
    if (interval !== undefined && Duration.isLessThan(interval, shortestInterval)) {
      return yield* invalid("top", "--interval", "expected at least 100ms")
    }
    const every = interval ?? defaultInterval
    const isJson = yield* Json
    const { canAnimate } = yield* TerminalCapabilities
    const isTable = format === undefined || format === "table"
    const isLive = isTable && !(yield* Quiet) && canAnimate
    if (once || !(isJson ? format === undefined : isLive)) return yield* printOnce(names, { filters, format })
    const matches = yield* Lists.matcher(Shapes.Usages, filters)
    const isChosen = (usage: Readings.Usage) => Lists.encode(Shapes.Usages, [usage]).some((row) => matches(row))
    yield* isJson
      ? printLines(names, isChosen, every)
      : watch(names, filters.length === 0 ? undefined : isChosen, every)
  }, namedArgument)
).pipe(
  Command.withDescription("Show what running sandboxes use, and which builds run; live on a terminal"),
  Command.withExamples([
    { command: "lightbox top", description: "Watch all; q quits, and c, m, n and a sort" },
    { command: "lightbox top --once web", description: "Print the use of a sandbox" },
    { command: "lightbox top --json --interval 10s", description: "Print a line of JSON every 10 seconds" }
  ]),
  Command.withAlias("stats"),
  Command.provide(driver())
)
