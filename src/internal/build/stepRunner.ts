/**
 * Runs one step in a builder, and resets the builder for the next step.
 */
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Stream from "effect/Stream"
import * as Path from "node:path"
import type * as Guest from "../../Guest.ts"
import { CommandFailed, LightboxError, Unknown } from "../../LightboxError.ts"
import type * as Microsandbox from "../../Microsandbox.ts"
import type * as Sandbox from "../../Sandbox.ts"
import type { AddSource, CommandStepOptions, CopyOptions, Step } from "../../Snapshot.ts"
import { ownerOf } from "../dockerfile/owner.ts"
import { redactWords } from "../report/failureText.ts"
import * as Execution from "../guest/execution.ts"
import * as GuestFiles from "../guest/copy.ts"
import { readText } from "../guest/files.ts"
import type { KeyedUnit } from "../plan/keys.ts"
import { make as makeHandle } from "../sandbox/handle.ts"
import * as Secrets from "../definition/secrets.ts"
import * as Adding from "./adding.ts"
import { mountAll } from "./stepMounts.ts"

const method = "Snapshot.build"

/** A file system in memory, mounted in every builder, for secrets that are files. */
export const secretsFolder = "/run/secrets"

/** A step to run on a builder's disk. */
export interface Task<E, R> {
  readonly driver: Microsandbox.Microsandbox["Service"]
  readonly sandbox: Sandbox.Sandbox
  readonly unit: KeyedUnit<E, R>
  readonly secrets: ReadonlyArray<Secrets.SecretValue>
  /** Files of other definitions. */
  readonly takenFrom: (source: AddSource) => Adding.Taken | undefined
  /** Takes the output, and shows the end of it. */
  readonly outputs: { readonly [tag in Guest.Output["_tag"]]: Lines }
  /** Receives what the step writes, in whole lines where possible. */
  readonly onOutput: (stream: "stdout" | "stderr", text: string) => Effect.Effect<void>
}

export const run = <E, R>(task: Task<E, R>): Effect.Effect<void, LightboxError | E, R> =>
  Effect.andThen(
    // A folder in memory, such as below `/tmp`, was removed after the previous step.
    task.unit.workdir === undefined || task.unit.step._tag === "Workdir"
      ? Effect.void
      : task.sandbox.guest.makeDirectory(task.unit.workdir),
    perform(task)
  )

const perform = <E, R>(task: Task<E, R>): Effect.Effect<void, LightboxError | E, R> => {
  const { driver, sandbox, unit } = task
  const { guest } = sandbox
  const { step } = unit
  switch (step._tag) {
    case "Shell":
      return command(task, ["/bin/sh", step.options.login === true ? "-lc" : "-c", step.script], step.options)
    case "Exec":
      return command(task, step.argv, step.options, step)
    case "Copy": {
      const { from, options, to } = step
      return GuestFiles.copyIn(guest, method, { ...options, from, to, files: unit.listing?.files ?? [] })
    }
    case "Add":
      return add(task, step.from, step.to, step.options)
    case "Write":
      return write(guest, step.path, step.content, step.options)
    case "Workdir":
      return step.owner === undefined
        ? guest.makeDirectory(step.path)
        : ownerIn(driver, step.owner).pipe(
            Effect.flatMap((owner) => GuestFiles.resolveOwner(guest, method, owner)),
            Effect.flatMap((owner) => Adding.makeFolders(guest, step.path, owner))
          )
    case "Effect":
      return Effect.flatMap(driver.getSandbox(sandbox.name), (info) =>
        Effect.asVoid(step.run(makeHandle(driver, info, { guest: inEffect(guest, unit) })))
      )
  }
}

/** Looks up the user of an image, which has booted. */
const ownerIn = (
  driver: Microsandbox.Microsandbox["Service"],
  owner: Guest.Owner | { readonly image: string }
): Effect.Effect<Guest.Owner | undefined, LightboxError> =>
  typeof owner === "object" && "image" in owner
    ? Effect.map(driver.getImage(owner.image), ({ user = "" }) => (user === "" ? undefined : ownerOf(user)))
    : Effect.succeed(owner)

const add = (
  { sandbox: { guest }, takenFrom, unit }: Task<unknown, unknown>,
  from: AddSource,
  to: string,
  { mode, owner }: Pick<CopyOptions, "mode" | "owner"> = {}
): Effect.Effect<void, LightboxError> =>
  Adding.add({
    guest,
    method,
    from,
    to,
    mode,
    owner,
    listing: unit.added.get(from)?.listing,
    taken: takenFrom(from)
  })

/** A guest whose commands default to what is in effect at a step. */
const inEffect = (guest: Guest.Guest, { environment, user, workdir }: KeyedUnit<unknown, unknown>): Guest.Guest =>
  Execution.withDefaults(guest, { env: environment, user, cwd: workdir })

const command = Effect.fnUntraced(function* (
  task: Task<unknown, unknown>,
  argv: readonly [string, ...Array<Guest.Word>],
  options: CommandStepOptions,
  { mounts = [], proxies }: Pick<Extract<Step, { readonly _tag: "Exec" }>, "mounts" | "proxies"> = {}
): Effect.fn.Return<void, LightboxError> {
  const { driver, onOutput, outputs, sandbox, secrets, unit } = task
  const { guest } = sandbox
  const env: { [name: string]: Guest.Word } = { ...unit.environment, ...proxies, ...options.env }
  const files: Array<readonly [name: string, value: string]> = []
  for (const [name, secret] of Object.entries(options.secrets ?? {})) {
    const { as, value } = Secrets.normalize(secret)
    if (as === "env") env[name] = Redacted.make(value)
    else files.push([name, value])
  }
  yield* Effect.forEach(files, ([name, value]) => write(guest, `${secretsFolder}/${name}`, value, { mode: 0o444 }), {
    discard: true
  })
  yield* Effect.scoped(
    Effect.gen(function* () {
      yield* mountAll({ driver, guest, mounts, secretsFolder, add: (from, to) => add(task, from, to) })
      const process = yield* guest.spawn({ argv, cwd: unit.workdir, user: unit.user, env, stdin: "empty" })
      const emit = (tag: Guest.Output["_tag"], text: string) =>
        text === "" ? Effect.void : onOutput(tag === "Stdout" ? "stdout" : "stderr", text)
      yield* Effect.raceFirst(
        Stream.runForEach(process.output, ({ _tag, bytes }) => emit(_tag, outputs[_tag].push(bytes))),
        // Nothing that a step leaves in the background lives on, in whatever session.
        Execution.gone(guest.stat, process.pid).pipe(
          Effect.andThen(Effect.sleep("1 second")),
          Effect.andThen(killAll(guest)),
          Effect.andThen(Effect.never)
        )
      )
      yield* emit("Stdout", outputs.Stdout.end())
      yield* emit("Stderr", outputs.Stderr.end())
      const end = yield* Execution.ended(process)
      if (end.exitCode === 0) return
      return yield* new LightboxError({
        method,
        reason: new CommandFailed({
          argv: redactWords(argv).map((word) => Secrets.redact(secrets, word)),
          ...Execution.endFields(end),
          stdout: outputs.Stdout.tail,
          stderr: outputs.Stderr.tail
        })
      })
    })
  ).pipe(
    Effect.ensuring(
      Effect.forEach(files, ([name]) => Effect.ignore(guest.removeFile(`${secretsFolder}/${name}`)), { discard: true })
    )
  )
})

const longestLine = 8192

/** Splits output into lines, so that no secret is split, and keeps the last ones. */
export class Lines {
  private readonly decoder = new TextDecoder()
  private readonly secrets: ReadonlyArray<Secrets.SecretValue>
  private rest = ""
  private last = ""

  constructor(secrets: ReadonlyArray<Secrets.SecretValue>) {
    this.secrets = secrets
  }

  /** Takes bytes and returns the completed lines. */
  push(bytes: Uint8Array): string {
    this.rest += this.decoder.decode(bytes, { stream: true })
    const end = this.rest.lastIndexOf("\n") + 1
    const isLong = this.rest.length > longestLine
    const cut = Secrets.cutBefore(this.secrets, this.rest, end === 0 && isLong ? this.rest.length : end)
    // An endlessly repeated secret has no safe place to cut.
    if (cut === 0 && isLong) this.rest = Secrets.redact(this.secrets, this.rest)
    return this.take(cut)
  }

  /** Returns the rest. */
  end(): string {
    this.rest += this.decoder.decode()
    return this.take(this.rest.length)
  }

  get tail(): string {
    const end = Secrets.cutBefore(this.secrets, this.rest, this.rest.length)
    const shown = Secrets.redact(this.secrets, this.rest.slice(0, end))
    return Execution.tail(new TextEncoder().encode(this.last + shown))
  }

  private take(length: number): string {
    const text = Secrets.redact(this.secrets, this.rest.slice(0, length))
    this.rest = this.rest.slice(length)
    this.last = (this.last + text).slice(-Execution.tailBytes)
    return text
  }
}

const write = Effect.fnUntraced(function* (
  guest: Guest.Guest,
  path: string,
  content: string | Uint8Array,
  options: { readonly mode?: number | undefined; readonly owner?: Guest.Owner | undefined }
): Effect.fn.Return<void, LightboxError> {
  yield* guest.makeDirectory(Path.posix.dirname(path))
  const owner = yield* GuestFiles.resolveOwner(guest, method, options.owner)
  yield* Effect.scoped(
    Effect.gen(function* () {
      const file = yield* guest.open(path, { write: true, create: true, truncate: true })
      yield* Stream.run(
        Stream.make(typeof content === "string" ? new TextEncoder().encode(content) : content),
        file.sink()
      )
      yield* file.setAttributes({ mode: options.mode ?? 0o644, ...owner })
    })
  )
})

/** Mounts that the runtime needs in the guest. */
const runtimeMounts = ["/.msb", "/dev", "/proc", "/sys"]

/** Limits what is asked of a guest, whose steps may have replaced the programs that it takes. */
export const inTime = Effect.timeoutOption("30 seconds")

/** Kills everything but the agent, which is process 1, and the command itself. */
const killAll = (guest: Guest.Guest) =>
  Execution.collect(guest, method, Execution.asRoot("kill", "-9", "-1")).pipe(
    // A guest without `kill` has run no commands.
    Effect.catchReason("LightboxError", "CommandNotStarted", () => Effect.void)
  )

const mountsOf = (guest: Guest.Guest) =>
  Effect.map(readText(guest, "/proc/mounts"), (text) =>
    text.split("\n").map((line) => {
      const [, path = "", type] = line.split(" ")
      return { path: unescapeMountPoint(path), type }
    })
  )

/** The paths at which something is mounted. */
export const mountPointsOf = (guest: Guest.Guest): Effect.Effect<ReadonlyArray<string>, LightboxError> =>
  Effect.map(mountsOf(guest), (mounts) => mounts.map(({ path }) => path))

/** Whether a path is in the folder that {@link uncoverTmp} uncovers. */
export const isInTmp = (path: string): boolean => Path.posix.resolve("/", path).split("/")[1] === "tmp"

/**
 * Uncovers the `/tmp` of the disk, over which the runtime mounts memory. An image without `umount` fails only if what it
 * covers is needed.
 */
export const uncoverTmp = Effect.fnUntraced(function* (
  guest: Guest.Guest,
  isNeeded: boolean
): Effect.fn.Return<void, LightboxError> {
  if (!(yield* mountsOf(guest)).some(({ path, type }) => path === "/tmp" && type === "tmpfs")) return
  yield* Execution.collect(guest, method, Execution.asRoot("umount", "/tmp"), { check: true }).pipe(
    Effect.catchReason("LightboxError", "CommandNotStarted", (_, error) =>
      isNeeded ? Effect.fail(error) : Effect.void
    )
  )
})

/**
 * Removes what would not survive a restart: processes and files in memory. A step
 * then sees the same whether or not the build was interrupted before it.
 */
export const resetGuest = Effect.fnUntraced(function* (guest: Guest.Guest): Effect.fn.Return<void, LightboxError> {
  yield* killAll(guest)
  const mounts = yield* mountsOf(guest)
  const mountPoints = mounts.map(({ path }) => path)
  for (const { path, type } of mounts) {
    const isRuntime =
      runtimeMounts.some((mount) => path === mount || path.startsWith(`${mount}/`)) && path !== "/dev/shm"
    if (type === "tmpfs" && !isRuntime) yield* empty(guest, path, mountPoints)
  }
})

/** The kernel writes spaces as octal escapes. */
const unescapeMountPoint = (path: string): string =>
  path.replace(/\\(\d{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)))

/** Empties a folder, except for mounts in it. */
const empty = (
  guest: Guest.Guest,
  folder: string,
  mountPoints: ReadonlyArray<string>
): Effect.Effect<void, LightboxError> =>
  Effect.flatMap(guest.readDirectoryEntries(folder), (entries) =>
    Effect.forEach(
      entries,
      ({ path, type }) => {
        if (mountPoints.includes(path)) return Effect.void
        if (mountPoints.some((mountPoint) => mountPoint.startsWith(`${path}/`))) return empty(guest, path, mountPoints)
        return type === "Directory" ? guest.removeDirectory(path, { recursive: true }) : guest.removeFile(path)
      },
      { discard: true }
    )
  )

/** Flushes the guest's writes to its disk. */
export const flush = Effect.fnUntraced(function* (guest: Guest.Guest): Effect.fn.Return<boolean, LightboxError> {
  return yield* Execution.collect(guest, method, Execution.asRoot("sync")).pipe(
    Effect.flatMap((end) =>
      end.exitCode === 0
        ? Effect.succeed(true)
        : Effect.fail(
            new LightboxError({
              method,
              reason: new Unknown({
                problem: `sync failed: ${Execution.tail(end.stderr)}`,
                cause: Execution.failed(method, ["sync"], end, end.stdout, end.stderr).reason
              })
            })
          )
    ),
    // A guest without `sync` is shut down instead, which flushes as well.
    Effect.catchReason("LightboxError", "CommandNotStarted", () => Effect.succeed(false))
  )
})
