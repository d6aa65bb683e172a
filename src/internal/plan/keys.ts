/** Computes keys. Plan and build share this computation. */
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Redacted from "effect/Redacted"
import * as Cbor from "cborg"
import * as Crypto from "node:crypto"
import * as Path from "node:path"
import type { LightboxError } from "../../LightboxError.ts"
import type { AddSource, Definition, StepSecret } from "../../Snapshot.ts"
import { compile } from "../dockerfile/ignoreFile.ts"
import * as HostFiles from "../host/files.ts"
import * as Listing from "../host/listing.ts"
import * as ListingCache from "../host/listingCache.ts"
import { builderVersion, type Descriptor } from "../store/store.ts"
import { addedBy, type DiskStep, type Unit } from "./units.ts"

/** Where copied files are remembered. */
export type Home = Pick<ListingCache.Place, "home" | "stage" | "isFresh">

/** A unit with its key. */
export interface KeyedUnit<E = never, R = never> extends Unit<E, R> {
  readonly key: string
  readonly descriptor: Descriptor
  /** Of the copied files. */
  readonly listing: Listing.Listing | undefined
  /** What it adds or binds, as in a Dockerfile. */
  readonly added: ReadonlyMap<AddSource, Added>
}

/** The content of a source. */
interface Added {
  /** Of a build context. */
  readonly listing: Listing.Listing | undefined
  /** Describes the files. */
  readonly texts: Texts
}

/** Computes the key of the result of another definition. */
export type KeyOf = (definition: Definition) => Effect.Effect<string, LightboxError>

const encode = (value: unknown): Uint8Array => Cbor.encode(value, { ignoreUndefinedProperties: true })

const hash = (value: unknown): string => Crypto.hash("sha256", encode(value))

/** The key of a result that is made again although it exists. */
export const renewedKey = (key: string, nonce: string): string => hash([key, nonce])

/** The key of an image without steps. */
export const baseKey = (imageDigest: string): string => hash(["lightbox", builderVersion, imageDigest])

/** The key of a result that is captured with its memory, by that of its disk and what its machine depends on. */
export const warmKey = (key: string, machine: unknown): string => hash(["warm", builderVersion, key, machine])

/** Computes the keys of all units. Each depends on the one before. */
export const keyUnits = Effect.fnUntraced(function* <E, R>(
  method: string,
  units: ReadonlyArray<Unit<E, R>>,
  imageDigest: string,
  /** Unique per build, for the keys of forced steps. */
  nonce: string,
  keyOf: KeyOf,
  home?: Home
): Effect.fn.Return<ReadonlyArray<KeyedUnit<E, R>>, LightboxError> {
  const keyed: Array<KeyedUnit<E, R>> = []
  let parent = baseKey(imageDigest)
  for (const unit of units) {
    const listing = unit.step._tag === "Copy" ? yield* listFiles(method, unit.step, home) : undefined
    const added = new Map<AddSource, Added>()
    for (const source of addedBy(unit.step)) added.set(source, yield* contentOf(method, source, keyOf, home))
    const descriptor = descriptorOf(unit, listing, added)
    const { cache } = unit.step.options
    const rest = [secretsInKey(unit.step), unit.isForced ? nonce : undefined].filter((part) => part !== undefined)
    const sum = Crypto.createHash("sha256").update(headOf(array, 3 + rest.length))
    sum.update(encode(builderVersion)).update(encode(parent))
    if (typeof cache === "object") sum.update(encode(["key", cache.key]))
    else hashDescriptor(sum, descriptor, filesIn(unit.step, listing))
    for (const part of rest) sum.update(encode(part))
    const key = sum.digest("hex")
    keyed.push({ ...unit, key, descriptor, listing, added })
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

/** Encodes a map of texts as {@link encode} does, which takes a second for a hundred thousand. */
export const encodeTexts = (texts: Texts): Uint8Array => {
  const heads = new Map<number, Uint8Array>()
  const headFor = (length: number): Uint8Array => {
    const head = heads.get(length) ?? headOf(text, length)
    heads.set(length, head)
    return head
  }
  const mapHead = headOf(map, texts.length)
  let size = mapHead.length
  const byLength: Array<Array<readonly [key: string, value: string]> | undefined> = []
  for (const entry of texts) {
    for (const part of entry) {
      const length = Buffer.byteLength(part)
      size += headFor(length).length + length
    }
    const length = Buffer.byteLength(entry[0])
    const group = byLength[length]
    if (group === undefined) byLength[length] = [entry]
    else group.push(entry)
  }
  const bytes = Buffer.allocUnsafe(size)
  bytes.set(mapHead)
  let at = mapHead.length
  const add = (value: string, length: number) => {
    const head = headFor(length)
    bytes.set(head, at)
    at += head.length
    at += bytes.write(value, at)
  }
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
  return bytes
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

type Copy = Extract<DiskStep<unknown, unknown>, { readonly _tag: "Copy" }>

const listFiles = Effect.fnUntraced(function* (method: string, { from, options }: Copy, home: Home | undefined) {
  const [root, patterns] = [Path.resolve(from), options.ignore ?? []]
  const cache =
    home &&
    (yield* ListingCache.open(
      {
        ...home,
        encoding: `${builderVersion} ${options.mode}`,
        encode: (files) => encodeFiles(files, options.mode)
      },
      root,
      patterns
    ))
  return yield* Listing.list(method, root, patterns, cache)
})

const contentOf = Effect.fnUntraced(function* (
  method: string,
  source: AddSource,
  keyOf: KeyOf,
  home: Home | undefined
): Effect.fn.Return<Added, LightboxError> {
  switch (source._tag) {
    case "Context": {
      const { ignore, paths, root } = source
      const identity = ["dockerignore", ...ignore, "sources", ...paths]
      const cache =
        home &&
        (yield* ListingCache.open(
          { ...home, encoding: builderVersion, encode: (files) => encodeFiles(files, undefined) },
          root,
          identity
        ))
      const listing = yield* Listing.list(method, root, identity, cache, compile(source))
      return { listing, texts: textsOf(listing.files, undefined) }
    }
    case "Snapshot":
      return { listing: undefined, texts: [[source.paths.join(" "), yield* keyOf(source.definition)]] }
    default:
      return { listing: undefined, texts: [] }
  }
})

const encodeFiles = (files: ReadonlyArray<HostFiles.HostFile>, wanted: number | undefined): Uint8Array =>
  encodeTexts(textsOf(files, wanted))

/** Describes copied files. */
const textsOf = (files: ReadonlyArray<HostFiles.HostFile>, wanted: number | undefined): Texts =>
  files.map(({ digest, kind, mode: source, path, size }) => {
    const mode = HostFiles.modeOf(source, kind === "folder", wanted)
    return [path, `${kind} ${mode.toString(8)} ${size} ${digest}`]
  })

const descriptorOf = (
  { environment, keepsTmp, step, user, workdir }: Unit<unknown, unknown>,
  listing: Listing.Listing | undefined,
  added: ReadonlyMap<AddSource, Added>
): Descriptor => {
  const descriptor = {
    kind: step._tag,
    arguments: JSON.stringify(
      {
        ...argumentsOf(step),
        workdir,
        user,
        tmp: keepsTmp ? "disk" : undefined,
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
  if (added.size > 0) {
    // Several sources may have files of the same path.
    const files = [...added.values()].flatMap(({ texts }, index) =>
      added.size === 1 ? texts : texts.map(([path, text]) => [`${index + 1}:${path}`, text] as const)
    )
    return { ...descriptor, files: Object.fromEntries(files) }
  }
  if (step._tag !== "Copy" || listing === undefined) return descriptor
  let files: Descriptor["files"]
  return {
    ...descriptor,
    // Only for records and explanations.
    get files() {
      return (files ??= Object.fromEntries(textsOf(listing.files, step.options.mode)))
    }
  }
}

const filesIn = (step: DiskStep<unknown, unknown>, listing: Listing.Listing | undefined): Uint8Array | undefined =>
  step._tag === "Copy" && listing !== undefined
    ? (listing.encoded ?? encodeFiles(listing.files, step.options.mode))
    : undefined

const hashDescriptor = (sum: Crypto.Hash, descriptor: Descriptor, files: Uint8Array | undefined): void => {
  if (files === undefined) return void sum.update(encode(descriptor))
  const { arguments: rest, environment, kind } = descriptor
  // Shorter names come first.
  sum.update(headOf(map, 4)).update(encode("kind")).update(encode(kind)).update(encode("files")).update(files)
  sum.update(encode("arguments")).update(encode(rest)).update(encode("environment")).update(encode(environment))
}

const argumentsOf = (step: DiskStep<unknown, unknown>): { readonly [key: string]: unknown } => {
  switch (step._tag) {
    case "Shell":
      return { script: step.script, login: step.options.login, secrets: secretsOf(step.options.secrets) }
    case "Exec":
      return {
        argv: step.argv.map((word) => (Redacted.isRedacted(word) ? { redacted: true } : word)),
        mounts: step.mounts?.map((mount) => (mount._tag === "Bind" ? { ...mount, from: namesIn(mount.from) } : mount)),
        secrets: secretsOf(step.options.secrets)
      }
    case "Copy":
      return { to: step.to, mode: step.options.mode, owner: step.options.owner }
    case "Add":
      return { to: step.to, mode: step.options.mode, owner: step.options.owner, from: namesIn(step.from) }
    case "Write":
      return {
        path: step.path,
        content: Crypto.hash("sha256", step.content),
        mode: step.options.mode,
        owner: step.options.owner
      }
    case "Workdir":
      return { path: step.path, owner: step.owner }
    case "Effect":
      return { name: step.name, key: step.options.key }
  }
}

/** What identifies a source besides the content of its files. */
const namesIn = (source: AddSource): unknown => {
  switch (source._tag) {
    case "Context":
      return { paths: source.paths, unpack: source.unpack }
    case "Snapshot":
      return { paths: source.paths }
    case "Url":
      return source
    case "Texts":
      return source.files.map(({ content, name }) => [name, Crypto.hash("sha256", content)])
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
