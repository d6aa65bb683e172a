/** `mcp`. */
import * as Command from "effect/cli/Command"
import * as Effect from "effect/Effect"
import { invalid } from "../../config/validation.ts"
import { driver, print } from "../environment.ts"
import * as Flags from "../flags.ts"
import * as Shapes from "../json.ts"
import { orNew } from "./token.ts"

const tokenVariable = "LIGHTBOX_MCP_TOKEN"

export const mcp = Command.make(
  "mcp",
  {
    file: Flags.text("policy", "FILE", "What sessions may mount and reach (default: nothing)"),
    image: Flags.text("image", "IMAGE", "Boot sandboxes from an image"),
    snapshot: Flags.text("snapshot", "NAME", "Boot sandboxes from a snapshot"),
    port: Flags.count("http", "PORT", "Serve HTTP on this port of 127.0.0.1, with a token; 0 is a free one")
  },
  Effect.fnUntraced(function* ({ port, ...source }) {
    // Effect's AI and HTTP modules, which no other command needs.
    const [Policy, Server, Http] = yield* Effect.promise(() =>
      Promise.all([import("../../mcp/policy.ts"), import("../../mcp/server.ts"), import("../../mcp/http.ts")])
    )
    const policy = yield* Policy.load(source)
    if (port === undefined) return yield* Server.stdio(policy)
    if (port < 0 || port > 65_535) return yield* invalid("mcp", "--http", "expected a port from 0 to 65535")
    const { isNew, value } = yield* orNew("mcp", tokenVariable)
    const { url } = yield* Http.serve(policy, { port, token: value })
    yield* print(
      Shapes.Mcp,
      { url, ...(isNew ? { token: value } : {}) },
      {
        full: `Serving ${url} until Ctrl+C\nAuthorization: Bearer ${isNew ? value : `(that of ${tokenVariable})`}`,
        brief: url
      }
    )
    return yield* Effect.never
  }, Effect.scoped)
).pipe(
  Command.withDescription("Serve sandboxes to a coding agent over MCP: one for each session, removed with it"),
  Command.withExamples([
    {
      command: "lightbox mcp --image python:3.12-slim",
      description: "What an agent starts: it speaks on standard input"
    },
    { command: "lightbox mcp --policy policy.json --http 7300", description: "Serve several agents until Ctrl+C" }
  ]),
  Command.provide(driver())
)
