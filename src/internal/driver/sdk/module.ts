/** The SDK module. A process has one, with one backend and one home. */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type * as Sdk from "microsandbox"
import * as FsSync from "node:fs"
import * as Fs from "node:fs/promises"
import * as Module from "node:module"
import * as Path from "node:path"
import { pathToFileURL } from "node:url"
import { LightboxError, RuntimeMissing, Unsupported } from "../../../LightboxError.ts"
import { workingFolder } from "../../config/schemas.ts"
import * as Home from "../../host/home.ts"
import { parse, runtimeRemedy } from "./errors.ts"

export type SdkModule = typeof Sdk

const missing = (cause: unknown): LightboxError =>
  new LightboxError({
    method: "MicrosandboxLocal.layer",
    reason: new RuntimeMissing({ problem: parse(cause).text, remedy: remedyOf(cause), cause })
  })

/** An executable that Bun compiled looks for packages in the working directory, if at all. */
const isExecutable = /\/\$bunfs\//.test(import.meta.url)

// A bundle of CommonJS has no address.
const require = Module.createRequire(
  isExecutable ? process.execPath : (import.meta.url ?? Path.resolve(workingFolder() ?? "/", "bundle.cjs"))
)

const remedyOf = (cause: unknown): string =>
  "permission" in process && !process.permission.has("addon")
    ? "run Node.js with --allow-addons: the runtime is a native addon"
    : isExecutable
      ? "compile with --external microsandbox --compile-autoload-package-json, and install microsandbox where the executable is, or in a folder above"
      : /native[\\/]index\.cjs/.test(parse(cause).text)
        ? `keep "microsandbox" out of the bundle, or ${runtimeRemedy}`
        : runtimeRemedy

/** While it loads, the SDK asks for the working directory, and throws if that was removed. */
const nameFolder = (): (() => void) => {
  if (workingFolder() !== undefined) return () => {}
  const cwd = process.cwd.bind(process)
  process.cwd = () => "/removed"
  return () => {
    process.cwd = cwd
  }
}

/** Loads the SDK when a driver is made: importing this library must not throw if the native module is missing. */
export const load: Effect.Effect<SdkModule, LightboxError> = Effect.tryPromise({
  try: async (): Promise<SdkModule> => {
    const restore = nameFolder()
    try {
      return await (isExecutable ? import(pathToFileURL(require.resolve("microsandbox")).href) : import("microsandbox"))
    } finally {
      restore()
    }
  },
  catch: missing
})

/** The environment may select another backend. */
const useLocal = (load: Effect.Effect<SdkModule, LightboxError>): Effect.Effect<SdkModule, LightboxError> =>
  Effect.tap(load, (sdk) => Effect.sync(() => sdk.setDefaultBackend("local")))

/** Loads the SDK with its local backend. */
export const loadLocal: Effect.Effect<SdkModule, LightboxError> = useLocal(load)

/** Synchronous variant of `loadLocal`. */
export const loadLocalSync: Effect.Effect<SdkModule, LightboxError> = useLocal(
  Effect.try({
    try: (): SdkModule => {
      const restore = nameFolder()
      try {
        return require("microsandbox")
      } finally {
        restore()
      }
    },
    catch: missing
  })
)

interface Claim {
  readonly description: string
  /** For the local backend only. */
  readonly home?: string
  /** For the cloud only. */
  readonly apiKey?: string
}

interface Held {
  readonly claim: Claim
  /** The previous value of the environment variable. */
  readonly home: string | undefined
  holders: number
}

let held: Held | undefined

const setHome = (home: string | undefined): void => {
  if (home === undefined) delete process.env["MSB_HOME"]
  else process.env["MSB_HOME"] = home
}

/** Fails while this process uses another backend, or another home, or another account. */
const claim = (method: string, wanted: Claim): Effect.Effect<void, LightboxError, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.suspend(() => {
      const { description } = held?.claim ?? wanted
      if (description !== wanted.description || (held !== undefined && held.claim.apiKey !== wanted.apiKey)) {
        const problem =
          description === wanted.description
            ? "this process uses it with another key, and the runtime knows one account per process"
            : `this process uses ${description}, and the runtime knows one home or cloud per process`
        const reason = new Unsupported({ feature: wanted.description, problem })
        return Effect.fail(new LightboxError({ method, reason }))
      }
      held ??= { claim: wanted, home: process.env["MSB_HOME"], holders: 0 }
      held.holders++
      if (wanted.home !== undefined) setHome(wanted.home)
      return Effect.succeed(held)
    }),
    (mine) =>
      Effect.sync(() => {
        if (--mine.holders > 0) return
        held = undefined
        if (mine.claim.home !== undefined) setHome(mine.home)
      })
  )

/** The runtime has one home at a time: a second one would silently replace the first. Released with the scope. */
export const claimLocal = Effect.fnUntraced(function* (
  wanted: string | undefined,
  method = "MicrosandboxLocal.layer"
): Effect.fn.Return<string, LightboxError, Scope.Scope> {
  const home = yield* Home.resolveFolder(method, wanted)
  yield* claim(method, { description: `the home ${home}`, home })
  return home
})

/** The runtime switches backends for the whole process. */
export const claimCloud = (url: string, apiKey: string): Effect.Effect<void, LightboxError, Scope.Scope> =>
  claim("MicrosandboxCloud.layer", { description: `the cloud at ${url}`, apiKey })

export const localHome = (): string | undefined => held?.claim.home

/**
 * Creates the home and the folder of its database for this user only. The runtime would let others read them, and
 * records the configuration of sandboxes there.
 */
export const keepPrivate = (): void => {
  const home = localHome()
  if (home === undefined) return
  try {
    FsSync.mkdirSync(Path.join(home, "db"), { recursive: true, mode: 0o700 })
  } catch {
    // The runtime reports a home that it cannot use.
  }
}

const PackageVersion = Schema.fromJsonString(Schema.Struct({ version: Schema.String }))

/** The SDK does not export its version. */
export const version: Effect.Effect<string> = Effect.tryPromise(() =>
  Fs.readFile(new URL("../package.json", import.meta.resolve("microsandbox")), "utf8")
).pipe(
  Effect.flatMap(Schema.decodeEffect(PackageVersion)),
  Effect.match({ onSuccess: ({ version }) => version, onFailure: () => "unknown" })
)
