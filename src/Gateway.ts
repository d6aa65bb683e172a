/**
 * Puts the driver of this program behind an authenticated gateway, so that programs
 * on other machines can use it with `MicrosandboxRemote`.
 *
 * Import it as `effect-lightbox/Gateway`. `lightbox host` is the same as a command.
 *
 * @since 0.1.0
 */
import * as Config from "effect/Config"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type { Services } from "./Driver.ts"
import {
  Address,
  Bytes,
  defaultBind,
  DurationInput,
  HostPath,
  HostPort,
  HostUrl,
  intBetween,
  Labels,
  Name,
  withoutSlash
} from "./internal/config/schemas.ts"
import { decoder, invalid } from "./internal/config/validation.ts"
import { DirectoryUrl, redacted } from "./internal/directory/url.ts"
import { cronOf, defaultOlderThan } from "./internal/fleet/keeper.ts"
import * as internal from "./internal/gateway/server.ts"
import * as Tokens from "./internal/gateway/tokens.ts"
import type { LightboxError } from "./LightboxError.ts"
import type { Size } from "./SandboxConfig.ts"

/**
 * A bearer token, and what it allows.
 *
 * @category models
 * @since 0.1.0
 */
export interface Token {
  /** Names the token in logs and errors. Default: `"default"`. */
  readonly name?: string | undefined
  /** At least 16 characters of ASCII, without spaces. */
  readonly token: Redacted.Redacted<string>
  /**
   * `"read"`: list and look at everything, and pull snapshots. `"write"`: also change everything, use guests, and have
   * this machine ask registries. Default: both.
   */
  readonly scopes?: ReadonlyArray<"read" | "write"> | undefined
}

/**
 * Options of {@link serve}.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /** Whoever has one of them may use the host. At least one is needed. */
  readonly tokens: ReadonlyArray<Token>
  /** 0: a free one. Default: 7400. */
  readonly port?: number | undefined
  /** Address to listen on. Others than those of this machine only need TLS, or `insecure`. Default: `"127.0.0.1"`. */
  readonly bind?: string | undefined
  /** Files with a certificate and its key, in PEM. Default: no TLS. */
  readonly tls?: { readonly certificate: string; readonly key: string } | undefined
  /** Send tokens and data unencrypted through the network. Default: `false`. */
  readonly insecure?: boolean | undefined
  /**
   * Folders of this machine that clients may mount and read, with everything below them. Default: none.
   */
  readonly allowMounts?: ReadonlyArray<string> | undefined
  /**
   * How long a client may be silent before what belongs to its scopes is removed, at least a second. Default: 30 seconds.
   */
  readonly lease?: Duration.Input | undefined
  /** Limit of the archives that clients send. Default: `"64G"`. */
  readonly maxUpload?: Size | undefined
  /** Make this machine a host of a fleet, which programs use with `MicrosandboxFleet`. Default: none. */
  readonly directory?: Membership | undefined
}

/**
 * How a host takes part in a fleet.
 *
 * @category options
 * @since 0.1.0
 */
export interface Membership {
  /**
   * The directory: the path of an SQLite file for hosts on one machine, or a URL such as
   * `postgres://lightbox@db.example.com/fleet`, which needs the package `@effect/sql-pg`.
   */
  readonly url: string | Redacted.Redacted<string>
  /** The URL at which programs reach this host. Default: the one that it listens at. */
  readonly address?: string | undefined
  /** What programs can ask for, such as `{ zone: "eu" }`. Default: none. */
  readonly labels?: { readonly [name: string]: string } | undefined
  /**
   * The host takes no more sandboxes of the fleet once `count` boots failed in a row `within` this time. Default: 5 within
   * 10 minutes.
   */
  readonly bootFailures?:
    | { readonly count?: number | undefined; readonly within?: Duration.Input | undefined }
    | undefined
  /**
   * How many jobs of the fleet this host conducts at once, 0 to 1000; see `effect-lightbox/Fleet`. Their sandboxes are placed
   * like all others, with the first token that may write, which all hosts must accept. 0: none. Default: 16.
   */
  readonly jobs?: number | undefined
  /**
   * Have one host of the fleet prune results that no name needs. `cron` says when, in UTC, such as `"0 3 * * *"`. Results
   * that were used within `olderThan` are kept (default: 7 days). It needs a token that may write. Default: never.
   */
  readonly prune?: { readonly cron: string; readonly olderThan?: Duration.Input | undefined } | undefined
}

/**
 * Where a gateway listens.
 *
 * @category models
 * @since 0.1.0
 */
export interface Listening {
  readonly port: number
  /** What clients pass as `url`. */
  readonly url: string
  /** The id of this host in the directory of its fleet. It stays the same as long as the home exists. */
  readonly host: string | undefined
}

const decodeOptions = decoder(
  Schema.Struct({
    tokens: Schema.Array(
      Schema.Struct({
        name: Schema.optional(Name),
        token: Tokens.TokenText,
        scopes: Schema.optional(Tokens.Scopes)
      })
    ).check(Schema.makeFilter((tokens) => (tokens.length > 0 ? undefined : "expected at least one token"))),
    port: Schema.optional(HostPort),
    bind: Schema.optional(Address),
    tls: Schema.optional(Schema.Struct({ certificate: HostPath, key: HostPath })),
    insecure: Schema.optional(Schema.Boolean),
    allowMounts: Schema.optional(Schema.Array(HostPath)),
    lease: Schema.optional(
      DurationInput.check(
        Schema.makeFilter((lease) =>
          Duration.isGreaterThanOrEqualTo(lease, Duration.seconds(1)) ? undefined : "expected at least a second"
        )
      )
    ),
    maxUpload: Schema.optional(Bytes),
    directory: Schema.optional(
      Schema.Struct({
        url: DirectoryUrl,
        address: Schema.optional(HostUrl),
        labels: Schema.optional(Labels),
        bootFailures: Schema.optional(
          Schema.Struct({ count: Schema.optional(intBetween(1, 1_000_000)), within: Schema.optional(DurationInput) })
        ),
        jobs: Schema.optional(intBetween(0, 1000)),
        prune: Schema.optional(
          Schema.Struct({
            cron: Schema.String.check(
              Schema.makeFilter((text) =>
                cronOf(text) === undefined ? 'expected a schedule such as "0 3 * * *"' : undefined
              )
            ),
            olderThan: Schema.optional(DurationInput)
          })
        )
      })
    )
  }),
  "Gateway.serve"
)

const defaultPort = 7400

const gibibyte = 1024 * 1024 * 1024

/**
 * Serves the driver until the scope closes.
 *
 * Sandboxes, images, snapshots, volumes, logs and metrics are served over HTTP, and
 * connections to guests over WebSockets. Below `/v2/`, its snapshots are a read-only
 * registry, from which other hosts pull. A request without a token is refused. On
 * the addresses of this machine only, so are requests that name another host, and
 * pages of browsers.
 *
 * A client renews its lease while it lives. If it does not, its sandboxes are
 * removed as if its process had died here; detached ones are kept. When the scope
 * closes, the same happens to all clients. All clients together have the budget of
 * this program.
 *
 * Fails with `InvalidConfig` naming a wrong option, such as `bind` for an address
 * that others reach, without TLS.
 *
 * **Example** (Serving this machine)
 *
 * ```ts
 * import { Config, Console, Effect } from "effect"
 * import { Lightbox, MicrosandboxLocal } from "effect-lightbox"
 * import * as Gateway from "effect-lightbox/Gateway"
 *
 * const program = Effect.gen(function* () {
 *   const token = yield* Config.Redacted("LIGHTBOX_TOKEN")
 *   const { url } = yield* Gateway.serve({ tokens: [{ token }] })
 *   yield* Console.log(`Serving ${url}`)
 *   return yield* Effect.never
 * })
 *
 * program.pipe(Effect.scoped, Effect.provide(MicrosandboxLocal.layer()), Lightbox.runMain())
 * ```
 *
 * @category operations
 * @since 0.1.0
 */
export const serve = Effect.fn("Gateway.serve")(function* (
  options: Options
): Effect.fn.Return<Listening, LightboxError, Services | Scope.Scope> {
  const method = "Gateway.serve"
  const given = yield* decodeOptions(options)
  const { bind = defaultBind, insecure = false, tls } = given
  if (tls === undefined && !insecure && !internal.isLoopback(bind)) {
    return yield* invalid(method, "bind", `${bind} can be reached by others: pass tls, or insecure`)
  }
  const { directory } = given
  if (directory !== undefined && directory.address === undefined && ["0.0.0.0", "::"].includes(bind)) {
    return yield* invalid(method, "directory.address", `expected the URL of this host, because ${bind} is everywhere`)
  }
  const writing = given.tokens.find(({ scopes }) => scopes === undefined || scopes.includes("write"))
  if (directory !== undefined && writing === undefined) {
    const field =
      (directory.jobs ?? 0) > 0 ? "directory.jobs" : directory.prune === undefined ? undefined : "directory.prune"
    if (field !== undefined) return yield* invalid(method, field, "it needs a token that may write")
  }
  const tokens = given.tokens.map(({ name, scopes, token }) =>
    Tokens.make({ name: name ?? "default", token, scopes: scopes ?? ["write"] })
  )
  return yield* internal.serve({
    method,
    port: given.port ?? defaultPort,
    bind,
    tls,
    tokens,
    folders: given.allowMounts ?? [],
    lease: given.lease ?? Duration.seconds(30),
    maxFile: given.maxUpload ?? 64 * gibibyte,
    member:
      directory === undefined
        ? undefined
        : {
            directory: redacted(directory.url),
            address: directory.address === undefined ? undefined : withoutSlash(directory.address),
            labels: directory.labels ?? {},
            bootFailures: {
              count: directory.bootFailures?.count ?? 5,
              within: directory.bootFailures?.within ?? Duration.minutes(10)
            },
            token: writing?.token,
            jobs: directory.jobs ?? 16,
            prune:
              directory.prune === undefined
                ? undefined
                : {
                    cron: directory.prune.cron,
                    olderThan: Duration.millis(
                      Math.ceil(Duration.toMillis(directory.prune.olderThan ?? defaultOlderThan))
                    )
                  }
          }
  })
})

/**
 * Serves the driver until the layer closes.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options): Layer.Layer<never, LightboxError, Services> =>
  Layer.effectDiscard(serve(options))

/**
 * Serves the driver until the layer closes, with options from `Config`.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerConfig = (
  options: Config.Wrap<Options>
): Layer.Layer<never, LightboxError | Config.ConfigError, Services> =>
  Layer.effectDiscard(Effect.flatMap(Config.unwrap(options), serve))
