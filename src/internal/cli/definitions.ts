/**
 * Definitions from a module that a caller names.
 */
import type { Environment } from "effect/cli/Command"
import * as Effect from "effect/Effect"
import { pathToFileURL } from "node:url"
import { InvalidConfig, LightboxError } from "../../LightboxError.ts"
import type { Services } from "../../Driver.ts"
import * as Snapshot from "../../Snapshot.ts"
import { invalid } from "../config/validation.ts"
import * as Plain from "../promise/definition.ts"

/** What the command line can provide to the steps of a definition. */
export type Definition = Snapshot.Definition<unknown, Environment | Services>

// What a step needs is not there to be looked at; one that needs something else dies of it, by name.
const isDefinition = (u: unknown): u is Definition => Snapshot.isDefinition(u)

/** The definitions that a module exports, those of the Promise adapter included; with names, only these. */
export const load = Effect.fnUntraced(function* (
  method: string,
  file: string,
  names: ReadonlyArray<string>
): Effect.fn.Return<ReadonlyArray<Definition>, LightboxError> {
  const found = new Map<string, Definition>()
  // The same definition can be exported twice, as by `export default`.
  for (const exported of new Set(Object.values(yield* importModule(method, file)))) {
    if (!isDefinition(exported) && !Plain.isConfig(exported)) continue
    if (!isDefinition(exported)) yield* Plain.check(method, exported)
    const definition = isDefinition(exported) ? exported : Plain.define(exported)
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

const importModule = (method: string, file: string): Effect.Effect<object, LightboxError> =>
  Effect.tryPromise({
    try: (): Promise<object> => import(pathToFileURL(file).href),
    catch: (cause) =>
      new LightboxError({
        method,
        reason: new InvalidConfig({ field: "FILE", problem: `${file} cannot be loaded: ${String(cause)}`, cause })
      })
  })
