/** The context of a build. */
import * as Schema from "effect/Schema"
import type * as ServiceMap from "effect/Context"
import type { Services } from "../../Driver.ts"
import type * as Microsandbox from "../../Microsandbox.ts"
import type { Definition } from "../../Snapshot.ts"
import type * as Events from "./events.ts"
import type { Recording } from "./recording.ts"
import { SandboxConfig } from "../../SandboxConfig.ts"
import type * as Ownership from "../../Ownership.ts"
import { Force, Func, intBetween } from "../config/schemas.ts"
import type * as Secrets from "../definition/secrets.ts"
import type { Store } from "../store/store.ts"
import type { Takes } from "./takes.ts"

export type Driver = Microsandbox.Microsandbox["Service"]

export const method = "Snapshot.build"

export const BuildFields = {
  checkpoints: Schema.optional(Schema.Literals(["auto", "every-step", "final", "marked"])),
  checkpointFactor: Schema.optional(
    Schema.Finite.check(Schema.makeFilter((factor) => (factor >= 0 ? undefined : "expected 0 or more")))
  ),
  force: Schema.optional(Force),
  overwrite: Schema.optional(Schema.Boolean),
  replaceForeign: Schema.optional(Schema.Boolean),
  keep: Schema.optional(intBetween(1, 1000)),
  keepBuilder: Schema.optional(Schema.Boolean),
  pullPolicy: SandboxConfig.fields.pullPolicy,
  warm: Schema.optional(Schema.Boolean),
  onEvent: Schema.optional(Func)
}

export const Options = Schema.Struct(BuildFields)

export interface Context<E, R> {
  readonly services: ServiceMap.Context<Services>
  readonly driver: Driver
  /** The build that needs this one. */
  readonly parent: string | undefined
  readonly store: Store
  readonly definition: Definition<E, R>
  readonly options: typeof Options.Type
  readonly events: Events.Emitter
  readonly recording: Recording
  readonly secrets: ReadonlyArray<Secrets.SecretValue>
  readonly takes: Takes
  readonly holder: { lock: Ownership.Lock | undefined }
}
