/**
 * Probes: conditions to wait for in a sandbox, as data.
 *
 * `sandbox.waitUntil(probe)` waits for one, and `ready` of a service is one. The `interval` and `timeout` of `all` and
 * `any` are the defaults of their parts.
 *
 * **Example** (Wait for a server)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Sandbox } from "effect-lightbox"
 *
 * export const program = Effect.gen(function* () {
 *   const sandbox = yield* Sandbox.launch({ snapshot: "web" })
 *   yield* sandbox.start("npm", ["run", "dev"], { id: "dev" })
 *   yield* sandbox.waitUntil({ all: [{ http: 3000, path: "/health" }, { file: "/tmp/seeded" }] }, { job: "dev" })
 * })
 * ```
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import type * as SchemaIssue from "effect/SchemaIssue"
import * as SchemaParser from "effect/SchemaParser"
import type * as Guest from "./Guest.ts"
import {
  CommandLine,
  commandFields,
  DurationInput,
  failed,
  FilePath,
  HttpPath,
  intBetween,
  JobId,
  LogText,
  optionsStruct,
  parsed,
  Port as PortNumber
} from "./internal/config/schemas.ts"

/**
 * The times of a probe.
 *
 * @category options
 * @since 0.1.0
 */
export interface Timing {
  /** Pause between two attempts. Default: 100 milliseconds. */
  readonly interval?: Duration.Input | undefined
  /** Time limit, after which the wait fails with `NotReady`. Default: 1 minute. */
  readonly timeout?: Duration.Input | undefined
}

/**
 * A TCP port that accepts connections from the guest's own 127.0.0.1, whatever the network. Each attempt times out
 * after 5 seconds.
 *
 * @category options
 * @since 0.1.0
 */
export interface Port extends Timing {
  /** The port. */
  readonly port: number
}

/**
 * A server on a port of the guest's own 127.0.0.1 that answers a GET request. Redirects are not followed. Each attempt
 * times out after 5 seconds.
 *
 * @category options
 * @since 0.1.0
 */
export interface Http extends Timing {
  /** The port. */
  readonly http: number
  /** Path and query of the request. Default: `"/"`. */
  readonly path?: string | undefined
  /** Expected status. Default: any from 200 to 399. */
  readonly status?: number | undefined
}

/**
 * A path that exists, of any type. Symbolic links are followed.
 *
 * @category options
 * @since 0.1.0
 */
export interface File extends Timing {
  /** The path. */
  readonly file: string
}

/**
 * A command that exits with code 0. It is killed if it writes more than 1 MiB, or at the time limit of the probe: a
 * single attempt has no limit. Give the command one, such as `curl -m 2`.
 *
 * @category options
 * @since 0.1.0
 */
export interface Command extends Timing {
  /** A script for the sandbox's shell, or a program and its arguments. */
  readonly command: string | readonly [program: string, ...args: ReadonlyArray<Guest.Word>]
  /** Working directory. Default: the sandbox's. */
  readonly cwd?: string | undefined
  /** User, by name or id. Default: the sandbox's. */
  readonly user?: string | undefined
  /** Variables added to the sandbox's. Default: none. */
  readonly env?: { readonly [name: string]: Guest.Word } | undefined
}

/**
 * A text in a line of a job's log, searched from the oldest line that is kept. Fails if the job ends without it.
 * A line that the log has dropped (see `maxLog`) is not found.
 *
 * @category options
 * @since 0.1.0
 */
export interface Log extends Timing {
  /** Part of a line: not a pattern. */
  readonly log: string
  /** Id of the job. Default: the job that is waited for. */
  readonly job?: string | undefined
}

/**
 * Several probes, each of which must succeed once.
 *
 * @category options
 * @since 0.1.0
 */
export interface All extends Timing {
  /** The probes. */
  readonly all: ReadonlyArray<ProbeInput>
}

/**
 * Several probes, one of which must succeed.
 *
 * @category options
 * @since 0.1.0
 */
export interface Any extends Timing {
  /** The probes. */
  readonly any: ReadonlyArray<ProbeInput>
}

/**
 * A probe, as passed in options.
 *
 * @category options
 * @since 0.1.0
 */
export type ProbeInput = Port | Http | File | Command | Log | All | Any

const timing = { interval: Schema.optional(DurationInput), timeout: Schema.optional(DurationInput) }

const leaves = {
  port: optionsStruct<Port>()({ port: PortNumber, ...timing }),
  http: optionsStruct<Http>()({
    http: PortNumber,
    path: Schema.optional(HttpPath),
    status: Schema.optional(intBetween(200, 599)),
    ...timing
  }),
  file: optionsStruct<File>()({ file: FilePath, ...timing }),
  command: optionsStruct<Command>()({ command: CommandLine, ...commandFields, ...timing }),
  log: optionsStruct<Log>()({ log: LogText, job: Schema.optional(JobId), ...timing })
}

type Leaf = { [K in keyof typeof leaves]: (typeof leaves)[K]["Type"] }[keyof typeof leaves]

interface CheckedTiming {
  readonly interval?: Duration.Duration | undefined
  readonly timeout?: Duration.Duration | undefined
}

/**
 * A checked probe, with times as `Duration`s.
 *
 * @category models
 * @since 0.1.0
 */
export type Probe =
  | Leaf
  | ({ readonly all: ReadonlyArray<Probe> } & CheckedTiming)
  | ({ readonly any: ReadonlyArray<Probe> } & CheckedTiming)

const Parts = Schema.Array(Schema.suspend((): Schema.Codec<Probe, ProbeInput> => Probe)).check(
  Schema.makeFilter((parts) => (parts.length > 0 ? undefined : "expected at least one probe"))
)

const decoders = [
  ["http", SchemaParser.decodeUnknownEffect(leaves.http)],
  ["port", SchemaParser.decodeUnknownEffect(leaves.port)],
  ["file", SchemaParser.decodeUnknownEffect(leaves.file)],
  ["command", SchemaParser.decodeUnknownEffect(leaves.command)],
  ["log", SchemaParser.decodeUnknownEffect(leaves.log)],
  ["all", SchemaParser.decodeUnknownEffect(Schema.Struct({ all: Parts, ...timing }))],
  ["any", SchemaParser.decodeUnknownEffect(Schema.Struct({ any: Parts, ...timing }))]
] as const

/**
 * The schema of probes, from {@link ProbeInput}.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Probe: Schema.Codec<Probe, ProbeInput> = parsed<Probe, ProbeInput>(
  (input, options): Effect.Effect<Probe, SchemaIssue.Issue> => {
    for (const [kind, decode] of decoders) if (Predicate.hasProperty(input, kind)) return decode(input, options)
    return failed(
      "expected one of { port }, { http: port }, { file: path }, { command }, { log: text }, { all: probes } and { any: probes }"
    )
  }
)
