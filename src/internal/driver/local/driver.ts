/** `Microsandbox` over the SDK, on this machine. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import type { LightboxError } from "../../../LightboxError.ts"
import type * as Microsandbox from "../../../Microsandbox.ts"
import type * as MicrosandboxLocal from "../../../MicrosandboxLocal.ts"
import * as Admission from "../admission.ts"
import { localCapabilities } from "../parts.ts"
import { layerOptions } from "../createChecks.ts"
import * as Home from "../../host/home.ts"
import * as Ownership from "../../../Ownership.ts"
import type { Blueprint } from "../../reaper/compose.ts"
import { leftoversEnd } from "../sdk/calls.ts"
import * as SdkModule from "../sdk/module.ts"
import { DurationInput } from "../../config/schemas.ts"
import { decoder } from "../../config/validation.ts"
import { type DriverContext, turns, leastDisk } from "./context.ts"
import { images } from "./images.ts"
import { overlays } from "./ownDisks.ts"
import { sandboxes, ghosts, openAgent } from "./sandboxes.ts"
import { snapshots } from "./snapshots.ts"
import { volumes } from "./volumes.ts"

type Driver = Microsandbox.Microsandbox["Service"]

/** The SDK module, for callers that need more than a driver offers. */
export const native = (home: string | undefined): Effect.Effect<SdkModule.SdkModule, LightboxError> =>
  Effect.flatMap(Scope.make(), (scope) =>
    SdkModule.claimLocal(home).pipe(
      Effect.andThen(SdkModule.loadLocalSync),
      Scope.provide(scope),
      Effect.onError((cause) => Scope.close(scope, Exit.failCause(cause)))
    )
  )

const LayerOptions = Schema.Struct({
  ...layerOptions,
  pullPolicy: Schema.optional(Schema.Literals(["always", "if-missing", "never"])),
  bootTimeout: Schema.optional(DurationInput),
  budget: Schema.optional(Admission.Budget),
  records: Schema.optional(Schema.Boolean)
})

const decodeLayerOptions = decoder(LayerOptions, "MicrosandboxLocal.layer")

/** Time that closing waits for interrupted launches to end. */
const closingLimit = Duration.seconds(10)

export const make = Effect.fnUntraced(function* (
  input: MicrosandboxLocal.Options
): Effect.fn.Return<Blueprint<LightboxError, Ownership.Ownership | Scope.Scope>, LightboxError, Scope.Scope> {
  const options = yield* decodeLayerOptions(input)
  const home = yield* SdkModule.claimLocal(options.home)
  return {
    home,
    make: makeDriver(home, options),
    admission: { budget: options.budget, defaultMemory: options.memory, leastDisk },
    sweep: options.sweep,
    records: options.records
  }
})

const makeDriver = Effect.fnUntraced(function* (
  home: string,
  options: typeof LayerOptions.Type
): Effect.fn.Return<Driver, LightboxError, Ownership.Ownership | Scope.Scope> {
  const sdk = yield* SdkModule.loadLocal
  const ownership = yield* Ownership.Ownership
  const context: DriverContext = {
    sdk,
    home,
    ownership,
    copies: yield* Effect.cachedWithTTL(
      ownership.stage.pipe(
        Effect.flatMap((staged) => Effect.promise(() => Home.probeCopies(staged))),
        Effect.orElseSucceed(() => "unknown" as const)
      ),
      // A failure, such as a full disk, may be temporary.
      (exit) => (Exit.isSuccess(exit) && exit.value !== "unknown" ? Duration.infinity : Duration.zero)
    ),
    disks: overlays,
    owned: new Map(),
    names: yield* turns,
    volumes: yield* turns,
    bootTimeout: options.bootTimeout ?? Duration.seconds(60),
    connectTimeout: options.connectTimeout ?? Duration.seconds(10),
    cpus: options.cpus,
    memory: options.memory,
    pullPolicy: options.pullPolicy
  }
  yield* Effect.addFinalizer(() => Effect.timeoutOption(leftoversEnd, closingLimit))
  return {
    backend: "local",
    home,
    version: yield* SdkModule.version,
    capabilities: localCapabilities,
    ...images(context),
    ...sandboxes(context),
    openAgent: (sandbox) => openAgent(context, sandbox),
    ...ghosts(context),
    ...snapshots(context),
    ...volumes(context)
  }
})
