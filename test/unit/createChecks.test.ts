/** What is refused before a sandbox is created, by both drivers alike. */
import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import * as Microsandbox from "../../src/Microsandbox.ts"
import * as MicrosandboxMemory from "../../src/MicrosandboxMemory.ts"
import * as Sandbox from "../../src/Sandbox.ts"

interface Defaults {
  readonly memory?: string
  readonly cpus?: number
}

// Sockets are made below it, and the path of a socket is short.
const temporary = FileSystem.FileSystem.use((fs) => fs.makeTempDirectoryScoped({ prefix: "c" })).pipe(
  Effect.provide(NodeFileSystem.layer)
)

const drivers = [
  ["the twin", (defaults?: Defaults) => Layer.fresh(MicrosandboxMemory.layer(defaults))],
  [
    "microsandbox",
    (defaults?: Defaults) =>
      Layer.unwrap(Effect.map(temporary, (home) => Layer.fresh(Microsandbox.layer({ home, ...defaults }))))
  ]
] as const

describe.each(drivers)("before %s creates a sandbox", (_, layer) => {
  const launch = (options: Omit<Sandbox.LaunchOptions, "image" | "snapshot">, defaults?: Defaults) =>
    Sandbox.launch({ image: "plain", ...options }).pipe(Effect.scoped, Effect.provide(layer(defaults)))

  it.live.each([
    [{ memory: "2G" }, { maxMemory: "1G" }, "resources.maxMemory", "as memory, 2048 MiB"],
    [{ cpus: 4 }, { maxCpus: 2 }, "resources.maxCpus", "as cpus, 4"],
    [{}, { maxMemory: "256M" }, "resources.maxMemory", "as memory, 512 MiB"]
  ] as const)("with %j on the layer, it refuses %j", ([defaults, resources, field, problem]) =>
    Effect.gen(function* () {
      const { reason } = yield* Effect.flip(launch({ resources }, defaults))
      assert.deepInclude(reason, { _tag: "InvalidConfig", field })
      assert.include(reason.message, problem)
    })
  )
})

describe("resources that the layer says in part", () => {
  it.live("are taken if they fit together", () =>
    Sandbox.run({ image: "plain", resources: { maxMemory: "384M", maxCpus: 2 } }, (sandbox) =>
      Effect.map(sandbox.info, (info) => assert.deepInclude(info, { memory: 256, cpus: 2 }))
    ).pipe(Effect.provide(Layer.fresh(MicrosandboxMemory.layer({ memory: "256M", cpus: 2 }))))
  )
})
