/**
 * A host on the twin in a process of its own: `host.ts HOME DIRECTORY [ADDRESS FOLDER]`. Prints its id once it is part of
 * the fleet, and what it has for each line of its standard input. With an address it listens there without TLS, and
 * sandboxes may mount the folder.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Stdio from "effect/Stdio"
import * as Stream from "effect/Stream"
import * as Gateway from "../../../src/Gateway.ts"
import * as MicrosandboxMemory from "../../../src/MicrosandboxMemory.ts"

const [home = "", url = "", bind, folder] = process.argv.slice(2)

Effect.gen(function* () {
  const { inventory } = yield* MicrosandboxMemory.Control
  const { stdin } = yield* Stdio.Stdio
  const { host } = yield* Gateway.serve({
    tokens: [{ token: Redacted.make("a-token-of-the-tests") }],
    port: 0,
    directory: { url },
    ...(bind === undefined ? {} : { bind, insecure: true }),
    ...(folder === undefined ? {} : { allowMounts: [folder] })
  })
  yield* Console.log(`host ${host}`)
  yield* Stream.runForEach(Stream.splitLines(Stream.decodeText(stdin)), () =>
    Effect.flatMap(inventory, (all) => Console.log(JSON.stringify(all)))
  )
  return yield* Effect.never
}).pipe(
  Effect.scoped,
  Effect.provide(Layer.mergeAll(MicrosandboxMemory.layer({ home, budget: { memory: "2G" } }), NodeServices.layer)),
  NodeRuntime.runMain
)
