/**
 * One process of the soak: does at random what programs do, until its input ends: `worker.ts BACKEND HOME IMAGE SEED`.
 * Ends with what it did and what it holds, as one line of JSON, and fails at the first thing that should not happen.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Layer from "effect/Layer"
import * as Fs from "node:fs"
import type { Services } from "../../src/Driver.ts"
import type { LightboxError } from "../../src/LightboxError.ts"
import * as MicrosandboxLocal from "../../src/MicrosandboxLocal.ts"
import * as MicrosandboxMemory from "../../src/MicrosandboxMemory.ts"
import * as Sandbox from "../../src/Sandbox.ts"
import * as Snapshot from "../../src/Snapshot.ts"
import { unverified } from "../crash/work.ts"
import { generator, names, volume } from "./common.ts"

const [backend = "", home = "", image = "", seed = "0"] = process.argv.slice(2)

const random = generator(Number(seed))
const below = (limit: number): number => Math.floor(random() * limit)
const oneOf = <A>(all: readonly [A, ...ReadonlyArray<A>]): A => all[below(all.length)] ?? all[0]

const counts = { launches: 0, builds: 0, commands: 0, interruptions: 0 }

/** Commands in a fresh sandbox. */
const launch = (source: { readonly snapshot: string } | { readonly image: string }) =>
  Sandbox.run({ ...source, mounts: { "/shared": { volume } } }, (sandbox) =>
    Effect.gen(function* () {
      counts.launches++
      for (let left = 1 + below(3); left > 0; left--) {
        const { stdout } = yield* sandbox.exec("sh", ["-c", "cat; cat /shared/kept"], { stdin: "in", check: true })
        if (stdout !== "inkept\n") return yield* Effect.die(new Error(`a command said ${JSON.stringify(stdout)}`))
        counts.commands++
      }
    })
  )

/** Whether what a name led to was removed after the name had moved on. */
const isOutdated = ({ reason }: LightboxError): boolean =>
  reason._tag === "SnapshotDamaged" || (reason._tag === "NotFound" && reason.resource === "snapshot")

/** A name leads to a complete snapshot at any time: at most one moment is the wrong one to look. */
const launchByName = (name: string) => Effect.retry(launch({ snapshot: name }), { while: isOutdated, times: 1 })

const build = (name: string, version: number) => {
  const definition = unverified(name, image, String(version))
  return Snapshot.build(definition, {
    checkpoints: oneOf(["auto", "every-step", "final"]),
    keep: 1 + below(3),
    force: random() < 0.2
  }).pipe(Effect.tap(() => Effect.sync(() => counts.builds++)))
}

const detached = Effect.gen(function* () {
  const name = yield* Sandbox.run({ image }, (sandbox) => Effect.as(sandbox.detachFor("1 second"), sandbox.name))
  yield* Sandbox.remove(name, { force: true })
})

const actions = [
  () => launch({ image }),
  () => launch({ image }),
  () => launchByName(oneOf(names)),
  () => launchByName(oneOf(names)),
  () => build(oneOf(names), below(4)),
  () => build(oneOf(names), below(4)),
  () => Effect.asVoid(Effect.scoped(Snapshot.buildScoped(unverified("scoped", image, String(below(4)))))),
  () => detached,
  () => Effect.asVoid(Snapshot.prune({ keep: 1 + below(2) }))
] as const

/** Far more than anything takes: what needs longer hangs. */
const longest = "3 minutes"

const act = Effect.gen(function* () {
  const action: Effect.Effect<unknown, unknown, Services> = oneOf(actions)()
  const isInterrupted = random() < 0.25
  const running = isInterrupted
    ? Effect.timeoutOption(action, backend === "memory" ? below(60) : below(20_000))
    : action
  const exit = yield* Effect.exit(
    Effect.timeoutOrElse(running, { duration: longest, orElse: () => Effect.die("it hangs") })
  )
  if (isInterrupted) counts.interruptions++
  if (Exit.isFailure(exit)) return yield* Effect.failCause(exit.cause)
})

/** What this process holds, when it has got rid of what it can. */
const holdings = () => {
  globalThis.gc?.()
  return { heap: process.memoryUsage().heapUsed, files: Fs.readdirSync("/proc/self/fd").length }
}

const input = { isOver: false }
process.stdin
  .on("end", () => {
    input.isOver = true
  })
  .resume()

/** Until everything has been loaded and compiled once. */
const warmUp = backend === "memory" ? 3000 : 30_000

const program = Effect.gen(function* () {
  const start = yield* Clock.currentTimeMillis
  let first: ReturnType<typeof holdings> | undefined
  while (!input.isOver) {
    yield* act
    if (first === undefined && (yield* Clock.currentTimeMillis) - start > warmUp) first = holdings()
  }
  const last = holdings()
  yield* Effect.sync(() => Fs.writeSync(1, `${JSON.stringify({ counts, first: first ?? last, last })}\n`))
})

const driver: Layer.Layer<Services, unknown> =
  backend === "memory"
    ? MicrosandboxMemory.layer({ home })
    : MicrosandboxLocal.layer({ home, memory: "256M", bootTimeout: "100 seconds" })

Effect.runPromise(Effect.provide(program, driver)).then(
  () => process.exit(0),
  (error: unknown) => {
    console.error(`seed ${seed}:`, error)
    process.exit(1)
  }
)
