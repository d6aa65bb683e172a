/** Chooses the rows of a list, and formats them. */
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import * as SchemaAST from "effect/SchemaAST"
import type { LightboxError } from "../../LightboxError.ts"
import { invalid } from "../config/validation.ts"
import { clean } from "../report/terminalText.ts"
import type { Filter } from "./flags.ts"

/** A row as `--json` prints it. */
type Encoded = Schema.Json | undefined

/** Encodes the rows of a list. */
export const encode = <A, I>(
  schema: Schema.Codec<ReadonlyArray<A>, I>,
  rows: ReadonlyArray<A>
): ReadonlyArray<Encoded> => {
  const encoded = Schema.encodeSync(Schema.toCodecJson(schema))(rows)
  return Array.isArray(encoded) ? encoded : []
}

/** The names of the fields of a list's rows. */
const fieldsOf = <A, I>(schema: Schema.Codec<ReadonlyArray<A>, I>): ReadonlyArray<string> => {
  const { ast } = Schema.toEncoded(Schema.toCodecJson(schema))
  const row = SchemaAST.isArrays(ast) ? ast.rest[0] : undefined
  return row !== undefined && SchemaAST.isObjects(row) ? row.propertySignatures.map(({ name }) => String(name)) : []
}

const expectField = (
  flag: string,
  fields: ReadonlyArray<string>,
  typed: string
): Effect.Effect<string, LightboxError> => {
  const name = typed.toLowerCase()
  const field = fields.find((field) => field.toLowerCase() === (name === "label" ? "labels" : name))
  return field === undefined
    ? Effect.fail(invalid("lightbox", flag, `there is no field ${typed}; expected ${fields.join(", ")}`))
    : Effect.succeed(field)
}

const fieldOf = (value: unknown, name: string): unknown => {
  if (!Predicate.isObject(value)) return undefined
  return Object.entries(value).find(([key]) => key === name || key.toLowerCase() === name.toLowerCase())?.[1]
}

/** A status can be an object with a tag. */
const textOf = (value: unknown): string => {
  if (value === undefined || value === null) return ""
  const tag = fieldOf(value, "_tag")
  if (typeof tag === "string") return tag.toLowerCase()
  return typeof value === "string" ? value : JSON.stringify(value)
}

/** Compares with a text in which `*` stands for any characters. */
const isLike = (value: unknown, wanted: string): boolean => {
  const parts = wanted.split("*").map((part) => part.replace(/[\\^$.*+?()[\]{}|/-]/g, "\\$&"))
  return new RegExp(`^${parts.join(".*")}$`, "is").test(textOf(value))
}

const isMatch = (value: unknown, { isRecord, wanted }: { readonly isRecord: boolean; readonly wanted: string }) => {
  if (Array.isArray(value)) return value.some((one) => isLike(one, wanted))
  if (!isRecord) return isLike(value, wanted)
  const at = wanted.indexOf("=")
  const found = Predicate.isObject(value) ? Object.entries(value) : []
  return found.some(([key, one]) =>
    at < 0 ? key === wanted : key === wanted.slice(0, at) && isLike(one, wanted.slice(at + 1))
  )
}

/** Returns a check of rows: all filters of different fields, and one of those of the same field, must match. */
export const matcher = Effect.fnUntraced(function* <A, I>(
  schema: Schema.Codec<ReadonlyArray<A>, I>,
  filters: ReadonlyArray<Filter>
): Effect.fn.Return<(row: Encoded) => boolean, LightboxError> {
  const fields = fieldsOf(schema)
  const checks = yield* Effect.forEach(filters, ({ key, value }) =>
    Effect.map(expectField("--filter", fields, key), (field) => ({
      // Each label is a condition of its own.
      group: field === "labels" ? `${field} ${value}` : field,
      isMet: (row: Encoded) => isMatch(fieldOf(row, field), { isRecord: field === "labels", wanted: value })
    }))
  )
  const groups = [...Map.groupBy(checks, ({ group }) => group).values()]
  return (row) => groups.every((group) => group.some(({ isMet }) => isMet(row)))
})

const placeholder = /\{\{\s*(?:(json) )?\s*\.?([\w.]*)\s*\}\}/g

const escapes: { readonly [escape: string]: string } = { "\\t": "\t", "\\n": "\n" }

/** Returns a function that fills a template such as `{{.Name}} {{.labels.team}}`, or prints a single field. */
export const renderer = Effect.fnUntraced(function* <A, I>(
  schema: Schema.Codec<ReadonlyArray<A>, I>,
  format: string
): Effect.fn.Return<(row: Encoded) => string, LightboxError> {
  const fields = fieldsOf(schema)
  if (/^\w+$/.test(format)) {
    const field = yield* expectField("--format", [...fields, "table", "json"], format)
    return (row) => clean(textOf(fieldOf(row, field)))
  }
  for (const [, , path = ""] of format.matchAll(placeholder)) {
    if (path !== "") yield* expectField("--format", fields, path.split(".")[0] ?? "")
  }
  const rest = format.replaceAll(placeholder, "")
  if (rest === format || /\{\{|\}\}/.test(rest)) {
    return yield* invalid(
      "lightbox",
      "--format",
      `expected table, json, a field, or a template such as "{{.name}}", not ${JSON.stringify(format)}`
    )
  }
  const template = format.replace(/\\[tn]/g, (escape) => escapes[escape] ?? escape)
  return (row) =>
    template.replaceAll(placeholder, (_, json: string | undefined, path: string) => {
      const value = path === "" ? row : path.split(".").reduce<unknown>(fieldOf, row)
      return clean(json === undefined && path !== "" ? textOf(value) : JSON.stringify(value ?? null))
    })
})
