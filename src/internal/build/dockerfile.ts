/** Reads a Dockerfile as a definition. */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import type { Services } from "../../Driver.ts"
import type { LightboxError } from "../../LightboxError.ts"
import * as Microsandbox from "../../Microsandbox.ts"
import type { Definition, DockerfileOptions } from "../../Snapshot.ts"
import { CString, HostPath, recordOf, shortPath, SnapshotName } from "../config/schemas.ts"
import { callDecoder, invalid } from "../config/validation.ts"
import { isWrongPattern } from "../dockerfile/ignoreFile.ts"
import { parse } from "../dockerfile/parse.ts"
import { errorOf, Problem } from "../dockerfile/problem.ts"
import { ImageNeeded, type Input, resolve } from "../dockerfile/resolve.ts"
import { fileFailure, hostPathProblem } from "../host/fileFailure.ts"
import { unlessMissing } from "../host/durable.ts"
import { pull } from "./builders.ts"

const method = "Snapshot.fromDockerfile"

const decode = callDecoder(
  method,
  Schema.Struct({
    name: SnapshotName,
    dockerfile: Schema.Union([HostPath, Schema.Struct({ text: Schema.String })])
  }),
  Schema.Struct({
    context: Schema.optional(HostPath),
    target: Schema.optional(Schema.NonEmptyString),
    args: Schema.optional(recordOf(CString, (name) => (name === "" ? "expected a name" : undefined))),
    secrets: Schema.optional(recordOf(Schema.Redacted(CString), (id) => (id === "" ? "expected an id" : undefined)))
  })
)

export const fromDockerfile = Effect.fn("Snapshot.fromDockerfile")(function* (
  define: Input["define"],
  name: string,
  dockerfile: string | { readonly text: string },
  input: DockerfileOptions | undefined
): Effect.fn.Return<Definition, LightboxError, Services> {
  const options = yield* decode({ name, dockerfile }, input)
  const given = options.dockerfile
  const path = typeof given === "string" ? Path.resolve(given) : undefined
  const text =
    typeof given === "string"
      ? yield* Effect.tryPromise({
          try: () => Fs.readFile(given, "utf8"),
          catch: (cause) => invalid(method, "dockerfile", hostPathProblem(given, cause))
        })
      : given.text
  const file = path === undefined ? "Dockerfile" : shortPath(path)
  const folder = options.context ?? (path === undefined ? undefined : Path.dirname(path))
  const context = folder === undefined ? undefined : Path.resolve(folder)
  if (context !== undefined) yield* requireFolder(context)
  const ignore = yield* readIgnoreFile(path, context)
  const { args = {}, secrets = {}, target } = options
  const images = new Map<string, Microsandbox.ImageDetail>()
  for (;;) {
    const found = yield* Effect.try({
      try: (): Definition | ImageNeeded => {
        try {
          return resolve({
            name: options.name,
            dockerfile: parse(text),
            file,
            context,
            ignore,
            target,
            args,
            secrets,
            define,
            images
          })
        } catch (cause) {
          if (cause instanceof ImageNeeded) return cause
          throw cause
        }
      },
      catch: (cause) =>
        cause instanceof Problem ? errorOf(method, file, text, cause) : invalid(method, "dockerfile", String(cause))
    })
    if (!(found instanceof ImageNeeded)) return found
    images.set(found.reference, yield* configurationOf(found.reference))
  }
})

const requireFolder = (path: string): Effect.Effect<void, LightboxError> =>
  Effect.tryPromise({
    try: () => Fs.stat(path),
    catch: (cause) => invalid(method, "context", hostPathProblem(path, cause))
  }).pipe(
    Effect.filterOrFail(
      (stats) => stats.isDirectory(),
      () => invalid(method, "context", `${path} is not a folder`)
    ),
    Effect.asVoid
  )

/** The lines of the ignore file of the Dockerfile, or else of the context. */
const readIgnoreFile = Effect.fnUntraced(function* (
  dockerfile: string | undefined,
  context: string | undefined
): Effect.fn.Return<ReadonlyArray<string>, LightboxError> {
  const paths = [
    ...(dockerfile === undefined ? [] : [`${dockerfile}.dockerignore`]),
    ...(context === undefined ? [] : [Path.join(context, ".dockerignore")])
  ]
  for (const path of paths) {
    const text = yield* Effect.tryPromise({
      try: () => unlessMissing(Fs.readFile(path, "utf8")),
      catch: fileFailure(method, "read", path)
    })
    if (text === undefined) continue
    const lines = text.split(/\r?\n/)
    const wrong = lines.findIndex((line) => !line.startsWith("#") && isWrongPattern(line))
    if (wrong === -1) return lines
    const problem = `${lines[wrong]} is not a pattern: its brackets have no end, or a wrong range`
    return yield* invalid(method, "context", `${problem} (${shortPath(path)}:${wrong + 1})`)
  }
  return []
})

/** The configuration of an image, which is pulled if it is not cached. */
const configurationOf = Effect.fnUntraced(function* (
  reference: string
): Effect.fn.Return<Microsandbox.ImageDetail, LightboxError, Services> {
  const driver = yield* Microsandbox.Microsandbox
  return yield* Effect.catchReason(driver.getImage(reference), "LightboxError", "NotFound", () =>
    Effect.andThen(pull({ image: reference }), driver.getImage(reference))
  )
})
