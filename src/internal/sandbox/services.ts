/** Starts the services of a sandbox, which are jobs that depend on each other, and remembers them in its disk. */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import type * as Guest from "../../Guest.ts"
import type { LightboxError } from "../../LightboxError.ts"
import type * as Microsandbox from "../../Microsandbox.ts"
import { LaunchDefaults, SandboxConfig } from "../../SandboxConfig.ts"
import { forMethod } from "../config/validation.ts"
import { make as makeFiles, readText } from "../guest/files.ts"
import { ifMissing } from "../host/fileFailure.ts"
import { secretsOf } from "../report/failureText.ts"
import * as Jobs from "./jobs.ts"
import * as Probes from "./probes.ts"

type Services = NonNullable<SandboxConfig["services"]>

/** With the jobs. A snapshot may bring along that of another sandbox. */
const path = "/var/lib/lightbox/services.json"

const Remembered = Schema.fromJsonString(
  Schema.Struct({ sandbox: Schema.String, services: SandboxConfig.fields.services })
)
const decodeRemembered = Schema.decodeUnknownOption(Remembered)
/** Launch defaults cannot have secrets: they are written. */
const decodeStorable = Schema.decodeUnknownOption(LaunchDefaults)

/** Leaves out services with secrets, which must not be written, and those that depend on them. */
const withoutSecrets = (services: Services): Services => {
  const kept = Object.entries(services).filter(
    ([name, { dependsOn = [], ...service }]) =>
      Option.isSome(decodeStorable({ services: { [name]: service } })) &&
      dependsOn.every((other) => Object.hasOwn(services, other))
  )
  return kept.length === Object.keys(services).length ? services : withoutSecrets(Object.fromEntries(kept))
}

/** Writes services into the disk of a sandbox, for {@link recall}. Only root of the guest can read them. */
const remember = Effect.fnUntraced(function* (
  guest: Guest.Guest,
  sandbox: string,
  services: Services
): Effect.fn.Return<void, LightboxError> {
  const storable = decodeStorable({ services: withoutSecrets(services) })
  const text = JSON.stringify({ sandbox, services: Option.getOrUndefined(storable)?.services })
  const files = makeFiles(guest)
  yield* files.makeDirectory(path.slice(0, path.lastIndexOf("/")))
  yield* files.writeFileString(path, text, { mode: 0o600 })
})

/** Reads the services that a sandbox was launched with. What its guest has made of them is checked again. */
export const recall = Effect.fnUntraced(function* (
  guest: Guest.Guest,
  sandbox: string
): Effect.fn.Return<Services, LightboxError> {
  const info = yield* ifMissing(undefined, ["ENOENT", "ENOTDIR"])(guest.stat(path))
  // Reading a pipe would block.
  if (info?.type !== "File") return {}
  const remembered = decodeRemembered(yield* readText(guest, path))
  if (Option.isNone(remembered)) {
    yield* Effect.logWarning(`The services of the sandbox are not started: ${path} cannot be read`)
    return {}
  }
  return remembered.value.sandbox === sandbox ? (remembered.value.services ?? {}) : {}
})

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
  ).pipe(Effect.mapError(forMethod(method)))
})

/** Remembers the services of a sandbox that has just begun, for programs that know only its name, and starts them. */
export const begin = (
  method: string,
  guest: Guest.Guest,
  { id, shell }: Pick<Microsandbox.SandboxInfo, "id" | "shell">,
  services: Services = {}
): Effect.Effect<void, LightboxError> =>
  Object.keys(services).length === 0
    ? Effect.void
    : Effect.andThen(remember(guest, id, services), start(method, guest, shell, services))
