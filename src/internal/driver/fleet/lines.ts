/**
 * What the holder of a lock and those that wait for it tell each other, through the directory. So those that wait for a build
 * of another program see how it goes on, on whichever host that is. Lines are written only while somebody waits.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { LightboxError } from "../../../LightboxError.ts"
import type * as Ownership from "../../../Ownership.ts"
import type { Directory } from "../../directory/directory.ts"
import { randomId } from "../../ownership/labels.ts"

/** How often those that wait look whether a lock is free, and for lines. */
const lookInterval = Duration.millis(250)

/** How often a holder looks who waits. */
const waitersInterval = Duration.seconds(1)

/** Those that wait say so once in as many looks. */
const looksPerAnnouncement = 8

/** Lines that wait to be written. When there are more, the first ones are dropped. */
const maxPending = 1000

/** A lock about which nobody learns anything. */
export const silent: Ownership.Lock = { send: () => undefined, received: () => [] }

/** The lines of a holder, to be written while it has the lock. */
export const holding = Effect.fnUntraced(function* (
  directory: Directory,
  name: string,
  holder: string
): Effect.fn.Return<Ownership.Lock, never, Scope.Scope> {
  let waiters: ReadonlyArray<string> = []
  let pending: Array<string> = []
  let written = 0
  const flush = Effect.suspend(() => {
    const lines = pending
    pending = []
    if (lines.length === 0) return Effect.void
    const first = written + 1
    written += lines.length
    // Whoever misses a line has the next one.
    return Effect.ignore(directory.addLines(holder, first, lines))
  })
  const look = Effect.ignore(
    Effect.map(directory.announced(name), (found) => {
      waiters = found
      if (found.length === 0) pending = []
    })
  )
  yield* Effect.addFinalizer(() => flush)
  yield* look.pipe(Effect.andThen(Effect.sleep(waitersInterval)), Effect.forever, Effect.forkScoped)
  yield* Effect.sleep(lookInterval).pipe(Effect.andThen(flush), Effect.forever, Effect.forkScoped)
  return {
    send: (line) => {
      if (waiters.length === 0) return
      pending.push(line)
      if (pending.length > maxPending) pending.shift()
    },
    received: () => waiters
  }
})

/** Waits until a lock is free, and reads the lines of its holder meanwhile. */
export const waiting = Effect.fnUntraced(function* (
  directory: Directory,
  name: string,
  message: string | undefined
): Effect.fn.Return<Stream.Stream<string>, LightboxError, Scope.Scope> {
  if (message === undefined) {
    const free = directory.isLocked(name).pipe(
      Effect.delay(lookInterval),
      Effect.repeat({ while: (isLocked) => isLocked }),
      // Whoever asks for it then learns what is wrong.
      Effect.ignore
    )
    return Stream.drain(Stream.fromEffect(free))
  }
  const waiter = randomId()
  const announce = directory.announce(waiter, name, message)
  yield* Effect.acquireRelease(announce, () => Effect.ignore(directory.withdraw(waiter)))
  const held = yield* directory.holderOf(name)
  if (held === undefined) return Stream.empty
  const look = Effect.fnUntraced(function* (state: { readonly number: number; readonly looks: number }) {
    yield* Effect.sleep(lookInterval)
    if (state.looks % looksPerAnnouncement === 0) yield* announce
    const isOver = (yield* directory.holderOf(name))?.holder !== held.holder
    // After that: the last lines are written before the lock is released.
    const found = yield* directory.linesAfter(held.holder, state.number)
    const next = { number: found.at(-1)?.number ?? state.number, looks: state.looks + 1 }
    return [found.map(({ line }) => line), isOver ? Option.none() : Option.some(next)] as const
  })
  return Stream.paginate({ number: held.lines, looks: 1 }, (state) =>
    // Whoever asks for it then learns what is wrong.
    Effect.orElseSucceed(look(state), () => [[], Option.none()] as const)
  )
})
