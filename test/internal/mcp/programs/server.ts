/**
 * `lightbox mcp --image busybox` on the twin. Appends to a file: each sandbox that is created, and, once the server has
 * ended, those that are left.
 *
 * node test/internal/mcp/programs/server.ts FILE
 */
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Fs from "node:fs"
import type { Services } from "../../../../src/Driver.ts"
import { Driver } from "../../../../src/internal/cli/environment.ts"
import { run } from "../../../../src/internal/cli/lightbox.ts"
import * as Lightbox from "../../../../src/Lightbox.ts"
import * as Microsandbox from "../../../../src/Microsandbox.ts"
import * as MicrosandboxMemory from "../../../../src/MicrosandboxMemory.ts"
import * as Sandbox from "../../../../src/Sandbox.ts"

const [file = "", ...args] = process.argv.slice(2)

const note = (line: object): void => Fs.appendFileSync(file, `${JSON.stringify(line)}\n`)

const program = Effect.gen(function* () {
  const memory = yield* Microsandbox.Microsandbox
  const driver = Context.add(yield* Effect.context<Services>(), Microsandbox.Microsandbox, {
    ...memory,
    createSandbox: (request) =>
      Effect.tap(memory.createSandbox(request), () => Effect.sync(() => note({ created: request.name })))
  })
  const status = yield* run(["mcp", ...args]).pipe(
    Effect.provideService(Driver, () => Layer.succeedContext(driver)),
    Effect.ensuring(Effect.map(Effect.orDie(Sandbox.list()), (left) => note({ left: left.map(({ name }) => name) })))
  )
  process.exitCode = status
})

program.pipe(
  Effect.provide([MicrosandboxMemory.layer({ images: { busybox: {} } }), NodeServices.layer]),
  Lightbox.runMain()
)
