/** Teaches the builders of 0.7 the names that they had in 0.6, or that its TypeScript layer gave them. */
import * as Predicate from "effect/Predicate"
import type { Addon } from "./addon.ts"

const snakeCase = (name: string): string => name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)

/** A network policy as the native module reads it: a destination is named by its kind. */
export const policyJson = (policy: unknown): string => {
  const encoded = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map(encoded)
    if (!Predicate.isObject(value)) return value
    if ("kind" in value && Predicate.isString(value.kind)) {
      const { kind, ...rest } = value
      const [content] = Object.values(rest)
      if (kind === "any") return kind
      return { [snakeCase(kind)]: kind === "group" ? String(content).replaceAll("-", "_") : content }
    }
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [snakeCase(key), encoded(inner)]))
  }
  return JSON.stringify(encoded(policy))
}

const renamed: ReadonlyArray<readonly [string, string]> = [
  ["allowHost", "allow"],
  ["allowHostPattern", "allow"],
  ["injectHeaders", "substituteInHeaders"],
  ["injectQuery", "substituteInQuery"],
  ["injectBody", "substituteInBody"]
]

const define = (prototype: object, name: string, value: unknown): void => {
  if (!(name in prototype)) Object.defineProperty(prototype, name, { value, configurable: true })
}

export const teach = ({ NetworkBuilder, SecretBuilder }: Pick<Addon, "NetworkBuilder" | "SecretBuilder">): void => {
  for (const [old, current] of renamed)
    define(SecretBuilder.prototype, old, Reflect.get(SecretBuilder.prototype, current))
  // It has become a part of the headers.
  define(SecretBuilder.prototype, "injectBasicAuth", function (this: unknown) {
    return this
  })
  const ofJson: unknown = Reflect.get(NetworkBuilder.prototype, "policyJson")
  define(NetworkBuilder.prototype, "policy", function (this: unknown, policy: unknown) {
    if (typeof ofJson === "function") Reflect.apply(ofJson, this, [policyJson(policy)])
    return this
  })
}
