/** Finds results that other builds need as well. */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type { Context, Driver } from "./context.ts"

/** The keys that builds of this process want, in the order of their steps. */
const chains = new WeakMap<Driver, Set<ReadonlyArray<string>>>()

export const announceChain = (driver: Driver, keys: ReadonlyArray<string>): Effect.Effect<void, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const all = chains.get(driver) ?? new Set()
      chains.set(driver, all.add(keys))
    }),
    () => Effect.sync(() => chains.get(driver)?.delete(keys))
  )

/**
 * Checks whether another build, here or waiting in another process, needs the result of a key but then takes another
 * step.
 */
export const isWantedByOthers = (
  { driver, holder }: Pick<Context<never, never>, "driver" | "holder">,
  key: string,
  next: string
) => {
  const received = (holder.lock?.received() ?? []).flatMap((line) => Option.toArray(decodeChain(line)))
  return [...(chains.get(driver) ?? []), ...received].some((keys) => keys.includes(key) && !keys.includes(next))
}

const chainCodec = Schema.fromJsonString(Schema.Array(Schema.String))

export const encodeChain = Schema.encodeSync(chainCodec)

const decodeChain = Schema.decodeOption(chainCodec)
