/** Hosts that the command line knows by name, in a file of the user's that only the user can read. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Crypto from "node:crypto"
import * as Fs from "node:fs/promises"
import * as Os from "node:os"
import * as Path from "node:path"
import * as Tls from "node:tls"
import type { LightboxError } from "../../../LightboxError.ts"
import { BearerToken, HostPath, HostUrl, Name } from "../../config/schemas.ts"
import { decoder, invalid } from "../../config/validation.ts"
import { replaceFile, unlessMissing } from "../../host/durable.ts"
import { fileFailure } from "../../host/fileFailure.ts"

/** A host, and how to reach it. */
export const Known = Schema.Struct({
  url: HostUrl,
  token: BearerToken,
  /** A file with certificates of its authority. */
  ca: Schema.optionalKey(HostPath)
})

export type Known = typeof Known.Type

const Contexts = Schema.Struct({
  /** The one that is used without a flag. Absent: this machine. */
  current: Schema.optionalKey(Name),
  contexts: Schema.Record(Name, Known)
})

export type Contexts = typeof Contexts.Type

/** The name of this machine. */
export const here = "local"

/** The variable with the name of a context. */
export const variable = "LIGHTBOX_CONTEXT"

/** The folder for settings of the user; tests replace it. */
export const Folder = Context.Reference<string>("effect-lightbox/internal/cli/serve/contexts/Folder", {
  defaultValue: () => {
    const folder = process.env["XDG_CONFIG_HOME"]
    return folder === undefined || !Path.isAbsolute(folder) ? Path.join(Os.homedir(), ".config") : folder
  }
})

const file = Effect.map(Folder, (folder) => Path.join(folder, "lightbox", "contexts.json"))

const decode = decoder(Contexts, "context", "contexts")

/** Reads all contexts. */
export const read: Effect.Effect<Contexts, LightboxError> = Effect.gen(function* () {
  const path = yield* file
  const text = yield* Effect.tryPromise({
    try: () => unlessMissing(Fs.readFile(path, "utf8")),
    catch: fileFailure("context", "read", path)
  })
  if (text === undefined) return { contexts: {} }
  const json = yield* Effect.try({
    try: (): unknown => JSON.parse(text),
    catch: () => invalid("context", path, "it is not JSON")
  })
  return yield* Effect.mapError(decode(json), (error) =>
    error.reason._tag === "InvalidConfig"
      ? invalid("context", path, `${error.reason.field}: ${error.reason.problem}`)
      : error
  )
})

/** Replaces the contexts. */
export const write = (contexts: Contexts): Effect.Effect<void, LightboxError> =>
  Effect.flatMap(file, (path) => {
    const staged = `${path}.${Crypto.randomBytes(6).toString("hex")}`
    return Effect.tryPromise({
      try: () => replaceFile(path, staged, `${JSON.stringify(contexts, undefined, 2)}\n`, 0o600),
      catch: fileFailure("context", "write", path)
    })
  })

/** Finds a context. `flag` is where its name is from. */
export const find = (all: Contexts, name: string, flag: string): Effect.Effect<Known, LightboxError> => {
  const known = Object.hasOwn(all.contexts, name) ? all.contexts[name] : undefined
  if (known !== undefined) return Effect.succeed(known)
  const names = [here, ...Object.keys(all.contexts)].join(", ")
  return Effect.fail(invalid("context", flag, `there is no context "${name}"; there are: ${names}`))
}

/** The context that a command uses, if it uses another machine. `given` is the value of `--context`. */
export const chosen = Effect.fnUntraced(function* (
  given: string | undefined
): Effect.fn.Return<(Known & { readonly name: string }) | undefined, LightboxError> {
  const set = process.env[variable]
  const named = given ?? (set === "" ? undefined : set)
  if (named === here) return undefined
  const all = yield* read
  const name = named ?? all.current
  if (name === undefined || name === here) return undefined
  const flag = given !== undefined ? "--context" : named === undefined ? "context" : variable
  return { name, ...(yield* find(all, name, flag)) }
})

/** Trusts the authority of a context, besides those that this process trusts already. */
export const trust = ({ ca }: Known, name: string): Effect.Effect<void, LightboxError> =>
  ca === undefined
    ? Effect.void
    : Effect.tryPromise({
        try: async () =>
          Tls.setDefaultCACertificates([...Tls.getCACertificates("default"), await Fs.readFile(ca, "utf8")]),
        catch: () => invalid("context", `context "${name}"`, `${ca} cannot be read, or is no certificate`)
      })
