/**
 * What one host does for the whole fleet: it gives up the sandboxes of hosts that are gone, and prunes results when a host
 * wants that. The host that has a lock of the directory does it. If it dies, the lock runs out, and another has it.
 */
import type * as Context from "effect/Context"
import * as Cron from "effect/Cron"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type { Services } from "../../Driver.ts"
import type { LightboxError } from "../../LightboxError.ts"
import * as Snapshot from "../../Snapshot.ts"
import { DurationFromWholeMillis } from "../config/schemas.ts"
import type { Directory } from "../directory/directory.ts"

/** The lock of the host that does it. */
export const lockName = "fleet/keeper"

/** A prune that takes longer is given up, so that the next one has its turn. */
const pruneLimit = Duration.hours(1)

const PruneText = Schema.fromJsonString(
  Schema.toCodecJson(Schema.Struct({ cron: Schema.String, olderThan: DurationFromWholeMillis }))
)

/** When results are pruned, in UTC, and how long they must not have been used. */
export type Prune = typeof PruneText.Type

export const encodePrune: (prune: Prune) => string = Schema.encodeSync(PruneText)
const decodePrune = Schema.decodeOption(PruneText)

/** The times of a schedule, in UTC. `undefined`: it is none, or has no time, such as the 30th of February. */
export const cronOf = (text: string): Cron.Cron | undefined =>
  Result.getOrUndefined(
    Result.flatMap(Cron.parse(text, "UTC"), (cron) => Result.try(() => (Cron.next(cron, new Date(0)), cron)))
  )

export interface Keeper {
  /** Does what is due, if this host has or gets the lock. */
  readonly tend: (at: { readonly now: number; readonly isSettled: boolean }) => Effect.Effect<void, LightboxError>
  /** Leaves it to another host. */
  readonly leave: Effect.Effect<void, LightboxError>
}

export const make = (options: {
  readonly directory: Directory
  /** Names this host among those that want the lock. */
  readonly holder: string
  readonly services: Effect.Effect<Context.Context<Services>, LightboxError>
  readonly scope: Scope.Scope
}): Keeper => {
  const { directory, holder } = options
  let isKeeper = false
  let isPruning = false

  const prune = ({ olderThan }: Prune) =>
    options.services.pipe(
      Effect.flatMap((context) => Effect.provideContext(Snapshot.prune({ olderThan }), context)),
      Effect.tap(({ verdicts }) =>
        Effect.logInfo(`Pruned ${verdicts.filter(({ verdict }) => verdict === "removed").length} results of the fleet`)
      ),
      Effect.timeout(pruneLimit),
      Effect.ignore({ log: "Warn", message: "Could not prune the results of the fleet" }),
      Effect.ensuring(
        Effect.sync(() => {
          isPruning = false
        })
      )
    )

  /** Begins the prunes that are due. Each time of a schedule is taken by one host. */
  const pruneDue = Effect.fnUntraced(function* (now: number) {
    for (const text of yield* directory.prunes) {
      const wanted = Option.getOrUndefined(decodePrune(text))
      const cron = wanted === undefined ? undefined : cronOf(wanted.cron)
      if (wanted === undefined || cron === undefined) continue
      const name = `prune/${text}`
      const last = yield* directory.agree(name, String(now))
      if (isPruning || Cron.next(cron, new Date(Number(last))).getTime() > now) continue
      // What was missed while all hosts were down is done once.
      if (!(yield* directory.replace(name, last, String(now)))) continue
      isPruning = true
      yield* Effect.forkIn(prune(wanted), options.scope, { startImmediately: true })
    }
  })

  return {
    tend: Effect.fnUntraced(function* ({ isSettled, now }) {
      isKeeper = yield* isKeeper ? directory.keepLock(lockName, holder) : directory.lock(lockName, holder)
      if (!isKeeper) return
      if (isSettled) {
        const lost = yield* directory.loseOfGone
        if (lost.length > 0) {
          yield* Effect.logWarning(`Hosts of the fleet are gone, and with them the sandboxes ${lost.join(", ")}`)
        }
      }
      yield* directory.forgetLines
      yield* pruneDue(now)
    }),
    leave: Effect.suspend(() => (isKeeper ? directory.unlock(lockName, holder) : Effect.void))
  }
}

/** How long results are kept that nobody uses. */
export const defaultOlderThan = Duration.days(7)
