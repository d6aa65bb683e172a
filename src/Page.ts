/**
 * Serves the page of `lightbox ui`: builds, sandboxes, snapshots, volumes and the state of this machine, live in a browser.
 *
 * Import it as `effect-lightbox/Page`. `lightbox ui` is the same as a command.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type { Services } from "./Driver.ts"
import { HostPort } from "./internal/config/schemas.ts"
import { optionsDecoder } from "./internal/config/validation.ts"
import * as internal from "./internal/page/server.ts"
import type { LightboxError } from "./LightboxError.ts"

/**
 * Options of {@link serve}.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /** Port of this host; 0 is a free one. Default: 0. */
  readonly port?: number | undefined
}

/**
 * A page that is served.
 *
 * @category models
 * @since 0.1.0
 */
export interface Page {
  /** Port of this host. */
  readonly port: number
  /**
   * The link to open in a browser. It works once: whoever opens it first can use the page. Its host, which is another one each
   * time, ends with `.localhost`: browsers find it on this machine, other programs may not.
   */
  readonly url: string
}

const decode = optionsDecoder("Page.serve", Schema.Struct({ port: Schema.optional(HostPort) }))

/**
 * Serves the page on 127.0.0.1 until the scope closes.
 *
 * The link has a token that works once, and a host of its own. It opens a session for that browser, which ends with the
 * scope. Requests under another host (also `127.0.0.1`) or from another site are refused, as are all that do not belong to
 * the session. Whoever has the session
 * can do what this program can: run commands in sandboxes, read their files, and stop them.
 *
 * Several tabs can be open, up to 32. Shells and forwarded ports of a tab end with it. Fails with `InvalidConfig`, which
 * names `port`, if the port is in use. It keeps the process alive.
 *
 * **Example** (Watching what a program does)
 *
 * ```ts
 * import { Console, Effect } from "effect"
 * import { Sandbox } from "effect-lightbox"
 * import * as Page from "effect-lightbox/Page"
 *
 * export const program = Effect.gen(function* () {
 *   const { url } = yield* Page.serve()
 *   yield* Console.log(url)
 *   const sandbox = yield* Sandbox.launch({ image: "alpine", name: "worker" })
 *   yield* sandbox.shell("sleep 60")
 * }).pipe(Effect.scoped)
 * ```
 *
 * @category operations
 * @since 0.1.0
 */
export const serve = Effect.fn("Page.serve")(function* (
  options?: Options
): Effect.fn.Return<Page, LightboxError, Services | Scope.Scope> {
  const { port = 0 } = yield* decode(options)
  return yield* internal.serve("Page.serve", port)
})
