/** Combines a driver with the ownership and the budget of this process, and sweeps at the start and at intervals. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import { identity } from "effect/Function"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { Admission } from "../../Admission.ts"
import type { Services } from "../../Driver.ts"
import type { LightboxError } from "../../LightboxError.ts"
import { Microsandbox } from "../../Microsandbox.ts"
import { Ownership } from "../../Ownership.ts"
import * as Budgets from "../driver/admission.ts"
import * as Owner from "../ownership/owner.ts"
import * as Endings from "../store/endings.ts"
import { Recorded } from "../store/records.ts"
import { sweepAtStart, sweepForever } from "./sweep.ts"

/** Checked options of a driver's layer. */
export interface Blueprint<E, R> {
  readonly home: string
  readonly make: Effect.Effect<Microsandbox["Service"], E, R>
  readonly admission: Omit<Parameters<typeof Budgets.make>[0], "home">
  readonly sweep: boolean | undefined
  /** Whose records count, if not this process's on this machine. */
  readonly ownership?: ((local: Ownership["Service"]) => Ownership["Service"]) | undefined
  /** Keep records of builds. Default: `true`. */
  readonly records?: boolean | undefined
}

export const compose = Effect.fnUntraced(function* <E, R>({
  admission,
  home,
  make,
  ownership: outward = identity,
  records,
  sweep
}: Blueprint<E, R>): Effect.fn.Return<
  Context.Context<Services>,
  E | LightboxError,
  Exclude<R, Ownership> | Scope.Scope
> {
  const ownership = yield* Owner.make(home)
  const plain = yield* Effect.provideService(make, Ownership, ownership)
  // Those of another machine are recorded there.
  const driver = records === false || plain.remoteHome !== undefined ? plain : Endings.recording(plain)
  const budget = yield* Budgets.make({ ...admission, home })
  if (sweep !== false) {
    yield* sweepAtStart(driver, ownership)
    yield* Effect.forkScoped(sweepForever(driver, ownership))
  }
  return Context.make(Microsandbox, driver).pipe(
    Context.add(Ownership, outward(ownership)),
    Context.add(Admission, budget),
    Context.add(Recorded, records !== false)
  )
})

export const layer = <E, R, E2, R2>(
  blueprint: Effect.Effect<Blueprint<E, R>, E2, R2>
): Layer.Layer<Services, E | E2 | LightboxError, Exclude<Exclude<R, Ownership> | R2, Scope.Scope>> =>
  Layer.effectContext(Effect.flatMap(blueprint, compose))
