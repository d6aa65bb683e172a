/** Chooses the rows of a list, and formats them. */
import { displayWidth } from "effect/cli/CliOutput"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import * as SchemaAST from "effect/SchemaAST"
import type { LightboxError } from "../../LightboxError.ts"
import { invalid } from "../config/validation.ts"
import { clean, wrap } from "../report/terminalText.ts"
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

/** The fields of a list's rows, of all kinds. */
const signaturesOf = <A, I>(schema: Schema.Codec<ReadonlyArray<A>, I>): ReadonlyArray<SchemaAST.PropertySignature> => {
  const { ast } = Schema.toEncoded(Schema.toCodecJson(schema))
  const row = SchemaAST.isArrays(ast) ? ast.rest[0] : undefined
  const kinds = row === undefined ? [] : SchemaAST.isUnion(row) ? row.types : [row]
  return kinds.flatMap((kind) => (SchemaAST.isObjects(kind) ? kind.propertySignatures : []))
}

const fieldsOf = <A, I>(schema: Schema.Codec<ReadonlyArray<A>, I>): ReadonlyArray<string> => [
  ...new Set(signaturesOf(schema).map(({ name }) => String(name)))
]

/** The values of a field that has only a few. */
const valuesOf = <A, I>(schema: Schema.Codec<ReadonlyArray<A>, I>, field: string): ReadonlyArray<string> =>
  signaturesOf(schema).flatMap(({ name, type }) =>
    name === field && SchemaAST.isUnion(type) && type.types.every(SchemaAST.isLiteral)
      ? type.types.map(({ literal }) => String(literal))
      : []
  )

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
  const checks = yield* Effect.forEach(
    filters,
    Effect.fnUntraced(function* ({ key, value }) {
      const field = yield* expectField("--filter", fields, key)
      const values = valuesOf(schema, field)
      if (values.length > 0 && !values.some((one) => isLike(one, value))) {
        const problem = `no ${field} is ${JSON.stringify(value)}; expected ${values.join(", ")}`
        return yield* invalid("lightbox", "--filter", problem)
      }
      return {
        // Each label is a condition of its own.
        group: field === "labels" ? `${field} ${value}` : field,
        isMet: (row: Encoded) => isMatch(fieldOf(row, field), { isRecord: field === "labels", wanted: value })
      }
    })
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

// =============================================================================
// Tables
// =============================================================================

const units = [
  ["year", 365 * 86_400_000, 2],
  ["month", 30 * 86_400_000, 2],
  ["week", 7 * 86_400_000, 2],
  ["day", 86_400_000, 2],
  ["hour", 3_600_000, 1],
  ["minute", 60_000, 1],
  ["second", 1000, 1]
] as const

/** Says how long ago something was, as docker does. */
export const age = (millis: number): string => {
  for (const [unit, size, least] of units) {
    const count = Math.floor(millis / size)
    if (count >= least) return `${count} ${unit}${count === 1 ? "" : "s"} ago`
  }
  return "now"
}

const gap = 3

const pad = (text: string, width: number): string => text + " ".repeat(Math.max(0, width - displayWidth(text)))

const widest = (texts: ReadonlyArray<string>): number => Math.max(...texts.map((text) => displayWidth(text)))

/**
 * Lays out rows below their titles. Where the window is too narrow, the last column is wrapped, or if that would leave it
 * little room, each row becomes a list of titles and values.
 */
export const layOut = (
  titles: ReadonlyArray<string>,
  rows: ReadonlyArray<ReadonlyArray<string>>,
  columns: number
): string => {
  const widths = titles.map((title, column) => widest([title, ...rows.map((row) => row[column] ?? "")]))
  const left = widths.slice(0, -1).reduce((sum, width) => sum + width + gap, 0)
  const isWide = left + (widths.at(-1) ?? 0) <= columns
  if (isWide || left <= 0.6 * columns) {
    return [titles, ...rows]
      .flatMap((row) => {
        const start = row.slice(0, -1).map((cell, column) => pad(cell, (widths[column] ?? 0) + gap))
        const [first = "", ...rest] = wrap(row.at(-1) ?? "", columns - left)
        return [`${start.join("")}${first}`.trimEnd(), ...rest.map((line) => `${" ".repeat(left)}${line}`)]
      })
      .join("\n")
  }
  const indent = widest(titles) + gap
  return rows
    .map((row) =>
      row
        .flatMap((cell, column) =>
          cell === ""
            ? []
            : wrap(cell, Math.max(2, columns - indent)).map(
                (line, index) => `${pad(index === 0 ? (titles[column] ?? "") : "", indent)}${line}`
              )
        )
        .join("\n")
    )
    .join("\n\n")
}

/**
 * Finds the record that a person means: by its id, by the beginning of its id, or by a name for the last record of that
 * name. Without a word, the last record. A word that fits none is returned as it is.
 */
export const idOf = <A extends { readonly id: string }>(
  command: string,
  argument: string,
  typed: string | undefined,
  /** The last one first. */
  records: ReadonlyArray<A>,
  words: { readonly nameOf: (record: A) => string; readonly none: string; readonly many: string }
): Effect.Effect<string, LightboxError> => {
  const [last] = records
  if (typed === undefined) {
    return last === undefined ? Effect.fail(invalid(command, argument, words.none)) : Effect.succeed(last.id)
  }
  if (records.some(({ id }) => id === typed)) return Effect.succeed(typed)
  const matching = records.filter(({ id }) => id.startsWith(typed))
  const [only] = matching
  if (only !== undefined && matching.length === 1) return Effect.succeed(only.id)
  const named = records.find((record) => words.nameOf(record) === typed)
  if (named !== undefined || only === undefined) return Effect.succeed(named?.id ?? typed)
  const shown = matching.slice(0, 3).map(({ id }) => id)
  return Effect.fail(
    invalid(command, argument, `${matching.length} ${words.many} begin with "${typed}", such as ${shown.join(", ")}`)
  )
}
