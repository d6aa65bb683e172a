/** Flags that several commands share. */
import * as Argument from "effect/cli/Argument"
import * as CliError from "effect/cli/CliError"
import * as Flag from "effect/cli/Flag"
import * as DateTime from "effect/DateTime"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Redacted from "effect/Redacted"
import * as Fs from "node:fs"
import type * as Mount from "../../Mount.ts"
import type * as Probe from "../../Probe.ts"
import type * as SandboxConfig from "../../SandboxConfig.ts"
import type { LightboxError } from "../../LightboxError.ts"
import { Bytes, DurationInput } from "../config/schemas.ts"
import { decoder } from "../config/validation.ts"
import { isCode } from "../host/socket.ts"

/** A flag without a `--no-` form. */
export const toggle = (name: string, description: string): Flag.Flag<boolean> =>
  Flag.Boolean(name).pipe(Flag.withDescription(description), Flag.withoutNegation, Flag.withDefault(false))

const optional = <A>(flag: Flag.Flag<A>, description: string): Flag.Flag<A | undefined> =>
  flag.pipe(Flag.withDescription(description), Flag.optional, Flag.map(Option.getOrUndefined))

export const text = (
  name: string,
  metavar: string,
  description: string,
  alias?: string
): Flag.Flag<string | undefined> => {
  const flag = Flag.String(name).pipe(Flag.withMetavar(metavar))
  return optional(alias === undefined ? flag : Flag.withAlias(flag, alias), description)
}

export const count = (name: string, metavar: string, description: string): Flag.Flag<number | undefined> =>
  optional(Flag.Int(name).pipe(Flag.withMetavar(metavar)), description)

export const choice = <const Choice extends string>(
  name: string,
  choices: ReadonlyArray<Choice>,
  description: string
): Flag.Flag<Choice | undefined> => optional(Flag.Literals(name, choices).pipe(Flag.withMetavar("CHOICE")), description)

export const pullPolicy = choice(
  "pull",
  ["always", "if-missing", "never"],
  "When to pull the image (default: if-missing)"
)

export const file = (description: string): Argument.Argument<string> =>
  Argument.File("file", { mustExist: false }).pipe(Argument.withMetavar("FILE"), Argument.withDescription(description))

/** How to reach a registry. Logins are those of `docker login`. */
export const registry = {
  caCerts: text("ca-certs", "FILE", "Certificates of your own authority, which the registry's is checked against"),
  insecure: toggle(
    "insecure",
    "Use HTTP without TLS (default: for snapshots, if the registry is on this machine and has none)"
  )
}

/** How to reach a bucket. Keys are those of the environment. */
export const s3 = {
  endpoint: text(
    "s3-endpoint",
    "URL",
    "For s3://...: address of the service (default: $AWS_ENDPOINT_URL_S3, else AWS)"
  ),
  region: text("s3-region", "REGION", "For s3://...: region (default: $AWS_REGION, else us-east-1)")
}

export const s3Names = {
  "s3.endpoint": "--s3-endpoint",
  "s3.region": "--s3-region"
}

export const registryOf = ({
  caCerts,
  insecure
}: {
  readonly caCerts: string | undefined
  readonly insecure: boolean
}): SandboxConfig.Registry | undefined =>
  caCerts === undefined && !insecure ? undefined : { caCerts, ...(insecure ? { insecure } : {}) }

export const registryNames = { "registry.caCerts": "--ca-certs", "registry.insecure": "--insecure" }

/** Other tools ask before they remove. */
export const unasked = toggle("force", "Do not ask, as it never does").pipe(Flag.withAlias("f"))

export const nameOf = (description: string): Argument.Argument<string> =>
  Argument.String("name").pipe(Argument.withMetavar("NAME"), Argument.withDescription(description))

const decodeDuration = Schema.decodeUnknownOption(DurationInput)

const unitMillis: { readonly [unit: string]: number } = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 604_800_000
}

const durationOf = (text: string): Option.Option<Duration.Duration> => {
  const parts = [...text.matchAll(/(\d+(?:\.\d+)?) ?(ms|[smhdw])/g)]
  if (parts.length === 0 || parts.map(([part]) => part).join("") !== text) {
    // As in docker and sleep, a number alone means seconds.
    return decodeDuration(/^\d+(?:\.\d+)?$/.test(text) ? `${text} seconds` : text)
  }
  return decodeDuration(parts.reduce((sum, [, count, unit = ""]) => sum + Number(count) * (unitMillis[unit] ?? 0), 0))
}

/** A duration such as `"7d"`, `"1h30m"` or `"5"` (seconds), or in any form that the library accepts. */
export const duration = (name: string, description: string): Flag.Flag<Duration.Duration | undefined> =>
  optional(
    Flag.String(name).pipe(
      Flag.withMetavar("DURATION"),
      Flag.filterMap(
        durationOf,
        (text) => `Expected a duration such as "30s", "5m", "1h30m" or "7d", not ${JSON.stringify(text)}`
      )
    ),
    description
  )

/** A time, or how long ago it was. */
export const since: Flag.Flag<Duration.Duration | DateTime.DateTime | undefined> = optional(
  Flag.String("since").pipe(
    Flag.withMetavar("TIME"),
    Flag.filterMap(
      (text) => Option.orElse(durationOf(text), () => DateTime.make(text)),
      (text) =>
        `Expected a duration such as "5m", or a time such as "2026-01-31T12:00:00Z", not ${JSON.stringify(text)}`
    )
  ),
  "Only entries after this time, or not older than this, such as 5m"
)

export const bytesOf = (flag: string, size: string | undefined): Effect.Effect<number | undefined, LightboxError> =>
  size === undefined ? Effect.undefined : decoder(Bytes, "lightbox", flag)(sizeOf(size))

/** Also accepts what docker prints and takes, such as `1.5GB`; without a unit, bytes. */
const sizeOf = (size: string): number | string => {
  const [, count, unit = ""] = /^(\d+(?:\.\d+)?) ?(?:([kmgt]?)(?:i?b)?)$/i.exec(size) ?? []
  return count === undefined ? size : Math.round(Number(count) * 1024 ** " kmgt".indexOf(unit.toLowerCase() || " "))
}

const entries = <A>(
  name: string,
  metavar: string,
  parse: (text: string) => Option.Option<A>,
  problem = (text: string) => `Expected ${metavar}, not ${JSON.stringify(text)}`
): Flag.Flag<ReadonlyArray<A>> =>
  Flag.String(name).pipe(Flag.withMetavar(metavar), Flag.filterMap(parse, problem), Flag.atLeast(0))

/** Repeatable `KEY=VALUE` pairs; the last value of a key wins. */
const record = (
  name: string,
  metavar: string,
  parse: (text: string) => Option.Option<readonly [key: string, value: string]>,
  problem?: (text: string) => string
): Flag.Flag<{ readonly [key: string]: string }> =>
  entries(name, metavar, parse, problem).pipe(
    Flag.map((all): { readonly [key: string]: string } => Object.fromEntries(all))
  )

const matched =
  <A>(
    pattern: RegExp,
    make: (groups: { readonly [name: string]: string | undefined }, typed: string) => A | undefined
  ) =>
  (text: string): Option.Option<A> =>
    Option.fromUndefinedOr(make(pattern.exec(text)?.groups ?? {}, text))

const sources = /^(?<name>[^=@]+)(?:=(?<value>.*))?@(?<hosts>[^@\s]+)$/s

/** A value that only reaches the hosts. Messages do not show what was typed. */
export const secrets = Flag.String("secret").pipe(
  Flag.withMetavar("NAME[=VALUE]@HOST[,HOST...]"),
  Flag.mapEffect((text) => {
    const { hosts = "", name, value = process.env[name ?? ""] } = sources.exec(text)?.groups ?? {}
    return name === undefined || value === undefined
      ? Effect.fail(
          new CliError.InvalidValue({
            option: "secret",
            value: name ?? "<hidden>",
            expected:
              name === undefined ? "NAME@HOST or NAME=VALUE@HOST" : "a variable that is set in this environment",
            kind: "flag"
          })
        )
      : Effect.succeed([name, { value: Redacted.make(value), hosts: hosts.split(",") }] as const)
  }),
  Flag.atLeast(0),
  Flag.withDescription(
    "Let HTTPS requests to the hosts carry a value that the sandbox does not see; NAME alone copies it"
  )
)

/** A name alone copies the value from this process. */
const variable = (text: string): Option.Option<readonly [name: string, value: string]> => {
  const at = text.indexOf("=")
  const [name, value] = at < 0 ? [text, process.env[text]] : [text.slice(0, at), text.slice(at + 1)]
  return name === "" || value === undefined ? Option.none() : Option.some([name, value])
}

/** Arguments of a Dockerfile. */
export const buildArgs = record("build-arg", "NAME[=VALUE]", variable).pipe(
  Flag.withDescription("Set an ARG of a Dockerfile; NAME alone copies the variable of this environment")
)

/** Secrets of a Dockerfile, in the form that docker takes. Messages do not show values. */
export const buildSecrets = Flag.String("secret").pipe(
  Flag.withMetavar("id=ID[,src=FILE|,env=NAME]"),
  Flag.mapEffect((text) => {
    const fields = new Map(
      text.split(",").map((part): [string, string] => {
        const at = part.indexOf("=")
        return at === -1 ? [part, ""] : [part.slice(0, at), part.slice(at + 1)]
      })
    )
    const id = fields.get("id") ?? ""
    const path = fields.get("src") ?? fields.get("source")
    const isKnown = [...fields.keys()].every((name) => ["id", "src", "source", "env", "type"].includes(name))
    return Effect.try({
      try: () => (path === undefined ? process.env[fields.get("env") ?? id] : Fs.readFileSync(path, "utf8")),
      catch: () => undefined
    }).pipe(
      Effect.orElseSucceed(() => undefined),
      Effect.filterOrFail(
        (value): value is string => value !== undefined && id !== "" && isKnown,
        () =>
          new CliError.InvalidValue({
            option: "secret",
            value: text,
            expected: "id=ID, with src= and a file that can be read, or env= and a variable that is set",
            kind: "flag"
          })
      ),
      Effect.map((value) => [id, Redacted.make(value)] as const)
    )
  }),
  Flag.atLeast(0),
  Flag.map((all): { readonly [id: string]: Redacted.Redacted<string> } => Object.fromEntries(all)),
  Flag.withDescription("Give a secret to RUN --mount=type=secret; id alone takes the variable of that name")
)

const pair = (text: string): Option.Option<readonly [key: string, value: string]> => {
  const at = text.indexOf("=")
  return at < 1 ? Option.none() : Option.some([text.slice(0, at), text.slice(at + 1)])
}

export const labels = record("label", "KEY=VALUE", pair).pipe(Flag.withDescription("Add a label"))

export interface Filter {
  readonly key: string
  readonly value: string
}

/** How a list is filtered and printed. */
export interface Listing {
  readonly filters: ReadonlyArray<Filter>
  readonly format: string | undefined
}

/** The flags of all lists. */
export const listing = {
  filters: entries("filter", "KEY=VALUE", (text): Option.Option<Filter> =>
    Option.map(pair(text), ([key, value]) => ({ key, value }))
  ).pipe(
    Flag.withAlias("f"),
    Flag.withDescription('Only rows whose field has this value, such as status=running, name="web*" or label=team=a')
  ),
  format: text("format", "FORMAT", 'table, json, a field, or a template such as "{{.name}} {{.status}}"')
}

/** A name alone copies the value from this process, which keeps secrets off the command line. */
export const env = record("env", "NAME[=VALUE]", variable, (text) =>
  text === "" || text.startsWith("=")
    ? `Expected NAME[=VALUE], not ${JSON.stringify(text)}`
    : "a variable that is set in this environment"
).pipe(Flag.withAlias("e"), Flag.withDescription("Set a variable; a name alone copies its current value"))

/** Reads variables from a file in the format of docker: `NAME=VALUE`, or `NAME` alone, on each line. */
const envFile: Flag.Flag<{ readonly [key: string]: string }> = Flag.String("env-file").pipe(
  Flag.withMetavar("FILE"),
  Flag.mapEffect((path) =>
    Effect.try({
      try: () => readVariables(Fs.readFileSync(path, "utf8")),
      catch: (cause) =>
        new CliError.InvalidValue({
          option: "env-file",
          value: path,
          expected: isCode(cause, "ENOENT") ? "a file that exists" : `a file of NAME=VALUE lines (${String(cause)})`,
          kind: "flag"
        })
    })
  ),
  Flag.atLeast(0),
  Flag.map((files): { readonly [key: string]: string } => Object.assign({}, ...files)),
  Flag.withDescription("Set the variables in a file of NAME=VALUE lines")
)

const readVariables = (text: string): { readonly [key: string]: string } =>
  Object.fromEntries(
    text.split(/\r?\n/).flatMap((line, index): ReadonlyArray<readonly [string, string]> => {
      if (line.trim() === "" || line.trimStart().startsWith("#")) return []
      const at = line.indexOf("=")
      const name = (at < 0 ? line : line.slice(0, at)).trim()
      // The line can hold a secret.
      if (!/^[^\s=]+$/.test(name)) throw new Error(`line ${index + 1} has no name`)
      const value = at < 0 ? process.env[name] : line.slice(at + 1)
      return value === undefined ? [] : [[name, value]]
    })
  )

/** The variables of the flags; a file does not change those that are named. */
export const variables = (input: {
  readonly env: { readonly [key: string]: string }
  readonly envFile: { readonly [key: string]: string }
}): { readonly [key: string]: string } => ({ ...input.envFile, ...input.env })

/** How a command runs in a guest. */
export const running = {
  env,
  envFile,
  workdir: text("workdir", "PATH", "Working directory of the command").pipe(Flag.withAlias("w")),
  user: text("user", "USER", "User that runs the command").pipe(Flag.withAlias("u"))
}

/** Options of commands, and the flags that set them. */
export const runningNames = { env: "--env", cwd: "--workdir", user: "--user" }

const place = /^(?<source>[^:]+):(?<path>\/[^:]*)(?:(?<readonly>:ro)|:rw)?$/

/** An IPv6 address is typed in brackets. */
const bare = (address: string | undefined): string | undefined => address?.replace(/^\[(.*)\]$/, "$1")

const placed = (mount: (source: string) => Mount.Bind | Mount.Volume) =>
  matched(place, ({ path, readonly, source }, typed) =>
    source === undefined || path === undefined
      ? undefined
      : ([path, { ...mount(source), readonly: readonly !== undefined }, typed] as const)
  )

const dockerMount = /^(?=.*\btype=)(?:[a-z]+(?:=[^,]*)?(?:,|$))+$/

type TypedMount = readonly [path: string, mount: Mount.Bind | Mount.Volume | Mount.Tmpfs, typed: string]

/** The long form of docker: `type=bind,source=./src,target=/src,readonly`. */
const longMount = (typed: string): Option.Option<TypedMount> => {
  if (!dockerMount.test(typed)) return Option.none()
  const fields = new Map(typed.split(",").map((field) => [field.replace(/=.*/s, ""), field.replace(/^[^=]*=?/, "")]))
  const of = (...names: ReadonlyArray<string>) =>
    names.map((name) => fields.get(name)).find((value) => value !== undefined)
  const source = of("source", "src")
  const path = of("target", "destination", "dst")
  const readonly = ["", "true", "1"].includes(of("readonly", "ro") ?? "false")
  if (path === undefined) return Option.none()
  switch (fields.get("type")) {
    case "bind":
      return source === undefined ? Option.none() : Option.some([path, { bind: source, readonly }, typed])
    case "volume":
      return source === undefined ? Option.none() : Option.some([path, { volume: source, readonly }, typed])
    case "tmpfs":
      return fields.has("tmpfs-size") ? Option.none() : Option.some([path, { tmpfs: true }, typed])
    default:
      return Option.none()
  }
}

const shortMount = placed((bind) => ({ bind }))

export const mounts = entries("mount", "FOLDER:PATH[:ro]", (typed): Option.Option<TypedMount> =>
  Option.orElse(shortMount(typed), () => longMount(typed))
).pipe(Flag.withDescription("Mount a file or folder of this machine at PATH, also as type=bind,src=FOLDER,dst=PATH"))

export const volumes = entries(
  "volume",
  "NAME:PATH[:ro]",
  // As in docker, a path is one of this machine.
  placed((source) => (/^[.~]|\//.test(source) ? { bind: source } : { volume: source }))
).pipe(
  Flag.withAlias("v"),
  Flag.withDescription("Mount a volume at PATH, creating it if it does not exist, or a folder such as ./src")
)

/** A port to publish, and how it was typed. */
export interface TypedPort {
  readonly mapping: SandboxConfig.PortMapping
  readonly typed: string
}

export const ports = entries(
  "port",
  "[HOST:]GUEST",
  matched(
    /^(?:(?:(?<bind>[^/]+):)?(?<host>\d*):)?(?<guest>\d+)(?:(?<udp>\/udp)|\/tcp)?$/,
    ({ bind, guest, host = "", udp }, typed): TypedPort | undefined =>
      guest === undefined
        ? undefined
        : {
            typed,
            mapping: {
              host: Number(host),
              guest: Number(guest),
              bind: bare(bind),
              protocol: udp === undefined ? "tcp" : "udp"
            }
          }
  )
).pipe(
  Flag.withAlias("p"),
  Flag.withAlias("publish"),
  Flag.withDescription(
    "Forward a port of this machine (without HOST, a free one) to a port of the sandbox; also ADDRESS:HOST:GUEST and GUEST/udp"
  )
)

const probePattern =
  /^(?:(?<port>\d+)|http:(?<http>\d+)(?<path>\/.*)?|file:(?<file>.+)|command:(?<command>.+)|log:(?<job>[^:]+):(?<log>.+))$/s

const probeOf = (typed: string): Probe.ProbeInput | undefined => {
  const { command, file, http, job, log, path, port } = probePattern.exec(typed)?.groups ?? {}
  if (port !== undefined) return { port: Number(port) }
  if (http !== undefined) return { http: Number(http), path }
  if (file !== undefined) return { file }
  if (command !== undefined) return { command }
  return log === undefined ? undefined : { log, job }
}

const probeForms = "PORT, http:PORT[/PATH], file:PATH, command:SCRIPT or log:JOB:TEXT"

const notProbe = (text: string) => `Expected ${probeForms}, not ${JSON.stringify(text)}`

/** Probes to wait for, and how each was typed. */
export const probes = entries(
  "for",
  "PROBE",
  (typed) => Option.map(Option.fromUndefinedOr(probeOf(typed)), (probe) => ({ probe, typed })),
  notProbe
).pipe(Flag.withDescription(`Wait until it succeeds in the running sandboxes: ${probeForms}`))

export const services = record("service", "NAME=SCRIPT", pair).pipe(
  Flag.withDescription("Start a service and wait until it is ready")
)

export const ready = entries(
  "ready",
  "NAME=PROBE",
  (typed) =>
    Option.flatMap(pair(typed), ([name, text]) =>
      Option.map(Option.fromUndefinedOr(probeOf(text)), (probe) => ({ name, probe, typed }))
    ),
  (text) => `Expected NAME= and ${probeForms}, not ${JSON.stringify(text)}`
).pipe(Flag.withDescription("When a service is ready: a probe as for lightbox wait"))

/** Ports of a running sandbox. Without a host port, a free one is taken. */
export const forwards = Argument.String("port").pipe(
  Argument.withMetavar("PORT"),
  Argument.withDescription("[[ADDRESS:]HOST:]GUEST to open; without any, print the published ports"),
  Argument.filterMap(
    matched(/^(?:(?:(?<bind>[^/]+):)?(?<host>\d+):)?(?<guest>\d+)$/, ({ bind, guest, host = "0" }, typed) =>
      guest === undefined ? undefined : { typed, guest: Number(guest), host: Number(host), bind: bare(bind) }
    ),
    (text) => `Expected [[ADDRESS:]HOST:]GUEST, not ${JSON.stringify(text)}`
  ),
  Argument.variadic()
)
