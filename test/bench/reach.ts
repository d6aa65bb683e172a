/**
 * Ways to reach a running sandbox: a forward beside a port that the runtime publishes, and `getOrCreate` beside `connect`.
 */
import * as Effect from "effect/Effect"
import { once } from "node:events"
import * as Net from "node:net"
import * as Sandbox from "../../src/Sandbox.ts"
import { reference as image } from "../images/Busybox.ts"
import { isEmulated } from "../support.ts"
import { peakOf } from "./memory.ts"
import * as Row from "./Row.ts"

const resources = { cpus: 1, memory: "256M" } as const

const size = 64
const bytes = size * 1024 * 1024

/** Reads everything from a port of this host. */
const download = (port: number): Effect.Effect<void> =>
  Effect.promise(async () => {
    const socket = Net.connect(port, "127.0.0.1")
    let seen = 0
    socket.on("data", (piece) => (seen += piece.length))
    await once(socket, "end")
    socket.destroy()
    if (seen !== bytes) throw new Error(`${seen} bytes came, not ${bytes}`)
  })

export const benches: ReadonlyArray<Row.Bench> = [
  {
    name: "forward",
    rows: (n) =>
      Effect.gen(function* () {
        const sandbox = yield* Sandbox.launch({ image, resources, ports: { 0: 80 } })
        yield* sandbox.start("nc", ["-ll", "-p", "80", "-e", "head", "-c", `${bytes}`, "/dev/zero"])
        yield* sandbox.waitUntil({ port: 80 })
        const published = sandbox.ports[0]?.host ?? 0
        const forward = yield* sandbox.forward(80)
        const row = yield* Row.compare(
          `${size} MiB from a port of a sandbox`,
          n,
          { what: "sandbox.forward", round: Row.millisOf(download(forward.host)) },
          { what: "a published port", round: Row.millisOf(download(published)) },
          { target: 1.2, warmUp: 1 }
        )
        const { peak } = yield* peakOf(download(forward.host))
        return [
          row,
          Row.make(
            `${size} MiB through a forward: peak memory`,
            { ours: ["sandbox.forward", [peak]] },
            { unit: "MiB", limit: isEmulated ? 48 : 256 }
          )
        ]
      })
  },
  {
    name: "get-or-create",
    rows: (n) =>
      Effect.gen(function* () {
        const name = "bench-kept"
        const get = Effect.scoped(Sandbox.getOrCreate(name, { image, resources }))
        yield* Effect.acquireRelease(get, () => Effect.ignore(Sandbox.remove(name, { force: true })))
        const row = yield* Row.compare(
          "getOrCreate of a running sandbox",
          n * 5,
          { what: "Sandbox.getOrCreate", round: Row.millisOf(get) },
          { what: "Sandbox.connect", round: Row.millisOf(Effect.scoped(Sandbox.connect(name))) },
          { target: 2, warmUp: n }
        )
        return [row]
      })
  }
]
