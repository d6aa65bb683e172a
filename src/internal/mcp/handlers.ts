/** What the tools do. */
import type * as Toolkit from "effect/ai/Toolkit"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Path from "node:path"
import type { Job, Status } from "../../Job.ts"
import { FileError, LightboxError } from "../../LightboxError.ts"
import type { Sandbox } from "../../Sandbox.ts"
import type { Failure, JobResult, toolkit } from "../../SandboxTools.ts"
import { signalNames } from "../config/signals.ts"
import { invalid } from "../config/validation.ts"
import { what } from "../report/failureText.ts"
import * as Jobs from "../sandbox/jobs.ts"
import * as Text from "./text.ts"
import { Workspace } from "./workspace.ts"

const method = "SandboxTools"

// =============================================================================
// Failures
// =============================================================================

const fileHints: { readonly [code: string]: string } = {
  ENOENT: "search lists the folders that exist",
  EISDIR: "search lists a folder",
  ENOTDIR: "A part of the path is a file",
  EEXIST: "A part of the path is a file",
  EFBIG: "Use run, with tools such as head, tail and sed",
  ENOSPC: "The disk of the sandbox is full: remove files with run"
}

/** Suggests what a model can do. */
const hintOf = ({ reason }: LightboxError): string | undefined => {
  switch (reason._tag) {
    case "FileError":
      return fileHints[reason.code]
    case "NotFound":
      return reason.resource === "job" ? "run starts a job and returns its id" : undefined
    case "CommandNotStarted":
      return reason.kind === "BadWorkdir" ? "Create the folder first, or pass another cwd" : undefined
    case "Unsupported":
      return "Go on without it, or ask the user to allow it"
    case "GuestLost":
      return "Its processes have ended. It may have run out of memory: use less at a time"
    case "TimedOut":
    case "GuestBusy":
    case "NoCapacity":
    case "StoreBusy":
      return "Try again later"
    case "NoVirtualization":
    case "RuntimeMissing":
    case "ImageUnavailable":
    case "BootFailed":
      return "Tell the user: `lightbox doctor` checks the machine"
    default:
      return undefined
  }
}

/** The arguments of tools, by the names that operations of sandboxes have for them. */
const fields: { readonly [field: string]: string } = {
  guestPort: "port",
  "args.1": "script",
  "args.4": "glob",
  "args.5": "pattern"
}

const failureOf = (error: LightboxError): Failure => {
  const { reason } = error
  const field = reason._tag === "InvalidConfig" ? fields[reason.field] : undefined
  const hint = hintOf(error)
  return {
    error: what(reason._tag === "InvalidConfig" && field ? invalid(method, field, reason.problem) : error),
    ...(hint === undefined ? {} : { hint })
  }
}

/** Runs a tool in the sandbox of the call. */
const inSandbox = <A>(
  use: (sandbox: Sandbox) => Effect.Effect<A, LightboxError>
): Effect.Effect<A, Failure, Workspace> =>
  Effect.mapError(
    Workspace.use(({ sandbox }) => Effect.flatMap(sandbox, use)),
    failureOf
  )

const checkPath = (path: string): Effect.Effect<void, LightboxError> =>
  path.startsWith("/") && !path.includes("\0")
    ? Effect.void
    : Effect.fail(invalid(method, "path", "expected an absolute path"))

const checkFrom = (field: string, least: number, value: number | undefined): Effect.Effect<void, LightboxError> =>
  value === undefined || (value >= least && Number.isSafeInteger(value))
    ? Effect.void
    : Effect.fail(invalid(method, field, `expected ${least} or more`))

const fileError = (path: string, code: "EINVAL" | "EISDIR", problem: string): LightboxError =>
  new LightboxError({ method, reason: new FileError({ operation: "read", path, code, problem }) })

const notText = (path: string): LightboxError =>
  fileError(path, "EINVAL", "not a text file: use run, with tools such as file and xxd")

// =============================================================================
// Jobs
// =============================================================================

/** Many clients cancel a call after a minute, and with it the job. */
const maxWait = 50

const checkWait = (wait: number | undefined): Effect.Effect<void, LightboxError> =>
  wait === undefined || (wait >= 0 && wait <= maxWait)
    ? Effect.void
    : Effect.fail(invalid(method, "wait", `expected 0 to ${maxWait} seconds`))

const statusOf = (status: Status): Pick<JobResult, "status" | "exitCode" | "note"> => {
  switch (status._tag) {
    case "Running":
      return { status: "running" }
    case "Exited":
      return { status: "exited", exitCode: status.exitCode }
    case "Signaled":
      return { status: "killed", note: `Ended by ${status.signal}.` }
    case "Lost":
      return { status: "lost", note: "The sandbox was restarted while it ran." }
  }
}

/** Waits for a job, and shows a part of its output. */
const show = Effect.fnUntraced(function* (
  sandbox: Sandbox,
  job: Job,
  { since, wait }: { readonly since?: number | undefined; readonly wait: number }
): Effect.fn.Return<JobResult, LightboxError> {
  // Before its output is read, which is complete then.
  const status: Status = yield* wait === 0
    ? job.status
    : Effect.timeoutOrElse(job.wait, { duration: Duration.seconds(wait), orElse: () => job.status })
  const { note: ended = "", ...state } = statusOf(status)
  const { note: cut = "", ...output } = yield* Text.outputOf(sandbox.guest, job, since)
  const note = [ended, cut].filter((text) => text !== "").join(" ")
  return { id: job.id, ...state, ...output, ...(note === "" ? {} : { note }) }
})

const run = (input: { readonly script: string; readonly cwd?: string; readonly wait?: number }) =>
  inSandbox((sandbox) =>
    Effect.gen(function* () {
      const { cwd, script, wait = 20 } = input
      yield* checkWait(wait)
      const { shell } = yield* sandbox.info
      // Chosen here, because who cancels the call does not know it.
      const id = Jobs.makeId()
      const shown = Effect.flatMap(sandbox.start(shell, ["-c", script], { cwd, id }), (job) =>
        show(sandbox, job, { wait })
      )
      const kill = Effect.flatMap(sandbox.job(id), (job) => job.signal("SIGKILL"))
      return yield* Effect.onInterrupt(shown, () => Effect.ignore(kill))
    })
  )

const signalOf = (name: string) => {
  const known = signalNames.find((signal) => signal === `SIG${name.toUpperCase().replace(/^SIG/, "")}`)
  return known === undefined
    ? Effect.fail(invalid(method, "signal", "expected a signal such as SIGINT or SIGKILL"))
    : Effect.succeed(known)
}

const job = (input: {
  readonly id: string
  readonly since?: number
  readonly wait?: number
  readonly signal?: string
}) =>
  inSandbox((sandbox) =>
    Effect.gen(function* () {
      const { id, since, signal, wait = signal === undefined ? 0 : 5 } = input
      yield* checkWait(wait)
      yield* checkFrom("since", 0, since)
      const found = yield* sandbox.job(id)
      if (signal !== undefined) yield* found.signal(yield* signalOf(signal))
      return yield* show(sandbox, found, { since, wait })
    })
  )

// =============================================================================
// Files
// =============================================================================

const read = ({ line = 1, path }: { readonly path: string; readonly line?: number }) =>
  inSandbox((sandbox) =>
    Effect.gen(function* () {
      yield* checkPath(path)
      yield* checkFrom("line", 1, line)
      const lines = yield* Text.linesOf(sandbox.stream(path), line)
      return lines ?? (yield* notText(path))
    })
  )

/** A new file belongs to the owner of its folder, as agents may work as another user than root. */
const inherit = Effect.fnUntraced(function* ({ guest }: Sandbox, path: string) {
  const { gid, uid } = yield* guest.stat(Path.posix.dirname(path))
  if (uid !== 0 || gid !== 0) yield* guest.setAttributes(path, { uid, gid })
})

const write = ({ content, path }: { readonly path: string; readonly content: string }) =>
  inSandbox((sandbox) =>
    Effect.gen(function* () {
      yield* checkPath(path)
      const isNew = !(yield* sandbox.exists(path))
      if (isNew) yield* sandbox.makeDirectory(Path.posix.dirname(path))
      yield* sandbox.writeFileString(path, content)
      if (isNew) yield* inherit(sandbox, path)
      return { bytes: Buffer.byteLength(content) }
    })
  )

const maxEdited = 4 * 1024 * 1024

const edit = (input: { readonly path: string; readonly old: string; readonly new: string; readonly all?: boolean }) =>
  inSandbox((sandbox) =>
    Effect.gen(function* () {
      const { all = false, new: replacement, old, path } = input
      yield* checkPath(path)
      if (old === "") return yield* invalid(method, "old", "expected text; write replaces a whole file")
      const bytes = yield* sandbox.readFile(path, { maxBytes: maxEdited })
      const text = yield* Effect.try({
        try: () => new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes),
        catch: () => notText(path)
      })
      const parts = text.split(old)
      const replaced = parts.length - 1
      if (replaced === 0) {
        return yield* invalid(method, "old", "the file does not contain this text; read it again, spaces count")
      }
      if (replaced > 1 && !all) {
        return yield* invalid(method, "old", `the file contains it ${replaced} times; pass more of the text, or all`)
      }
      yield* sandbox.writeFileString(path, parts.join(replacement))
      return { replaced }
    })
  )

const kinds: { readonly [type: string]: string } = { Directory: "/", SymbolicLink: "@" }

const list = Effect.fnUntraced(function* (sandbox: Sandbox, path: string) {
  const entries = yield* sandbox.readDirectoryEntries(path)
  return Text.matchesOf(entries.map(({ path, type }) => `${Path.posix.basename(path)}${kinds[type] ?? ""}`))
})

/**
 * Arguments: the path, the glob, and the pattern, if any. Exits with 2 if the pattern is wrong, which busybox notices at
 * the first line. One line more shows that there are more; a character of a line has at most three bytes, or four if it
 * counts as two.
 */
const searchScript = `
path=$1 glob=$2
if [ "$#" -gt 2 ]; then
  echo | grep -qE -e "$3"
  [ "$?" -lt 2 ] || exit 2
  set -- -exec grep -HnE -e "$3" -- "{}" +
else
  set -- -print
fi
set -- "$path" -mindepth 1 "(" -name .git -o -name node_modules ")" -prune -o -type f -name "$glob" "$@"
find "$@" | cut -b "1-${3 * (Text.maxLine + 1)}" | head -n ${Text.maxMatches + 1}`

const search = (input: { readonly path: string; readonly glob?: string; readonly pattern?: string }) =>
  inSandbox((sandbox) =>
    Effect.gen(function* () {
      const { glob, path, pattern } = input
      yield* checkPath(path)
      if (glob === undefined && pattern === undefined) return yield* list(sandbox, path)
      const { type } = yield* sandbox.stat(path)
      if (type !== "Directory") return yield* invalid(method, "path", "expected a folder; read shows a file")
      const words = ["-c", searchScript, "search", path, glob ?? "*", ...(pattern === undefined ? [] : [pattern])]
      const { exitCode, stderr, stdout } = yield* sandbox.exec("/bin/sh", words, {
        user: "0:0",
        cwd: "/",
        timeout: "1 minute",
        maxOutput: "1M"
      })
      const lines = stdout.split("\n").filter((line) => line !== "")
      if (lines.length === 0 && stderr.trim() !== "") {
        return yield* invalid(method, exitCode === 2 ? "pattern" : "path", stderr.trim().slice(0, 400))
      }
      return Text.matchesOf(lines)
    })
  )

// =============================================================================
// Ports and snapshots
// =============================================================================

const forward = ({ port }: { readonly port: number }) =>
  Workspace.use((workspace) => workspace.forward(port)).pipe(
    Effect.map(({ url }) => ({ url })),
    Effect.mapError(failureOf)
  )

const snapshot = ({ name }: { readonly name: string }) =>
  Workspace.use((workspace) => workspace.capture(name)).pipe(
    Effect.map(({ generation, name }) => ({ name, ...(generation === undefined ? {} : { generation }) })),
    Effect.mapError(failureOf)
  )

export const handlers: Toolkit.HandlersFrom<(typeof toolkit)["tools"]> = {
  run,
  job,
  read,
  write,
  edit,
  search,
  forward,
  snapshot
}
