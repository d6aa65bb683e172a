/** Probes and services for programs that use promises. No declaration may mention a type of Effect. */
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import type * as SchemaAST from "effect/SchemaAST"
import * as SchemaIssue from "effect/SchemaIssue"
import * as SchemaParser from "effect/SchemaParser"
import * as Probes from "../../Probe.ts"
import {
  checkService,
  Env,
  failed,
  GuestPath,
  JobId,
  optionsStruct,
  PlainCommandLine,
  recordOf,
  User
} from "../config/schemas.ts"
import { callFields, checked, Millis } from "./input.ts"
import type { CallOptions } from "./options.ts"

/**
 * The times of a probe, in milliseconds.
 *
 * @category options
 * @since 0.1.0
 */
export interface ProbeTiming {
  /** Pause between two attempts. Default: 100, or that of the `all` or `any` around it. */
  readonly intervalMs?: number | undefined
  /** Time limit. Default: 60,000, or that of the `all` or `any` around it. */
  readonly timeoutMs?: number | undefined
}

/**
 * A condition to wait for in a sandbox:
 *
 * - `port`: a TCP port that accepts connections from the guest's own 127.0.0.1, whatever the network.
 * - `http`: a port there whose server answers a GET request of `path` (default: `"/"`) with `status` (default: any from
 *   200 to 399). Redirects are not followed.
 * - `file`: a path that exists.
 * - `command`: a script for the sandbox's shell, or a program and its arguments, that exits with code 0.
 * - `log`: a text in a line of the log of `job` (default: the job that is waited for).
 * - `all` and `any`: several probes, each or one of which must succeed once.
 *
 * @category options
 * @since 0.1.0
 */
export type Probe = ProbeTiming &
  (
    | { readonly port: number }
    | { readonly http: number; readonly path?: string | undefined; readonly status?: number | undefined }
    | { readonly file: string }
    | {
        readonly command: string | readonly [program: string, ...args: ReadonlyArray<string>]
        readonly cwd?: string | undefined
        readonly user?: string | undefined
        readonly env?: { readonly [name: string]: string } | undefined
      }
    | { readonly log: string; readonly job?: string | undefined }
    | { readonly all: ReadonlyArray<Probe> }
    | { readonly any: ReadonlyArray<Probe> }
  )

/**
 * Options of `Sandbox.waitUntil`.
 *
 * @category options
 * @since 0.1.0
 */
export interface WaitOptions extends CallOptions {
  /** Id of the job that is to become ready. Default: none. */
  readonly job?: string | undefined
}

/**
 * A job that starts with its sandbox.
 *
 * @category options
 * @since 0.1.0
 */
export interface Service {
  /** A script for the sandbox's shell, or a program and its arguments. It must stay in the foreground. */
  readonly command: string | readonly [program: string, ...args: ReadonlyArray<string>]
  /** Working directory. Default: the sandbox's. */
  readonly cwd?: string | undefined
  /** User, by name or id. Default: the sandbox's. */
  readonly user?: string | undefined
  /** Variables added to the sandbox's. Default: none. */
  readonly env?: { readonly [name: string]: string } | undefined
  /** Probe that succeeds once the service is ready. Default: it is ready once it has started. */
  readonly ready?: Probe | undefined
  /**
   * When to start the command again, a second after it has exited: `"on-failure"`: after a nonzero exit code, or
   * `"always"`. Not if it cannot be started (codes 126 and 127), nor after SIGTERM, SIGINT, SIGHUP or SIGKILL to
   * the job. Default: `"no"`.
   */
  readonly restart?: "no" | "on-failure" | "always" | undefined
  /** Names of the services that must be ready before this one starts. Default: none. */
  readonly dependsOn?: ReadonlyArray<string> | undefined
}

const decodeTimes = SchemaParser.decodeUnknownEffect(
  Schema.Struct({ intervalMs: Schema.optional(Millis), timeoutMs: Schema.optional(Millis) })
)

const decodeProbe = SchemaParser.decodeUnknownEffect(Probes.Probe)

const at = <A>(
  path: ReadonlyArray<PropertyKey>,
  effect: Effect.Effect<A, SchemaIssue.Issue>
): Effect.Effect<A, SchemaIssue.Issue> => Effect.mapError(effect, (issue) => new SchemaIssue.Pointer(path, issue))

/** Checks a probe in the names of this API. */
const checkedProbe = (
  input: unknown,
  options: SchemaAST.ParseOptions
): Effect.Effect<Probes.Probe, SchemaIssue.Issue> =>
  Effect.gen(function* () {
    if (!Predicate.isObject(input)) return yield* decodeProbe(input, options)
    const { intervalMs, timeoutMs, ...rest } = input
    const foreign = ["interval", "timeout"].find((name) => name in rest)
    if (foreign !== undefined) return yield* at([foreign], failed("unknown option"))
    const times = yield* decodeTimes({ intervalMs, timeoutMs }, options)
    const kind = "all" in rest ? "all" : "any"
    const given = rest[kind]
    const parts = Array.isArray(given)
      ? { [kind]: yield* Effect.forEach(given, (part, index) => at([kind, index], checkedProbe(part, options))) }
      : {}
    return yield* decodeProbe({ ...rest, ...parts, interval: times.intervalMs, timeout: times.timeoutMs }, options)
  })

/** @internal */
export const ProbeSchema = Schema.declareConstructor<Probes.Probe, Probe>()(
  [],
  () => (input, _ast, options) => checkedProbe(input, options)
)

/** @internal */
export const ServicesSchema = recordOf(
  optionsStruct<Service>()({
    command: PlainCommandLine,
    cwd: Schema.optional(GuestPath),
    user: Schema.optional(User),
    env: Schema.optional(Env),
    ready: Schema.optional(ProbeSchema),
    restart: Schema.optional(Schema.Literals(["no", "on-failure", "always"])),
    dependsOn: Schema.optional(Schema.Array(Schema.String))
  }),
  checkService
)

/** @internal */
export const decodeWaitUntil = checked(
  "Sandbox.waitUntil",
  Schema.Struct({ probe: ProbeSchema }),
  optionsStruct<WaitOptions>()({ ...callFields, job: Schema.optional(JobId) })
)
