/** Ports of this host that lead into a guest, for programs that use promises. No declaration may mention a type of Effect. */
// @effect-diagnostics asyncFunction:off
import * as Schema from "effect/Schema"
import type * as Sandboxes from "../../Sandbox.ts"
import * as Proxies from "../../SandboxProxy.ts"
import { Address, HostPort, optionsStruct, Port } from "../config/schemas.ts"
import { printable } from "../report/printable.ts"
import { callFields, checked, None } from "./input.ts"
import type { CallOptions } from "./options.ts"
import { acquire, type OpenScope, run } from "./runtime.ts"

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

/**
 * Options of `startProxy`.
 *
 * @category options
 * @since 0.1.0
 */
export interface ProxyOptions extends CallOptions {
  /** Port of this host; 0 is a free one. Default: 1355. */
  readonly port?: number | undefined
}

/**
 * A preview proxy, until it is closed or at the end of an `await using` block.
 *
 * @category models
 * @since 0.1.0
 */
export class SandboxProxy implements AsyncDisposable {
  /** Port of this host. */
  readonly port: number
  readonly #source: Proxies.SandboxProxy
  readonly #held: OpenScope

  /** @internal */
  constructor(source: Proxies.SandboxProxy, held: OpenScope) {
    this.port = source.port
    this.#source = source
    this.#held = held
  }
  /** Returns the URL of a port of a sandbox. */
  urlOf(guestPort: number, sandbox: string): string {
    return this.#source.urlOf(guestPort, sandbox)
  }
  /** Stops listening and closes all connections. */
  async close(): Promise<void> {
    await this.#held.close()
  }
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#held.close()
  }
}

printable(SandboxProxy.prototype, "SandboxProxy", ({ port }) => ({ port }))

const decodeProxy = checked(
  "startProxy",
  None,
  optionsStruct<ProxyOptions>()({ ...callFields, port: Schema.optional(HostPort) })
)

/**
 * Serves `http://PORT-NAME.localhost:1355` for all running sandboxes, on 127.0.0.1: port `PORT` of the sandbox `NAME`.
 * Reaches servers that listen only on the guest's own 127.0.0.1, WebSockets included. Answers 421 for other hosts, 404
 * if there is no such sandbox, and 502 if it is not running or nothing listens. Keeps the process alive.
 *
 * Rejects with `InvalidConfig`, which names `port`, if the port is in use.
 *
 * **Gotchas**
 *
 * Browsers and curl resolve all names below `localhost` themselves. On some systems, other programs, Node.js included,
 * have to connect to 127.0.0.1 and send the name as `Host`.
 *
 * **Example** (Print the address of a development server)
 *
 * ```ts
 * import { startProxy } from "effect-lightbox/promise"
 *
 * const proxy = await startProxy()
 * console.log(proxy.urlOf(3000, "web")) // http://3000-web.localhost:1355
 * ```
 *
 * @category operations
 * @since 0.1.0
 */
export const startProxy = async (options?: ProxyOptions): Promise<SandboxProxy> => {
  const { port, signal } = decodeProxy({}, options)
  return await acquire(Proxies.make({ port }), (source, held) => new SandboxProxy(source, held), { signal })
}
