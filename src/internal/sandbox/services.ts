/** Starts the services of a sandbox: jobs that depend on each other. */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type * as Guest from "../../Guest.ts"
import type { LightboxError } from "../../LightboxError.ts"
import type { SandboxConfig } from "../../SandboxConfig.ts"
import { secretsOf } from "../report/failureText.ts"
import * as Jobs from "./jobs.ts"
import * as Probes from "./probes.ts"

type Services = NonNullable<SandboxConfig["services"]>

/**
 * Starts a job, unless it runs already, and tells whether it did. One that has ended, or that a snapshot has brought
 * along, is replaced.
 */
const started = (
  guest: Guest.Guest,
  job: Jobs.Start & { readonly id: string }
): Effect.Effect<boolean, LightboxError> => {
  const begun = Effect.as(Jobs.start(guest, job), true)
  const attempt = begun.pipe(
    Effect.catchReason("LightboxError", "AlreadyExists", () =>
      Effect.gen(function* () {
        const found = yield* Jobs.find(guest, job.id)
        if ((yield* found.status)._tag === "Running") return false
        yield* found.remove()
        return yield* begun
      })
    )
  )
  return attempt.pipe(
    // Another process does the same.
    Effect.retry({
      schedule: Schedule.max([Schedule.spaced("100 millis"), Schedule.recurs(10)]),
      while: ({ reason }) => /^(AlreadyExists|NotFound|StillRunning)$/.test(reason._tag)
    }),
    // Its record was lost with the power: nobody can find or remove it.
    Effect.catchReason("LightboxError", "NotFound", () => Effect.andThen(Jobs.discard(guest, job.id), attempt))
  )
}

/** Starts each service once those that it depends on are ready, and returns when all are. */
export const start = Effect.fnUntraced(function* (
  method: string,
  guest: Guest.Guest,
  shell: string,
  services: Services
): Effect.fn.Return<void, LightboxError> {
  const states = new Map(
    Object.entries(services).map(([name, service]) => [name, { service, ready: Deferred.makeUnsafe<void>() }])
  )
  yield* Effect.forEach(
    states,
    ([id, { ready, service }]) =>
      Effect.gen(function* () {
        const { command, cwd, dependsOn = [], env, ready: probe, restart, user } = service
        const before = dependsOn.flatMap((name) => states.get(name) ?? [])
        yield* Effect.forEach(before, (other) => Deferred.await(other.ready), { discard: true })
        const argv = Probes.argvOf(command, shell)
        const isNew = yield* started(guest, { id, argv, cwd, env, user, restart })
        if (probe !== undefined) {
          yield* Probes.wait(
            method,
            { guest, shell, job: id, ranBefore: !isNew, secrets: secretsOf({ argv, env }) },
            probe
          )
        }
        yield* Deferred.succeed(ready, undefined)
      }),
    { concurrency: "unbounded", discard: true }
  ).pipe(Effect.mapError(Jobs.forMethod(method)))
})
