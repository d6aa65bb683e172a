/**
 * The command line on the driver in memory, in this process.
 */
import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, it } from "@effect/vitest"
import { TerminalCapabilities } from "effect/cli/TerminalCapabilities"
import * as Console from "effect/Console"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import { TestConsole } from "effect/testing"
import { fileURLToPath } from "node:url"
import type { Services } from "../../src/Driver.ts"
import type { Output } from "../../src/BuildReporter.ts"
import { Folder } from "../../src/internal/cli/serve/contexts.ts"
import { Driver, Outputs } from "../../src/internal/cli/environment.ts"
import { Failure } from "../../src/internal/cli/failure.ts"
import { run } from "../../src/internal/cli/lightbox.ts"
import * as Microsandbox from "../../src/Microsandbox.ts"
import type * as MicrosandboxLocal from "../../src/MicrosandboxLocal.ts"
import * as MicrosandboxMemory from "../../src/MicrosandboxMemory.ts"

/** The result of a call of the command line. */
export interface Ended {
  readonly status: number
  readonly stdout: string
  readonly stderr: string
}

/** The command line, as a test calls it. */
export class Cli extends Context.Service<
  Cli,
  {
    readonly call: (...args: ReadonlyArray<string>) => Effect.Effect<Ended>
    /** The options of the drivers so far. */
    readonly drivers: ReadonlyArray<MicrosandboxLocal.Options>
    /** The sandboxes requested so far. */
    readonly requests: ReadonlyArray<Microsandbox.CreateSandbox>
    /** What each call has written to standard output so far. */
    readonly outputs: ReadonlyArray<() => string>
    /** A folder for this test. */
    readonly folder: string
  }
>()("effect-lightbox/test/cli/support/Cli") {
  static readonly layer = Layer.effect(
    Cli,
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const services = yield* Effect.context<Layer.Success<typeof NodeServices.layer>>()
      const memory = yield* Microsandbox.Microsandbox
      const drivers: Array<MicrosandboxLocal.Options> = []
      const requests: Array<Microsandbox.CreateSandbox> = []
      const outputs: Array<() => string> = []
      const driver = Layer.succeedContext(
        Context.add(yield* Effect.context<Services>(), Microsandbox.Microsandbox, {
          ...memory,
          createSandbox: (request) => {
            requests.push(request)
            return memory.createSandbox(request)
          }
        })
      )
      const folder = yield* fs.makeTempDirectoryScoped()
      return {
        drivers,
        requests,
        outputs,
        folder,
        call: Effect.fnUntraced(function* (...args) {
          const console = yield* TestConsole.make
          const stdout = slowRecorder()
          outputs.push(stdout.text)
          const stderr = recorder()
          const status = yield* run(args).pipe(
            Effect.provideService(Console.Console, console),
            Effect.provideService(Outputs, { stdout, stderr }),
            Effect.provideService(Folder, `${folder}/settings`),
            Effect.provideService(Driver, (options) => {
              drivers.push(options)
              return driver
            }),
            Effect.provideService(TerminalCapabilities, { canColor: false, canAnimate: false, canPrompt: false }),
            Effect.provideContext(services)
          )
          const lines = (logged: ReadonlyArray<unknown>) => logged.map((line) => `${String(line)}\n`).join("")
          return {
            status,
            stdout: stdout.text() + lines(yield* console.logLines),
            stderr: stderr.text() + lines(yield* console.errorLines)
          }
        })
      }
    })
  )
}

const recorder = (): Output & { readonly text: () => string } => {
  const written: Array<string> = []
  return { write: (text) => written.push(text), text: () => written.join("") }
}

/** Is full after every write, and must not be written to until it has drained. */
const slowRecorder = (): ReturnType<typeof recorder> => {
  const { text, write } = recorder()
  let isFull = false
  return {
    text,
    write: (added) => {
      if (isFull) throw new Error(`written while full: ${added}`)
      isFull = true
      write(added)
      return false
    },
    once: (_, listener) =>
      setImmediate(() => {
        isFull = false
        listener()
      })
  }
}

/** Everything that a test needs, with its own driver in memory. */
export const layer = (options?: MicrosandboxMemory.Options) =>
  Cli.layer.pipe(Layer.provideMerge(MicrosandboxMemory.layer(options)), Layer.provideMerge(NodeServices.layer))

/** A test of the command line on a driver of its own. */
export const test = <A, E>(
  name: string,
  effect: Effect.Effect<A, E, Layer.Success<ReturnType<typeof layer>>>,
  options?: MicrosandboxMemory.Options
) => it.live(name, () => Effect.provide(effect, layer(options)))

/** A module with definitions. */
export const definitions = (name: string): string => fileURLToPath(new URL(`definitions/${name}.ts`, import.meta.url))

/** Calls that must end with a status. */
export const ending = (status: number) =>
  Effect.fnUntraced(function* (...args: ReadonlyArray<string>) {
    const { call } = yield* Cli
    const ended = yield* call(...args)
    assert.strictEqual(ended.status, status, `lightbox ${args.join(" ")}\n${ended.stdout}${ended.stderr}`)
    return ended
  })

/** Calls that succeed. */
export const succeeding = ending(0)

/** Starts a sandbox that keeps running. */
export const detached = (name: string, ...flags: ReadonlyArray<string>) =>
  succeeding("run", "--image", "alpine:3", "--name", name, "--detach", ...flags)

/** Calls with `--json`, of which each line of output must have the shape. */
export const json = Effect.fnUntraced(function* <S extends Schema.Codec<unknown, unknown>>(
  schema: S,
  ...args: ReadonlyArray<string>
) {
  const { stdout } = yield* succeeding("--json", ...args)
  return yield* decodeLines(schema, stdout)
})

export const decodeLines = <S extends Schema.Codec<unknown, unknown>>(
  schema: S,
  text: string
): Effect.Effect<ReadonlyArray<S["Type"]>, Schema.SchemaError> => {
  const decode = Schema.decodeEffect(Schema.fromJsonString(Schema.toCodecJson(schema)), { onExcessProperty: "error" })
  return Effect.forEach(text.trimEnd().split("\n"), (line) => decode(line))
}

/** The decoded `--json` error of a call that fails. */
export const failing = Effect.fnUntraced(function* (status: number, ...args: ReadonlyArray<string>) {
  const { stderr } = yield* ending(status)("--json", ...args)
  const [failure] = yield* decodeLines(Failure, stderr)
  assert.isDefined(failure)
  assert.strictEqual(failure.status, status)
  return failure
})
