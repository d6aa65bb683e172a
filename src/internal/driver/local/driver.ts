/** `Microsandbox` over the SDK, on this machine. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import type { LightboxError } from "../../../LightboxError.ts"
import type * as Microsandbox from "../../../Microsandbox.ts"
import type * as MicrosandboxLocal from "../../../MicrosandboxLocal.ts"
import { localCapabilities } from "../parts.ts"
import * as Home from "../../host/home.ts"
import type * as Ownership from "../../../Ownership.ts"
import type { Blueprint } from "../../reaper/compose.ts"
import * as SdkModule from "../sdk/module.ts"
import { decoder } from "../../config/validation.ts"
import { blueprint, LocalOptions, makeContext } from "./blueprint.ts"
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

const decodeLayerOptions = decoder(LocalOptions, "MicrosandboxLocal.layer")

export const make = Effect.fnUntraced(function* (
  input: MicrosandboxLocal.Options
): Effect.fn.Return<Blueprint<LightboxError, Ownership.Ownership | Scope.Scope>, LightboxError, Scope.Scope> {
  const options = yield* decodeLayerOptions(input)
  const home = yield* SdkModule.claimLocal(options.home)
  return blueprint(home, options, makeDriver(home, options))
})

const makeDriver = Effect.fnUntraced(function* (
  home: string,
  options: typeof LocalOptions.Type
): Effect.fn.Return<Driver, LightboxError, Ownership.Ownership | Scope.Scope> {
  const sdk = yield* SdkModule.loadLocal
  const context = yield* makeContext(home, options, (ownership) =>
    Effect.map(
      Effect.cachedWithTTL(
        ownership.stage.pipe(
          Effect.flatMap((staged) => Effect.promise(() => Home.probeCopies(staged))),
          Effect.orElseSucceed(() => "unknown" as const)
        ),
        // A failure, such as a full disk, may be temporary.
        (exit) => (Exit.isSuccess(exit) && exit.value !== "unknown" ? Duration.infinity : Duration.zero)
      ),
      (copies) => ({ sdk, copies, disks: overlays })
    )
  )
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
