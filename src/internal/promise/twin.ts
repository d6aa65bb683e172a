/** Puts the Promise adapter on the in-memory driver. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import { invalid } from "../config/validation.ts"
import type { LightboxError } from "../../LightboxError.ts"
import * as MicrosandboxMemory from "../../MicrosandboxMemory.ts"
import type { Twin, TwinCommand, TwinOptions } from "../../testing.ts"
import * as Runtime from "./runtime.ts"

const commandOf =
  (run: TwinCommand): MicrosandboxMemory.Command =>
  ({ argv, env, files, sandbox, stderr, stdin, stdout, workdir }) =>
    Effect.gen(function* () {
      const runPromise = Effect.runPromiseWith(yield* Effect.context<never>())
      const result = yield* Effect.promise(async (signal) => {
        const ask = <A, E>(effect: Effect.Effect<A, E>): Promise<A> =>
          runPromise(
            Effect.suspend(() => (signal.aborted ? Effect.interrupt : effect)),
            { signal }
          )
        try {
          return await run({
            sandbox,
            argv,
            env,
            workdir,
            readInput: () => ask(Stream.mkString(Stream.decodeText(stdin))),
            readFile: (path) => ask(files.readFileString(path)),
            writeFile: (path, data) => ask(files.writeFile(path, data))
          })
        } catch (error) {
          return { exitCode: 1, stderr: `${error instanceof Error ? error.message : String(error)}\n` }
        }
      })
      const {
        exitCode = 0,
        stderr: problem = "",
        stdout: output = ""
      } = typeof result === "number" ? { exitCode: result } : (result ?? {})
      yield* stdout(output)
      yield* stderr(problem)
      return exitCode
    })

const checkCommands = (commands: { readonly [name: string]: unknown }): Effect.Effect<void, LightboxError> => {
  const wrong = Object.entries(commands).find(([, run]) => typeof run !== "function")
  return wrong === undefined
    ? Effect.void
    : Effect.fail(invalid("useTwin", `commands.${wrong[0]}`, "expected a function"))
}

export const useTwin = async ({ commands = {}, ...options }: TwinOptions): Promise<Twin> => {
  Runtime.runNow(checkCommands(commands))
  let control: MicrosandboxMemory.Control["Service"] | undefined
  const layer = Layer.effectContext(
    Effect.tap(
      Layer.build(
        MicrosandboxMemory.layer({
          ...options,
          commands: Object.fromEntries(Object.entries(commands).map(([name, run]) => [name, commandOf(run)]))
        })
      ),
      (context) =>
        Effect.sync(() => {
          control = Context.get(context, MicrosandboxMemory.Control)
        })
    )
  )
  const { close, run } = Runtime.provide(layer)
  const ask = <A>(
    question: (control: MicrosandboxMemory.Control["Service"]) => Effect.Effect<A, LightboxError>
  ): Promise<A> => run(Effect.suspend(() => (control === undefined ? Effect.never : question(control))))
  try {
    await run(Effect.void)
  } catch (error) {
    await close()
    throw error
  }
  return {
    inject: (...faults) => ask(({ inject }) => inject(...faults)),
    calls: () => ask(({ calls }) => calls),
    inventory: () => ask(({ inventory }) => inventory),
    kill: (sandbox) => ask(({ kill }) => kill(sandbox)),
    close,
    [Symbol.asyncDispose]: close
  }
}
