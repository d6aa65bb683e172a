/**
 * Network options of a sandbox: what it can reach, and what can reach it.
 *
 * By default (`"public"`), the guest reaches the internet and the host's DNS, but
 * neither private networks nor the host. Only published ports are reachable from
 * outside.
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
  optionsSchema,
  optionsStruct
} from "./internal/config/schemas.ts"

/**
 * The effect of a rule on matching traffic.
 *
 * @category models
 * @since 0.1.0
 */
export type Action = "allow" | "deny"

/**
 * The remote end of a rule: `"any"`, an address range (`cidr`), a `domain`, a
 * domain and all its subdomains (`domainSuffix`, with at least two parts, such as
 * `"example.com"`), or a group of addresses that the runtime defines.
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
 * A network rule. The first rule that matches decides.
 *
 * @category models
 * @since 0.1.0
 */
export interface Rule {
  readonly action: Action
  /** The remote end. */
  readonly to: Destination
  /** Default: `"egress"`. */
  readonly direction?: "egress" | "ingress" | "any" | undefined
  /** Default: any. */
  readonly protocols?: ReadonlyArray<"tcp" | "udp" | "icmpv4" | "icmpv6"> | undefined
  /** Ports of the remote end, single or as inclusive ranges. Default: any. */
  readonly ports?: ReadonlyArray<number | { readonly from: number; readonly to: number }> | undefined
}

/**
 * Ordered rules, and defaults for traffic that matches none of them.
 *
 * **Example** (Everything except private networks)
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
  /** For traffic from the guest that no rule matches. Default: `"deny"`; DNS to the host still works. */
  readonly egress?: Action | undefined
  /** For traffic to published ports that no rule matches. Default: `"allow"`. */
  readonly ingress?: Action | undefined
  /** Default: none. */
  readonly rules?: ReadonlyArray<Rule> | undefined
}

/**
 * A limit on traffic in one direction.
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
 * Network options of a sandbox: a policy by name (`"none"`: no network at all), or
 * details.
 *
 * @category options
 * @since 0.1.0
 */
export type NetworkInput = "none" | "public" | "all" | Options

/**
 * DNS options of the guest.
 *
 * @category options
 * @since 0.1.0
 */
export interface Dns {
  /** Addresses or names, optionally with a port (default: 53). Default: the host's name servers. */
  readonly nameservers?: ReadonlyArray<string> | undefined
  /** Refuse public names that resolve to private addresses. Default: `true`. */
  readonly rebindProtection?: boolean | undefined
  /** Time limit for a query, in whole milliseconds. Default: 5 seconds. */
  readonly queryTimeout?: Duration.Input | undefined
}

/**
 * TLS interception by the host. Secrets, and rules that inspect host names, need
 * it.
 *
 * @category options
 * @since 0.1.0
 */
export interface Tls {
  /** Hosts, or patterns such as `*.example.com`, to exclude. Default: none. */
  readonly bypass?: ReadonlyArray<string> | undefined
  /** Verify certificates of the remote end. Default: `true`. */
  readonly verifyUpstream?: boolean | undefined
  /** Ports to intercept. Default: `[443]`. */
  readonly interceptedPorts?: ReadonlyArray<number> | undefined
  /** Block QUIC, so that clients fall back to TLS over TCP. Default: the runtime's. */
  readonly blockQuic?: boolean | undefined
  /** PEM files on the host with additional certificate authorities for remote ends. Default: none. */
  readonly upstreamCaCerts?: ReadonlyArray<string> | undefined
  /**
   * The certificate authority that signs for the guest, as PEM files on the host. Default: generated for the sandbox.
   */
  readonly authority?: { readonly certificate: string; readonly key: string } | undefined
}

/**
 * Detailed network options.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /** `"none"`, `"public"`, `"all"`, or rules. Default: `"public"`. */
  readonly policy?: "none" | "public" | "all" | Policy | undefined
  /** DNS options. Default: use the host's name servers. */
  readonly dns?: Dns | undefined
  /** TLS interception. Default: off, unless there are secrets. */
  readonly tls?: Tls | undefined
  /** Concurrent connections, 1 to 4096. Default: the runtime's. */
  readonly maxConnections?: number | undefined
  /** Apply rules that name hosts only where the host name can be inspected. Default: `false`. */
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

const RuleSchema = optionsStruct<Rule>()({
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
}).check(
  Schema.makeFilter((rule) =>
    (rule.direction === "ingress" || rule.direction === "any") &&
    rule.protocols?.some((protocol) => protocol.startsWith("icmp"))
      ? { path: ["protocols"], issue: "ICMP is only allowed in egress rules" }
      : undefined
  )
)

const RateLimitSchema = optionsStruct<RateLimit>()({
  bytesPerSecond: Schema.optional(intBetween(1, Number.MAX_SAFE_INTEGER)),
  packetsPerSecond: Schema.optional(intBetween(1, Number.MAX_SAFE_INTEGER))
})

const PolicyName = Schema.Literals(["none", "public", "all"])

const PolicySchema = optionsStruct<Policy>()({
  egress: Schema.optional(ActionSchema),
  ingress: Schema.optional(ActionSchema),
  rules: Schema.optional(Schema.Array(RuleSchema))
})

const Detailed = optionsStruct<Options>()({
  policy: Schema.optional(Schema.Union([PolicyName, PolicySchema])),
  dns: Schema.optional(
    optionsStruct<Dns>()({
      nameservers: Schema.optional(Schema.Array(Nameserver)),
      rebindProtection: Schema.optional(Schema.Boolean),
      queryTimeout: Schema.optional(Milliseconds)
    })
  ),
  tls: Schema.optional(
    optionsStruct<Tls>()({
      bypass: Schema.optional(Schema.Array(Schema.NonEmptyString)),
      verifyUpstream: Schema.optional(Schema.Boolean),
      interceptedPorts: Schema.optional(Schema.Array(intBetween(1, 65535))),
      blockQuic: Schema.optional(Schema.Boolean),
      upstreamCaCerts: Schema.optional(Schema.Array(HostPath)),
      authority: Schema.optional(Schema.Struct({ certificate: HostPath, key: HostPath }))
    })
  ),
  maxConnections: Schema.optional(intBetween(1, 4096)),
  strict: Schema.optional(Schema.Boolean),
  trustHostCas: Schema.optional(Schema.Boolean),
  rateLimit: Schema.optional(
    Schema.Struct({ egress: Schema.optional(RateLimitSchema), ingress: Schema.optional(RateLimitSchema) })
  )
})

/**
 * The schema of network options.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Network = Schema.Union([PolicyName, Detailed])

/**
 * Checked network options.
 *
 * @category models
 * @since 0.1.0
 */
export type Network = typeof Network.Type

/**
 * The parts of a request in which the placeholder of a secret is replaced.
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
 * A secret that the guest uses without seeing it: its environment contains a
 * placeholder, which the host replaces in TLS requests to the allowed hosts.
 *
 * **Gotchas**
 *
 * The runtime stores the value in clear text in its database, `db/msb.db` in the
 * home. It stays readable there after the sandbox is removed, until the space is
 * reused. The guide on security says how to erase it.
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
  readonly value: Redacted.Redacted<string>
  /** Hosts that may receive the value, or patterns such as `*.example.com`. At least one. */
  readonly hosts: ReadonlyArray<string>
  /** The value that the guest sees. Default: generated. */
  readonly placeholder?: string | undefined
  /** Where to replace the placeholder. Default: in headers and basic authentication. */
  readonly inject?: SecretInjection | undefined
  /** Replace only after verifying the host's TLS identity. Default: `true`. */
  readonly requireTls?: boolean | undefined
}

/**
 * The schema of {@link SecretInput}.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Secret = optionsStruct<SecretInput>()({
  value: Schema.Redacted(CString),
  hosts: Schema.Array(Schema.NonEmptyString).check(
    Schema.makeFilter((hosts) => (hosts.length > 0 ? undefined : "pass at least one host"))
  ),
  placeholder: Schema.optional(Schema.NonEmptyString),
  inject: Schema.optional(
    optionsStruct<SecretInjection>()({
      headers: Schema.optional(Schema.Boolean),
      basicAuth: Schema.optional(Schema.Boolean),
      query: Schema.optional(Schema.Boolean),
      body: Schema.optional(Schema.Boolean)
    })
  ),
  requireTls: Schema.optional(Schema.Boolean)
})
