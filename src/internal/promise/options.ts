/// <reference lib="esnext.disposable" preserve="true" />

import type * as Snapshots from "../../Snapshot.ts"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import type * as SchemaAST from "effect/SchemaAST"
import * as SchemaIssue from "effect/SchemaIssue"
import * as SchemaParser from "effect/SchemaParser"
import * as Networks from "../../Network.ts"
import type * as Plain from "../config/plain.ts"
import { CString, failed, HostPath, Millis, optionsStruct, recordOf } from "../config/schemas.ts"

/**
 * Options of every function.
 *
 * @category options
 * @since 0.1.0
 */
export interface CallOptions {
  /** Stops the call, cleans up, and rejects with the signal's reason. Default: none. */
  readonly signal?: AbortSignal | undefined
}

/**
 * Options of functions that read a file of the guest.
 *
 * @category options
 * @since 0.1.0
 */
export interface FsReadOptions extends CallOptions {
  /** Rejects when there is more than this, in bytes or as a size such as `"1 GiB"`. */
  readonly maxBytes?: number | Plain.Size | undefined
}

/**
 * Detailed network options of a sandbox: rules, DNS, TLS interception and limits.
 *
 * **Example** (Allow one registry and nothing else)
 *
 * ```ts
 * import type { NetworkOptions } from "effect-lightbox/promise"
 *
 * export const network: NetworkOptions = {
 *   policy: {
 *     egress: "deny",
 *     rules: [{ action: "allow", to: { domain: "packages.example.com" }, protocols: ["tcp"], ports: [443] }]
 *   }
 * }
 * ```
 *
 * @category options
 * @since 0.1.0
 */
export interface NetworkOptions extends Plain.NetworkOptions<
  Plain.DnsOptions & {
    /** Time limit for a query, in whole milliseconds. Default: 5,000. */
    readonly queryTimeoutMs?: number | undefined
  }
> {}

/**
 * Access to the network: `"none"`, `"public"` (the internet), `"all"`, or details.
 *
 * @category options
 * @since 0.1.0
 */
export type Network = "none" | "public" | "all" | NetworkOptions

/**
 * A secret that the guest uses without seeing it: its environment holds a placeholder, which this host replaces in TLS
 * requests to the `hosts`.
 *
 * @category options
 * @since 0.1.0
 */
export interface Secret extends Plain.SecretOptions {
  /** The secret itself, which the guest never sees. */
  readonly value: string
}

/**
 * Options for pulling from a registry.
 *
 * @category options
 * @since 0.1.0
 */
export interface Registry {
  /** Requires `password`. Default: no login. */
  readonly username?: string | undefined
  /** A password or token. Requires `username`. */
  readonly password?: string | undefined
  /** Use HTTP without TLS. Default: `false`. */
  readonly insecure?: boolean | undefined
  /** A PEM file of certificate authorities on this host. Default: those of the system. */
  readonly caCerts?: string | undefined
}

/** Reads times in milliseconds under the names of this API, and leaves the rest to the schema of the core. */
const decodeNetwork = SchemaParser.decodeUnknownEffect(Networks.Network)
const decodeDns = SchemaParser.decodeUnknownEffect(Schema.Struct({ queryTimeoutMs: Schema.optional(Millis) }))

const checkedNetwork = (
  input: unknown,
  options: SchemaAST.ParseOptions
): Effect.Effect<Networks.Network, SchemaIssue.Issue> =>
  Effect.gen(function* () {
    if (!Predicate.isObject(input)) return yield* decodeNetwork(input, options)
    const dns: unknown = Reflect.get(input, "dns")
    if (!Predicate.isObject(dns)) return yield* decodeNetwork(input, options)
    const { queryTimeoutMs, ...rest } = dns
    const at = <A>(field: string, effect: Effect.Effect<A, SchemaIssue.Issue>) =>
      Effect.mapError(effect, (issue) => new SchemaIssue.Pointer(["dns", field], issue))
    if ("queryTimeout" in rest) return yield* at("queryTimeout", failed("unknown option"))
    const times = yield* Effect.mapError(
      decodeDns({ queryTimeoutMs }, options),
      (issue) => new SchemaIssue.Pointer(["dns"], issue)
    )
    return yield* decodeNetwork({ ...input, dns: { ...rest, queryTimeout: times.queryTimeoutMs } }, options)
  })

/** @internal */
export const NetworkSchema = Schema.declareConstructor<Networks.Network, Network>()(
  [],
  () => (input, _ast, options) => checkedNetwork(input, options)
)

/** @internal */
export const RegistrySchema = optionsStruct<Registry>()({
  username: Schema.optional(Schema.NonEmptyString),
  password: Schema.optional(Schema.String),
  insecure: Schema.optional(Schema.Boolean),
  caCerts: Schema.optional(HostPath)
})

/** @internal */
export const registryOf = (registry: typeof RegistrySchema.Type | undefined) =>
  registry && {
    ...registry,
    password: registry.password === undefined ? undefined : Redacted.make(registry.password)
  }

const { hosts, inject, placeholder, requireTls } = Networks.Secret.fields

const SecretSchema = optionsStruct<Secret>()({ value: CString, hosts, inject, placeholder, requireTls })

/** @internal */
export const SecretsSchema = recordOf(SecretSchema, (name) =>
  /^[A-Za-z_][A-Za-z0-9_]*$/.test(name) ? undefined : "expected the name of an environment variable"
)

const definitions = new WeakMap<Dockerfile, Snapshots.Definition>()

/**
 * A Dockerfile that {@link fromDockerfile} has read.
 *
 * @category models
 * @since 0.1.0
 */
export class Dockerfile {
  /** File and line of the stage that is built. */
  readonly declaredAt: string

  /** @internal */
  constructor(definition: Snapshots.Definition) {
    this.declaredAt = definition.declaredAt ?? ""
    definitions.set(this, definition)
  }
}

/** @internal */
export const definitionIn = (dockerfile: Dockerfile): Snapshots.Definition | undefined => definitions.get(dockerfile)

/** @internal */
export const isDockerfile = (u: unknown): u is Dockerfile => u instanceof Dockerfile && definitions.has(u)
