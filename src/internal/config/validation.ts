/** Validates options. A wrong one fails with an `InvalidConfig` that names the field. */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import * as SchemaIssue from "effect/SchemaIssue"
import * as Struct from "effect/Struct"
import { Drift, InvalidConfig, isLightboxError, LightboxError, TimedOut } from "../../LightboxError.ts"
import { intBetween, isEntryName, millis, Name, TerminalSize } from "./schemas.ts"
import { signalNames } from "./signals.ts"

const unknownOption = "unknown option"

const format = SchemaIssue.makeFormatterStandardSchemaV1({
  leafHook: (issue) => (issue._tag === "UnexpectedKey" ? unknownOption : SchemaIssue.defaultLeafHook(issue))
})

/** The error for one field. */
export const invalid = (method: string, field: string, problem: string): LightboxError =>
  new LightboxError({ method, reason: new InvalidConfig({ field, problem }) })

/**
 * Replaces the method of errors with the one that the caller called: only of those of one other method, or of all that are
 * not about an option.
 */
export const forMethod =
  (method: string, other?: string) =>
  <E>(error: E): E | LightboxError =>
    isLightboxError(error) &&
    error.method !== method &&
    (other === undefined ? error.reason._tag !== "InvalidConfig" : error.method === other)
      ? new LightboxError({ method, reason: error.reason })
      : error

/** Adds the line of the caller's program that declares the wrong field. */
export const declaredAt =
  (line: string | undefined) =>
  (error: LightboxError): LightboxError => {
    const { method, reason } = error
    return reason._tag === "InvalidConfig" && line !== undefined
      ? invalid(method, reason.field, `${reason.problem} (declared at ${line})`)
      : error
  }

const anyOf = (values: ReadonlyArray<string>): string => values.join(", ").replace(/, ([^,]*)$/, " or $1")

/** Rewords a schema's message for people who have not seen the schema. */
const inWords = (message: string): string => {
  if (message === "Missing key") return "expected a value"
  const expected = /^Expected (.*)$/s.exec(message)?.[1]
  if (expected === undefined) return message
  const tags = [...expected.matchAll(/readonly "_tag": ("\w+")/g)].flatMap(([, tag]) =>
    tag === undefined ? [] : [tag]
  )
  if (tags.length > 0) return `expected an object with the _tag ${anyOf(tags)}`
  const kinds = expected
    .replace(/\{.*\}/s, "object")
    .split(" | ")
    .filter((kind) => kind !== "undefined")
  return `expected ${anyOf(kinds.map((kind) => words[kind] ?? kind))}`
}

const words: { readonly [kind: string]: string } = {
  string: "a string",
  number: "a number",
  boolean: "true or false",
  object: "an object",
  array: "an array",
  Redacted: "a Redacted value",
  Uint8Array: "a Uint8Array"
}

/** Returns the first problem of an issue. */
export const describe = (
  issue: SchemaIssue.Issue,
  root: string
): { readonly field: string; readonly problem: string } => {
  const { issues } = format(issue)
  // In a union, the member that knows the option explains the problem best.
  const first = issues.find(({ message }) => message !== unknownOption) ?? issues[0]
  const path = (first?.path ?? []).map((key) => String(typeof key === "object" ? key.key : key))
  const field = path.join(".")
  const message = first?.message ?? "expected another value"
  return {
    field: field === "" ? root : field,
    problem: inWords(message)
  }
}

/**
 * Creates a decoder for the options of an operation. Unknown options are refused, so that none is misspelled silently.
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

/** Creates a decoder for the arguments of a function and its options, which cannot replace them. */
export const callDecoder = <A extends Schema.Codec<object, unknown>, O extends Schema.Codec<object, unknown>>(
  method: string,
  args: A,
  options: O
): ((
  given: { readonly [K in keyof A["Type"]]: unknown },
  input: unknown
) => Effect.Effect<O["Type"] & A["Type"], LightboxError>) => {
  const decodeArgs = decoder(args, method)
  const decodeOptions = optionsDecoder(method, options)
  return (given, input) =>
    Effect.flatMap(decodeArgs(given), (checked) =>
      Effect.map(decodeOptions(input), (rest) => ({ ...rest, ...checked }))
    )
}

export const optionsDecoder = <O extends Schema.Codec<object, unknown>>(method: string, options: O) => {
  const decode = decoder(options, method)
  return (input: unknown = {}): Effect.Effect<O["Type"], LightboxError> =>
    Effect.andThen(checkObject(method, input), decode(input))
}

export const checkObject = (method: string, input: unknown, field = "options"): Effect.Effect<void, LightboxError> =>
  Predicate.isObject(input) ? Effect.void : Effect.fail(invalid(method, field, "expected an object"))

export const checkFunction = (method: string, field: string, value: unknown): Effect.Effect<void, LightboxError> =>
  typeof value === "function" ? Effect.void : Effect.fail(invalid(method, field, "expected a function"))

const SignalSchema = Schema.Union([Schema.Literals(signalNames), intBetween(0, 64)])

export const checkSignal = (signal: unknown) => Effect.asVoid(decoder(SignalSchema, "Process.signal", "signal")(signal))

export const checkSize = (size: unknown) => Effect.asVoid(decoder(TerminalSize, "Process.resize", "size")(size))

export const decodeName = (method: string, name: string): Effect.Effect<string, LightboxError> =>
  decoder(Name, method, "name")(name)

/** Refuses paths, for drivers: they take names of other tools too. */
export const requireEntryName = (method: string, name: string, field = "name"): Effect.Effect<void, LightboxError> =>
  isEntryName(name) ? Effect.void : Effect.fail(invalid(method, field, "expected a name, not a path"))

/**
 * Renames the field of an `InvalidConfig` for another API. The longest matching name wins; `separator` precedes the
 * rest of the path.
 */
export const renameFields =
  (names: { readonly [field: string]: string }, separator = ".") =>
  (error: LightboxError): LightboxError => {
    const { method, reason } = error
    if (reason._tag !== "InvalidConfig" && reason._tag !== "Drift") return error
    const field = Object.keys(names)
      .filter((name) => reason.field === name || reason.field.startsWith(`${name}.`))
      .toSorted((a, b) => b.length - a.length)[0]
    const name = field === undefined ? undefined : names[field]
    if (field === undefined || name === undefined) return error
    const renamed = `${name}${reason.field.slice(field.length).replace(".", separator)}`
    return reason._tag === "InvalidConfig"
      ? invalid(method, renamed, reason.problem)
      : new LightboxError({
          method,
          reason: new Drift({ ...Struct.pick(reason, ["resource", "name", "was", "now"]), field: renamed })
        })
  }

/** Marks definitions of snapshots, so that one passed as a snapshot can be refused with advice. */
export const DefinitionTypeId = "~effect-lightbox/Snapshot/Definition" as const

/** Interrupts an effect after a time limit, if there is one, and fails with `TimedOut`. */
export const timeLimit =
  (
    method: string,
    operation: string,
    limit: Duration.Duration | undefined,
    output: () => Partial<Pick<TimedOut, "stdout" | "stderr">> = () => ({})
  ) =>
  <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E | LightboxError, R> => {
    if (limit === undefined) return effect
    return Effect.timeoutOrElse(effect, {
      duration: limit,
      orElse: () => {
        const reason = new TimedOut({ operation, limitMillis: millis(limit), ...output() })
        return Effect.fail(new LightboxError({ method, reason }))
      }
    })
  }

/** Finds a name whose dependencies form a circle. */
export const circular = (
  dependencies: ReadonlyArray<readonly [name: string, on: ReadonlyArray<string>]>
): string | undefined => {
  let left = dependencies
  for (;;) {
    const waiting = left.filter(([, on]) => left.some(([name]) => on.includes(name)))
    if (waiting.length === left.length) return left[0]?.[0]
    left = waiting
  }
}
