/** Small schemas that options share. Messages address the person who passed the value. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as SchemaTransformation from "effect/SchemaTransformation"
import type * as SchemaAST from "effect/SchemaAST"
import * as SchemaIssue from "effect/SchemaIssue"
import * as Net from "node:net"
import * as Path from "node:path"
import type { Size } from "../../SandboxConfig.ts"

const largestCount = 0xffff_ffff

export const failed = (message: string) => Effect.fail(new SchemaIssue.InvalidValue({ message }))

/** A schema that decodes with `parse`. Encoding returns the value itself, which `parse` must accept. */
export const parsed = <T extends E, E>(
  parse: (input: unknown, options: SchemaAST.ParseOptions) => Effect.Effect<T, SchemaIssue.Issue>
) => Schema.declareConstructor<T, E>()([], () => (input, _ast, options) => parse(input, options))

type IsSame<A, B> = [A] extends [B] ? ([B] extends [A] ? true : false) : false

/**
 * Ties a schema to the interface `I` of options, which documents the fields. A schema with a missing, additional or
 * different field does not compile.
 */
export const optionsSchema =
  <I>() =>
  <S extends Schema.Constraint>(
    schema: S & (IsSame<Required<I>, Required<S["Encoded"]>> extends true ? unknown : { readonly "not the same": I })
  ): S =>
    schema

/** The {@link optionsSchema} of a struct. */
export const optionsStruct =
  <I>() =>
  <F extends Schema.Struct.Fields>(
    fields: F &
      (IsSame<Required<I>, Required<Schema.Struct<F>["Encoded"]>> extends true
        ? unknown
        : { readonly "not the same": I })
  ): Schema.Struct<F> =>
    Schema.Struct<F>(fields)

/** Like {@link optionsSchema}, for a model that the schema decodes to. */
export const modelSchema =
  <I>() =>
  <S extends Schema.Constraint>(
    schema: S & (IsSame<Required<I>, Required<S["Type"]>> extends true ? unknown : { readonly "not the same": I })
  ): S =>
    schema

/** A whole number within inclusive bounds. */
export const intBetween = (minimum: number, maximum: number) =>
  Schema.Finite.check(
    Schema.makeFilter((n) =>
      Number.isInteger(n) && n >= minimum && n <= maximum
        ? undefined
        : `expected a whole number from ${minimum} to ${maximum}`
    )
  )

/** A count or an offset. */
export const Int53 = intBetween(0, Number.MAX_SAFE_INTEGER)

/** Run all steps again, or those from a number on. */
export const Force = Schema.Union([Schema.Boolean, intBetween(1, 1_000_000)])

/** A text that an expression matches. */
export const pattern = (expression: RegExp, expected: string) =>
  Schema.String.check(Schema.makeFilter((text) => (expression.test(text) ? undefined : `expected ${expected}`)))

export const Name = pattern(
  /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/,
  "1 to 128 letters, digits, dots, dashes and underscores, starting with a letter or digit"
)

/** The name of a snapshot, or of one of its generations. */
export const SnapshotReference = pattern(
  /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}(@[1-9]\d{0,14})?$/,
  'the name of a snapshot, or a generation such as "app@3"'
)

const isToken = /^[!-~]+$/

/** Says what is wrong with a bearer token. With fewer characters, it can be guessed. */
export const tokenProblem = (token: string): string | undefined =>
  token.length >= 16 && isToken.test(token) ? undefined : "expected at least 16 characters of ASCII, without spaces"

/** A token for a host, which checks its length itself. */
export const BearerToken = pattern(isToken, "a token")

/** The same as a secret. */
export const SecretToken = Schema.Redacted(Schema.String).check(
  Schema.makeFilter((token) => (isToken.test(Redacted.value(token)) ? undefined : "expected a token"))
)

/** A URL that paths are appended to. */
export const withoutSlash = (url: string): string => url.replace(/\/+$/, "")

/** The address of a host. */
export const HostUrl = Schema.String.check(
  Schema.makeFilter((text) => {
    const url = URL.parse(text)
    if (url === null || !/^https?:$/.test(url.protocol)) return "expected an http or https URL"
    return url.search === "" && url.hash === "" && url.username === ""
      ? undefined
      : "expected a URL without a user, a query and a fragment"
  })
)

const id = /^[0-9a-z]{1,32}(-[0-9a-z]{1,32}){2}$/

/** The id of a build, which names the file of its record. */
export const BuildId = pattern(id, "the id of a build")

/** The id of the record of a sandbox, which names its file. */
export const RecordId = pattern(id, "the id of a record")

/** The id of a job, which names its folder in the guest. */
export const JobId = pattern(
  /^[a-z0-9][a-z0-9_-]{0,63}$/,
  "1 to 64 lower-case letters, digits, dashes and underscores, starting with a letter or digit"
)

export const checkService = (name: string): string | undefined =>
  Schema.is(JobId)(name)
    ? undefined
    : "expected a service name of 1 to 64 lower-case letters, digits, dashes and underscores"

/** Path and query of an HTTP request. */
export const HttpPath = pattern(/^\/[!-~]*$/, 'a path such as "/health", without spaces')

/** A text that a line of a log contains. */
export const LogText = pattern(/^[^\0\r\n]{1,1000}$/, "1 to 1000 characters of one line")

export const isResultName = (name: string): boolean => /^lb-[0-9a-f]{40}$/.test(name)

/** Whether a name is that of one entry of a folder: "" and "." would be the folder itself. */
export const isEntryName = (name: string): boolean => /^[^./\0][^/\0]*$/.test(name)

/** A name that a snapshot may get: results have names of their own. */
export const SnapshotName = Name.check(
  Schema.makeFilter((name) => (isResultName(name) ? "expected another name: this one is a result's" : undefined))
)

export const hasControl = (text: string): boolean => /[\u0000-\u001f\u007f]/.test(text)

/** Text that fits into an argument, a path or a variable. */
export const CString = Schema.String.check(
  Schema.makeFilter((text) =>
    text.includes("\0")
      ? "expected text without NUL characters"
      : text.isWellFormed()
        ? undefined
        : "expected valid Unicode text (it contains a lone surrogate)"
  )
)

/** Text of a file. */
export const Text = Schema.String.check(
  Schema.makeFilter((text) =>
    text.isWellFormed() ? undefined : "expected bytes, or valid Unicode text (it contains a lone surrogate)"
  )
)

/** A word of a command line, or the value of a variable. Redacted text is never shown. */
export const Word = Schema.Union([
  CString,
  Schema.Redacted(CString).annotate({ expected: "a string or a Redacted value" })
])

const Script = CString.check(Schema.makeFilter((script) => (script.trim() === "" ? "expected a script" : undefined)))

const Program = CString.check(
  Schema.makeFilter((program) => (program === "" ? "expected the name of a program" : undefined))
)

const commandLine = <W extends Schema.Constraint>(word: W) =>
  Schema.Union([Script, Schema.TupleWithRest(Schema.Tuple([Program]), [word])])

/** A script for the shell of a sandbox, or a program and its arguments. */
export const CommandLine = commandLine(Word)

/** A command line without redacted words. */
export const PlainCommandLine = commandLine(CString)

export const Func = Schema.declare((u): u is (...args: never) => unknown => typeof u === "function", {
  expected: "a function"
})

export const ScheduleSchema = Schema.declare(Schedule.isSchedule, { expected: "a Schedule" })

export const FilePath = CString.check(
  Schema.makeFilter((path) => (path.startsWith("/") ? undefined : "expected an absolute path in the guest"))
)

const TerminalLength = intBetween(1, 65535)

export const TerminalSize = Schema.Struct({ rows: TerminalLength, columns: TerminalLength })

/** Text that is not blank; messages call it `what`. */
export const notBlank = (what: string) =>
  CString.check(Schema.makeFilter((text) => (text.trim() === "" ? `expected ${what}` : undefined)))

export const GuestPath = Schema.String.check(
  Schema.makeFilter((path) =>
    !path.startsWith("/")
      ? "expected an absolute path in the guest"
      : hasControl(path)
        ? "expected a path without control characters"
        : path.split("/").includes("..")
          ? 'expected a path without ".."'
          : undefined
  )
)

/** The working directory, unless it was removed. */
export const workingFolder = (): string | undefined => {
  try {
    return process.cwd()
  } catch {
    return undefined
  }
}

/** The problem with a path of the host, if there is one. */
export const pathProblem = (path: string): string | undefined =>
  path === ""
    ? "expected a path on the host"
    : Path.isAbsolute(path) || workingFolder() !== undefined
      ? undefined
      : folderGone

export const folderGone = "expected an absolute path, because the working directory does not exist anymore"

/** Shortens a path below the working directory. */
export const shortPath = (path: string): string => {
  const folder = workingFolder()
  const relative = folder === undefined ? path : Path.relative(folder, path)
  return relative.startsWith("..") ? path : relative
}

/** This process, as records name it: its script, relative to the working directory, and its id. */
export const thisProgram = (): { readonly program: string; readonly pid: number } => ({
  program: process.argv[1] === undefined ? "node" : shortPath(process.argv[1]),
  pid: process.pid
})

/** A path on the host; relative ones are resolved against the current directory. */
export const HostPath = CString.check(Schema.makeFilter(pathProblem))

export const ImageReference = pattern(/^[A-Za-z0-9][^\s\u0000-\u001f]{0,511}$/, 'an image reference such as "node:22"')

const isAddress = (text: string): boolean => Net.isIP(text) !== 0 && !text.includes("%")

export const defaultBind = "127.0.0.1"

/** The SDK's defaults on every backend. */
export const defaultResources = { cpus: 1, memory: 512 * 1_048_576 }

export const Address = Schema.String.check(
  Schema.makeFilter((text) => (isAddress(text) ? undefined : 'expected an IP address such as "127.0.0.1" or "::1"'))
)

export const Cidr = Schema.String.check(
  Schema.makeFilter((text) => {
    const [, address = "", prefix = "0"] = /^([^/]*)(?:\/(\d{1,3}))?$/.exec(text) ?? []
    return isAddress(address) && Number(prefix) <= (Net.isIPv4(address) ? 32 : 128)
      ? undefined
      : 'expected a range of addresses such as "10.0.0.0/8" or "fd00::/8"'
  })
)

const label = "[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"

const partsOf = (least: 1 | 2): RegExp => new RegExp(`^(?=.{1,253}$)\\.?${label}(?:\\.${label}){${least - 1},}\\.?$`)

const domainName = partsOf(1)

export const DomainName = pattern(domainName, 'a domain name such as "example.com"')

/** A domain with all subdomains. The runtime refuses a single part too: it would be a whole top-level domain. */
export const DomainSuffix = pattern(partsOf(2), 'a domain name of at least two parts such as "example.com"')

export const Nameserver = Schema.String.check(
  Schema.makeFilter((text) => {
    const [, inBrackets, name = text, port = "53"] = /^(?:\[(.*)\]|([^:]*)):(\d{1,5})$/.exec(text) ?? []
    const isHost =
      inBrackets === undefined
        ? isAddress(name) || (domainName.test(name) && !/(?:^|\.)\d+$/.test(name))
        : isAddress(inBrackets) && Net.isIPv6(inBrackets)
    return isHost && Number(port) >= 1 && Number(port) <= 65535
      ? undefined
      : 'expected an address or a name, with a port if it is not 53, such as "9.9.9.9" or "[2620:fe::fe]:5353"'
  })
)

/** Checks that the maximum of a resource is not below its initial value, where both are known. */
export const checkGrowth = (resources: {
  readonly cpus?: number | undefined
  readonly maxCpus?: number | undefined
  readonly memory?: number | undefined
  readonly maxMemory?: number | undefined
}): ReadonlyArray<{ readonly path: readonly [string]; readonly issue: string }> => {
  const { cpus = 0, maxCpus = cpus, memory = 0, maxMemory = memory } = resources
  return [
    ...(maxCpus < cpus ? [{ path: ["maxCpus"] as const, issue: `expected at least cpus, ${cpus}` }] : []),
    ...(maxMemory < memory
      ? [{ path: ["maxMemory"] as const, issue: `expected at least memory, ${showSize(memory)}` }]
      : [])
  ]
}

export const Port = intBetween(1, 65535)

/** 0: a free one. */
export const HostPort = intBetween(0, 65535)

// =============================================================================
// Sizes
// =============================================================================

/** The runtime counts memory, disks and quotas in MiB. */
export const mebibyte = 1_048_576

export const showSize = (bytes: number): string => `${Math.round((10 * bytes) / mebibyte) / 10} MiB`

const unitBytes: { readonly [unit: string]: number } = { K: 1024, M: mebibyte, G: 1024 * mebibyte }

/** Parses a text such as `"512M"`. See {@link Size}. */
const bytesOf = (text: string): number | undefined => {
  const [, count, unit = ""] = /^(0|[1-9]\d*) ?([KMG](?=(?:iB)?$)|[kmg]$)/.exec(text) ?? []
  return count === undefined ? undefined : Number(count) * (unitBytes[unit.toUpperCase()] ?? 1)
}

const sizeSchema = (what: string, check: (bytes: number) => string | undefined) =>
  parsed<number, Size>((input) => {
    if (typeof input !== "number" && typeof input !== "string") return failed('expected a size such as "512M" or "2G"')
    const bytes = typeof input === "number" ? input : bytesOf(input)
    if (bytes === undefined) return failed(`Invalid ${what} string: "${input}". Use e.g. "512M" or "2G".`)
    const problem = check(bytes)
    return problem === undefined ? Effect.succeed(bytes) : failed(problem)
  })

/** A {@link Size} of whole bytes. Decodes to bytes. */
export const Bytes = sizeSchema("size", (bytes) =>
  Number.isSafeInteger(bytes) && bytes >= 0 ? undefined : "expected a whole number of bytes, 0 or more"
)

/** A {@link Size} of whole MiB, at least `minimum`. Decodes to bytes. */
export const Mebibytes = (minimum: number, what = "size") =>
  sizeSchema(what, (bytes) => {
    const count = bytes / mebibyte
    if (count > largestCount) return "expected at most 4194303G"
    if (Number.isInteger(count) && count >= minimum) return undefined
    return count < minimum
      ? `expected at least ${minimum}M; a number without a unit means bytes`
      : "expected a whole number of MiB"
  })

/** The memory of a sandbox. Decodes to bytes. */
export const Memory = Mebibytes(64, "memory")

// =============================================================================
// Durations
// =============================================================================

/** A finite, positive duration in any form that Effect accepts. */
export const DurationInput = parsed<Duration.Duration, Duration.Input>((input) => {
  const duration = isDurationInput(input) ? Duration.fromInput(input) : Option.none()
  return Option.isSome(duration) &&
    Duration.isFinite(duration.value) &&
    Duration.isGreaterThan(duration.value, Duration.zero)
    ? Effect.succeed(duration.value)
    : failed('expected a positive duration such as "30 seconds"')
})

/** A duration of the Promise API. */
export const Millis = Schema.Finite.check(
  Schema.makeFilter((millis) => (millis > 0 ? undefined : "expected a positive number of milliseconds"))
)

const countedIn = (unit: string, count: (duration: Duration.Duration) => number) =>
  DurationInput.check(
    Schema.makeFilter((duration) => {
      const counted = count(duration)
      return Number.isInteger(counted) && counted <= largestCount
        ? undefined
        : `expected whole ${unit}, at most ${largestCount}`
    })
  )

/** A duration that the runtime counts in seconds. */
export const Seconds = countedIn("seconds", Duration.toSeconds)

/** A duration that the runtime counts in milliseconds. */
export const Milliseconds = countedIn("milliseconds", Duration.toMillis)

const isDurationInput = (input: unknown): input is Duration.Input =>
  typeof input === "number" ||
  typeof input === "bigint" ||
  typeof input === "string" ||
  (typeof input === "object" && input !== null)

/** A record whose keys are checked by `checkKey`, which returns the problem. */
export const recordOf = <V extends Schema.Codec<unknown, unknown>>(
  value: V,
  checkKey: (key: string) => string | undefined
) =>
  Schema.Record(Schema.String, value).check(
    Schema.makeFilter((record: { readonly [key: string]: V["Type"] }) =>
      Object.keys(record).flatMap((key) => {
        const problem = checkKey(key)
        return problem === undefined ? [] : [{ path: [key], issue: problem }]
      })
    )
  )

export const checkVariable = (name: string): string | undefined =>
  name === "" || name.includes("=") || name.includes("\0") ? 'expected a variable name without "=" or NUL' : undefined

/** Environment variables with plain values. */
export const Env = recordOf(CString, checkVariable)

/** Environment variables that may be redacted. */
export const WordEnv = recordOf(Word, checkVariable)

export const checkLabel = (key: string): string | undefined =>
  key === "" || key.includes("\0") ? "a label cannot be empty" : undefined

/** Checks the key of a caller's label. The library's own labels record ownership. */
export const checkOwnLabel = (key: string): string | undefined =>
  key.startsWith("lightbox.") ? 'labels that begin with "lightbox." are reserved' : checkLabel(key)

export const Labels = recordOf(CString, checkLabel)

/** A name or id, optionally with a group. */
export const User = pattern(
  /^[A-Za-z0-9_][A-Za-z0-9_.-]*(:[A-Za-z0-9_][A-Za-z0-9_.-]*)?$/,
  'a user such as "app" or "1000:1000"'
)

/** Options of commands that override the sandbox's. */
export const commandFields = {
  cwd: Schema.optional(GuestPath),
  user: Schema.optional(User),
  env: Schema.optional(WordEnv)
}

const rlimitNames = new Set(
  "as core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack".split(" ")
)

const RlimitValue = intBetween(0, Number.MAX_SAFE_INTEGER)

/** POSIX resource limits by name, such as `nofile`. */
export const Rlimits = recordOf(
  Schema.Union([
    RlimitValue,
    Schema.Struct({ soft: RlimitValue, hard: RlimitValue }).check(
      Schema.makeFilter(({ hard, soft }) =>
        soft <= hard ? undefined : { path: ["soft"], issue: "expected `soft` <= `hard`" }
      )
    )
  ]),
  (key) => (rlimitNames.has(key) ? undefined : `expected one of ${[...rlimitNames].join(", ")}`)
)

export const checkMountPath = (path: string): string | undefined =>
  !path.startsWith("/") || path.split("/").includes("..") || path.includes("\0")
    ? 'expected an absolute path in the guest without ".."'
    : /^\/*$/.test(path)
      ? "cannot mount over the guest's root"
      : /[:;]/.test(path)
        ? 'expected a path without ":" or ";"'
        : undefined

const Id = intBetween(0, 0xffff_fffe)

/** The owner of copied files. */
export const Owner = Schema.Union([User, Schema.Struct({ uid: Id, gid: Id })])

/** Options of copied files. */
export const copyOptions = {
  ignore: Schema.optional(Schema.Array(Schema.String)),
  mode: Schema.optional(intBetween(0, 0o7777)),
  owner: Schema.optional(Owner)
}

/** Whole milliseconds of a duration. */
export const millis = (duration: Duration.Input): number => Math.round(Duration.toMillis(duration))

/** A duration that is encoded as whole milliseconds. */
export const DurationFromWholeMillis = Schema.Int.pipe(
  Schema.decodeTo(Schema.Duration, SchemaTransformation.transform({ decode: Duration.millis, encode: millis }))
)
