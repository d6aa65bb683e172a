/**
 * Definitions from a module that a caller names.
 */
import type { Environment } from "effect/cli/Command"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { pathToFileURL } from "node:url"
import { InvalidConfig, LightboxError } from "../../LightboxError.ts"
import type { Services } from "../../Driver.ts"
import * as Snapshot from "../../Snapshot.ts"
import { invalid } from "../config/validation.ts"

/** What the command line can provide to the steps of a definition. */
export type Definition = Snapshot.Definition<unknown, Environment | Services>

// What a step needs is not there to be looked at; one that needs something else dies of it, by name.
const isDefinition = (u: unknown): u is Definition => Snapshot.isDefinition(u)

const optionalString = Schema.optional(Schema.String)

const isPlain = Schema.is(
  Schema.Struct({
    name: Schema.String,
    image: Schema.String,
    workdir: optionalString,
    env: Schema.optional(Schema.Record(Schema.String, Schema.String)),
    setup: Schema.optional(
      Schema.Array(
        Schema.Union([
          Schema.String,
          Schema.Struct({ kind: Schema.Literal("shell"), script: Schema.String, description: optionalString }),
          Schema.Struct({
            kind: Schema.Literal("exec"),
            cmd: Schema.String,
            args: Schema.optional(Schema.Array(Schema.String)),
            description: optionalString
          })
        ])
      )
    ),
    labels: Schema.optional(Schema.Record(Schema.String, Schema.String))
  })
)

/** The definitions that a module exports, those of the Promise adapter included; with names, only these. */
export const load = Effect.fnUntraced(function* (
  method: string,
  file: string,
  names: ReadonlyArray<string>
): Effect.fn.Return<ReadonlyArray<Definition>, LightboxError> {
  const found = new Map<string, Definition>()
  // The same definition can be exported twice, as by `export default`.
  for (const exported of new Set(Object.values(yield* importModule(method, file)))) {
    const definition = isDefinition(exported) ? exported : isPlain(exported) ? Snapshot.define(exported) : undefined
    if (definition === undefined) continue
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
