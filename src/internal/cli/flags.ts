/** Flags that several commands share. */
import * as Argument from "effect/cli/Argument"
import * as Flag from "effect/cli/Flag"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Path from "node:path"
import type * as Mount from "../../Mount.ts"
import type * as SandboxConfig from "../../SandboxConfig.ts"
import type { LightboxError } from "../../LightboxError.ts"
import { Bytes, DurationInput } from "../config/schemas.ts"
import { decoder } from "../config/validation.ts"

/** A flag without a `--no-` form. */
export const toggle = (name: string, description: string): Flag.Flag<boolean> =>
  Flag.Boolean(name).pipe(Flag.withDescription(description), Flag.withoutNegation, Flag.withDefault(false))

const optional = <A>(flag: Flag.Flag<A>, description: string): Flag.Flag<A | undefined> =>
  flag.pipe(Flag.withDescription(description), Flag.optional, Flag.map(Option.getOrUndefined))

export const text = (name: string, metavar: string, description: string): Flag.Flag<string | undefined> =>
  optional(Flag.String(name).pipe(Flag.withMetavar(metavar)), description)

export const count = (name: string, metavar: string, description: string): Flag.Flag<number | undefined> =>
  optional(Flag.Int(name).pipe(Flag.withMetavar(metavar)), description)

export const choice = <const Choice extends string>(
  name: string,
  choices: ReadonlyArray<Choice>,
  description: string
): Flag.Flag<Choice | undefined> => optional(Flag.Literals(name, choices), description)

export const pullPolicy = choice(
  "pull",
  ["always", "if-missing", "never"],
  "When to pull the image (default: if-missing)"
)

export const file = (description: string): Argument.Argument<string> =>
  Argument.File("file", { mustExist: false }).pipe(Argument.withMetavar("FILE"), Argument.withDescription(description))

export const nameOf = (description: string): Argument.Argument<string> =>
  Argument.String("name").pipe(Argument.withMetavar("NAME"), Argument.withDescription(description))

/** Shortens a path below the current folder. */
export const typed = (path: string): string => {
  const relative = Path.relative("", path)
  return relative.startsWith("..") ? path : relative
}

const decodeDuration = Schema.decodeUnknownOption(DurationInput)

const units: { readonly [letter: string]: string } = {
  s: "seconds",
  m: "minutes",
  h: "hours",
  d: "days",
  w: "weeks"
}

/** A duration such as `"7d"`, or in any form that the library accepts. */
export const duration = (name: string, description: string): Flag.Flag<Duration.Duration | undefined> =>
  optional(
    Flag.String(name).pipe(
      Flag.withMetavar("DURATION"),
      Flag.filterMap(
        (text) => {
          const [, count, unit = ""] = /^(\d+) ?([smhdw])$/.exec(text) ?? []
          return decodeDuration(count === undefined ? text : `${count} ${units[unit]}`)
        },
        (text) => `Expected a duration such as "30s", "5m", "7d" or "30 seconds", not ${JSON.stringify(text)}`
      )
    ),
    description
  )

export const bytesOf = (flag: string, size: string | undefined): Effect.Effect<number | undefined, LightboxError> =>
  size === undefined ? Effect.undefined : decoder(Bytes, "lightbox", flag)(/^\d+$/.test(size) ? Number(size) : size)

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

export const labels = record("label", "KEY=VALUE", (text) => {
  const at = text.indexOf("=")
  return at < 1 ? Option.none() : Option.some([text.slice(0, at), text.slice(at + 1)])
}).pipe(Flag.withDescription("Add a label"))

/** A name alone copies the value from this process, which keeps secrets off the command line. */
export const env = record(
  "env",
  "NAME[=VALUE]",
  (text) => {
    const at = text.indexOf("=")
    const value = at < 0 ? process.env[text] : text.slice(at + 1)
    return at === 0 || value === undefined ? Option.none() : Option.some([at < 0 ? text : text.slice(0, at), value])
  },
  (text) =>
    text === "" || text.startsWith("=")
      ? `Expected NAME[=VALUE], not ${JSON.stringify(text)}`
      : `${text} is not set in this environment`
).pipe(Flag.withAlias("e"), Flag.withDescription("Set a variable; a name alone copies its current value"))

/** How a command runs in a guest. */
export const running = {
  env,
  workdir: text("workdir", "PATH", "Working directory of the command").pipe(Flag.withAlias("w")),
  user: text("user", "USER", "User that runs the command").pipe(Flag.withAlias("u"))
}

/** Options of commands, and the flags that set them. */
export const runningNames = { env: "--env", cwd: "--workdir", user: "--user" }

const place = /^(?<source>[^:]+):(?<path>\/[^:]*)(?<readonly>:ro)?$/

/** An IPv6 address is typed in brackets. */
const bare = (address: string | undefined): string | undefined => address?.replace(/^\[(.*)\]$/, "$1")

const placed = (mount: (source: string) => Mount.Bind | Mount.Volume) =>
  matched(place, ({ path, readonly, source }, typed) =>
    source === undefined || path === undefined
      ? undefined
      : ([path, { ...mount(source), readonly: readonly !== undefined }, typed] as const)
  )

export const mounts = entries(
  "mount",
  "FOLDER:PATH[:ro]",
  placed((bind) => ({ bind }))
).pipe(Flag.withAlias("m"), Flag.withDescription("Mount a file or folder of this machine at PATH"))

export const volumes = entries(
  "volume",
  "NAME:PATH[:ro]",
  placed((volume) => ({ volume }))
).pipe(Flag.withDescription("Mount a volume at PATH, creating it if it does not exist"))

export const ports = entries(
  "port",
  "[ADDRESS:]HOST:GUEST[/udp]",
  matched(
    /^(?:(?<bind>[^/]+):)?(?<host>\d+):(?<guest>\d+)(?<udp>\/udp)?$/,
    (
      { bind, guest, host, udp },
      typed
    ): { readonly mapping: SandboxConfig.PortMapping; readonly typed: string } | undefined =>
      host === undefined || guest === undefined
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
).pipe(Flag.withAlias("p"), Flag.withDescription("Forward a port of this machine to a port of the sandbox"))

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
