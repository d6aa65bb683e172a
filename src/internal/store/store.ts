/**
 * The library's files in the home: names with their generations, tombstones, aliases and locks. Losing them loses no
 * snapshot, as results carry labels.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Path from "node:path"
import type * as Ownership from "../../Ownership.ts"
import { FileError, LightboxError } from "../../LightboxError.ts"
import type * as Microsandbox from "../../Microsandbox.ts"
import { LaunchDefaults } from "../../SandboxConfig.ts"
import { isResultName } from "../config/schemas.ts"
import type * as Home from "../host/home.ts"
import * as Files from "../ownership/files.ts"

type Driver = Pick<Microsandbox.Microsandbox["Service"], "home" | "remoteHome">

/** The version of the key computation and of the effect of steps on a disk. */
export const builderVersion = "2"

/** Labels of a result. */
export const keyLabel = "lightbox.key"
export const definitionLabel = "lightbox.definition"

/** The name under which the runtime keeps the result of a key. */
export const artifactName = (key: string): string => `lb-${key.slice(0, 40)}`

/** Held while a result is captured, or, with the id of a sandbox, while its disk is. */
export const captureLock = (artifact: string): string => `capture:${artifact}`

/** Held while a snapshot is loaded. */
export const loadLock = "load"

/** Checks whether a name or path is that of a result. */
export const isArtifactName = (name: string): boolean => isResultName(Path.basename(name))

/** The inputs of a step's result, recorded to explain later misses. */
export const Descriptor = Schema.Struct({
  kind: Schema.String,
  arguments: Schema.String,
  environment: Schema.Record(Schema.String, Schema.String),
  files: Schema.optionalKey(Schema.Record(Schema.String, Schema.String))
})

export type Descriptor = typeof Descriptor.Type

/** What a build has run, for a reader. */
export const Recipe = Schema.Struct({
  image: Schema.String,
  /** Descriptions, without secrets. */
  steps: Schema.Array(Schema.String)
})

export type Recipe = typeof Recipe.Type

/** One generation of a name. */
export const Generation = Schema.Struct({
  generation: Schema.Int,
  key: Schema.String,
  artifact: Schema.String,
  labels: Schema.Record(Schema.String, Schema.String),
  defaults: Schema.optionalKey(LaunchDefaults),
  build: Schema.optionalKey(Recipe),
  /** Milliseconds since 1970. */
  createdAt: Schema.Finite
})

export type Generation = typeof Generation.Type

/** The record of a name: its generations, of which the last with the linked result is current, and its last build. */
export const NameRecord = Schema.Struct({
  generations: Schema.Array(Generation),
  lastBuild: Schema.optionalKey(
    Schema.Struct({
      builderVersion: Schema.String,
      image: Schema.String,
      imageDigest: Schema.String,
      steps: Schema.Array(Descriptor)
    })
  )
})

export type NameRecord = typeof NameRecord.Type

/** The record of a pruned result. */
const Tombstone = Schema.Struct({ evictedAt: Schema.Finite })

/** The store of a home directory. */
export interface Store {
  readonly ownership: Ownership.Ownership["Service"]
  /** Fails for a record that this version cannot read: taken for none, it would let what it needs be removed. */
  readonly readName: (name: string) => Effect.Effect<NameRecord, LightboxError>
  readonly writeName: (name: string, record: NameRecord) => Effect.Effect<void, LightboxError>
  readonly removeName: (name: string) => Effect.Effect<void, LightboxError>
  readonly listNames: Effect.Effect<ReadonlyArray<string>, LightboxError>
  /** Returns when a result was pruned. */
  readonly readTombstone: (key: string) => Effect.Effect<Option.Option<number>, LightboxError>
  readonly listTombstones: Effect.Effect<ReadonlyArray<string>, LightboxError>
  readonly writeTombstone: (key: string, at: number) => Effect.Effect<void, LightboxError>
  readonly removeTombstone: (key: string) => Effect.Effect<void, LightboxError>
  /** Records that a result was used now. */
  readonly touch: (key: string) => Effect.Effect<void>
  readonly forgetUse: (key: string) => Effect.Effect<void, LightboxError>
  readonly listUses: Effect.Effect<ReadonlyArray<string>, LightboxError>
  /** Returns when a result was last used, in milliseconds since 1970. */
  readonly usedAt: (key: string) => Effect.Effect<Option.Option<number>, LightboxError>
  /** Newer results, by the key that they replace. */
  readonly aliases: Effect.Effect<ReadonlyMap<string, string>, LightboxError>
  readonly removeAlias: (key: string) => Effect.Effect<void, LightboxError>
  readonly writeAlias: (key: string, newer: string) => Effect.Effect<void, LightboxError>
  /** The results from which running builds started, and those that are being loaded. */
  readonly inUse: Effect.Effect<ReadonlySet<string>, LightboxError>
  readonly tryLock: (name: string, message?: string) => Effect.Effect<Ownership.LockAttempt, LightboxError, Scope.Scope>
  readonly lock: (name: string) => Effect.Effect<Ownership.Lock, LightboxError, Scope.Scope>
  readonly copies: Effect.Effect<Home.Copies>
}

const nameCodec = Schema.fromJsonString(Schema.toCodecJson(NameRecord))
const tombstoneCodec = Schema.fromJsonString(Schema.toCodecJson(Tombstone))

/** The code of a record that another version wrote. */
export const notUnderstood = "EUNREADABLE"

const nothing: NameRecord = { generations: [] }

/** The store in a driver's home. */
export const make = (driver: Driver, ownership: Ownership.Ownership["Service"]): Store => {
  const files = Files.of(driver, ownership)
  const namePath = (name: string) => `names/${name}.json`
  const tombstonePath = (key: string) => `evicted/${key}`
  const usePath = (key: string) => `used/${key}`
  const aliasPath = (key: string) => `aliases/${key}`

  return {
    ownership,
    readName: Effect.fnUntraced(function* (name) {
      const content = yield* files.read(namePath(name))
      if (content === undefined) return nothing
      return yield* Effect.mapError(Schema.decodeEffect(nameCodec)(content), (cause) => {
        const problem =
          "its record cannot be read; another version of the library may have written it. To continue, remove the name"
        const path = Path.join(driver.home, "lightbox", namePath(name))
        const reason = new FileError({ operation: "read", path, code: notUnderstood, problem, cause })
        return new LightboxError({ method: "Store", reason })
      })
    }),
    writeName: (name, record) =>
      Effect.flatMap(Effect.orDie(Schema.encodeEffect(nameCodec)(record)), (content) =>
        files.write(namePath(name), content)
      ),
    removeName: (name) => files.remove(namePath(name)),
    listNames: Effect.map(files.list("names"), (entries) =>
      entries.flatMap((entry) => (entry.endsWith(".json") ? [entry.slice(0, -".json".length)] : []))
    ),
    readTombstone: Effect.fnUntraced(function* (key) {
      const content = yield* files.read(tombstonePath(key))
      if (content === undefined) return Option.none()
      const tombstone = yield* Effect.option(Schema.decodeEffect(tombstoneCodec)(content))
      return Option.map(tombstone, ({ evictedAt }) => evictedAt)
    }),
    listTombstones: files.list("evicted"),
    writeTombstone: (key, evictedAt) =>
      Effect.flatMap(Effect.orDie(Schema.encodeEffect(tombstoneCodec)({ evictedAt })), (content) =>
        files.write(tombstonePath(key), content)
      ),
    removeTombstone: (key) => files.remove(tombstonePath(key)),
    touch: (key) =>
      Effect.clockWith((clock) => Effect.ignore(files.setModifiedAt(usePath(key), clock.currentTimeMillisUnsafe()))),
    forgetUse: (key) => files.remove(usePath(key)),
    listUses: files.list("used"),
    usedAt: (key) => Effect.map(files.modifiedAt(usePath(key)), Option.fromUndefinedOr),
    aliases: Effect.gen(function* () {
      const found = new Map<string, string>()
      for (const key of yield* files.list("aliases")) {
        const newer = yield* files.read(aliasPath(key))
        // Another process may remove one meanwhile.
        if (newer !== undefined) found.set(key, newer)
      }
      return found
    }),
    removeAlias: (key) => files.remove(aliasPath(key)),
    writeAlias: (key, newer) => files.write(aliasPath(key), newer),
    inUse: Effect.map(files.inUse, (names) => new Set(names)),
    tryLock: files.tryLock,
    lock: (name) => Files.lock(driver, name),
    copies: files.copies
  }
}
