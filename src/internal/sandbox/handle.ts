/** The handle of a running sandbox. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import { identity } from "effect/Function"
import * as Predicate from "effect/Predicate"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Struct from "effect/Struct"
import * as Path from "node:path"
import type * as Guest from "../../Guest.ts"
import { LightboxError, Unsupported } from "../../LightboxError.ts"
import * as Microsandbox from "../../Microsandbox.ts"
import * as Probe from "../../Probe.ts"
import type { ExecEvent, ExecOptions, ExecStreamOptions, Forward, Sandbox } from "../../Sandbox.ts"
import type { SandboxConfig } from "../../SandboxConfig.ts"
import type { Connection } from "./connection.ts"
import * as Jobs from "./jobs.ts"
import * as Probes from "./probes.ts"
import { ExecResult } from "./results.ts"
import * as Forwards from "./forward.ts"
import * as Logs from "./logs.ts"
import { attach } from "../guest/attach.ts"
import { secretsOf } from "../report/failureText.ts"
import * as Execution from "../guest/execution.ts"
import * as GuestFiles from "../guest/copy.ts"
import * as Files from "../guest/files.ts"
import { nameMissing } from "../host/fileFailure.ts"
import * as Listing from "../host/listing.ts"
import {
  Bytes,
  commandFields,
  copyOptions,
  CString,
  DurationInput,
  GuestPath,
  HostPath,
  intBetween,
  JobId,
  Rlimits,
  TerminalSize,
  Word,
  millis
} from "../config/schemas.ts"
import { callDecoder, decoder, forMethod, optionsDecoder } from "../config/validation.ts"
import { printable } from "../report/printable.ts"

export const TypeId = "~effect-lightbox/Sandbox" as const

export const isSandbox = (u: unknown): u is Sandbox => Predicate.hasProperty(u, TypeId)

const Program = Schema.Struct({
  command: CString.check(
    Schema.makeFilter((command) => (command === "" ? "expected the name of a program" : undefined))
  ),
  args: Schema.optional(Schema.Array(Word))
})

const Script = Schema.Struct({ script: CString })

/** Options of commands that a pool can also set for all commands of a user. */
export const CommandDefaults = Schema.Struct(commandFields)

const AttachOptions = { ...CommandDefaults.fields, rlimits: Schema.optional(Rlimits) }

const isInput = (u: unknown): u is Execution.Input<never, never> =>
  typeof u === "string" || u instanceof Uint8Array || Stream.isStream(u)

const CommandOptions = {
  ...AttachOptions,
  stdin: Schema.optional(Schema.declare(isInput, { expected: "a string, a Uint8Array or a Stream" })),
  timeout: Schema.optional(DurationInput),
  check: Schema.optional(Schema.Boolean)
}

const ExecFields = Schema.Struct({ ...CommandOptions, maxOutput: Schema.optional(Bytes) })

const SpawnOptions = {
  ...AttachOptions,
  output: Schema.optional(
    Schema.Struct({
      memoryBytes: Schema.optional(intBetween(0, Number.MAX_SAFE_INTEGER)),
      overflow: Schema.optional(Schema.Literals(["spill", "suspend", "discard"]))
    })
  ),
  terminal: Schema.optional(TerminalSize)
}

const StreamFields = Schema.Struct({ ...CommandOptions, ...SpawnOptions })

const decodeExec = callDecoder("Sandbox.exec", Program, ExecFields)
const decodeShell = callDecoder("Sandbox.shell", Script, ExecFields)
const decodeExecStream = callDecoder("Sandbox.execStream", Program, StreamFields)
const decodeShellStream = callDecoder("Sandbox.shellStream", Script, StreamFields)
const decodeSpawn = callDecoder("Sandbox.spawn", Program, Schema.Struct(SpawnOptions))
const decodeStart = callDecoder("Sandbox.start", Program, Schema.Struct({ ...AttachOptions, ...Jobs.startOptions }))
const decodeAttach = callDecoder("Sandbox.attach", Program, Schema.Struct(AttachOptions))

const decodeWaitUntil = callDecoder(
  "Sandbox.waitUntil",
  Schema.Struct({ probe: Probe.Probe }),
  Schema.Struct({ job: Schema.optional(JobId) })
)

type Checked<Options> = Effect.Effect<Options & { readonly argv: Guest.Command["argv"] }, LightboxError>

const withArgv = <O extends typeof Program.Type>(checked: Effect.Effect<O, LightboxError>): Checked<O> =>
  Effect.map(checked, (call) => ({ ...call, argv: [call.command, ...(call.args ?? [])] as const }))

const withScript = <O extends typeof Script.Type>(
  shell: string,
  checked: Effect.Effect<O, LightboxError>
): Checked<O> => Effect.map(checked, (call) => ({ ...call, argv: [shell, "-c", call.script] as const }))

const decodeCopyIn = callDecoder(
  "Sandbox.copyIn",
  Schema.Struct({ hostPath: HostPath, path: GuestPath }),
  Schema.Struct(copyOptions)
)

const decodeCopyOut = callDecoder(
  "Sandbox.copyOut",
  Schema.Struct({ path: GuestPath, hostPath: HostPath }),
  Schema.Struct({ maxBytes: Schema.optional(Bytes) })
)

const decodeStop = optionsDecoder("Sandbox.stop", Schema.Struct({ timeout: Schema.optional(DurationInput) }))

const decodeModify = decoder(Microsandbox.ModifySandbox, "Sandbox.modify")

const decodeTimeToLive = decoder(DurationInput, "Sandbox.detachFor", "timeToLive")

const defaultMaxOutput = 256 * 1024 * 1024

/** The secrets of commands that a handle keeps. */
const maxSecrets = 1000

/** Detaches a sandbox, permanently or until a time (milliseconds since 1970). */
export type Detach = (expires: number | undefined) => Effect.Effect<void, LightboxError>

/** Only the process that launched a sandbox can limit its lifetime. */
export const noTimeToLive = (name: string): Effect.Effect<never, LightboxError> =>
  Effect.fail(
    new LightboxError({
      method: "Sandbox.detachFor",
      reason: new Unsupported({ feature: "detachFor", problem: `sandbox "${name}" was not launched by this program` })
    })
  )

/** Other guests that a guest reaches by name. */
export interface Peers {
  readonly proxy: NonNullable<Microsandbox.CreateSandbox["proxy"]>
  readonly hosts: ReadonlyArray<{ readonly name: string; readonly address: string }>
}

/** What captures and copies of a sandbox need to know of its handle. */
export interface Known {
  readonly renewing?: Connection["renewing"] | undefined
  /** The options of the launch, or those that `getOrCreate` was given. */
  readonly config?: SandboxConfig | undefined
  readonly peers?: Peers | undefined
  /** Values that were redacted in the options, and in the last commands of this handle. */
  readonly secrets: () => ReadonlyArray<string>
}

const known = new WeakMap<Sandbox, Known>()

export const knownOf = (sandbox: Sandbox | undefined): Known | undefined =>
  sandbox === undefined ? undefined : known.get(sandbox)

const redactedIn = (value: unknown): ReadonlyArray<string> =>
  Redacted.isRedacted(value)
    ? Predicate.isString(Redacted.value(value))
      ? [String(Redacted.value(value))]
      : []
    : Array.isArray(value) || Predicate.isObject(value)
      ? Object.values(value).flatMap(redactedIn)
      : []

const decodeSize = decoder(Bytes, "Sandbox.growRootDisk", "size")

/** The operations of a driver on memory, if it can do what is asked for. */
export const memoryOf = (
  { capabilities, memory }: Microsandbox.Microsandbox["Service"],
  asked: {
    readonly method: string
    readonly feature: string
    /** Default: what all such drivers can. */
    readonly can?: "fork" | "memorySnapshots" | "pause"
    readonly problem?: string
  }
): Effect.Effect<Microsandbox.MemoryOperations, LightboxError> => {
  if (memory !== undefined && (asked.can === undefined || capabilities[asked.can])) return Effect.succeed(memory)
  const { feature, method, problem = "this driver cannot do so with a running sandbox" } = asked
  return Effect.fail(new LightboxError({ method, reason: new Unsupported({ feature, problem }) }))
}

/** Those that copy a running sandbox. */
export const forkingOf = (
  driver: Microsandbox.Microsandbox["Service"],
  method: string,
  feature: string
): Effect.Effect<Microsandbox.MemoryOperations, LightboxError> =>
  memoryOf(driver, {
    method,
    feature,
    can: "fork",
    problem: "this driver cannot copy a running sandbox with its memory"
  })

/** Halts a sandbox. */
export const pause = (
  driver: Microsandbox.Microsandbox["Service"],
  info: Microsandbox.SandboxRef
): Effect.Effect<void, LightboxError> =>
  Effect.flatMap(memoryOf(driver, { method: "Sandbox.pause", feature: "pause", can: "pause" }), ({ pauseSandbox }) =>
    pauseSandbox(info)
  )

/** Lets a paused sandbox go on. Its clock has stood still; where it cannot be set, the sandbox runs all the same. */
export const resume = (
  driver: Microsandbox.Microsandbox["Service"],
  info: Microsandbox.SandboxRef,
  setClock: Effect.Effect<void, LightboxError>
): Effect.Effect<void, LightboxError> =>
  Effect.flatMap(memoryOf(driver, { method: "Sandbox.resume", feature: "resume", can: "pause" }), ({ resumeSandbox }) =>
    Effect.andThen(
      resumeSandbox(info),
      Effect.ignore(setClock, { log: "Warn", message: `Could not set the clock of sandbox "${info.name}"` })
    )
  )

/** Sets the clock of a guest that has stood still. */
export const setClock = Effect.fnUntraced(function* (guest: Guest.Guest): Effect.fn.Return<void, LightboxError> {
  const seconds = Math.round((yield* Clock.currentTimeMillis) / 1000)
  const command = Execution.asRoot("date", "-u", "-s", `@${seconds}`)
  yield* Execution.collect(guest, "Sandbox.resume", command, { check: true })
})

/** Creates a handle. Without `detach`, the sandbox belongs to another process. */
export const make = (
  driver: Microsandbox.Microsandbox["Service"],
  info: Microsandbox.SandboxInfo,
  { guest, renewing }: Pick<Connection, "guest"> & Partial<Connection>,
  detach: Detach = (expires) => (expires === undefined ? Effect.void : noTimeToLive(info.name)),
  config?: SandboxConfig,
  peers?: Peers,
  resumed?: Sandbox["resumed"]
): Sandbox => {
  const configured = redactedIn(config)
  const attributes = { "lightbox.sandbox": info.name }
  const recent = new Set<string>()
  const secrets = () => [...new Set([...configured, ...recent])]
  /** The last lines of jobs may show the secrets of a command, and so may the disk. */
  const commandOf = (checked: Omit<Guest.Command, "stdin">): Guest.Command => {
    for (const secret of secretsOf(checked)) {
      recent.delete(secret)
      recent.add(secret)
    }
    // The oldest comes first.
    for (const oldest of recent) {
      if (recent.size <= maxSecrets) break
      recent.delete(oldest)
    }
    return Struct.pick(checked, ["argv", "cwd", "user", "env", "rlimits", "terminal"])
  }
  const exec = Effect.fn("Sandbox.exec", { attributes })(function* <E, R>(
    decoded: Checked<typeof ExecFields.Type>,
    options: ExecOptions<E, R> | undefined
  ): Effect.fn.Return<ExecResult, LightboxError | E, R> {
    const checked = yield* decoded
    const collected = yield* Execution.collect(guest, "Sandbox.exec", commandOf(checked), {
      input: options?.stdin,
      maxOutput: checked.maxOutput ?? defaultMaxOutput,
      limit: checked.timeout,
      check: checked.check
    })
    yield* Effect.annotateCurrentSpan("lightbox.exit_code", collected.exitCode)
    return ExecResult.fromCollected(collected)
  })

  const execStream = <E, R>(
    decoded: Checked<typeof StreamFields.Type>,
    options: ExecStreamOptions<E, R> | undefined
  ): Stream.Stream<ExecEvent, LightboxError | E, R> =>
    Stream.unwrap(
      Effect.gen(function* () {
        const checked = yield* decoded
        const command = { ...commandOf(checked), stdin: Execution.stdinFor(options?.stdin) }
        const process = yield* guest.spawn(command, checked.output)
        const tails = { Stdout: new Execution.Tail(), Stderr: new Execution.Tail() }
        const failure = Execution.failures("Sandbox.execStream", command, process, tails)
        const events: Stream.Stream<ExecEvent, LightboxError | E, R> = Stream.make<[ExecEvent]>({
          _tag: "Started",
          pid: process.pid
        }).pipe(
          Stream.concat(
            checked.check === true || checked.timeout !== undefined
              ? Stream.tap(process.output, ({ _tag, bytes }) => Effect.sync(() => tails[_tag].push(bytes)))
              : process.output
          ),
          Stream.concat(
            Stream.fromEffect(
              Effect.flatMap(Execution.ended(process), (end) =>
                checked.check === true && end.exitCode !== 0
                  ? Effect.fail(failure.exit(end))
                  : Effect.succeed<ExecEvent>({ _tag: "Exited", ...end })
              )
            )
          ),
          options?.stdin === undefined ? identity : Stream.interruptWhen(Execution.feed(process, options.stdin))
        )
        return checked.timeout === undefined
          ? events
          : Stream.interruptWhen(events, failure.within(checked.timeout)(Effect.never))
      })
    ).pipe(
      Stream.mapError(forMethod("Sandbox.execStream", "Sandbox.spawn")),
      Stream.withSpan("Sandbox.execStream", { attributes })
    )

  const attachTo = Effect.fn("Sandbox.attach", { attributes })(function* (
    command: string,
    args?: ReadonlyArray<Guest.Word>,
    options?: Pick<ExecOptions, "cwd" | "user" | "env" | "rlimits">
  ): Effect.fn.Return<number, LightboxError> {
    return yield* attach(guest, commandOf(yield* withArgv(decodeAttach({ command, args }, options))))
  })

  const forwards = new Set<Forward>()

  const handle = printable<Sandbox>(
    {
      ...Files.make(guest),
      [TypeId]: TypeId,
      name: info.name,
      id: info.id,
      ports: info.ports,
      resumed,
      guest,

      exec: (command, args, options) => exec(withArgv(decodeExec({ command, args }, options)), options),
      shell: (script, options) => exec(withScript(info.shell, decodeShell({ script }, options)), options),
      execStream: (command, args, options) =>
        execStream(withArgv(decodeExecStream({ command, args }, options)), options),
      shellStream: (script, options) =>
        execStream(withScript(info.shell, decodeShellStream({ script }, options)), options),
      spawn: Effect.fn("Sandbox.spawn", { attributes })(function* (command, args, options) {
        const checked = yield* withArgv(decodeSpawn({ command, args }, options))
        return yield* guest.spawn(commandOf(checked), checked.output)
      }),

      forward: (guestPort, options) => Forwards.make(guest, forwards, guestPort, options),
      forwards: Effect.sync(() => [...forwards]),
      start: Effect.fn("Sandbox.start", { attributes })(function* (command, args, options) {
        const { id, maxLog, stdin, terminal, ...checked } = yield* withArgv(decodeStart({ command, args }, options))
        return yield* Jobs.start(guest, { ...commandOf(checked), id, maxLog, stdin, terminal })
      }),
      jobs: Effect.withSpan(Jobs.list(guest), "Sandbox.jobs", { attributes }),
      job: Effect.fn("Sandbox.job", { attributes })((id) => Jobs.find(guest, id)),
      waitUntil: Effect.fn("Sandbox.waitUntil", { attributes })(function* (input, options) {
        const { job, probe } = yield* decodeWaitUntil({ probe: input }, options)
        yield* Probes.checkJobs("Sandbox.waitUntil", "probe", probe, job)
        yield* Probes.wait("Sandbox.waitUntil", { guest, shell: info.shell, job, secrets: secrets() }, probe)
      }),

      attach: attachTo,
      attachShell: attachTo(info.shell),

      copyIn: Effect.fn("Sandbox.copyIn", { attributes })(function* (hostPath, path, options) {
        const { hostPath: from, path: to, ...rest } = yield* decodeCopyIn({ hostPath, path }, options)
        const root = Path.resolve(from)
        const { files } = yield* Listing.list("Sandbox.copyIn", root, rest.ignore ?? []).pipe(
          nameMissing("Sandbox.copyIn", "hostPath", root)
        )
        yield* GuestFiles.copyIn(guest, "Sandbox.copyIn", { ...rest, from, to, files })
      }),
      copyOut: Effect.fn("Sandbox.copyOut", { attributes })(function* (path, hostPath, options) {
        const { hostPath: to, maxBytes, path: from } = yield* decodeCopyOut({ path, hostPath }, options)
        yield* GuestFiles.copyOut(guest, "Sandbox.copyOut", from, to, maxBytes)
      }),

      info: Effect.withSpan(driver.getSandbox(info.name), "Sandbox.info", { attributes }),
      stop: Effect.fn("Sandbox.stop", { attributes })(function* (options) {
        yield* driver.stopSandbox(info, yield* decodeStop(options))
      }),
      kill: Effect.withSpan(driver.killSandbox(info), "Sandbox.kill", { attributes }),
      detach: Effect.withSpan(detach(undefined), "Sandbox.detach", { attributes }),
      detachFor: Effect.fn("Sandbox.detachFor", { attributes })(function* (timeToLive) {
        const duration = yield* decodeTimeToLive(timeToLive)
        yield* detach((yield* Clock.currentTimeMillis) + millis(duration))
      }),
      ping: Effect.withSpan(guest.ping, "Sandbox.ping", { attributes }),
      touch: Effect.withSpan(guest.touch, "Sandbox.touch", { attributes }),
      metrics: Effect.withSpan(driver.readMetrics(info), "Sandbox.metrics", { attributes }),
      logs: (query) => Logs.read(driver, info, query),
      pause: Effect.withSpan(pause(driver, info), "Sandbox.pause", { attributes }),
      resume: Effect.withSpan(resume(driver, info, setClock(guest)), "Sandbox.resume", { attributes }),
      growRootDisk: Effect.fn("Sandbox.growRootDisk", { attributes })(function* (size) {
        const bytes = yield* decodeSize(size)
        const { growRootDisk } = yield* memoryOf(driver, {
          method: "Sandbox.growRootDisk",
          feature: "growRootDisk"
        })
        yield* growRootDisk(info, bytes)
      }),
      modify: Effect.fn("Sandbox.modify", { attributes })(function* (change) {
        return yield* driver.modifySandbox(info, yield* decodeModify(change))
      })
    },
    "Sandbox",
    ({ id, name }) => ({ name, id })
  )
  known.set(handle, { renewing, config, peers, secrets })
  return handle
}
