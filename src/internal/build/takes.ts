/** Takes files from the results of other definitions, such as the stages of a Dockerfile, or from images. */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import type { Services } from "../../Driver.ts"
import type * as Guest from "../../Guest.ts"
import type { LightboxError } from "../../LightboxError.ts"
import * as Sandbox from "../../Sandbox.ts"
import type { AddSource, Definition, Snapshot } from "../../Snapshot.ts"
import { hasWildcard, itemsOf } from "../dockerfile/ignoreFile.ts"
import { archiveOf, typeAt } from "../guest/copy.ts"
import * as HostFiles from "../host/files.ts"
import { definitionLabel, type Store } from "../store/store.ts"
import { roleLabel } from "../ownership/labels.ts"
import type { KeyedUnit } from "../plan/keys.ts"
import { addedBy } from "../plan/units.ts"
import type { Item, Taken } from "./adding.ts"
import { method } from "./context.ts"
import { isInTmp, mountPointsOf, uncoverTmp } from "./stepRunner.ts"

type Source = Extract<AddSource, { readonly _tag: "Snapshot" }>

/** What a build has taken so far. */
export interface Takes {
  readonly of: (source: AddSource) => Taken | undefined
  /** Takes what steps need and is not there yet. `before` runs once, if there is anything to do. */
  readonly take: (
    units: ReadonlyArray<KeyedUnit<unknown, unknown>>,
    before: Effect.Effect<void>
  ) => Effect.Effect<void, LightboxError, Scope.Scope>
}

export const make = (options: {
  readonly services: Context.Context<Services>
  readonly store: Store
  readonly build: (definition: Definition) => Effect.Effect<Snapshot, LightboxError>
}): Takes => {
  const { build, services, store } = options
  const taken = new Map<AddSource, Taken>()
  /** Boots a definition's result once for all sources. */
  const takeFrom = Effect.fnUntraced(function* (
    definition: Definition,
    sources: ReadonlyArray<Source>
  ): Effect.fn.Return<void, LightboxError, Scope.Scope> {
    const { base } = definition
    const common = {
      network: "none" as const,
      // Its own folder may be below `/tmp`, where it is not when it boots.
      cwd: "/",
      labels: { [roleLabel]: "builder", [definitionLabel]: definition.name }
    }
    const { pullPolicy, registry } = definition.options
    // Nothing but an image has no steps.
    const from: Sandbox.LaunchOptions =
      definition.steps.length === 0 && base._tag === "Image"
        ? { ...common, image: base.reference, pullPolicy, registry }
        : { ...common, snapshot: yield* build(definition), services: {}, ports: [] }
    const archives = new Map<Source, string>()
    for (const source of sources) {
      const archive = yield* store.ownership.stage
      archives.set(source, archive)
      yield* Effect.addFinalizer(() => {
        taken.delete(source)
        return Effect.ignore(Effect.tryPromise(() => Fs.rm(archive, { force: true })))
      })
    }
    yield* Sandbox.run(from, ({ guest }) =>
      Effect.andThen(
        uncoverTmp(
          guest,
          sources.some(({ paths }) => paths.some(isInTmp))
        ),
        Effect.forEach(
          archives,
          Effect.fnUntraced(function* ([source, archive]) {
            const items = (yield* Effect.forEach(source.paths, (path) => itemsIn(guest, path))).flat()
            if (items.length > 0) yield* writeArchive(guest, items, archive)
            taken.set(source, { archive, items })
          }),
          { discard: true }
        )
      )
    ).pipe(Effect.provide(services))
  })
  return {
    of: (source) => taken.get(source),
    take: Effect.fnUntraced(function* (units, before) {
      const missing = units
        .flatMap(({ step }) => addedBy(step))
        .flatMap((source) => (source._tag === "Snapshot" && !taken.has(source) ? [source] : []))
      if (missing.length > 0) yield* before
      for (const sources of Map.groupBy(missing, ({ definition }) => definition.name).values()) {
        const [first] = sources
        if (first !== undefined) yield* takeFrom(first.definition, sources)
      }
    })
  }
}

/** Finds what a source stands for on the disk of a guest. Links to it are followed. */
const itemsIn = Effect.fnUntraced(function* (
  guest: Guest.Guest,
  source: string
): Effect.fn.Return<ReadonlyArray<Item>, LightboxError> {
  const whole = Path.posix.resolve("/", source)
  let found: ReadonlyArray<string> = ["/"]
  let isPattern = false
  for (const name of whole.split("/").filter((name) => name !== "")) {
    isPattern = isPattern || hasWildcard(name)
    if (isPattern) {
      found = yield* Effect.filter(found, (path) => Effect.map(typeAt(guest, path), (type) => type === "Directory"))
    }
    found = hasWildcard(name)
      ? (yield* Effect.forEach(found, (folder) =>
          Effect.map(guest.readDirectoryEntries(folder), (entries) => {
            const names = entries.map(({ path }) => Path.posix.basename(path)).toSorted()
            return itemsOf([name], names).map(({ path }) => Path.posix.join(folder, path))
          })
        )).flat()
      : found.map((folder) => Path.posix.join(folder, name))
  }
  // A pattern may match nothing.
  if (isPattern)
    found = yield* Effect.filter(found, (path) => Effect.map(typeAt(guest, path), (type) => type !== undefined))
  return yield* Effect.forEach(found, (path) =>
    Effect.map(guest.realPath(path), (real) => ({ path: real.slice(1), name: Path.posix.basename(path) }))
  )
})

/** Packs files of a guest's own disk, not what is mounted there. */
const writeArchive = Effect.fnUntraced(function* (
  guest: Guest.Guest,
  items: ReadonlyArray<Item>,
  archive: string
): Effect.fn.Return<void, LightboxError> {
  const mounts = yield* mountPointsOf(guest)
  const names = [
    ...new Set(
      (yield* Effect.forEach(items, ({ path }) =>
        path === ""
          ? Effect.map(guest.readDirectoryEntries("/"), (entries) =>
              entries.flatMap(({ path }) => (mounts.includes(path) ? [] : [path.slice(1)]))
            )
          : Effect.succeed([path])
      )).flat()
    )
  ]
  yield* HostFiles.write(method, archive, archiveOf(guest, method, "/", names), { mode: 0o600 })
})
