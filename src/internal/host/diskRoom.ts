/** Free space on the disk that virtual machines write to. */
import * as Effect from "effect/Effect"
import { identity } from "effect/Function"
import * as Fs from "node:fs/promises"
import { LightboxError, NoSpace } from "../../LightboxError.ts"
import { fileFailure } from "./fileFailure.ts"

/** Free bytes on the file system of a folder. */
export const freeBytes = async (folder: string): Promise<number> => {
  const { bavail, bsize } = await Fs.statfs(folder)
  return bavail * bsize
}

/** With less, only small writes may still succeed. */
const least = 1024 * 1024

/**
 * Fails an effect in a guest with `NoSpace` when the disk of the home is full: data of the guest may be lost, and the
 * guest may hang.
 */
export const failWhenFull = (
  method: string,
  /** `undefined`: it is on another machine, which sees to it. */
  home: string | undefined
): (<A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E | LightboxError, R>) => {
  if (home === undefined) return identity
  const measure = Effect.tryPromise({ try: () => freeBytes(home), catch: fileFailure(method, "statfs", home) })
  const check = Effect.flatMap(measure, (free) => {
    const problem = `the guest wrote more than ${home} has room for`
    return free < least ? Effect.fail(new LightboxError({ method, reason: new NoSpace({ problem }) })) : Effect.void
  })
  const watch = Effect.forever(Effect.andThen(Effect.sleep("1 second"), check))
  return (effect) => Effect.tap(Effect.raceFirst(effect, watch), () => check)
}
