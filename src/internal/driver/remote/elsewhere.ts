/** What the drivers of other machines share. */
import * as Effect from "effect/Effect"
import * as Crypto from "node:crypto"
import * as Path from "node:path"
import { LightboxError, Unsupported } from "../../../LightboxError.ts"
import type * as Microsandbox from "../../../Microsandbox.ts"
import * as Home from "../../host/home.ts"
import type { Blueprint } from "../../reaper/compose.ts"
import type { SnapshotPart } from "../parts.ts"

/** The home of this machine, and the folder in it for the programs that use one host or fleet. */
export const homeOf = Effect.fnUntraced(function* (
  method: string,
  given: string | undefined,
  kind: "remote" | "fleet",
  url: string
): Effect.fn.Return<{ readonly base: string; readonly home: string }, LightboxError> {
  const base = yield* Home.resolveFolder(method, given)
  const folder = `${kind}-${Crypto.hash("sha256", url).slice(0, 8)}`
  return { base, home: yield* Home.resolveFolder(method, Path.join(base, folder)) }
})

/** Each host has a budget for all its programs. */
export const blueprint = (
  driver: Microsandbox.Microsandbox["Service"],
  ownership: Blueprint<never, never>["ownership"]
): Blueprint<never, never> => ({
  home: driver.home,
  make: Effect.succeed(driver),
  admission: { budget: { disk: 0 }, defaultMemory: undefined, availableMemory: () => Number.POSITIVE_INFINITY },
  sweep: true,
  ownership
})

/** Refuses a proxy that only this machine reaches. */
export const checkProxy = ({ proxy }: Microsandbox.CreateSandbox): Effect.Effect<void, LightboxError> => {
  if (proxy === undefined || proxy.peers !== undefined) return Effect.void
  const reason = new Unsupported({ feature: "a proxy", problem: "the host cannot reach a proxy of this machine" })
  return Effect.fail(new LightboxError({ method: "Microsandbox.createSandbox", reason }))
}

export const importSnapshot: SnapshotPart["importSnapshot"] = (_folder, name) => {
  const problem = `"${name}" would be moved from a folder of this machine into the home of another`
  const reason = new Unsupported({ feature: "importSnapshot", problem })
  return Effect.fail(new LightboxError({ method: "Microsandbox.importSnapshot", reason }))
}
