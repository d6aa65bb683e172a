/** What drivers that boot sandboxes on this machine are made of, whichever version of the runtime they drive. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type { LightboxError } from "../../../LightboxError.ts"
import type * as Microsandbox from "../../../Microsandbox.ts"
import * as Ownership from "../../../Ownership.ts"
import { DurationInput } from "../../config/schemas.ts"
import type { Blueprint } from "../../reaper/compose.ts"
import * as Admission from "../admission.ts"
import { layerOptions } from "../createChecks.ts"
import { leftoversEnd } from "../sdk/calls.ts"
import { type DriverContext, leastDisk, turns } from "./context.ts"

/** Options of their layers. */
export const LocalOptions = Schema.Struct({
  ...layerOptions,
  pullPolicy: Schema.optional(Schema.Literals(["always", "if-missing", "never"])),
  bootTimeout: Schema.optional(DurationInput),
  budget: Schema.optional(Admission.Budget),
  records: Schema.optional(Schema.Boolean)
})

/** Time that closing waits for interrupted launches to end. */
const closingLimit = Duration.seconds(10)

/** The state that their parts share. Closing waits for what is interrupted. */
export const makeContext = Effect.fnUntraced(function* (
  home: string,
  options: typeof LocalOptions.Type,
  runtime: (
    ownership: Ownership.Ownership["Service"]
  ) => Effect.Effect<Pick<DriverContext, "copies" | "disks" | "sdk">, LightboxError>
): Effect.fn.Return<DriverContext, LightboxError, Ownership.Ownership | Scope.Scope> {
  const ownership = yield* Ownership.Ownership
  const context: DriverContext = {
    ...(yield* runtime(ownership)),
    home,
    ownership,
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
  return context
})

export const blueprint = <R>(
  home: string,
  { budget, memory, records, sweep }: typeof LocalOptions.Type,
  make: Effect.Effect<Microsandbox.Microsandbox["Service"], LightboxError, R>
): Blueprint<LightboxError, R> => ({
  home,
  make,
  admission: { budget, defaultMemory: memory, leastDisk },
  sweep,
  records
})
