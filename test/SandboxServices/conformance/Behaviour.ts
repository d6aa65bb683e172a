/**
 * What programs may expect of `FileSystem`, `Path` and `ChildProcessSpawner`, wherever they run.
 *
 * A {@link Behaviour} observes something and states what to expect: the same everywhere, or one thing on the host and
 * another in a guest, with the reason.
 */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import type * as Path from "effect/Path"
import * as PlatformError from "effect/PlatformError"
import type * as ChildProcessSpawner from "effect/process/ChildProcessSpawner"
import type * as Scope from "effect/Scope"

export type Services = ChildProcessSpawner.ChildProcessSpawner | FileSystem.FileSystem | Path.Path

/** What to expect. */
export type Expected<A> =
  | { readonly everywhere: A }
  | { readonly onHost: A; readonly inGuest: A; readonly because: string }

export interface Behaviour {
  readonly name: string
  readonly observe: Effect.Effect<unknown, unknown, Services | Scope.Scope>
  readonly expected: Expected<unknown>
}

/** A behaviour that is the same everywhere. */
export const same = <A, E>(
  name: string,
  everywhere: NoInfer<A>,
  observe: Effect.Effect<A, E, Services | Scope.Scope>
): Behaviour => ({ name, observe, expected: { everywhere } })

/** A behaviour that differs between a guest and the host. */
export const differs = <A, E>(
  name: string,
  expected: { readonly onHost: NoInfer<A>; readonly inGuest: NoInfer<A>; readonly because: string },
  observe: Effect.Effect<A, E, Services | Scope.Scope>
): Behaviour => ({ name, observe, expected })

/** How an effect ended: with the reason of its error, or not. */
export const outcome = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<string, never, R> =>
  Effect.match(effect, {
    onSuccess: () => "success",
    onFailure: (error) =>
      PlatformError.isPlatformError(error) ? error.reason._tag : `failed otherwise: ${String(error)}`
  })

/** Observes with a file system and an empty folder. */
export const inFolder = <A, E, R>(
  use: (fs: FileSystem.FileSystem, folder: string) => Effect.Effect<A, E, R>
): Effect.Effect<A, E | PlatformError.PlatformError, FileSystem.FileSystem | Scope.Scope | R> =>
  Effect.gen(function* () {
    const fs = yield* FileSystem.FileSystem
    return yield* use(fs, yield* fs.makeTempDirectoryScoped())
  })
