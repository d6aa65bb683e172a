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

/** Waits until the pool has its minimum ready, and nothing else happens. */
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
        const measured = <E, R>(acquire: Effect.Effect<Sandbox.Sandbox, E, R>) =>
          Effect.scoped(
            Effect.gen(function* () {
              yield* warm(pool)
              const start = performance.now()
              const sandbox = yield* acquire
              const had = performance.now() - start
              yield* first(sandbox)
              return { had, ran: performance.now() - start }
            })
          )
        const [warmed = [], cold = []] = yield* Row.alternate(n, [
          measured(pool.acquire()),
          measured(Sandbox.launch({ image, resources }))
        ])
        const row = (name: string, part: "had" | "ran", target: number | undefined) =>
          Row.make(
            name,
            {
              ours: ["SandboxPool.acquire, warm", warmed.map((round) => round[part])],
              reference: ["Sandbox.launch", cold.map((round) => round[part])]
            },
            { target }
          )
        return [
          row("from asking for a sandbox to its first command", "ran", undefined),
          row("from asking for a sandbox to having it", "had", 1 / 50)
        ]
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
