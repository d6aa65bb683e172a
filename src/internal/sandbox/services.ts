/** Starts the services of a sandbox: jobs that depend on each other. */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type * as Guest from "../../Guest.ts"
import type { Job } from "../../Job.ts"
import type { LightboxError } from "../../LightboxError.ts"
import type { SandboxConfig } from "../../SandboxConfig.ts"
import { secretsOf } from "../report/failureText.ts"
import * as Jobs from "./jobs.ts"
import * as Probes from "./probes.ts"

type Services = NonNullable<SandboxConfig["services"]>

/** Starts a job, unless it runs already. One that has ended, or that a snapshot has brought along, is replaced. */
const started = (guest: Guest.Guest, job: Jobs.Start & { readonly id: string }): Effect.Effect<Job, LightboxError> =>
  Jobs.start(guest, job).pipe(
    Effect.catchReason("LightboxError", "AlreadyExists", () =>
      Effect.gen(function* () {
        const found = yield* Jobs.find(guest, job.id)
        if ((yield* found.status)._tag === "Running") return found
        yield* found.remove()
        return yield* Jobs.start(guest, job)
      })
    ),
    // Another process does the same.
    Effect.retry({ times: 3, while: ({ reason }) => /^(AlreadyExists|NotFound|StillRunning)$/.test(reason._tag) })
  )

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
        yield* started(guest, { id, argv, cwd, env, user, restart })
        if (probe !== undefined) {
          yield* Probes.wait(method, { guest, shell, job: id, secrets: secretsOf({ argv, env }) }, probe)
        }
        yield* Deferred.succeed(ready, undefined)
      }),
    { concurrency: "unbounded", discard: true }
  ).pipe(Effect.mapError(Jobs.forMethod(method)))
})
