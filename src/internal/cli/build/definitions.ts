/** Loads definitions from a module, or from a Dockerfile. */
import type { Environment } from "effect/cli/Command"
import * as Effect from "effect/Effect"
import type * as Redacted from "effect/Redacted"
import * as Struct from "effect/Struct"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { pathToFileURL } from "node:url"
import type { SnapshotConfig } from "../../../promise.ts"
import { InvalidConfig, LightboxError } from "../../../LightboxError.ts"
import type { Services } from "../../../Driver.ts"
import * as Snapshot from "../../../Snapshot.ts"
import { shortPath } from "../../config/schemas.ts"
import { invalid } from "../../config/validation.ts"
import * as Plain from "../../promise/definition.ts"
import { nameFlags } from "../failure.ts"

/** A definition whose steps need only what the command line provides. */
export type Definition = Snapshot.Definition<unknown, Environment | Services>

// The requirements of steps cannot be checked at runtime. A missing service is a defect that names it.
const isDefinition = (u: unknown): u is Definition => Snapshot.isDefinition(u)

/** What to load. */
export interface Input {
  /** A module, a Dockerfile, or the folder of one. */
  readonly file: string
  readonly names: ReadonlyArray<string>
  /** Path of the Dockerfile, if the file is its context. */
  readonly dockerfile: string | undefined
  readonly tag: string | undefined
  readonly target: string | undefined
  readonly args: { readonly [name: string]: string }
  readonly secrets: { readonly [id: string]: Redacted.Redacted<string> }
}

const isDockerfile = (path: string): boolean =>
  /^(?:.*\.)?(?:Docker|Container)file(?:\..*)?$/i.test(Path.basename(path))

/** The Dockerfile that is meant, and its context. */
export const dockerfileOf = ({
  dockerfile,
  file
}: Pick<Input, "dockerfile" | "file">): { readonly path: string; readonly context: string } | undefined => {
  if (dockerfile !== undefined) return { path: Path.resolve(dockerfile), context: file }
  const stats = Fs.statSync(file, { throwIfNoEntry: false })
  if (stats?.isFile() === true && isDockerfile(file)) return { path: file, context: Path.dirname(file) }
  const inside = ["Dockerfile", "Containerfile"].map((name) => Path.join(file, name))
  const path = stats?.isDirectory() === true ? inside.find((path) => Fs.existsSync(path)) : undefined
  return path === undefined ? undefined : { path, context: file }
}

/** Loads the definition of a Dockerfile, or those of a module. */
export const load = Effect.fnUntraced(function* (
  method: string,
  input: Input,
  round = 0
): Effect.fn.Return<ReadonlyArray<Definition>, LightboxError, Services> {
  const { args, file, names, secrets, tag, target } = input
  const found = yield* Effect.sync(() => dockerfileOf(input))
  if (found === undefined) {
    const given = {
      "--tag": tag,
      "--target": target,
      "--build-arg": Object.keys(args)[0],
      "--secret": Object.keys(secrets)[0]
    }
    const flag = Struct.keys(given).find((flag) => given[flag] !== undefined)
    if (flag !== undefined) return yield* invalid(method, flag, "is only for a Dockerfile")
    return yield* loadModule(method, file, names, round)
  }
  if (names.length > 0) return yield* invalid(method, "NAME", "a Dockerfile has one definition: name it with --tag")
  const { context, path } = found
  const name =
    tag ??
    Path.basename(Path.resolve(context))
      .replace(/[^A-Za-z0-9._-]+/g, "-")
      .replace(/^[^A-Za-z0-9]+/, "")
  return [
    yield* Snapshot.fromDockerfile(name, path, { context, target, args, secrets }).pipe(
      Effect.mapError(
        nameFlags({ name: "--tag", target: "--target", args: "--build-arg", context: "FILE", dockerfile: "FILE" })
      )
    )
  ]
})

/** Makes a definition of a plain one. Only modules with plain ones need what the promises stand on. */
const define = Effect.fnUntraced(function* (
  method: string,
  config: SnapshotConfig
): Effect.fn.Return<Definition, LightboxError> {
  yield* Plain.check(method, config)
  const { calling } = yield* Effect.promise(() => import("../../promise/sandbox.ts"))
  return Plain.define(config, calling)
})

/** Loads the definitions that a module exports, in either style. With `names`, only these. Each `round` loads anew. */
const loadModule = Effect.fnUntraced(function* (
  method: string,
  file: string,
  names: ReadonlyArray<string>,
  round: number
): Effect.fn.Return<ReadonlyArray<Definition>, LightboxError> {
  const found = new Map<string, Definition>()
  // The same definition can be exported twice, as by `export default`.
  for (const exported of new Set(Object.values(yield* importModule(method, file, round)))) {
    if (!isDefinition(exported) && !Plain.isConfig(exported)) continue
    const definition = isDefinition(exported) ? exported : yield* define(method, exported)
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

/** Imports a module. Each `round` loads it anew. */
export const importModule = Effect.fnUntraced(function* (
  method: string,
  file: string,
  round: number
): Effect.fn.Return<object, LightboxError> {
  const kind = yield* Effect.sync(() => Fs.statSync(file, { throwIfNoEntry: false }))
  if (kind === undefined) return yield* invalid(method, "FILE", `there is no file ${shortPath(file)}`)
  if (!kind.isFile() || !/\.[cm]?[jt]sx?$/.test(file)) {
    return yield* invalid(
      method,
      "FILE",
      `expected a JavaScript or TypeScript module, not ${kind.isDirectory() ? "a folder" : shortPath(file)}`
    )
  }
  return yield* Effect.tryPromise({
    try: (): Promise<object> => import(`${pathToFileURL(file).href}${round === 0 ? "" : `?${round}`}`),
    catch: (cause) =>
      new LightboxError({
        method,
        reason: new InvalidConfig({
          field: "FILE",
          problem: `${shortPath(file)} cannot be loaded: ${String(cause)}${placeOf(cause)}`,
          cause
        })
      })
  })
})

const placeOf = (cause: unknown): string => {
  const stack = cause instanceof Error ? (cause.stack ?? "") : ""
  const place = /(?:file:\/\/)?(\/(?!.*node_modules\/)[^\s():]+):(\d+)(?::(\d+))?/.exec(stack)
  return place === null
    ? ""
    : ` (${shortPath(place[1] ?? "")}:${place
        .slice(2)
        .filter((part) => part !== undefined)
        .join(":")})`
}
