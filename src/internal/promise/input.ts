/** Checks what programs without types pass, in the words of this API. */
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import { CString, FilePath, Func, HostPath, intBetween, Millis, Name, optionsStruct } from "../config/schemas.ts"
import { callDecoder, decoder, optionsDecoder } from "../config/validation.ts"
import type { CallOptions } from "./options.ts"
import { runNow } from "./runtime.ts"

const isSignal = (u: unknown): u is AbortSignal =>
  Predicate.hasProperty(u, "aborted") && Predicate.hasProperty(u, "throwIfAborted")

export const callFields = { signal: Schema.optional(Schema.declare(isSignal, { expected: "an AbortSignal" })) }

export const CallSchema = optionsStruct<CallOptions>()(callFields)

export { Millis }

/** Of functions without arguments to check. */
export const None = Schema.Struct({})

/** In MiB. */
export const Quota = Schema.optional(intBetween(1, 0xffff_ffff))

export const Data = Schema.declare((u): u is string | Uint8Array => typeof u === "string" || u instanceof Uint8Array, {
  expected: "a string or a Uint8Array"
})

export const signalOf = (method: string, options: CallOptions | undefined): AbortSignal | undefined =>
  options === undefined ? undefined : runNow(optionsDecoder(method, CallSchema)(options)).signal

const args = {
  archive: HostPath,
  data: Data,
  fill: Func,
  from: FilePath,
  guestPath: FilePath,
  hostPath: HostPath,
  name: Name,
  number: intBetween(1, 64),
  path: FilePath,
  target: CString,
  use: Func
}

export const checkArgs = (method: string, given: { readonly [K in keyof typeof args]?: unknown }): void => {
  for (const [name, schema] of Object.entries(args)) {
    if (name in given) runNow(Effect.asVoid(decoder(schema, method, name)(Reflect.get(given, name))))
  }
}

export const checked = <A extends Schema.Codec<object, unknown>, O extends Schema.Codec<object, unknown>>(
  method: string,
  args: A,
  options: O
): ((given: { readonly [K in keyof A["Type"]]: unknown }, options: unknown) => O["Type"] & A["Type"]) => {
  const decode = callDecoder(method, args, options)
  return (given, options) => runNow(decode(given, options))
}
