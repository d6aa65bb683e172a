/**
 * What a pool saves: from asking for a sandbox to the result of a first command, with one that is ready and with one
 * that has to boot.
 */
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as MicrosandboxMemory from "../../src/MicrosandboxMemory.ts"
import * as Sandbox from "../../src/Sandbox.ts"
import * as SandboxPool from "../../src/SandboxPool.ts"
import * as Row from "./Row.ts"
import { reference as image } from "../images/Busybox.ts"

const resources = { cpus: 1, memory: "256M" } as const

const first = (sandbox: Sandbox.Sandbox) => sandbox.exec("true", [], { check: true })

/** Once the pool is as full as it keeps itself, and nothing else goes on. */
const warm = (pool: SandboxPool.SandboxPool) =>
  pool.stats.pipe(
    Effect.repeat({
      until: ({ booting, leaving, min, ready }) => ready >= min && booting + leaving === 0,
      schedule: Schedule.spaced("20 millis")
    })
  )

export const benches: ReadonlyArray<Row.Bench> = [
  {
    name: "pool",
    rows: (n) =>
      Effect.gen(function* () {
        const pool = yield* SandboxPool.make({ image, resources, min: 1, max: 2 })
        const acquires: Array<number> = []
        const fromPool = Effect.scoped(
          Effect.gen(function* () {
            yield* warm(pool)
            const start = performance.now()
            const sandbox = yield* pool.acquire()
            acquires.push(performance.now() - start)
            yield* first(sandbox)
            return performance.now() - start
          })
        )
        const launches: Array<number> = []
        const cold = Effect.scoped(
          Effect.gen(function* () {
            yield* warm(pool)
            const start = performance.now()
            const sandbox = yield* Sandbox.launch({ image, resources })
            launches.push(performance.now() - start)
            yield* first(sandbox)
            return performance.now() - start
          })
        )
        const row = yield* Row.compare(
          "from asking for a sandbox to its first command",
          n,
          { what: "SandboxPool.acquire, warm", round: fromPool },
          { what: "Sandbox.launch", round: cold }
        )
        const acquired = Row.make(
          "from asking for a sandbox to having it",
          { ours: ["SandboxPool.acquire, warm", acquires], reference: ["Sandbox.launch", launches] },
          { target: 1 / 50 }
        )
        return [row, acquired]
      })
  },
  {
    name: "pool-twin",
    place: "machine",
    rows: (n) =>
      Effect.gen(function* () {
        const pool = yield* SandboxPool.make({ image: "busybox", min: 1, max: 2 })
        const acquire = Effect.scoped(Effect.andThen(warm(pool), Row.millisOf(pool.acquire())))
        const acquires = yield* Effect.replicateEffect(acquire, n * 10)
        return [Row.make("pool acquire, warm, on the twin", { ours: ["SandboxPool.acquire", acquires] }, { limit: 1 })]
      }).pipe(Effect.scoped, Effect.provide(MicrosandboxMemory.layer()))
  }
]
