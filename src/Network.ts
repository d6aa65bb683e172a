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
import type * as Plain from "./internal/config/plain.ts"
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
export type Action = Plain.NetworkAction

/**
 * The remote end of a rule: `"any"`, an address range (`cidr`), a `domain`, a
 * domain and all its subdomains (`domainSuffix`, with at least two parts, such as
 * `"example.com"`), or a group of addresses that the runtime defines.
 *
 * @category models
 * @since 0.1.0
 */
export type Destination = Plain.NetworkDestination

/**
 * A network rule. The first rule that matches decides.
 *
 * @category models
 * @since 0.1.0
 */
export type Rule = Plain.NetworkRule

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
export type Policy = Plain.NetworkPolicy

/**
 * A limit on traffic in one direction.
 *
 * @category models
 * @since 0.1.0
 */
export type RateLimit = Plain.RateLimit

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
export interface Dns extends Plain.DnsOptions {
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
export type Tls = Plain.TlsOptions

/**
 * Detailed network options.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options extends Plain.NetworkOptions<Dns> {}

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
export type SecretInjection = Plain.SecretInjection

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
export interface SecretInput extends Plain.SecretOptions {
  /** The secret itself, which the guest never sees. */
  readonly value: Redacted.Redacted<string>
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
