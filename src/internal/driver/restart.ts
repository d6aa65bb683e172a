/**
 * Changes of sandboxes that only a restart brings about.
 */
import { LightboxError, Unsupported } from "../../LightboxError.ts"
import type * as Microsandbox from "../../Microsandbox.ts"

/** Whether some of what a plan changes has to wait for a restart. */
export const needsRestart = ({ changes }: Microsandbox.ModificationPlan): boolean =>
  changes.some(({ disposition }) => disposition === "requires restart")

/** The error for a restart of what would not be there to be started again. */
export const ephemeralRefused = (method: string): LightboxError =>
  new LightboxError({
    method,
    reason: new Unsupported({
      feature: "modify.apply",
      problem: "an ephemeral sandbox is removed when it stops, so it cannot be restarted; create another one"
    })
  })
