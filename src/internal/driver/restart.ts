/** Changes of sandboxes that need a restart. */
import { LightboxError, Unsupported } from "../../LightboxError.ts"
import type * as Microsandbox from "../../Microsandbox.ts"

export const needsRestart = ({ changes }: Microsandbox.ModificationPlan): boolean =>
  changes.some(({ disposition }) => disposition === "requires restart")

/** The error for a restart of a sandbox that is removed when it stops. */
export const ephemeralRefused = (method: string, feature = "modify.apply"): LightboxError =>
  new LightboxError({
    method,
    reason: new Unsupported({
      feature,
      problem: "an ephemeral sandbox is removed when it stops, so it cannot be restarted; create another one"
    })
  })
