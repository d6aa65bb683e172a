/**
 * What the cases of the contract use.
 */
import { assert } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Console from "effect/Console"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Net from "node:net"
import { inspect } from "node:util"
import type { Services } from "../../src/Driver.ts"
import type { LightboxError } from "../../src/LightboxError.ts"
import { type Reason } from "../../src/LightboxError.ts"
import { isCode } from "../../src/internal/host/socket.ts"
import { needsRestart } from "../../src/internal/driver/restart.ts"
import * as Microsandbox from "../../src/Microsandbox.ts"
import * as Sandbox from "../../src/Sandbox.ts"
import type { SandboxConfig } from "../../src/SandboxConfig.ts"

type Driver = Microsandbox.Microsandbox["Service"]

/** What differs between backends. */
export class Bench extends Context.Service<
  Bench,
  {
    /** An image with busybox, the user app (1000), and nothing else. */
    readonly image: string
    /** Another name of it: short and fully qualified. */
    readonly alias: { readonly short: string; readonly whole: string }
    /** A folder of the host, where files can be shared with guests. */
    readonly files: string
    /** The folder of this machine with the state of the backend. */
    readonly home: string
    /** How many cases have run, and how often a machine was booted. */
    readonly counts: { cases: number; boots: number }
  }
>()("effect-lightbox/test/Microsandbox/Bench") {}

/** The other names of the image. */
export const alias = { short: "busybox", whole: "docker.io/library/busybox:latest" }

/** Makes the bench, and a driver that counts its boots. */
export const layer = <E, R>(options: {
  readonly image: string
  readonly files: Effect.Effect<string, E, R>
  /** Default: that of the driver. */
  readonly home?: string
}): Layer.Layer<Bench | Services, E, Exclude<R, Scope.Scope> | Services> =>
  Layer.effectContext(
    Effect.gen(function* () {
      const driver = yield* Microsandbox.Microsandbox
      const counts = { cases: 0, boots: 0 }
      const counted = <A>(effect: Effect.Effect<A, LightboxError>, isBoot: (value: A) => boolean = () => true) =>
        Effect.tap(effect, (value) =>
          Effect.sync(() => {
            if (isBoot(value)) counts.boots++
          })
        )
      const counting: Driver = {
        ...driver,
        createSandbox: (request) => counted(driver.createSandbox(request)),
        startSandbox: (sandbox, options) => counted(driver.startSandbox(sandbox, options)),
        modifySandbox: (sandbox, change) =>
          counted(driver.modifySandbox(sandbox, change), (plan) => plan.applied && needsRestart(plan))
      }
      yield* Effect.addFinalizer(() =>
        Console.log(`contract on ${driver.backend}: ${counts.cases} cases, ${counts.boots} boots`)
      )
      return (yield* Effect.context<Services>()).pipe(
        Context.add(Microsandbox.Microsandbox, counting),
        Context.add(Bench, {
          image: options.image,
          alias,
          files: yield* options.files,
          home: options.home ?? driver.home,
          counts
        })
      )
    })
  )

/** An archive of the image under both names; loading it always gives the same image. */
export const archived = Effect.gen(function* () {
  const driver = yield* Microsandbox.Microsandbox
  const { files, image } = yield* Bench
  const path = Path.join(files, freshName("image"))
  yield* driver.saveImages([image, alias.whole], path)
  yield* driver.loadImage(path)
  return path
})

// =============================================================================
// Sandboxes
// =============================================================================

let made = 0

/** An unused name. */
export const freshName = (prefix: string): string => `${prefix}-${++made}`

/** A request for a small sandbox. */
export const request = Effect.fnUntraced(function* (config: SandboxConfig = {}, name = freshName("box")) {
  const { image } = yield* Bench
  const asked: Microsandbox.CreateSandbox = {
    name,
    source: { _tag: "Image", reference: image },
    config: { ...config, resources: { memory: 256 * 1024 * 1024, ...config.resources } }
  }
  return asked
})

/** Boots, and removes what was booted with the scope. */
export const boot = Effect.fnUntraced(function* (asked: Microsandbox.CreateSandbox) {
  const driver = yield* Microsandbox.Microsandbox
  return yield* Effect.acquireRelease(driver.createSandbox(asked), (info) =>
    Effect.orDie(driver.removeSandbox(info, { force: true }))
  )
})

/** Boots a small sandbox and connects to it. */
export const launch = Effect.fnUntraced(function* (config: SandboxConfig = {}, name?: string) {
  const info = yield* boot(yield* request(config, name))
  return { info, sandbox: yield* Sandbox.connect(info.name) }
})

/** The sandbox that the cases of a group share. */
export class Shared extends Context.Service<
  Shared,
  { readonly info: Microsandbox.SandboxInfo; readonly sandbox: Sandbox.Sandbox }
>()("effect-lightbox/test/Microsandbox/Bench/Shared") {}

/** Boots one sandbox for a group of cases. */
export const shared = (config: (files: string) => SandboxConfig = () => ({})) =>
  Layer.effect(
    Shared,
    Effect.flatMap(Bench, ({ files }) => launch(config(files)))
  )

// =============================================================================
// Expectations
// =============================================================================

type ReasonOf<Tag extends Reason["_tag"]> = Extract<Reason, { readonly _tag: Tag }>

/** The reason of a failure. */
export const failsWith = <Tag extends Reason["_tag"], A, R>(
  tag: Tag,
  effect: Effect.Effect<A, LightboxError, R>
): Effect.Effect<ReasonOf<Tag>, never, R> =>
  Effect.flatMap(Effect.exit(effect), (exit) => {
    if (Exit.isSuccess(exit)) return Effect.die(new Error(`expected ${tag}, but it succeeded`))
    const error = Cause.findErrorOption(exit.cause)
    if (error._tag === "None") return Effect.failCause(Cause.die(Cause.squash(exit.cause)))
    return hasTag(error.value.reason, tag)
      ? Effect.succeed(error.value.reason)
      : Effect.die(new Error(`expected ${tag}, but: ${error.value.message}`, { cause: error.value }))
  })

const hasTag = <Tag extends Reason["_tag"]>(reason: Reason, tag: Tag): reason is ReasonOf<Tag> => reason._tag === tag

/** The error number that a file operation fails with. */
export const failsWithCode = <A, R>(code: string, effect: Effect.Effect<A, LightboxError, R>) =>
  Effect.map(failsWith("FileError", effect), (reason) => {
    assert.strictEqual(reason.code, code)
    return reason
  })

/**
 * Repeats until something is so, since the real runtime's records follow its machines at a distance, and dies with what
 * was there instead when it has not become so.
 */
export const eventually = <A, E, R>(effect: Effect.Effect<A, E, R>, isSo: (value: A) => boolean) =>
  effect.pipe(
    Effect.repeat({ until: isSo, schedule: Schedule.max([Schedule.spaced("100 millis"), Schedule.recurs(100)]) }),
    Effect.filterOrElse(isSo, (value) => Effect.die(new Error(`it did not become so: ${inspect(value)}`)))
  )

/** Runs something in the background until the scope closes, and reports how it ended. */
export const background = <A, R>(effect: Effect.Effect<A, LightboxError, R>) =>
  Effect.map(Effect.forkScoped(Effect.exit(effect), { startImmediately: true }), (fiber) => ({
    /** The reason that it failed with. */
    failure: <Tag extends Reason["_tag"]>(tag: Tag) =>
      failsWith(
        tag,
        Effect.flatMap(Fiber.join(fiber), (exit) => exit)
      )
  }))

// =============================================================================
// Guests
// =============================================================================

export const encode = (text: string): Uint8Array => new TextEncoder().encode(text)

export const decode = (bytes: Uint8Array): string => new TextDecoder().decode(bytes)

/** The names of images, sorted. */
export const referencesOf = (all: ReadonlyArray<Microsandbox.ImageInfo>): ReadonlyArray<string> =>
  all.map(({ reference }) => reference).toSorted()

/** The commands that run in a guest, without kernel threads. */
export const commandLines = Effect.fnUntraced(function* (sandbox: Sandbox.Sandbox) {
  const pids = (yield* sandbox.guest.readDirectoryEntries("/proc")).flatMap(
    ({ path }) => /^\/proc\/(\d+)$/.exec(path)?.[1] ?? []
  )
  const lines = yield* Effect.forEach(pids, (pid) =>
    // It may end in between.
    Effect.orElseSucceed(sandbox.readFileString(`/proc/${pid}/cmdline`), () => "")
  )
  return lines.map((line) => line.replaceAll("\0", " ").trim()).filter((line) => line !== "")
})

/** Everything that a process writes, and its exit code. */
export const outcome = Effect.fnUntraced(function* (process: Effect.Success<ReturnType<Sandbox.Sandbox["spawn"]>>) {
  const texts = { Stdout: "", Stderr: "" }
  yield* Stream.runForEach(process.output, ({ _tag, bytes }) =>
    Effect.sync(() => {
      texts[_tag] += decode(bytes)
    })
  )
  return { exitCode: yield* process.exitCode, stdout: texts.Stdout, stderr: texts.Stderr }
})

/** A folder of the host with some files, shared with nobody else. */
export const hostFolder = Effect.fnUntraced(function* (files: { readonly [name: string]: string } = {}) {
  const { files: folder } = yield* Bench
  const path = Path.join(folder, freshName("folder"))
  Fs.mkdirSync(path)
  for (const [name, content] of Object.entries(files)) Fs.writeFileSync(Path.join(path, name), content)
  return path
})

/** Says something to a port of this host, ends its side, and hears the answer to its end. A reset ends it, too. */
export const dial = (port: number, text: string): Effect.Effect<string, Cause.UnknownError> =>
  Effect.tryPromise(async () => {
    const socket = Net.connect({ port, host: "127.0.0.1", allowHalfOpen: true })
    socket.end(text)
    const heard: Array<Buffer> = []
    try {
      for await (const bytes of socket) heard.push(bytes)
    } catch (cause) {
      if (!isCode(cause, "ECONNRESET", "EPIPE")) throw cause
    }
    return Buffer.concat(heard).toString()
  })
