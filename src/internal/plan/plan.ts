/** Plans a build: computes keys, looks up results, and explains what would run. */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { Force } from "../config/schemas.ts"
import * as Ownership from "../../Ownership.ts"
import type { Services } from "../../Driver.ts"
import type { LightboxError } from "../../LightboxError.ts"
import * as Microsandbox from "../../Microsandbox.ts"
import type { Plan } from "../../Plan.ts"
import { SandboxConfig } from "../../SandboxConfig.ts"
import type { Definition, PlanOptions } from "../../Snapshot.ts"
import { optionsDecoder } from "../config/validation.ts"
import { generate } from "../ownership/labels.ts"
import { make as makeStore } from "../store/store.ts"
import { describePlan } from "./explanation.ts"
import { keyUnits } from "./keys.ts"
import { checkForce, forcedFrom, isKnown, lookUp, resolveImage } from "./lookUp.ts"
import { makeKeyOf } from "./otherKeys.ts"
import { prepare, type Prepared } from "./units.ts"

const decodeOptions = optionsDecoder(
  "Snapshot.plan",
  Schema.Struct({ force: Schema.optional(Force), pullPolicy: SandboxConfig.fields.pullPolicy })
)

export const plan = Effect.fn("Snapshot.plan")(function* <E, R>(
  definition: Definition<E, R>,
  input: PlanOptions | undefined
): Effect.fn.Return<Plan, LightboxError, Services> {
  const method = "Snapshot.plan"
  const options = yield* decodeOptions(input)
  const { force } = options
  const driver = yield* Microsandbox.Microsandbox
  const ownership = yield* Ownership.Ownership
  const store = makeStore(driver, ownership)
  const from = forcedFrom(force)
  const prepared = yield* prepare(method, definition)
  yield* checkForce(method, force, prepared.units.length)
  const forced: Prepared<E, R> = {
    ...prepared,
    units: prepared.units.map((unit) => (unit.index >= from ? { ...unit, isForced: true } : unit))
  }
  const known = isKnown(store, prepared)
  const { digest } = yield* resolveImage(driver, prepared, { pullPolicy: options.pullPolicy, isKnown: known })
  const home = { home: driver.home, stage: ownership.stage, isFresh: Number.isFinite(from) }
  const keyOf = makeKeyOf({
    method,
    driver,
    home,
    pullPolicy: options.pullPolicy,
    isKnown: known,
    ifUnknown: () => Effect.succeed("")
  })
  const units = yield* keyUnits(method, forced.units, digest ?? "", yield* generate, keyOf, home)
  const planned = digest === undefined ? undefined : yield* lookUp(driver, store, units, digest)
  return yield* describePlan(driver, store, forced, planned, units)
})
