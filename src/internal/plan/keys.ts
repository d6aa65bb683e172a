/** Computes keys. Plan and build share this computation. */
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Redacted from "effect/Redacted"
import * as Cbor from "cborg"
import * as Crypto from "node:crypto"
import * as Path from "node:path"
import type { LightboxError } from "../../LightboxError.ts"
import type { StepSecret } from "../../Snapshot.ts"
import * as HostFiles from "../host/files.ts"
import { builderVersion, type Descriptor } from "../store/store.ts"
import type { DiskStep, Unit } from "./units.ts"

/** A unit with its key. */
export interface KeyedUnit<E = never, R = never> extends Unit<E, R> {
  readonly key: string
  readonly descriptor: Descriptor
  readonly files: ReadonlyArray<HostFiles.HostFile> | undefined
}

const hash = (value: unknown): string => Crypto.hash("sha256", Cbor.encode(value, { ignoreUndefinedProperties: true }))

/** The key of a result that is made again although it exists. */
export const renewedKey = (key: string, nonce: string): string => hash([key, nonce])

/** The key of an image without steps. */
export const baseKey = (imageDigest: string): string => hash(["lightbox", builderVersion, imageDigest])

/** Computes the keys of all units. Each depends on the one before. */
export const keyUnits = Effect.fnUntraced(function* <E, R>(
  method: string,
  units: ReadonlyArray<Unit<E, R>>,
  imageDigest: string,
  /** Unique per build, for the keys of forced steps. */
  nonce: string
): Effect.fn.Return<ReadonlyArray<KeyedUnit<E, R>>, LightboxError> {
  const keyed: Array<KeyedUnit<E, R>> = []
  let parent = baseKey(imageDigest)
  for (const unit of units) {
    const files =
      unit.step._tag === "Copy"
        ? yield* HostFiles.list(method, Path.resolve(unit.step.from), unit.step.options.ignore ?? [])
        : undefined
    const descriptor = descriptorOf(unit, files)
    const { cache } = unit.step.options
    const content = typeof cache === "object" ? ["key", cache.key] : descriptor
    const key = hash(
      [builderVersion, parent, content, secretsInKey(unit.step), unit.isForced ? nonce : undefined].filter(
        (part) => part !== undefined
      )
    )
    keyed.push({ ...unit, key, descriptor, files })
    parent = key
  }
  return keyed
})

/** Secrets with `inKey`: part of the key, but never recorded. */
const secretsInKey = (step: DiskStep<unknown, unknown>): ReadonlyArray<string> | undefined => {
  // A custom key replaces everything else.
  if ((step._tag !== "Shell" && step._tag !== "Exec") || typeof step.options.cache === "object") return undefined
  const named = sortedEntries(step.options.secrets ?? {}).flatMap(([, secret]) =>
    !Redacted.isRedacted(secret) && secret.inKey === true ? [Redacted.value(secret.value)] : []
  )
  const words =
    step._tag === "Exec" ? step.argv.flatMap((word) => (Redacted.isRedacted(word) ? [Redacted.value(word)] : [])) : []
  const all = [...named, ...words]
  return all.length === 0 ? undefined : all
}

const descriptorOf = (
  { environment, step, user, workdir }: Unit<unknown, unknown>,
  files: ReadonlyArray<HostFiles.HostFile> | undefined
): Descriptor => ({
  kind: step._tag,
  arguments: JSON.stringify(
    {
      ...argumentsOf(step),
      workdir,
      user,
      network: step.options.network,
      cacheKey: typeof step.options.cache === "object" ? step.options.cache.key : undefined
    },
    inOneOrder
  ),
  environment: {
    ...environment,
    ...(step._tag === "Shell" || step._tag === "Exec" ? step.options.env : undefined)
  },
  ...(files === undefined
    ? {}
    : {
        files: Object.fromEntries(
          files.map(({ digest, kind, mode: source, path, size }) => {
            const wanted = step._tag === "Copy" ? step.options.mode : undefined
            const mode = HostFiles.modeOf(source, kind === "folder", wanted)
            return [path, `${kind} ${mode.toString(8)} ${size} ${digest}`]
          })
        )
      })
})

const argumentsOf = (step: DiskStep<unknown, unknown>): { readonly [key: string]: unknown } => {
  switch (step._tag) {
    case "Shell":
      return { script: step.script, login: step.options.login, secrets: secretsOf(step.options.secrets) }
    case "Exec":
      return {
        argv: step.argv.map((word) => (Redacted.isRedacted(word) ? { redacted: true } : word)),
        secrets: secretsOf(step.options.secrets)
      }
    case "Copy":
      return { to: step.to, mode: step.options.mode, owner: step.options.owner }
    case "Write":
      return {
        path: step.path,
        content: Crypto.hash("sha256", step.content),
        mode: step.options.mode,
        owner: step.options.owner
      }
    case "Workdir":
      return { path: step.path }
    case "Effect":
      return { name: step.name, key: step.options.key }
  }
}

const secretsOf = (
  secrets: { readonly [name: string]: StepSecret } | undefined
): { readonly [name: string]: unknown } | undefined =>
  secrets === undefined
    ? undefined
    : Object.fromEntries(
        Object.entries(secrets).map(([name, secret]) => [
          name,
          Redacted.isRedacted(secret) ? "env" : [secret.as ?? "env", secret.inKey === true]
        ])
      )

const sortedEntries = <A>(record: { readonly [name: string]: A }): ReadonlyArray<readonly [string, A]> =>
  Object.entries(record).toSorted(([a], [b]) => (a < b ? -1 : 1))

/** Sorts fields for JSON, so that their order does not matter. */
const inOneOrder = (_key: string, value: unknown): unknown =>
  Predicate.isObject(value) && !Array.isArray(value) ? Object.fromEntries(sortedEntries({ ...value })) : value
