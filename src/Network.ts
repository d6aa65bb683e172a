/**
 * Network options of a sandbox: what it can reach, and what can reach it.
 *
 * The default is `"public"`: the guest reaches the internet and the host's DNS,
 * but neither private networks nor the host, and only published ports let
 * anything in.
 *
 * **Example** (Allowing one registry and nothing else)
 *
 * ```ts
 * import { Sandbox } from "effect-lightbox"
 *
 * export const sandbox = Sandbox.launch({
 *   snapshot: "node-ci",
 *   network: {
 *     policy: {
 *       egress: "deny",
 *       rules: [{ action: "allow", to: { domain: "packages.example.com" }, protocols: ["tcp"], ports: [443] }]
 *     }
 *   }
 * })
 * ```
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import type * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import {
  Cidr,
  CString,
  DomainName,
  DomainSuffix,
  HostPath,
  intBetween,
  Milliseconds,
  Nameserver,
  optionsSchema
} from "./internal/config/schemas.ts"

/**
 * The effect of a rule on the traffic that it matches.
 *
 * **Example** (Choosing)
 *
 * ```ts
 * import type { Network } from "effect-lightbox"
 *
 * export const action: Network.Action = "deny"
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export type Action = "allow" | "deny"

/**
 * The far end that a rule matches: everything, an address range, a domain with or
 * without its subdomains, or a group of addresses that the runtime knows.
 *
 * **Details**
 *
 * A `domainSuffix` has at least two parts: `"com"` would match every domain
 * below it.
 *
 * **Example** (Naming a domain and all below it)
 *
 * ```ts
 * import type { Network } from "effect-lightbox"
 *
 * export const to: Network.Destination = { domainSuffix: "example.com" }
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export type Destination =
  | "any"
  | { readonly cidr: string }
  | { readonly domain: string }
  | { readonly domainSuffix: string }
  | {
      readonly group: "public" | "private" | "loopback" | "link-local" | "metadata" | "multicast" | "host"
    }

/**
 * One rule. The first rule that matches decides.
 *
 * **Example** (Denying a range)
 *
 * ```ts
 * import type { Network } from "effect-lightbox"
 *
 * export const rule: Network.Rule = { action: "deny", to: { cidr: "10.0.0.0/8" } }
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export interface Rule {
  /** What happens to traffic that the rule matches. */
  readonly action: Action
  /** The far end. */
  readonly to: Destination
  /** The direction of the traffic. Default: `"egress"`. */
  readonly direction?: "egress" | "ingress" | "any" | undefined
  /** The protocols that match: `"tcp"`, `"udp"`, `"icmpv4"` or `"icmpv6"`. Default: any. */
  readonly protocols?: ReadonlyArray<"tcp" | "udp" | "icmpv4" | "icmpv6"> | undefined
  /** Ports of the far end, single or as inclusive ranges. Default: any. */
  readonly ports?: ReadonlyArray<number | { readonly from: number; readonly to: number }> | undefined
}

/**
 * Ordered rules, and defaults for traffic that matches none of them.
 *
 * **Example** (Everything but the private networks)
 *
 * ```ts
 * import type { Network } from "effect-lightbox"
 *
 * export const policy: Network.Policy = {
 *   egress: "allow",
 *   rules: [{ action: "deny", to: { group: "private" } }]
 * }
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export interface Policy {
  /** For traffic from the guest. Default: `"deny"`. DNS to the host stays possible. */
  readonly egress?: Action | undefined
  /** For traffic to the guest's published ports. Default: `"allow"`. */
  readonly ingress?: Action | undefined
  /** Default: none. */
  readonly rules?: ReadonlyArray<Rule> | undefined
}

/**
 * A limit on traffic in one direction.
 *
 * **Example** (One MiB a second)
 *
 * ```ts
 * import type { Network } from "effect-lightbox"
 *
 * export const limit: Network.RateLimit = { bytesPerSecond: 1_048_576 }
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export interface RateLimit {
  /** Default: unlimited. */
  readonly bytesPerSecond?: number | undefined
  /** Default: unlimited. */
  readonly packetsPerSecond?: number | undefined
}

/**
 * Network options of a sandbox: a policy by name (`"none"` has no network at
 * all), or everything in detail.
 *
 * **Example** (Publishing nothing, reaching nothing)
 *
 * ```ts
 * import type { Network } from "effect-lightbox"
 *
 * export const offline: Network.NetworkInput = "none"
 * ```
 *
 * @category options
 * @since 0.1.0
 */
export type NetworkInput = "none" | "public" | "all" | Options

/**
 * How the guest resolves names.
 *
 * @category options
 * @since 0.1.0
 */
export interface Dns {
  /** Addresses or names, with a port if it is not 53. Default: the host's name servers. */
  readonly nameservers?: ReadonlyArray<string> | undefined
  /** Refuse public names that resolve to private addresses. Default: `true`. */
  readonly rebindProtection?: boolean | undefined
  /** How long a query may take, in whole milliseconds. Default: 5 seconds. */
  readonly queryTimeout?: Duration.Input | undefined
}

/**
 * How the host intercepts TLS, which secrets and inspected rules need.
 *
 * @category options
 * @since 0.1.0
 */
export interface Tls {
  /** Hosts, or patterns such as `*.example.com`, that are not intercepted. Default: none. */
  readonly bypass?: ReadonlyArray<string> | undefined
  /** Check the certificates of the far end. Default: `true`. */
  readonly verifyUpstream?: boolean | undefined
  /** The ports that are intercepted. Default: `[443]`. */
  readonly interceptedPorts?: ReadonlyArray<number> | undefined
  /** Block QUIC, so that clients fall back to TLS over TCP. Default: the runtime's. */
  readonly blockQuic?: boolean | undefined
  /** Files of certificate authorities (PEM) on the host that may sign for far ends. Default: none. */
  readonly upstreamCaCerts?: ReadonlyArray<string> | undefined
  /** The authority (PEM files on the host) that signs for the guest. Default: one made for the sandbox. */
  readonly authority?: { readonly certificate: string; readonly key: string } | undefined
}

/**
 * Network options in detail.
 *
 * **Example** (Own name servers and a bandwidth limit)
 *
 * ```ts
 * import type { Network } from "effect-lightbox"
 *
 * export const options: Network.Options = {
 *   policy: "public",
 *   dns: { nameservers: ["9.9.9.9"], queryTimeout: "2 seconds" },
 *   rateLimit: { egress: { bytesPerSecond: 10_000_000 } }
 * }
 * ```
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /** What the guest can reach: `"none"`, `"public"`, `"all"`, or rules. Default: `"public"`. */
  readonly policy?: "none" | "public" | "all" | Policy | undefined
  /** How names are resolved. Default: by the host's name servers. */
  readonly dns?: Dns | undefined
  /** How TLS is intercepted. Default: not at all, unless there are secrets. */
  readonly tls?: Tls | undefined
  /** Connections at the same time, up to 4096. Default: the runtime's. */
  readonly maxConnections?: number | undefined
  /** Let rules that name hosts match only where the host name can be inspected. Default: `false`. */
  readonly strict?: boolean | undefined
  /** Trust the host's own certificate authorities in the guest. Default: `false`. */
  readonly trustHostCas?: boolean | undefined
  /** Limits on traffic, by direction. Default: unlimited. */
  readonly rateLimit?: { readonly egress?: RateLimit | undefined; readonly ingress?: RateLimit | undefined } | undefined
}

const ActionSchema = Schema.Literals(["allow", "deny"])

const Port = intBetween(0, 65535)

const DestinationSchema = optionsSchema<Destination>()(
  Schema.Union([
    Schema.Literal("any"),
    Schema.Struct({ cidr: Cidr }),
    Schema.Struct({ domain: DomainName }),
    Schema.Struct({ domainSuffix: DomainSuffix }),
    Schema.Struct({
      group: Schema.Literals(["public", "private", "loopback", "link-local", "metadata", "multicast", "host"])
    })
  ])
)

const RuleSchema = optionsSchema<Rule>()(
  Schema.Struct({
    action: ActionSchema,
    to: DestinationSchema,
    direction: Schema.optional(Schema.Literals(["egress", "ingress", "any"])),
    protocols: Schema.optional(Schema.Array(Schema.Literals(["tcp", "udp", "icmpv4", "icmpv6"]))),
    ports: Schema.optional(
      Schema.Array(
        Schema.Union([
          Port,
          Schema.Struct({ from: Port, to: Port }).check(
            Schema.makeFilter(({ from, to }) =>
              from <= to ? undefined : { path: ["from"], issue: "expected `from` <= `to`" }
            )
          )
        ])
      )
    )
  })
).check(
  Schema.makeFilter((rule) =>
    (rule.direction === "ingress" || rule.direction === "any") &&
    rule.protocols?.some((protocol) => protocol.startsWith("icmp"))
      ? { path: ["protocols"], issue: "ICMP is only allowed in egress rules" }
      : undefined
  )
)

const RateLimitSchema = optionsSchema<RateLimit>()(
  Schema.Struct({
    bytesPerSecond: Schema.optional(intBetween(1, Number.MAX_SAFE_INTEGER)),
    packetsPerSecond: Schema.optional(intBetween(1, Number.MAX_SAFE_INTEGER))
  })
)

const PolicyName = Schema.Literals(["none", "public", "all"])

const PolicySchema = optionsSchema<Policy>()(
  Schema.Struct({
    egress: Schema.optional(ActionSchema),
    ingress: Schema.optional(ActionSchema),
    rules: Schema.optional(Schema.Array(RuleSchema))
  })
)

const Detailed = optionsSchema<Options>()(
  Schema.Struct({
    policy: Schema.optional(Schema.Union([PolicyName, PolicySchema])),
    dns: Schema.optional(
      optionsSchema<Dns>()(
        Schema.Struct({
          nameservers: Schema.optional(Schema.Array(Nameserver)),
          rebindProtection: Schema.optional(Schema.Boolean),
          queryTimeout: Schema.optional(Milliseconds)
        })
      )
    ),
    tls: Schema.optional(
      optionsSchema<Tls>()(
        Schema.Struct({
          bypass: Schema.optional(Schema.Array(Schema.NonEmptyString)),
          verifyUpstream: Schema.optional(Schema.Boolean),
          interceptedPorts: Schema.optional(Schema.Array(intBetween(1, 65535))),
          blockQuic: Schema.optional(Schema.Boolean),
          upstreamCaCerts: Schema.optional(Schema.Array(HostPath)),
          authority: Schema.optional(Schema.Struct({ certificate: HostPath, key: HostPath }))
        })
      )
    ),
    maxConnections: Schema.optional(intBetween(1, 4096)),
    strict: Schema.optional(Schema.Boolean),
    trustHostCas: Schema.optional(Schema.Boolean),
    rateLimit: Schema.optional(
      Schema.Struct({ egress: Schema.optional(RateLimitSchema), ingress: Schema.optional(RateLimitSchema) })
    )
  })
)

/**
 * The schema of network options.
 *
 * **Example** (Reading options from a file)
 *
 * ```ts
 * import { Schema } from "effect"
 * import { Network } from "effect-lightbox"
 *
 * export const decode = Schema.decodeUnknownEffect(Network.Network)
 * ```
 *
 * @category schemas
 * @since 0.1.0
 */
export const Network = Schema.Union([PolicyName, Detailed])

/**
 * Checked network options.
 *
 * **Example** (Asking whether there is any network)
 *
 * ```ts
 * import type { Network } from "effect-lightbox"
 *
 * export const isOffline = (network: Network.Network): boolean => network === "none"
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export type Network = typeof Network.Type

/**
 * The parts of a request to one of its hosts in which a secret is put.
 *
 * **Example** (Headers and queries)
 *
 * ```ts
 * import type { Network } from "effect-lightbox"
 *
 * export const injection: Network.SecretInjection = { headers: true, query: true }
 * ```
 *
 * @category options
 * @since 0.1.0
 */
export interface SecretInjection {
  /** Default: `true`. */
  readonly headers?: boolean | undefined
  /** Default: `true`. */
  readonly basicAuth?: boolean | undefined
  /** Default: `false`. */
  readonly query?: boolean | undefined
  /** Default: `false`. */
  readonly body?: boolean | undefined
}

/**
 * A secret that the guest can use without seeing it: its environment holds a
 * placeholder, which the host replaces in TLS requests to the allowed hosts.
 *
 * **Gotchas**
 *
 * The runtime keeps the value in its database on the host while the sandbox
 * exists. Guard the home directory accordingly.
 *
 * **Example** (A key for one service)
 *
 * ```ts
 * import { Redacted } from "effect"
 * import { Sandbox } from "effect-lightbox"
 *
 * export const launch = (key: Redacted.Redacted<string>) =>
 *   Sandbox.launch({
 *     snapshot: "agents",
 *     secrets: { SERVICE_API_KEY: { value: key, hosts: ["api.example.com"] } }
 *   })
 * ```
 *
 * @category options
 * @since 0.1.0
 */
export interface SecretInput {
  /** The value. */
  readonly value: Redacted.Redacted<string>
  /** The hosts that may receive the value, or patterns such as `*.example.com`. At least one. */
  readonly hosts: ReadonlyArray<string>
  /** What the guest sees instead. Default: a generated text. */
  readonly placeholder?: string | undefined
  /** Where the placeholder is replaced. Default: in headers and basic authentication. */
  readonly inject?: SecretInjection | undefined
  /** Replace only where the host's TLS identity was checked. Default: `true`. */
  readonly requireTls?: boolean | undefined
}

/**
 * The schema of one secret.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Secret = optionsSchema<SecretInput>()(
  Schema.Struct({
    value: Schema.Redacted(CString),
    hosts: Schema.Array(Schema.NonEmptyString).check(
      Schema.makeFilter((hosts) => (hosts.length > 0 ? undefined : "pass at least one host"))
    ),
    placeholder: Schema.optional(Schema.NonEmptyString),
    inject: Schema.optional(
      optionsSchema<SecretInjection>()(
        Schema.Struct({
          headers: Schema.optional(Schema.Boolean),
          basicAuth: Schema.optional(Schema.Boolean),
          query: Schema.optional(Schema.Boolean),
          body: Schema.optional(Schema.Boolean)
        })
      )
    ),
    requireTls: Schema.optional(Schema.Boolean)
  })
)
