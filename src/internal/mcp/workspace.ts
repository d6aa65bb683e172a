/** The sandbox of a session, and what the session may do with it. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import type { Services } from "../../Driver.ts"
import { LightboxError, Unsupported } from "../../LightboxError.ts"
import type * as Sandbox from "../../Sandbox.ts"
import type { WorkspaceOptions } from "../../SandboxTools.ts"
import * as Snapshot from "../../Snapshot.ts"
import { invalid } from "../config/validation.ts"

/**
 * The sandbox that tools work in, and what they may do with it.
 *
 * @category services
 * @since 0.1.0
 */
export class Workspace extends Context.Service<
  Workspace,
  {
    /** The sandbox. It may boot when it is first needed. */
    readonly sandbox: Effect.Effect<Sandbox.Sandbox, LightboxError>
    /** Opens a port of this host that leads to a port of the sandbox, once for each port. */
    readonly forward: (port: number) => Effect.Effect<Sandbox.Forward, LightboxError>
    /** Captures the sandbox as a snapshot. */
    readonly capture: (name: string) => Effect.Effect<Snapshot.Snapshot, LightboxError>
  }
>()("effect-lightbox/internal/mcp/workspace") {}

const refused = (feature: string, problem: string): LightboxError =>
  new LightboxError({ method: "SandboxTools", reason: new Unsupported({ feature, problem }) })

export const make = Effect.fnUntraced(function* (
  sandbox: Effect.Effect<Sandbox.Sandbox, LightboxError>,
  { forwards = "all", snapshots = "agent-" }: WorkspaceOptions = {}
): Effect.fn.Return<Workspace["Service"], never, Services | Scope.Scope> {
  const scope = yield* Effect.scope
  const services = yield* Effect.context<Services>()
  const oneAtATime = yield* Semaphore.make(1)
  return {
    sandbox,
    forward: (port) =>
      Effect.gen(function* () {
        if (forwards !== "all" && !forwards.includes(port)) {
          return yield* refused("forward", `this session may forward ${forwards.join(", ") || "no ports"}`)
        }
        const current = yield* sandbox
        const open = (yield* current.forwards).find(({ guest }) => guest === port)
        return open ?? (yield* Scope.provide(current.forward(port), scope))
      }).pipe(oneAtATime.withPermits(1)),
    capture: (name) =>
      Effect.gen(function* () {
        if (snapshots === false) return yield* refused("snapshot", "this session may not capture snapshots")
        if (!name.startsWith(snapshots)) {
          return yield* invalid("SandboxTools", "name", `expected a name that begins with "${snapshots}"`)
        }
        return yield* Snapshot.capture(yield* sandbox, { name })
      }).pipe(oneAtATime.withPermits(1), Effect.provideContext(services))
  }
})
