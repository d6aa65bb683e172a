/** `start`, `stop`, `restart`, `kill`, `pause`, `resume` and `wait`. */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Cause from "effect/Cause"
import * as Console from "effect/Console"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type { LightboxError } from "../../LightboxError.ts"
import type { SandboxInfo, SandboxStatus } from "../../Microsandbox.ts"
import type * as Probe from "../../Probe.ts"
import * as Sandbox from "../../Sandbox.ts"
import { timeLimit } from "../config/validation.ts"
import { driver, Json, print } from "./environment.ts"
import * as Failure from "./failure.ts"
import * as Flags from "./flags.ts"
import * as Shapes from "./json.ts"

const names = Flags.nameOf("Names of sandboxes").pipe(Argument.atLeast(1))

const timeout = Flags.duration("timeout", "Kill it if it has not shut down after this time (default: 10 seconds)").pipe(
  Flag.withAlias("t"),
  Flag.withAlias("time")
)

/**
 * Changes several sandboxes at once, after checking that all exist. Those that have one of the `already` statuses stay
 * as they are. The failure of one does not stop the others.
 */
const changeEach = Effect.fnUntraced(function* <R>(
  names: ReadonlyArray<string>,
  done: "started" | "stopped" | "restarted" | "killed" | "paused" | "resumed",
  already: ReadonlyArray<SandboxStatus>,
  change: (name: string) => Effect.Effect<unknown, LightboxError, R>
) {
  const found = yield* Effect.forEach(new Set(names), Sandbox.get)
  const isChanged = ({ status }: SandboxInfo) => !already.includes(status)
  const [passed, [failed, ...others]] = yield* Effect.partition(
    found,
    (sandbox) => Effect.as(isChanged(sandbox) ? change(sandbox.name) : Effect.void, sandbox),
    { concurrency: "unbounded" }
  )
  const title = `${done.charAt(0).toUpperCase()}${done.slice(1)}`
  const lines = passed.map((sandbox) =>
    isChanged(sandbox) ? `${title} ${sandbox.name}` : `${sandbox.name} is ${sandbox.status} already`
  )
  const changed = passed.filter(isChanged).map(({ name }) => name)
  yield* print(Shapes.Changed, { [done]: changed }, { full: lines.join("\n"), brief: "" })
  if (failed === undefined) return
  const json = yield* Json
  for (const error of others) yield* Console.error(Failure.show(Failure.ofCause(Cause.fail(error)), { json }))
  return yield* failed
}, Failure.namedArgument)

const detached = { detached: true }

export const start = Command.make("start", { names }, ({ names }) =>
  changeEach(names, "started", ["running"], (name) => Effect.scoped(Sandbox.start(name, detached)))
).pipe(Command.withDescription("Start stopped sandboxes and leave them running"), Command.provide(driver()))

export const stop = Command.make("stop", { names, timeout }, ({ names, timeout }) =>
  changeEach(names, "stopped", ["stopped", "crashed"], (name) => stopping(Sandbox.stop(name, { timeout })))
).pipe(Command.withDescription("Shut sandboxes down, and keep their disks"), Command.provide(driver()))

export const restart = Command.make("restart", { names, timeout }, ({ names, timeout }) =>
  changeEach(names, "restarted", [], (name) => Effect.scoped(stopping(Sandbox.restart(name, { ...detached, timeout }))))
).pipe(Command.withDescription("Shut sandboxes down, and start them again"), Command.provide(driver()))

export const kill = Command.make("kill", { names }, ({ names }) =>
  changeEach(names, "killed", ["stopped", "crashed"], Sandbox.kill)
).pipe(
  Command.withDescription("Kill sandboxes immediately, without a shutdown, and keep their disks"),
  Command.provide(driver())
)

export const pause = Command.make("pause", { names }, ({ names }) =>
  changeEach(names, "paused", ["paused"], Sandbox.pause)
).pipe(
  Command.withDescription("Halt sandboxes, which keep their memory (preview: needs a runtime that can do so)"),
  Command.provide(driver())
)

export const resume = Command.make("resume", { names }, ({ names }) =>
  changeEach(names, "resumed", ["running"], Sandbox.resume)
).pipe(Command.withDescription("Let paused sandboxes go on, with the right time"), Command.provide(driver()))

const awaited = ["stopped", "running", "removed"] as const

/** Waits until a sandbox has a status. One that is removed meanwhile has stopped. */
const waitFor = Effect.fnUntraced(function* (name: string, wanted: (typeof awaited)[number]) {
  const look = Sandbox.get(name).pipe(
    Effect.map(({ status }) => (status === "crashed" ? "stopped" : status)),
    Effect.catchReason("LightboxError", "NotFound", () => Effect.succeed("removed" as const))
  )
  yield* look.pipe(
    Effect.repeat({
      until: (status) => status === wanted || (wanted === "stopped" && status === "removed"),
      schedule: Schedule.spaced("250 millis")
    })
  )
  return name
})

/** Waits until all probes succeed in each sandbox. */
const waitUntil = Effect.fnUntraced(function* (
  names: ReadonlyArray<string>,
  probes: ReadonlyArray<{ readonly probe: Probe.ProbeInput; readonly typed: string }>,
  timeout: Duration.Duration | undefined
) {
  const all = probes.map(({ probe }) => (timeout === undefined ? probe : { ...probe, timeout }))
  const named = Failure.nameFlags(
    Object.fromEntries(probes.map(({ typed }, index) => [`probe.all.${index}`, `--for ${typed}`]))
  )
  yield* Effect.forEach(
    names,
    (name) => Effect.scoped(Effect.flatMap(Sandbox.connect(name), (sandbox) => sandbox.waitUntil({ all }))),
    { concurrency: "unbounded", discard: true }
  ).pipe(Effect.mapError(named))
  yield* print(Shapes.Changed, { ready: names }, { full: names.join("\n") })
})

export const wait = Command.make(
  "wait",
  {
    names,
    status: Flags.choice("status", awaited, "Status to wait for (default: stopped)"),
    probes: Flags.probes,
    timeout: Flags.duration("timeout", "Fail if it takes longer than this (default: unlimited)").pipe(
      Flag.withAlias("t")
    )
  },
  Effect.fnUntraced(function* ({ names, probes, status = "stopped", timeout }) {
    if (probes.length > 0) return yield* waitUntil(names, probes, timeout)
    if (status !== "removed") yield* Effect.forEach(names, Sandbox.get)
    const reached = yield* Effect.forEach(names, (name) => waitFor(name, status), { concurrency: "unbounded" }).pipe(
      timeLimit("wait", `waiting until ${names.join(", ")} ${names.length === 1 ? "is" : "are"} ${status}`, timeout)
    )
    yield* print(Shapes.Changed, { [status]: reached }, { full: reached.join("\n") })
  }, Failure.namedArgument)
).pipe(
  Command.withDescription("Wait until sandboxes have stopped, or are ready, and print their names"),
  Command.withExamples([
    { command: "lightbox wait web" },
    { command: "lightbox wait --status running --timeout 1m web" },
    { command: "lightbox wait --for http:3000/health web", description: "Wait until a server answers" }
  ]),
  Command.provide(driver())
)

const stopping = Effect.mapError(Failure.nameFlags({ timeout: "--timeout" }))
