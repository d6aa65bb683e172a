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
import * as Listing from "../host/listing.ts"
import type { Place } from "../host/listingCache.ts"
import { builderVersion, type Descriptor } from "../store/store.ts"
import type { DiskStep, Unit } from "./units.ts"

/** A unit with its key. */
export interface KeyedUnit<E = never, R = never> extends Unit<E, R> {
  readonly key: string
  readonly descriptor: Descriptor
  readonly files: ReadonlyArray<HostFiles.HostFile> | undefined
}

const encode = (value: unknown): Uint8Array => Cbor.encode(value, { ignoreUndefinedProperties: true })

const hash = (value: unknown): string => Crypto.hash("sha256", encode(value))

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
  nonce: string,
  /** Remembers copied files. */
  place?: Place
): Effect.fn.Return<ReadonlyArray<KeyedUnit<E, R>>, LightboxError> {
  const keyed: Array<KeyedUnit<E, R>> = []
  let parent = baseKey(imageDigest)
  for (const unit of units) {
    const files =
      unit.step._tag === "Copy"
        ? yield* Listing.list(method, Path.resolve(unit.step.from), unit.step.options.ignore ?? [], place)
        : undefined
    const texts = files === undefined ? undefined : textsOf(unit.step, files)
    const descriptor = descriptorOf(unit, texts)
    const { cache } = unit.step.options
    const rest = [secretsInKey(unit.step), unit.isForced ? nonce : undefined].filter((part) => part !== undefined)
    const sum = Crypto.createHash("sha256").update(headOf(array, 3 + rest.length))
    sum.update(encode(builderVersion)).update(encode(parent))
    if (typeof cache === "object") sum.update(encode(["key", cache.key]))
    else hashDescriptor(sum, descriptor, texts)
    for (const part of rest) sum.update(encode(part))
    const key = sum.digest("hex")
    keyed.push({ ...unit, key, descriptor, files })
    parent = key
  }
  return keyed
})

/** Types of CBOR. */
const text = 3 << 5
const array = 4 << 5
const map = 5 << 5

/** Encodes a type with a length. */
const headOf = (type: number, length: number): Uint8Array => {
  const head = encode(length)
  head[0] = (head[0] ?? 0) | type
  return head
}

const chunk = Buffer.allocUnsafeSlow(64 * 1024)

/** Hashes the encoding of a map of texts. {@link encode} would take a second for a hundred thousand. */
export const hashTexts = (hash: Crypto.Hash, texts: Texts): void => {
  const heads = new Map<number, Uint8Array>()
  const headFor = (length: number): Uint8Array => {
    const head = heads.get(length) ?? headOf(text, length)
    heads.set(length, head)
    return head
  }
  const byLength: Array<Array<readonly [key: string, value: string]> | undefined> = []
  for (const entry of texts) {
    const length = Buffer.byteLength(entry[0])
    const group = byLength[length]
    if (group === undefined) byLength[length] = [entry]
    else group.push(entry)
  }
  let at = 0
  const flush = () => {
    hash.update(chunk.subarray(0, at))
    at = 0
  }
  const add = (value: string, length: number) => {
    const head = headFor(length)
    if (at + head.length + length > chunk.length) flush()
    chunk.set(head, at)
    at += head.length
    if (length <= chunk.length - at) at += chunk.write(value, at)
    else {
      flush()
      hash.update(value)
    }
  }
  hash.update(headOf(map, texts.length))
  // Shorter keys come first.
  for (const [length, group] of byLength.entries()) {
    if (group === undefined) continue
    // UTF-16 has another order than UTF-8 where there are surrogates.
    const isPlain = !group.some(([key]) => /[\ud800-\udfff]/.test(key))
    group.sort(([a], [b]) => (isPlain ? (a < b ? -1 : 1) : Buffer.compare(Buffer.from(a), Buffer.from(b))))
    for (const [key, value] of group) {
      add(key, length)
      add(value, Buffer.byteLength(value))
    }
  }
  flush()
}

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

type Texts = ReadonlyArray<readonly [path: string, text: string]>

/** Describes copied files. */
const textsOf = (step: DiskStep<unknown, unknown>, files: ReadonlyArray<HostFiles.HostFile>): Texts => {
  const wanted = step._tag === "Copy" ? step.options.mode : undefined
  return files.map(({ digest, kind, mode: source, path, size }) => {
    const mode = HostFiles.modeOf(source, kind === "folder", wanted)
    return [path, `${kind} ${mode.toString(8)} ${size} ${digest}`]
  })
}

const descriptorOf = (
  { environment, step, user, workdir }: Unit<unknown, unknown>,
  texts: Texts | undefined
): Descriptor => {
  const descriptor = {
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
    }
  }
  if (texts === undefined) return descriptor
  let files: Descriptor["files"]
  return {
    ...descriptor,
    // Only for records and explanations.
    get files() {
      return (files ??= Object.fromEntries(texts))
    }
  }
}

const hashDescriptor = (sum: Crypto.Hash, descriptor: Descriptor, texts: Texts | undefined): void => {
  if (texts === undefined) return void sum.update(encode(descriptor))
  const { arguments: rest, environment, kind } = descriptor
  // Shorter names come first.
  sum.update(headOf(map, 4)).update(encode("kind")).update(encode(kind)).update(encode("files"))
  hashTexts(sum, texts)
  sum.update(encode("arguments")).update(encode(rest)).update(encode("environment")).update(encode(environment))
}

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
