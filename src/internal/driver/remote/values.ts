/** Plain values as JSON: configurations have durations, secrets, bytes, and fields that are explicitly undefined. */
import * as Duration from "effect/Duration"
import * as Predicate from "effect/Predicate"
import * as Redacted from "effect/Redacted"
import type * as Schema from "effect/Schema"

/** The key that marks a value of another kind. Objects that have it themselves are marked as well. */
const mark = "$"

/** Converts a value to JSON. Functions are left out. */
export const toJson = (value: unknown): Schema.Json => {
  if (value === undefined) return { [mark]: "undefined" }
  if (value === null || typeof value === "string" || typeof value === "boolean") return value
  if (typeof value === "number") return Number.isFinite(value) ? value : { [mark]: "number", value: String(value) }
  if (Duration.isDuration(value)) return { [mark]: "duration", value: Duration.toMillis(value) }
  if (Redacted.isRedacted(value)) return { [mark]: "secret", value: toJson(Redacted.value(value)) }
  if (value instanceof Uint8Array) return { [mark]: "bytes", value: Buffer.from(value).toString("base64") }
  if (Array.isArray(value)) return value.map(toJson)
  if (!Predicate.isObject(value)) return { [mark]: "undefined" }
  const entries = Object.entries(value).flatMap(([key, inner]): ReadonlyArray<readonly [string, Schema.Json]> =>
    typeof inner === "function" ? [] : [[key, toJson(inner)]]
  )
  return mark in value ? { [mark]: "object", value: entries } : Object.fromEntries(entries)
}

const textOf = (u: unknown): string => (typeof u === "string" ? u : "")

const isEntry = (u: unknown): u is readonly [string, unknown] =>
  Array.isArray(u) && u.length === 2 && typeof u[0] === "string"

/** Converts it back. What is not of a known kind becomes `undefined`, which a schema then refuses or leaves out. */
export const fromJson = (json: unknown): unknown => {
  if (Array.isArray(json)) return json.map(fromJson)
  if (!Predicate.isObject(json)) return json
  if (!Object.hasOwn(json, mark)) {
    return Object.fromEntries(Object.entries(json).map(([key, inner]) => [key, fromJson(inner)]))
  }
  const value = Predicate.hasProperty(json, "value") ? json.value : undefined
  switch (Predicate.hasProperty(json, mark) ? json[mark] : undefined) {
    case "number":
      return Number(value)
    case "duration":
      return typeof value === "number" ? Duration.millis(value) : undefined
    case "secret":
      return Redacted.make(fromJson(value))
    case "bytes":
      return new Uint8Array(Buffer.from(textOf(value), "base64"))
    case "object":
      return Array.isArray(value)
        ? Object.fromEntries(value.filter(isEntry).map(([key, inner]) => [key, fromJson(inner)]))
        : undefined
    default:
      return undefined
  }
}
