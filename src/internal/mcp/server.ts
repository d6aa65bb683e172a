/** The tools and resources of the MCP server. */
import * as McpProtocol from "effect/ai/McpProtocol"
import * as McpSchema from "effect/ai/McpSchema"
import * as McpServer from "effect/ai/McpServer"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stdio from "effect/Stdio"
import * as Stream from "effect/Stream"
import * as Deferred from "effect/Deferred"
import * as Fiber from "effect/Fiber"
import type { Services } from "../../Driver.ts"
import * as Job from "../../Job.ts"
import type { LightboxError } from "../../LightboxError.ts"
import type { Sandbox } from "../../Sandbox.ts"
import * as SandboxTools from "../../SandboxTools.ts"
import { what } from "../report/failureText.ts"
import { version } from "../config/version.ts"
import * as Policy from "./policy.ts"
import * as Session from "./session.ts"
import { outputOf } from "./text.ts"
import { Workspace } from "./workspace.ts"

// =============================================================================
// Tools
// =============================================================================

const isObject = (u: unknown): u is { readonly [key: string]: unknown } =>
  typeof u === "object" && u !== null && !Array.isArray(u)

/** What says nothing: the defaults of JSON Schema, and the bounds of whole numbers. */
const saysNothing = (key: string, value: unknown): boolean =>
  (key === "additionalProperties" && value === true) ||
  ((key === "minimum" || key === "maximum") && Math.abs(Number(value)) === Number.MAX_SAFE_INTEGER)

const compact = (schema: { readonly [key: string]: unknown }): { readonly [key: string]: unknown } =>
  Object.fromEntries(
    Object.entries(schema).flatMap(([key, value]) =>
      saysNothing(key, value) ? [] : [[key, isObject(value) ? compact(value) : value]]
    )
  )

const compactInput = Schema.decodeUnknownSync(McpSchema.ToolJson)

/** The list of tools is in the context of every conversation: leave out what is the default anyway. */
const tools = Layer.effectDiscard(
  Effect.gen(function* () {
    const server = yield* McpServer.McpServer
    const brief = McpServer.McpServer.of({
      ...server,
      addTool: ({ tool, ...rest }) =>
        server.addTool({
          ...rest,
          tool: new McpSchema.Tool({
            name: tool.name,
            description: tool.description,
            inputSchema: compactInput(compact(tool.inputSchema)),
            ...(tool.outputSchema === undefined ? {} : { outputSchema: compact(tool.outputSchema) }),
            annotations: tool.annotations?.readOnlyHint === true ? tool.annotations : undefined
          })
        })
    })
    yield* Effect.provideService(McpServer.registerToolkit(SandboxTools.toolkit), McpServer.McpServer, brief)
  })
).pipe(Layer.provide(SandboxTools.layerHandlers))

// =============================================================================
// Resources
// =============================================================================

const maxResource = 1024 * 1024

const inSandbox = <A>(use: (sandbox: Sandbox) => Effect.Effect<A, LightboxError>) =>
  Workspace.use(({ sandbox }) => Effect.flatMap(sandbox, use)).pipe(
    Effect.mapError((error) => new McpSchema.InvalidParams({ message: what(error) }))
  )

const toJson = Schema.encodeSync(Schema.fromJsonString(Schema.toCodecJson(Schema.Array(Job.Info))))

const isText = (bytes: Uint8Array): boolean => !bytes.includes(0)

const resources = Layer.mergeAll(
  McpServer.resource({
    uri: "lightbox://jobs",
    name: "Jobs",
    description: "The jobs of the session's sandbox",
    mimeType: "application/json",
    content: inSandbox((sandbox) => Effect.map(sandbox.jobs, toJson))
  }),
  McpServer.resource({
    uri: "lightbox://log",
    name: "Log",
    description: "The last lines of the log of the session's sandbox",
    mimeType: "text/plain",
    content: inSandbox((sandbox) =>
      Effect.map(Stream.runCollect(sandbox.logs({ tail: 200 })), (entries) => entries.map(({ text }) => text).join(""))
    )
  }),
  McpServer.resource`lightbox://jobs/${McpSchema.param("id", Schema.String)}`({
    name: "Output of a job",
    description: "The last 30 kB",
    mimeType: "text/plain",
    content: (_, id) =>
      inSandbox((sandbox) =>
        Effect.flatMap(sandbox.job(id), (job) =>
          Effect.map(outputOf(sandbox.guest, job, undefined), ({ output }) => output)
        )
      )
  }),
  McpServer.resource`lightbox://files/${McpSchema.param("path", Schema.String)}`({
    name: "File",
    description: "A file of up to 1 MiB, by its encoded absolute path: lightbox://files/%2Fetc%2Fhostname",
    content: (_, path) =>
      inSandbox((sandbox) =>
        Effect.map(sandbox.readFile(path, { maxBytes: maxResource }), (bytes) =>
          isText(bytes) ? new TextDecoder().decode(bytes) : bytes
        )
      )
  })
)

// =============================================================================
// Server
// =============================================================================

/** Everything that the server offers, given the workspace of a session by its id. */
export const registrations = (
  workspaceOf: (sessionId: string | undefined) => Effect.Effect<Workspace["Service"], never, Scope.Scope>
) => {
  const middleware = McpServer.middleware<{ provides: Workspace }>()((effect, { sessionId }) =>
    Effect.scoped(
      Effect.flatMap(workspaceOf(sessionId), (workspace) => Effect.provideService(effect, Workspace, workspace))
    )
  )
  return Layer.mergeAll(tools, resources).pipe(Layer.provide(middleware.layer))
}

const sessionful = [McpProtocol.v2025_11_25, McpProtocol.v2025_06_18, McpProtocol.v2025_03_26] as const

/** What every transport needs. */
export const serverOptions = (policy: Policy.Policy) => ({
  name: "lightbox",
  version,
  instructions: Policy.describe(policy),
  protocols: sessionful
})

/** How long requests that are under way may take once the client has closed its side. */
const grace = "5 seconds"

/** Serves one session over standard input and output, until the input ends. */
export const stdio = Effect.fnUntraced(function* (
  policy: Policy.Policy
): Effect.fn.Return<void, LightboxError, Services | Stdio.Stdio | Scope.Scope> {
  const workspace = yield* Session.make(policy)
  const given = yield* Stdio.Stdio
  const ended = yield* Deferred.make<void>()
  const stdin = Stream.ensuring(given.stdin, Deferred.succeed(ended, undefined))
  const server = McpServer.layerStdio({
    ...serverOptions(policy),
    protocols: [McpProtocol.v2026_07_28, ...sessionful],
    registrations: registrations(() => Effect.succeed(workspace))
  }).pipe(Layer.provide(Layer.succeed(Stdio.Stdio, { ...given, stdin })))
  // It interrupts its own fiber when the input has ended and all requests have been answered.
  const serving = yield* Effect.forkChild(Effect.orDie(Layer.launch(server)))
  const late = Effect.andThen(Deferred.await(ended), Effect.sleep(grace))
  yield* Effect.raceFirst(Fiber.await(serving), late)
  yield* Fiber.interrupt(serving)
})
