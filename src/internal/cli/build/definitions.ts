/** Loads definitions from a module. */
import type { Environment } from "effect/cli/Command"
import * as Effect from "effect/Effect"
import * as Fs from "node:fs"
import { pathToFileURL } from "node:url"
import { InvalidConfig, LightboxError } from "../../../LightboxError.ts"
import type { Services } from "../../../Driver.ts"
import * as Snapshot from "../../../Snapshot.ts"
import { shortPath } from "../../config/schemas.ts"
import { invalid } from "../../config/validation.ts"
import * as Plain from "../../promise/definition.ts"
import { calling } from "../../promise/sandbox.ts"

/** A definition whose steps need only what the command line provides. */
export type Definition = Snapshot.Definition<unknown, Environment | Services>

// The requirements of steps cannot be checked at runtime. A missing service is a defect that names it.
const isDefinition = (u: unknown): u is Definition => Snapshot.isDefinition(u)

/** Loads the definitions that a module exports, in either style. With `names`, only these. Each `round` loads anew. */
export const load = Effect.fnUntraced(function* (
  method: string,
  file: string,
  names: ReadonlyArray<string>,
  round = 0
): Effect.fn.Return<ReadonlyArray<Definition>, LightboxError> {
  const found = new Map<string, Definition>()
  // The same definition can be exported twice, as by `export default`.
  for (const exported of new Set(Object.values(yield* importModule(method, file, round)))) {
    if (!isDefinition(exported) && !Plain.isConfig(exported)) continue
    if (!isDefinition(exported)) yield* Plain.check(method, exported)
    const definition = isDefinition(exported) ? exported : Plain.define(exported, calling)
    if (found.has(definition.name)) {
      return yield* invalid(method, "FILE", `${file} exports two definitions named "${definition.name}"`)
    }
    found.set(definition.name, definition)
  }
  if (found.size === 0) return yield* invalid(method, "FILE", `${file} exports no snapshot definition`)
  if (names.length === 0) return [...found.values()]
  return yield* Effect.forEach(new Set(names), (name) => {
    const definition = found.get(name)
    return definition === undefined
      ? Effect.fail(invalid(method, "NAME", `${file} exports ${[...found.keys()].join(", ")}, but not ${name}`))
      : Effect.succeed(definition)
  })
})

/** Imports a module. Each `round` loads it anew. */
export const importModule = Effect.fnUntraced(function* (
  method: string,
  file: string,
  round: number
): Effect.fn.Return<object, LightboxError> {
  const kind = yield* Effect.sync(() => Fs.statSync(file, { throwIfNoEntry: false }))
  if (kind === undefined) return yield* invalid(method, "FILE", `there is no file ${shortPath(file)}`)
  if (!kind.isFile() || !/\.[cm]?[jt]sx?$/.test(file)) {
    return yield* invalid(
      method,
      "FILE",
      `expected a JavaScript or TypeScript module, not ${kind.isDirectory() ? "a folder" : shortPath(file)}`
    )
  }
  return yield* Effect.tryPromise({
    try: (): Promise<object> => import(`${pathToFileURL(file).href}${round === 0 ? "" : `?${round}`}`),
    catch: (cause) =>
      new LightboxError({
        method,
        reason: new InvalidConfig({
          field: "FILE",
          problem: `${shortPath(file)} cannot be loaded: ${String(cause)}${placeOf(cause)}`,
          cause
        })
      })
  })
})

const placeOf = (cause: unknown): string => {
  const stack = cause instanceof Error ? (cause.stack ?? "") : ""
  const place = /(?:file:\/\/)?(\/(?!.*node_modules\/)[^\s():]+):(\d+)(?::(\d+))?/.exec(stack)
  return place === null
    ? ""
    : ` (${shortPath(place[1] ?? "")}:${place
        .slice(2)
        .filter((part) => part !== undefined)
        .join(":")})`
}
