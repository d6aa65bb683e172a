/**
 * Labels of what the library creates, notes of it, and why it is removed.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Scope from "effect/Scope"
import * as Crypto from "node:crypto"
import type { LightboxError } from "../../LightboxError.ts"
import type { Note, Ownership } from "../../Ownership.ts"

/** Identifies a sandbox, even if its name is reused. */
export const instanceLabel = "lightbox.instance"

/** The purpose of a sandbox: `scoped`, `detached`, `pool`, `builder` or `verifier`. */
export const roleLabel = "lightbox.role"

/** The id of the owner. */
export const ownerLabel = "lightbox.owner"

/** Digests of the options of a launch, by option. */
export const optionsLabel = "lightbox.options"

/** The snapshot that a sandbox was launched from, by name or path. */
export const snapshotLabel = "lightbox.snapshot"

/** Processors of a machine that was captured with its memory. */
export const cpusLabel = "lightbox.machine.cpus"

/** Bytes of memory of a machine that was captured with it. */
export const memoryLabel = "lightbox.machine.memory"

/** Prefix of generated names. */
export const generatedPrefix = "lightbox-"

let count = 0

/** Returns an id that is unique on this host. */
export const generate: Effect.Effect<string> = Effect.map(
  Clock.currentTimeMillis,
  (now) => `${now.toString(36)}-${process.pid.toString(36)}-${(count++).toString(36)}`
)

/** An id that nobody on any machine has, or can guess. */
export const randomId = (): string => Crypto.randomBytes(12).toString("base64url")

/** The place of an id among those of its process: ids of the same millisecond are in this order. */
export const placeOf = (id: string): number => Number.parseInt(id.split("-").at(-1) ?? "", 36)

/** Prefix of generated names of builders. */
const builderPrefix = `${generatedPrefix}builder-`

/** Generates a name for a sandbox. */
export const generateName = (kind?: "builder"): Effect.Effect<string> =>
  Effect.map(generate, (id) => `${kind === undefined ? generatedPrefix : builderPrefix}${id}`)

const generated = new RegExp(`^(${builderPrefix}|${generatedPrefix})[0-9a-z]{8,}-[0-9a-z]+-[0-9a-z]+$`)

/** Checks whether a name looks generated. Such names are hardly ever chosen or reused. */
export const isGenerated = (name: string): boolean => generated.test(name)

/** Notes what this process creates or uses, until the scope closes. After a failure, an `unnamed` note stays for a sweep. */
export const noteForScope = (
  ownership: Ownership["Service"],
  kind: Note["kind"],
  name: string
): Effect.Effect<void, LightboxError, Scope.Scope> =>
  Effect.flatMap(generate, (token) =>
    Effect.acquireRelease(ownership.note({ kind, token, name }), (_, exit) =>
      kind === "unnamed" && Exit.isFailure(exit) ? Effect.void : ownership.forget({ kind, token, name })
    )
  )

/** Why a sandbox is removed. */
export const causes = ["released", "failed", "removed", "replaced", "expired", "swept"] as const

/** Why sandboxes are being removed. */
export interface Why {
  readonly cause: (typeof causes)[number]
  readonly reason: string
  /** Hides what the program passed as a secret. Default: nothing is known to be one. */
  readonly hide?: ((text: string) => string) | undefined
}

/** Set by whoever removes sandboxes for another reason than that somebody asked for it. */
export const Removing = Context.Reference<Why>("effect-lightbox/internal/ownership/labels/Removing", {
  defaultValue: () => ({ cause: "removed", reason: "it was removed" })
})

export const because =
  (cause: Why["cause"], reason: string, hide?: Why["hide"]) =>
  <A, E, R>(removal: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Effect.provideService(removal, Removing, { cause, reason, hide })
