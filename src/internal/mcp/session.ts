/** The sandbox of a session: booted at the first call, replaced if it is lost, and removed with the session. */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import type { Services } from "../../Driver.ts"
import type { LightboxError } from "../../LightboxError.ts"
import * as Sandbox from "../../Sandbox.ts"
import type { Policy } from "./policy.ts"
import * as Workspace from "./workspace.ts"

interface Booted {
  readonly sandbox: Sandbox.Sandbox
  readonly scope: Scope.Closeable
}

export const make = Effect.fnUntraced(function* (
  policy: Policy
): Effect.fn.Return<Workspace.Workspace["Service"], never, Services | Scope.Scope> {
  const services = yield* Effect.context<Services>()
  const session = yield* Effect.scope
  const oneAtATime = yield* Semaphore.make(1)
  let current: Booted | undefined
  const boot: Effect.Effect<Sandbox.Sandbox, LightboxError> = Effect.gen(function* () {
    const scope = yield* Scope.fork(session)
    const sandbox = yield* Sandbox.launch(policy.launch).pipe(
      Scope.provide(scope),
      Effect.provideContext(services),
      Effect.onError((cause) => Scope.close(scope, Exit.failCause(cause)))
    )
    const booted = { sandbox, scope }
    current = booted
    // Not in its own scope, which must not wait for this fiber.
    yield* sandbox.guest.lost.pipe(
      Effect.andThen(Effect.sync(() => current === booted && (current = undefined))),
      Effect.andThen(Scope.close(scope, Exit.void)),
      Effect.forkIn(session)
    )
    return sandbox
  })
  const sandbox = Effect.suspend(() => (current === undefined ? boot : Effect.succeed(current.sandbox)))
  return yield* Workspace.make(oneAtATime.withPermits(1)(sandbox), policy)
})
