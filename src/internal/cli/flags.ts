/**
 * Flags that several commands have, and the forms that their values take.
 */
import * as Argument from "effect/cli/Argument"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Path from "node:path"
import type * as Mount from "../../Mount.ts"
import type * as SandboxConfig from "../../SandboxConfig.ts"
import type { LightboxError } from "../../LightboxError.ts"
import { Bytes, DurationInput } from "../config/schemas.ts"
import { decoder } from "../config/validation.ts"

/** A flag that is there or not, and has no opposite. */
export const toggle = (name: string, description: string): Flag.Flag<boolean> =>
  Flag.Boolean(name).pipe(Flag.withDescription(description), Flag.withoutNegation, Flag.withDefault(false))

/** A file of this machine, by its absolute path. */
export const file = (description: string): Argument.Argument<string> =>
  Argument.File("file", { mustExist: false }).pipe(Argument.withMetavar("FILE"), Argument.withDescription(description))

/** A path as a person would type it. */
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

/** A duration such as `"7d"`, or as the library takes it. */
export const duration = (name: string) =>
  Flag.String(name).pipe(
    Flag.withMetavar("DURATION"),
    Flag.filterMap(
      (text) => {
        const [, count, unit = ""] = /^(\d+) ?([smhdw])$/.exec(text) ?? []
        return decodeDuration(count === undefined ? text : `${count} ${units[unit]}`)
      },
      (text) => `Expected a duration such as "30s", "5m", "7d" or "30 seconds", not ${JSON.stringify(text)}`
    )
  )

/** The bytes of a size that was typed for a flag. */
export const bytesOf = (flag: string, size: Option.Option<string>): Effect.Effect<number | undefined, LightboxError> =>
  Option.isNone(size)
    ? Effect.undefined
    : decoder(Bytes, "lightbox", flag)(/^\d+$/.test(size.value) ? Number(size.value) : size.value)

/** A flag that can be given any number of times. */
const entries = <A>(
  name: string,
  metavar: string,
  parse: (text: string) => Option.Option<A>
): Flag.Flag<ReadonlyArray<A>> =>
  Flag.String(name).pipe(
    Flag.withMetavar(metavar),
    Flag.filterMap(parse, (text) => `Expected ${metavar}, not ${JSON.stringify(text)}`),
    Flag.atLeast(0)
  )

/** The same with texts by name, of which the last of a name counts. */
const record = (
  name: string,
  metavar: string,
  parse: (text: string) => Option.Option<readonly [key: string, value: string]>
): Flag.Flag<{ readonly [key: string]: string }> =>
  entries(name, metavar, parse).pipe(Flag.map((all): { readonly [key: string]: string } => Object.fromEntries(all)))

const matched =
  <A>(pattern: RegExp, make: (groups: { readonly [name: string]: string | undefined }) => A | undefined) =>
  (text: string): Option.Option<A> =>
    Option.fromUndefinedOr(make(pattern.exec(text)?.groups ?? {}))

export const labels = record("label", "KEY=VALUE", (text) => {
  const at = text.indexOf("=")
  return at < 1 ? Option.none() : Option.some([text.slice(0, at), text.slice(at + 1)])
}).pipe(Flag.withDescription("A label, to find it by"))

/** A name alone stands for the variable that this process has: so no secret has to be written on the command line. */
export const env = record("env", "NAME[=VALUE]", (text) => {
  const at = text.indexOf("=")
  const value = at < 0 ? process.env[text] : text.slice(at + 1)
  return at === 0 || value === undefined ? Option.none() : Option.some([at < 0 ? text : text.slice(0, at), value])
}).pipe(Flag.withAlias("e"), Flag.withDescription("A variable; a name alone passes this shell's on"))

const place = /^(?<source>[^:]+):(?<path>\/[^:]*)(?<readonly>:ro)?$/

const placed = (mount: (source: string) => Mount.Bind | Mount.Volume) =>
  matched(place, ({ path, readonly, source }) =>
    source === undefined || path === undefined
      ? undefined
      : ([path, { ...mount(source), readonly: readonly !== undefined }] as const)
  )

export const mounts = entries(
  "mount",
  "FOLDER:PATH[:ro]",
  placed((bind) => ({ bind }))
).pipe(Flag.withAlias("m"), Flag.withDescription("A folder or file of this machine, seen at PATH"))

export const volumes = entries(
  "volume",
  "NAME:PATH[:ro]",
  placed((volume) => ({ volume }))
).pipe(Flag.withDescription("A volume, seen at PATH, made if there is none"))

export const ports = entries(
  "port",
  "[ADDRESS:]HOST:GUEST[/udp]",
  matched(
    /^(?:(?<bind>[^/]+):)?(?<host>\d+):(?<guest>\d+)(?<udp>\/udp)?$/,
    ({ bind, guest, host, udp }): SandboxConfig.PortMapping | undefined =>
      host === undefined || guest === undefined
        ? undefined
        : {
            host: Number(host),
            guest: Number(guest),
            bind: bind?.replace(/^\[(.*)\]$/, "$1"),
            protocol: udp === undefined ? "tcp" : "udp"
          }
  )
).pipe(Flag.withAlias("p"), Flag.withDescription("A port of this machine that leads to one of the guest"))
