/**
 * Turns what a caller passed into checked data, or into an `InvalidConfig` that
 * names the field.
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as SchemaIssue from "effect/SchemaIssue"
import { InvalidConfig, LightboxError } from "../../LightboxError.ts"

const unknownOption = "unknown option"

const format = SchemaIssue.makeFormatterStandardSchemaV1({
  leafHook: (issue) => (issue._tag === "UnexpectedKey" ? unknownOption : SchemaIssue.defaultLeafHook(issue))
})

/** The error for one field, found before anything happened. */
export const invalid = (method: string, field: string, problem: string): LightboxError =>
  new LightboxError({ method, reason: new InvalidConfig({ field, problem }) })

/** The first problem of an issue, as a field's path and a sentence. */
export const describe = (
  issue: SchemaIssue.Issue,
  root: string
): { readonly field: string; readonly problem: string } => {
  const { issues } = format(issue)
  // Of the forms that a value may have, the one that knows the option says what is wrong with it.
  const first = issues.find(({ message }) => message !== unknownOption) ?? issues[0]
  const path = (first?.path ?? []).map((key) => String(typeof key === "object" ? key.key : key))
  const field = path.join(".")
  const message = first?.message ?? "not acceptable"
  return {
    field: field === "" ? root : field,
    problem: message.replace(/^Expected /, "expected ")
  }
}

/**
 * A decoder for options of the operation `method`. Options that the schema does
 * not know are refused: a misspelled option must not be ignored.
 */
export const decoder = <S extends Schema.Codec<unknown, unknown>>(
  schema: S,
  method: string,
  root = "options"
): ((input: unknown) => Effect.Effect<S["Type"], LightboxError>) => {
  const decode = Schema.decodeUnknownEffect(schema)
  return (input) =>
    Effect.mapError(decode(input, { onExcessProperty: "error" }), ({ issue }) => {
      const { field, problem } = describe(issue, root)
      return invalid(method, field, problem)
    })
}
