/** Ports of this host that lead into a guest, for programs that use promises. No declaration may mention a type of Effect. */
// @effect-diagnostics asyncFunction:off
import * as Schema from "effect/Schema"
import type * as Sandboxes from "../../Sandbox.ts"
import { Address, HostPort, optionsStruct, Port } from "../config/schemas.ts"
import { printable } from "../report/printable.ts"
import { callFields, checked } from "./input.ts"
import type { CallOptions } from "./options.ts"
import { type OpenScope, run } from "./runtime.ts"

/**
 * Options of `Sandbox.forward`.
 *
 * @category options
 * @since 0.1.0
 */
export interface ForwardOptions extends CallOptions {
  /** Port of this host. Default: 0, a free port. */
  readonly host?: number | undefined
  /** Address of this host to listen on. Default: `"127.0.0.1"`. */
  readonly bind?: string | undefined
}

/**
 * A port of this host that is forwarded to a port of the guest, until it is closed, at the end of an `await using`
 * block, or with its sandbox.
 *
 * **Example** (Ask a server in the guest)
 *
 * ```ts
 * import type { Sandbox } from "effect-lightbox/promise"
 *
 * export const ask = async (sb: Sandbox): Promise<string> => {
 *   await using web = await sb.forward(3000)
 *   return await (await fetch(web.url)).text()
 * }
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export class Forward implements AsyncDisposable {
  /** Port of the guest. */
  readonly guest: number
  /** Port of this host. */
  readonly host: number
  /** Address of this host. */
  readonly bind: string
  /** The address as an `http://` URL. */
  readonly url: string
  readonly #held: OpenScope

  /** @internal */
  constructor(forward: Sandboxes.Forward, held: OpenScope) {
    this.guest = forward.guest
    this.host = forward.host
    this.bind = forward.bind
    this.url = forward.url
    this.#held = held
    void run(forward.closed, undefined).then(held.release, held.release)
  }
  /** Stops listening and closes all connections. */
  async close(): Promise<void> {
    await this.#held.close()
  }
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#held.close()
  }
}

printable(Forward.prototype, "Forward", ({ bind, guest, host, url }) => ({ guest, host, bind, url }))

/** @internal */
export const decodeForward = checked(
  "Sandbox.forward",
  Schema.Struct({ guestPort: Port }),
  optionsStruct<ForwardOptions>()({ ...callFields, host: Schema.optional(HostPort), bind: Schema.optional(Address) })
)
