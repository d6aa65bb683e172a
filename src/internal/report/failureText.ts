/**
 * The text of an error: what happened, the output of the failed command, and what to do, in the vocabulary of the
 * caller's API.
 */
import * as Redacted from "effect/Redacted"
import { stripVTControlCharacters } from "node:util"
import type { Command, Word } from "../../Guest.ts"
import type { LightboxError, Reason, StepContext } from "../../LightboxError.ts"

/** The API that the caller uses. */
export type Way = "effect" | "promise" | "cli"

/** Errors that reached a caller of another API than Effect's. */
const ways = new WeakMap<LightboxError, Way>()

/** Selects the vocabulary of the text of an error. */
export const setWay = (way: Way, error: LightboxError): void => void ways.set(error, way)

/** Makes text of a guest safe for terminals and logs: without control, invisible or direction-changing characters. */
const safe = (text: string): string =>
  stripVTControlCharacters(text)
    .replace(/[^\P{Cc}\n\t]|[\p{Cf}\p{Zl}\p{Zp}]/gu, "")
    .toWellFormed()

/** Formats a command line as one would type it, without what is redacted. */
export const showArgv = (argv: ReadonlyArray<Word>): string =>
  argv
    .map((word) =>
      Redacted.isRedacted(word) ? "<redacted>" : /^[\w@%+=:,./-]+$/.test(word) ? word : JSON.stringify(word)
    )
    .join(" ")

const longestCommand = 300

/** Shortens text for a message. */
export const shorten = (text: string): string =>
  text.length > longestCommand ? `${text.slice(0, longestCommand)}…` : text

/** Formats a command line for a message, shortened. */
export const shortArgv = (argv: ReadonlyArray<Word>): string => shorten(safe(showArgv(argv)))

/** Describes how a command ended. Exit code -1 means by a signal. */
export const ending = ({ exitCode, signal }: { readonly exitCode: number; readonly signal?: string }): string =>
  signal === "SIGKILL"
    ? "was killed by SIGKILL (out of memory?)"
    : signal !== undefined
      ? `was ended by ${signal}`
      : exitCode < 0
        ? "was ended by a signal"
        : `exited with code ${exitCode}`

const shownLines = 20

const longestLine = 400

/** Quotes the last lines under a message. */
export const quote = (lines: ReadonlyArray<string>): string => {
  const shown = lines
    .slice(-shownLines)
    .map((line) => safe(line.split("\r").findLast((part) => part !== "") ?? ""))
    .map((line) => (line.length > longestLine ? `${line.slice(0, longestLine)}…` : line))
  const omitted = lines.length - shown.length
  return [...(omitted === 0 ? [] : [`… (${omitted} lines before)`]), ...shown].map((line) => `\n  | ${line}`).join("")
}

/** Quotes the last output of a failed command: standard error, or else standard output. */
export const outputOf = ({
  stderr = "",
  stdout = ""
}: {
  readonly stderr?: string
  readonly stdout?: string
}): string => {
  const text = stderr.trim() === "" ? stdout : stderr
  return text.trim() === "" ? "" : quote(text.trimEnd().split("\n"))
}

/** Lists remedies, one per line. */
export const fix = (remedy: string): string => {
  const lines = remedy.split("\n")
  return `\nTo fix it: ${lines.length === 1 ? remedy : lines.map((line) => `\n  - ${line}`).join("")}`.replace(
    ": \n",
    ":\n"
  )
}

const firstLine = (text: string): string => {
  const [line = "", ...rest] = text.trim().split("\n")
  return line.length > longestLine || rest.length > 0 ? `${line.slice(0, longestLine)} …` : line
}

const ofStep = (step: StepContext, reason: Reason): string => {
  const command = step.command ?? step.description
  const isNamed = reason._tag !== "CommandFailed" || firstLine(step.description) !== firstLine(command)
  const where = [
    `Snapshot "${step.definition}" failed at step ${step.index}`,
    ...(step.attempt === 1 ? [] : [`attempt ${step.attempt}`]),
    ...(isNamed ? [firstLine(step.description)] : [])
  ].join(", ")
  const line = step.declaredAt === undefined ? "" : ` (${step.declaredAt})`
  const what =
    reason._tag === "CommandFailed"
      ? `setup step ${ending(reason)}: ${firstLine(command)}${outputOf(reason)}`
      : reason.message
  return `${where}${line}: ${what}`
}

/** Describes what happened. */
export const what = ({ reason, step }: LightboxError): string =>
  safe(step === undefined ? reason.message : ofStep(step, reason))

const lists: { readonly [resource: string]: { readonly [way in Way]: string | undefined } } = {
  sandbox: {
    effect: "Sandbox.list() shows the sandboxes that exist",
    promise: "Sandbox.list() shows the sandboxes that exist",
    cli: "`lightbox ps` lists the sandboxes"
  },
  snapshot: {
    effect: "Check the name, or build the snapshot first",
    promise: "Check the name, or build the snapshot first",
    // The hint names the image.
    cli: undefined
  },
  job: {
    effect: "sandbox.jobs lists the jobs of a sandbox",
    promise: "sandbox.jobs() lists the jobs of a sandbox",
    cli: "`lightbox jobs SANDBOX` lists them"
  },
  build: {
    effect: "BuildRecord.list() shows the builds that are recorded",
    promise: "listBuilds() shows the builds that are recorded",
    cli: "`lightbox builds` lists those that are recorded"
  },
  record: {
    effect: "SandboxRecord.list() shows the sandboxes whose end is recorded",
    promise: "listEndedSandboxes() shows the sandboxes whose end is recorded",
    cli: "`lightbox ended` lists those that are recorded"
  },
  generation: {
    effect: "Snapshot.generations(name) shows the generations that are kept",
    promise: undefined,
    cli: "`lightbox ls NAME` lists its generations"
  },
  volume: {
    effect: "Check the name, or create the volume first",
    promise: "Check the name, or create the volume first",
    cli: "`lightbox volume ls` lists the volumes"
  },
  image: {
    effect: undefined,
    promise: undefined,
    cli: "`lightbox images` lists the images"
  }
}

const notStarted = (kind: string): string | undefined => {
  switch (kind) {
    case "ProgramNotFound":
      return "Check its name, or install it in the image or the snapshot"
    case "BadWorkdir":
      return "Create the working directory first, or choose another"
    case "UnknownUser":
      return "Create the user in the image or the snapshot, or choose another"
    case "PermissionDenied":
    case "NotExecutable":
      return "Make the file executable (chmod +x), or run it with an interpreter"
    default:
      return undefined
  }
}

type TransferKind = Extract<Reason, { _tag: "TransferFailed" }>["kind"]

const notTransferred = (kind: TransferKind, way: Way): string => {
  switch (kind) {
    case "NotFound":
      return "Check the reference. Some registries also answer this without a login"
    case "Unauthorized":
      return `Log in with ${way === "cli" ? "" : "the option `registry`, or with "}\`docker login\``
    case "Tls":
      return way === "cli"
        ? "Pass --ca-certs for your own authority, or --insecure for HTTP without TLS"
        : "Pass `registry.caCerts` for your own authority, or `registry.insecure` for HTTP without TLS"
    case "Unreachable":
      return "Check the name of the registry and the network, and try again: it continues where it stopped"
    case "Refused":
      return "Check the login, that the registry accepts OCI artifacts, and that the tag may be changed"
    case "NotASnapshot":
      return way === "cli" ? "Without --snapshot, `lightbox pull` pulls images" : "Launch from images by `image`"
    case undefined:
      return "Try again: it continues where it stopped"
  }
}

/** The reference is that of a bucket. */
const notInBucket = (kind: TransferKind, way: Way): string => {
  switch (kind) {
    case "NotFound":
      return "Check the reference, and that the bucket exists"
    case "Unauthorized":
      return way === "cli"
        ? "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY to a key that may list, read and write the bucket"
        : "Pass `s3.accessKeyId` and `s3.secretAccessKey` of a key that may list, read and write the bucket"
    case "Unreachable":
      return "Check the address of the service and the network, and try again: it continues where it stopped"
    case "Refused":
      return "Check the address of the service, the region, and what the bucket allows"
    case "Tls":
    case "NotASnapshot":
    case undefined:
      return notTransferred(kind, way)
  }
}

/** The reference is that of another host. */
const notFromHost = (kind: TransferKind): string => {
  switch (kind) {
    case "NotFound":
      return "Check the name. `lightbox --host URL ls` lists what the host has"
    case "Unauthorized":
      return "Pass a token of that host"
    case "Tls":
      return "Name the file of its authority in NODE_EXTRA_CA_CERTS"
    case "Unreachable":
      return "Check the URL, and that `lightbox host` runs there, and try again: it continues where it stopped"
    case "Refused":
      return "Check the snapshot on that host"
    case "NotASnapshot":
      return "Check the URL: it is not that of a host"
    case undefined:
      return "Try again: it continues where it stopped"
  }
}

const unavailable = (kind: Extract<Reason, { _tag: "ImageUnavailable" }>["kind"], way: Way): string => {
  const options = way === "effect"
  switch (kind) {
    case "NotFound":
      return "Check the reference. Some registries also answer this without a login"
    case "Unauthorized":
      return `Log in with ${options ? "the option `registry`, or with " : ""}\`docker login\``
    case "Tls":
      return options
        ? "Pass `registry.caCerts` for your own authority, or `registry.insecure` for HTTP without TLS"
        : "Set `registries` in config.json of the home: `ca_certs`, or a host's `insecure` for HTTP without TLS"
    case "Unreachable":
      return "Check the name of the registry and the network, or load the image from an archive"
    case "NotCached":
      return way === "cli" ? "Pass --pull if-missing" : 'Pass pullPolicy: "if-missing"'
    case undefined:
      return "Check the reference, the network and the credentials for the registry"
  }
}

const kept = { effect: "keepBuilder: true", promise: "debugBuilder: true", cli: "--keep-builder" }

/** Suggests what to do, if known. */
export const hintFor = (way: Way, { builder, method, reason, step }: LightboxError): string | undefined => {
  const isCli = way === "cli"
  if (builder !== undefined) {
    return isCli
      ? `\`lightbox shell ${builder}\` opens a shell in the builder`
      : `The builder was kept: connect to sandbox "${builder}" to look inside`
  }
  switch (reason._tag) {
    case "NotFound":
      return way === "cli" && reason.resource === "snapshot"
        ? `\`lightbox ls\` lists the snapshots, \`build\` makes one, and \`run --image ${safe(reason.name)}\` boots an image`
        : lists[reason.resource]?.[way]
    case "AlreadyExists":
      if (reason.resource === "job" && isCli) return "`lightbox job rm SANDBOX ID` frees the id"
      if (reason.resource !== "snapshot") {
        return isCli ? `\`lightbox rm ${reason.name}\` frees the name` : "Remove it first, or choose another name"
      }
      if (!isCli) return "Pass { overwrite: true } to replace it"
      // A build replaces every name except one that another tool has given.
      return method === "Snapshot.build"
        ? "Pass --replace-foreign to take the name from the other tool"
        : "Pass --overwrite to replace it"
    case "StillRunning":
      return isCli ? "Pass --force to kill it first" : "Stop it first"
    case "NotRunning":
      return isCli ? `\`lightbox start ${reason.name}\` starts it` : "Start it first"
    case "Replaced":
      return "Connect again by name to use the new one"
    case "InUse":
      return "Remove what uses it first"
    case "NoVirtualization":
      if (way === "effect") return "`MicrosandboxCloud` runs sandboxes on other machines"
      return isCli ? "`lightbox doctor` checks this machine" : undefined
    case "RuntimeMissing":
      return isCli ? "`lightbox doctor` checks this machine" : undefined
    case "ImageUnavailable":
      return unavailable(reason.kind, way)
    case "TransferFailed":
      if (/^https?:/.test(reason.reference)) return notFromHost(reason.kind)
      return reason.reference.startsWith("s3://") ? notInBucket(reason.kind, way) : notTransferred(reason.kind, way)
    case "BootFailed":
      return "Try again with more memory; `npx lightbox doctor` checks this machine"
    case "CommandNotStarted":
      return notStarted(reason.kind)
    case "CommandFailed":
      if (reason.signal === "SIGKILL") return "Give it more memory if it ran out"
      return step === undefined ? undefined : `Pass ${kept[way]} to keep the builder and look inside`
    case "OutputTooLarge":
      return "Stream the output, or write it to a file in the guest"
    case "GuestLost":
      return "Try again in a new sandbox, with more memory if it ran out"
    case "GuestBusy":
      return "Run fewer commands at once, or try again"
    case "TimedOut":
      return "Raise the time limit, or find out what it waits for"
    case "NotReady":
      return "Check the probe and the log of the job, or raise the probe's time limit"
    case "InterpreterLost":
      return "Restart the interpreter, with more memory if it ran out"
    case "NoCapacity":
      return "Run fewer sandboxes at once, or raise the budget"
    case "Drift":
      return reason.resource === "volume"
        ? "Request the volume with its current properties, or recreate it"
        : "Pass the options that it was launched with, or remove it"
    case "SnapshotDamaged":
      return reason.name.startsWith("/")
        ? "Save it again"
        : isCli
          ? "`lightbox build --force` builds it again"
          : "Build it again"
    case "SecretLeaked":
      return reason.place === "memory"
        ? "Do not give it to a service of the snapshot: whatever runs when the memory is captured is in every copy"
        : "Do not write it to the disk, not even to a file that is removed later: that erases nothing"
    case "StoreBusy":
      return "Try again when the other process is done"
    case "NoSpace":
      return `Free disk space: \`${isCli ? "" : "npx "}lightbox prune --dry-run\` shows what can be removed`
    case "HostUnavailable":
      return hostHints[reason.kind]
    default:
      return isCli && reason.isRetryable ? "Try again" : undefined
  }
}

const hostHints: { readonly [kind: string]: string } = {
  Unreachable: "Check its address, and whether `lightbox host` runs there",
  Lost: "Look whether the operation took effect, then try again",
  Ended: "Try again: sandboxes of scopes were removed, detached ones were kept",
  Unauthorized: "Pass the token that the host was started with",
  Forbidden: "Pass a token with that scope"
}

export const hint = (error: LightboxError): string | undefined => hintFor(ways.get(error) ?? "effect", error)

/** Describes what happened and what to do. */
export const message = (error: LightboxError): string => {
  const said = what(error)
  const todo = hint(error)
  return todo === undefined ? said : said.includes("\n") ? `${said}\n${todo}` : `${said}. ${todo}`
}

/** Hides redacted words. */
export const redactWords = (words: ReadonlyArray<Word>): ReadonlyArray<string> =>
  words.map((word) => (Redacted.isRedacted(word) ? "<redacted>" : word))

/** A secret as tools write it: without space around it, or one of its lines of at least this length. */
export const forms = (secret: string, shortestLine: number): ReadonlyArray<string> => [
  secret.trim(),
  ...secret
    .split(/[\r\n]+/)
    .map((line) => line.trim())
    .filter((line) => line.length >= shortestLine)
]

/** The texts to redact: each secret, and each line of those with several. Longest first. */
export const partsOf = (secrets: ReadonlyArray<string>): ReadonlyArray<string> =>
  [...new Set(secrets.flatMap((secret) => [secret, ...forms(secret, 4)]))]
    .filter((part) => part !== "")
    .toSorted((a, b) => b.length - a.length)

/** The secrets of a command: its redacted words and variables. */
export const secretsOf = ({ argv, env }: Pick<Command, "argv" | "env">): ReadonlyArray<string> =>
  [...argv, ...Object.values(env ?? {})].flatMap((word) => (Redacted.isRedacted(word) ? [Redacted.value(word)] : []))

/** The words of a command without its secrets, which its other words may contain as well. */
export const hiddenArgv = (command: Pick<Command, "argv" | "env">): ReadonlyArray<string> => {
  const secrets = secretsOf(command)
  return redactWords(command.argv).map((word) => redact(secrets, word))
}

/** Redacts secrets in texts. */
export const redacting = (secrets: ReadonlyArray<string>): ((text: string) => string) => {
  const parts = partsOf(secrets)
  return (text) => parts.reduce((shown, part) => shown.replaceAll(part, "<redacted>"), text)
}

/** Redacts secrets in a text. */
export const redact = (secrets: ReadonlyArray<string>, text: string): string => redacting(secrets)(text)

/** Drops the end of a secret from the beginning of a text that was cut there. */
export const withoutSplit = (secrets: ReadonlyArray<string>, text: string): string => {
  const lengths = partsOf(secrets).flatMap((part) => Array.from(part, (_, index) => part.slice(index + 1)))
  return text.slice(Math.max(0, ...lengths.filter((end) => text.startsWith(end)).map(({ length }) => length)))
}
