/**
 * The SDK itself, of which a process has one, with one backend and one home.
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Sdk from "microsandbox"
import * as Fs from "node:fs/promises"
import * as Module from "node:module"
import { LightboxError, RuntimeMissing, Unsupported } from "../LightboxError.ts"
import * as Home from "./home.ts"
import { parse, runtimeRemedy } from "./sdkErrors.ts"

export type SdkModule = typeof Sdk

const missing = (cause: unknown): LightboxError =>
  new LightboxError({
    method: "Microsandbox.layer",
    reason: new RuntimeMissing({ problem: parse(cause).text, remedy: runtimeRemedy, cause })
  })

/** Loads it when a driver is made: where the native module is missing, importing this library must not throw. */
export const load: Effect.Effect<SdkModule, LightboxError> = Effect.tryPromise({
  try: () => import("microsandbox"),
  catch: missing
})

/** The environment may name another backend. */
const useLocal = (load: Effect.Effect<SdkModule, LightboxError>): Effect.Effect<SdkModule, LightboxError> =>
  Effect.tap(load, (sdk) => Effect.sync(() => sdk.setDefaultBackend("local")))

/** The same, for this machine. */
export const loadLocal: Effect.Effect<SdkModule, LightboxError> = useLocal(load)

/** The same, at once. */
export const loadLocalSync: Effect.Effect<SdkModule, LightboxError> = useLocal(
  Effect.try({ try: (): SdkModule => Module.createRequire(import.meta.url)("microsandbox"), catch: missing })
)

type Claim =
  | { readonly _tag: "Local"; readonly home: string }
  | { readonly _tag: "Cloud"; readonly url: string; readonly apiKey: string }

let claimed: Claim | undefined

const describe = (claim: Claim): string =>
  claim._tag === "Local" ? `the home ${claim.home}` : `the cloud at ${claim.url}`

/** Fails if this process uses another backend, or another home, or another account. */
const claim = (method: string, wanted: Claim): Effect.Effect<void, LightboxError> =>
  Effect.suspend(() => {
    claimed ??= wanted
    const isSame =
      claimed._tag === "Local"
        ? wanted._tag === "Local" && claimed.home === wanted.home
        : wanted._tag === "Cloud" && claimed.url === wanted.url && claimed.apiKey === wanted.apiKey
    if (isSame) return Effect.void
    const problem =
      describe(claimed) === describe(wanted)
        ? "this process uses it with another key, and the runtime knows one account per process"
        : `this process uses ${describe(claimed)}, and the runtime knows one home or cloud per process`
    return Effect.fail(new LightboxError({ method, reason: new Unsupported({ feature: describe(wanted), problem }) }))
  })

/** The runtime reads its home once per process, so a second one would silently be the first. */
export const claimLocal = Effect.fnUntraced(function* (
  wanted: string | undefined
): Effect.fn.Return<string, LightboxError> {
  const method = "Microsandbox.layer"
  const home = yield* Home.resolve(method, wanted)
  yield* claim(method, { _tag: "Local", home })
  process.env["MSB_HOME"] = home
  return home
})

/** The runtime's switch between backends is the whole process's. */
export const claimCloud = (url: string, apiKey: string): Effect.Effect<void, LightboxError> =>
  claim("Microsandbox.layerCloud", { _tag: "Cloud", url, apiKey })

/** The home of this process, if it has one. */
export const localHome = (): string | undefined => (claimed?._tag === "Local" ? claimed.home : undefined)

const PackageVersion = Schema.fromJsonString(Schema.Struct({ version: Schema.String }))

/** The SDK's version, which it does not tell itself. */
export const version: Effect.Effect<string> = Effect.tryPromise(() =>
  Fs.readFile(new URL("../package.json", import.meta.resolve("microsandbox")), "utf8")
).pipe(
  Effect.flatMap(Schema.decodeEffect(PackageVersion)),
  Effect.match({ onSuccess: ({ version }) => version, onFailure: () => "unknown" })
)
