/**
 * A preview proxy: one port of this host that leads to the HTTP servers of all running sandboxes.
 *
 * `http://PORT-NAME.localhost:1355` is port `PORT` of the sandbox `NAME`. Browsers and curl resolve every name below
 * `localhost` to this host, so nothing has to be set up, and each server has an origin of its own. On some systems, other
 * programs, Node.js included, have to connect to 127.0.0.1 and send the name as `Host`.
 *
 * **Example** (Show a development server)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Sandbox, SandboxProxy } from "effect-lightbox"
 *
 * export const program = Effect.gen(function* () {
 *   const sandbox = yield* Sandbox.launch({ snapshot: "web", name: "web" })
 *   yield* sandbox.start("npm", ["run", "dev"])
 *   const proxy = yield* SandboxProxy.make()
 *   console.log(proxy.urlOf(3000, sandbox.name)) // http://3000-web.localhost:1355
 *   return yield* Effect.never
 * }).pipe(Effect.scoped)
 * ```
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { HostPort } from "./internal/config/schemas.ts"
import { optionsDecoder } from "./internal/config/validation.ts"
import { printable } from "./internal/report/printable.ts"
import { serve } from "./internal/sandbox/proxy.ts"
import type { LightboxError } from "./LightboxError.ts"
import * as Microsandbox from "./Microsandbox.ts"

/**
 * Options of {@link make}.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /** Port of this host; 0 is a free one. Default: 1355. */
  readonly port?: number | undefined
}

/**
 * A running proxy.
 *
 * @category models
 * @since 0.1.0
 */
export interface SandboxProxy {
  /** Port of this host. */
  readonly port: number
  /** Returns the URL of a port of a sandbox. */
  readonly urlOf: (guestPort: number, sandbox: string) => string
}

const decode = optionsDecoder("SandboxProxy.make", Schema.Struct({ port: Schema.optional(HostPort) }))

/**
 * Serves `http://PORT-NAME.localhost` for all running sandboxes of this home directory, on 127.0.0.1, until the scope
 * closes.
 *
 * Requests reach servers that listen only on the guest's own 127.0.0.1. Bodies are streamed, and WebSockets and other
 * upgrades are passed on. A name that differs only in case is found, as browsers send lower case. Answers of its own
 * are short plain texts: 421 for a host that is not below `localhost`, which keeps web pages from reaching sandboxes
 * through a name of their own; 404 if the host names no port or no sandbox; 502 if the sandbox is not running, or
 * nothing listens on the port.
 *
 * Fails with `InvalidConfig`, which names `port`, if the port is in use. It keeps the process alive.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fn("SandboxProxy.make")(function* (
  options?: Options
): Effect.fn.Return<SandboxProxy, LightboxError, Microsandbox.Microsandbox | Scope.Scope> {
  const { port: wanted = 1355 } = yield* decode(options)
  const port = yield* serve(yield* Microsandbox.Microsandbox, "SandboxProxy.make", wanted)
  return printable(
    { port, urlOf: (guestPort: number, sandbox: string) => `http://${guestPort}-${sandbox}.localhost:${port}` },
    "SandboxProxy",
    () => ({ port })
  )
})
