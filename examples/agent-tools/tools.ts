/** What a language model may do: anything, in a sandbox. */
import * as Tool from "effect/ai/Tool"
import * as Toolkit from "effect/ai/Toolkit"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { LightboxError } from "effect-lightbox/LightboxError"
import * as Sandbox from "effect-lightbox/Sandbox"

// What goes wrong is told to the model, which may know better.
const failures = { failure: Schema.String, failureMode: "return" } as const

const path = Schema.String.annotate({ description: "An absolute path" })

export const SandboxTools = Toolkit.make(
  Tool.make("run", {
    description: "Runs a shell script in /root, for a minute at most",
    parameters: Schema.Struct({ script: Schema.String }),
    success: Schema.Struct({ exitCode: Schema.Int, stdout: Schema.String, stderr: Schema.String }),
    ...failures
  }),
  Tool.make("readFile", {
    description: "Reads a text file",
    parameters: Schema.Struct({ path }),
    success: Schema.String,
    ...failures
  }),
  Tool.make("writeFile", {
    description: "Writes a text file, replacing what is there",
    parameters: Schema.Struct({ path, content: Schema.String }),
    success: Schema.Void,
    ...failures
  })
)

const told = <A>(effect: Effect.Effect<A, LightboxError>): Effect.Effect<A, string> =>
  Effect.mapError(effect, ({ message }) => message)

export const layer = SandboxTools.toLayer(
  Effect.map(Sandbox.Sandbox, (sandbox) => ({
    run: ({ script }) =>
      told(
        Effect.map(
          sandbox.shell(script, { cwd: "/root", timeout: "1 minute", maxOutput: 64 * 1024 }),
          ({ exitCode, stderr, stdout }) => ({ exitCode, stdout, stderr })
        )
      ),
    readFile: ({ path }) => told(sandbox.readFileString(path)),
    writeFile: ({ content, path }) => told(sandbox.writeFileString(path, content))
  }))
)
