/** Starts, finds and follows the jobs of a guest. */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Struct from "effect/Struct"
import * as Crypto from "node:crypto"
import type * as Guest from "../../Guest.ts"
import type { Ended, Info, Job, LogEvent, LogOptions, Status } from "../../Job.ts"
import {
  AlreadyExists,
  CommandNotStarted,
  FileError,
  LightboxError,
  NotFound,
  StillRunning,
  Unknown,
  Unsupported
} from "../../LightboxError.ts"
import { Bytes, Int53, JobId, TerminalSize } from "../config/schemas.ts"
import { named, signals } from "../config/signals.ts"
import { checkSignal, decoder, forMethod, invalid, optionsDecoder } from "../config/validation.ts"
import * as Attach from "../guest/attach.ts"
import { concat } from "../guest/protocol.ts"
import * as Execution from "../guest/execution.ts"
import { readText } from "../guest/files.ts"
import { ifMissing } from "../host/fileFailure.ts"
import { redactWords } from "../report/failureText.ts"
import { printable } from "../report/printable.ts"
import * as Supervisor from "./supervisor.ts"

export const TypeId = "~effect-lightbox/Job" as const

const folder = "/var/lib/lightbox/jobs"

const defaultMaxLog = 8 * 1024 * 1024
const blockBytes = 64 * 1024

/** Options of a start in addition to those of commands. */
export const startOptions = {
  id: Schema.optional(JobId),
  stdin: Schema.optional(Schema.Literals(["open", "empty"])),
  terminal: Schema.optional(TerminalSize),
  maxLog: Schema.optional(
    Bytes.check(Schema.makeFilter((bytes) => (bytes < 2 * blockBytes ? "expected at least 128K" : undefined)))
  )
}

const decodeId = decoder(JobId, "Sandbox.job", "id")
const decodeLogs = optionsDecoder(
  "Job.logs",
  Schema.Struct({ since: Schema.optional(Int53), follow: Schema.optional(Schema.Boolean) })
)
const decodeSize = decoder(TerminalSize, "Job.resize", "size")
const decodeRemove = optionsDecoder("Job.remove", Schema.Struct({ force: Schema.optional(Schema.Boolean) }))

const Stored = Schema.fromJsonString(
  Schema.Struct({
    argv: Schema.Array(Schema.String),
    stdin: Schema.Literals(["open", "empty"]),
    terminal: Schema.optional(Schema.Boolean),
    startedAt: Schema.DateTimeUtcFromMillis
  })
)
const encodeStored = Schema.encodeSync(Stored)
const decodeStored = Schema.decodeUnknownOption(Stored)

/** Arguments are recorded up to these limits: the record is one argument itself. */
const shownWords = 20
const shownLength = 1000

interface Segment {
  readonly name: string
  readonly start: number
  readonly size: number
  /** Output before it was lost. */
  readonly isGap: boolean
}

/** What the folder of a job shows. */
interface View {
  readonly names: ReadonlySet<string>
  readonly segments: ReadonlyArray<Segment>
  readonly ended: Ended | undefined
}

const viewOf = (entries: ReadonlyArray<Guest.FileInfo>): View => {
  const segments: Array<Segment> = []
  const names = new Set<string>()
  let ended: Ended | undefined
  for (const { path, size, type } of entries) {
    // The command can change them: reading a pipe would block.
    if (type !== "File") continue
    const name = path.slice(path.lastIndexOf("/") + 1)
    names.add(name)
    const [, kind, offset] = /^(log|gap)\.(\d{1,15})$/.exec(name) ?? []
    if (offset !== undefined) segments.push({ name, start: Number(offset), size, isGap: kind === "gap" })
    const [, how, number] = /^ended\.(exited|signaled)\.(\d{1,3})$/.exec(name) ?? []
    if (number !== undefined && Number(number) < 256) {
      ended =
        how === "exited"
          ? { _tag: "Exited", exitCode: Number(number) }
          : { _tag: "Signaled", signal: named(Number(number)) }
    }
  }
  return { names, segments: segments.toSorted((a, b) => a.start - b.start), ended }
}

/** What `/proc/PID/stat` says of a process. */
const processOf = (stat: string) => {
  const fields = stat
    .slice(stat.lastIndexOf(")") + 2)
    .trim()
    .split(" ")
  return { state: fields[0], parent: Number(fields[1]), session: Number(fields[3]), startedAt: fields[19] }
}

/** A command with its options, checked. */
export interface Start extends Pick<Guest.Command, "argv" | "cwd" | "user" | "env" | "rlimits"> {
  readonly id?: string | undefined
  readonly stdin?: "open" | "empty" | undefined
  readonly terminal?: Guest.TerminalSize | undefined
  readonly maxLog?: number | undefined
  /** When to start the command again after it has exited. */
  readonly restart?: Supervisor.Restart | undefined
}

/** An id that no other job has. */
export const makeId = (): string => Crypto.randomBytes(6).toString("hex")

const begin = Effect.fnUntraced(function* (
  guest: Guest.Guest,
  {
    argv,
    id = makeId(),
    maxLog = defaultMaxLog,
    restart = "no",
    terminal,
    stdin = terminal === undefined ? "empty" : "open",
    ...rest
  }: Start
): Effect.fn.Return<Job, LightboxError> {
  const words = redactWords(argv)
  const shown = words.slice(0, shownWords).map((word) => word.slice(0, shownLength))
  if (terminal !== undefined && stdin === "empty") {
    return yield* invalid("Sandbox.start", "stdin", 'expected "open", as a terminal has a keyboard')
  }
  const hasTerminal = terminal === undefined ? {} : { terminal: true }
  const record = encodeStored({ argv: shown, stdin, ...hasTerminal, startedAt: yield* DateTime.now })
  const input = stdin === "open" ? `${folder}/${id}/stdin` : "/dev/null"
  const supervisor = [
    "-c",
    Supervisor.supervise,
    "lightbox-job",
    folder,
    id,
    record,
    String(Math.floor(maxLog / 2)),
    input,
    Supervisor.loops[restart],
    terminal === undefined ? "" : Redacted.make(Supervisor.onTerminal(`${folder}/${id}`, terminal, argv))
  ]
  const command: Guest.Command = {
    ...rest,
    env: terminal === undefined ? rest.env : { TERM: "xterm", ...rest.env },
    argv: ["setsid", "sh", ...supervisor, ...argv],
    stdin: "empty",
    detaches: true
  }
  const failed = (reason: LightboxError["reason"]) => new LightboxError({ method: "Sandbox.start", reason })
  const missing = (problem: string) =>
    failed(new CommandNotStarted({ argv: words, kind: "ProgramNotFound", problem, errno: "ENOENT" }))
  const attempt = Effect.scoped(Effect.flatMap(guest.spawn(command), answerOf)).pipe(
    Effect.catchReason("LightboxError", "CommandNotStarted", (reason) =>
      reason.kind === "ProgramNotFound"
        ? missing("the guest has no setsid")
        : failed(new CommandNotStarted({ ...Struct.pick(reason, ["kind", "problem", "errno"]), argv: words }))
    ),
    Effect.mapError(forMethod("Sandbox.start", "Sandbox.spawn"))
  )
  const first = yield* attempt
  // The first job, or the first of another user after a preparation that was interrupted.
  const isUnprepared = /(No such file or directory|Permission denied)$/.test(first ?? "")
  const answer = isUnprepared ? yield* Effect.andThen(prepare(guest), attempt) : first
  if (answer === "started") return make(guest, id)
  if (answer === "missing") return yield* missing("No such file or directory")
  if (answer === "unsupported") {
    const problem = "the guest has no script of util-linux; Debian has it in bsdutils, Alpine in util-linux-misc"
    return yield* failed(new Unsupported({ feature: "a job with a terminal", problem }))
  }
  const problem = answer ?? ""
  if (problem.endsWith("File exists")) return yield* failed(new AlreadyExists({ resource: "job", name: id }))
  if (problem === "") return yield* failed(new Unknown({ problem: "the supervisor of the job was killed" }))
  const code = problem.endsWith("No space left on device") ? "ENOSPC" : "UNKNOWN"
  return yield* failed(new FileError({ operation: "start", path: `${folder}/${id}`, code, problem }))
})

/** How long an interrupted start waits for its job, to remove it. */
const lateLimit = "10 seconds"

/** Starts a job. Interrupting it leaves none: the guest may have started one whose id nobody knows. */
export const start = (guest: Guest.Guest, job: Start): Effect.Effect<Job, LightboxError> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.gen(function* () {
      const starting = yield* Effect.forkChild(begin(guest, job), { startImmediately: true })
      const late = Effect.flatMap(Fiber.join(starting), (started) => started.remove({ force: true }))
      return yield* Effect.onInterrupt(restore(Fiber.join(starting)), () =>
        Effect.ignore(Effect.timeout(late, lateLimit))
      )
    })
  )

/** Reads the last line of what a supervisor says, without waiting for the end of it. */
const answerOf = ({ output }: Guest.Process): Effect.Effect<string | undefined, LightboxError> =>
  Effect.suspend(() => {
    const last = new Execution.Tail()
    const answer = () => Execution.tail(last.last).trim().split("\n").at(-1)
    return output.pipe(
      Stream.tap(({ bytes }) => Effect.sync(() => last.push(bytes))),
      Stream.takeUntil(() => answer() === "started"),
      Stream.runDrain,
      Effect.map(answer)
    )
  })

/** Makes the folder of all jobs. Like `/tmp`, every user of the guest can add to it. */
const prepare = Effect.fnUntraced(function* (guest: Guest.Guest): Effect.fn.Return<void, LightboxError> {
  yield* guest.makeDirectory(folder)
  yield* guest.setAttributes(folder, { mode: 0o1777 })
})

export const find = Effect.fnUntraced(function* (guest: Guest.Guest, id: string): Effect.fn.Return<Job, LightboxError> {
  const job = make(guest, yield* decodeId(id))
  yield* Effect.mapError(job.info, forMethod("Sandbox.job"))
  return job
})

/** Removes the folder of a job that has no record. */
export const discard = (guest: Guest.Guest, id: string): Effect.Effect<void, LightboxError> =>
  ifMissing(undefined)(guest.removeDirectory(`${folder}/${id}`, { recursive: true }))

export const list = Effect.fnUntraced(
  function* (guest: Guest.Guest): Effect.fn.Return<ReadonlyArray<Info>, LightboxError> {
    const entries = yield* ifMissing([])(guest.readDirectoryEntries(folder))
    const ids = entries.flatMap(({ path, type }) => {
      const id = path.slice(path.lastIndexOf("/") + 1)
      return type === "Directory" && Schema.is(JobId)(id) ? [id] : []
    })
    const infos = yield* Effect.forEach(
      ids,
      (id) =>
        Effect.asSome(make(guest, id).info).pipe(
          Effect.catchReason("LightboxError", "NotFound", () => Effect.succeedNone)
        ),
      { concurrency: 8 }
    )
    return infos
      .flatMap(Option.toArray)
      .toSorted((a, b) => DateTime.Order(a.startedAt, b.startedAt) || (a.id < b.id ? -1 : 1))
  },
  Effect.mapError(forMethod("Sandbox.jobs"))
)

const shownBytes = 2 * Execution.tailBytes

/** Returns the offset of the end of a job's log. */
export const logEnd = (guest: Guest.Guest, id: string): Effect.Effect<number, LightboxError> =>
  Effect.map(guest.readDirectoryEntries(`${folder}/${id}`), (entries) => endOf(viewOf(entries)))

/** Reads the last lines of a job's log, without secrets. */
export const lastLines = Effect.fnUntraced(function* (
  guest: Guest.Guest,
  id: string,
  secrets: ReadonlyArray<string>
): Effect.fn.Return<ReadonlyArray<string>, LightboxError> {
  const since = Math.max(0, (yield* logEnd(guest, id)) - shownBytes)
  const last = new Execution.Tail()
  yield* Stream.runForEach(make(guest, id).logs({ since }), (event) =>
    Effect.sync(() => {
      if (event._tag === "Output") last.push(event.bytes)
    })
  )
  const text = Execution.tail(last.last, secrets).trimEnd()
  return text === "" ? [] : text.split("\n")
})

/** Where a reader of a log is. */
interface Position {
  readonly offset: number
  /** The gap that was reported last. */
  readonly gap: number
  /** Without `follow`: where the log ended at first. */
  readonly until: number | undefined
  /** Milliseconds until the next look. What has just written is likely to go on. */
  readonly pause: number
}

const make = (guest: Guest.Guest, id: string): Job => {
  const path = `${folder}/${id}`
  const missing = new LightboxError({ method: "Job", reason: new NotFound({ resource: "job", name: id }) })

  const look: Effect.Effect<View, LightboxError> = guest.readDirectoryEntries(path).pipe(
    ifMissing(undefined, ["ENOENT", "ENOTDIR"]),
    Effect.map((entries) => entries && viewOf(entries)),
    // Until its record is complete, a job has not been started.
    Effect.filterOrFail(
      (view): view is View =>
        view?.names.has("job") === true && (view.names.has("running") || view.ended !== undefined),
      () => missing
    ),
    // What is renamed between the listing of the names and of their types has no type: it has its new name now.
    Effect.retry({ times: 1, while: ({ reason }) => reason._tag === "NotFound" })
  )

  /** Reads a small file, or nothing if the command has changed it. */
  const small = (name: string, maxBytes: number) =>
    ifMissing("", ["ENOENT", "EFBIG"])(readText(guest, `${path}/${name}`, maxBytes))

  const stored = Effect.gen(function* () {
    const [boot = "", self = "", json] = (yield* small("job", 256 * 1024)).split("\n")
    const fields = Option.getOrUndefined(decodeStored(json))
    return fields === undefined ? yield* missing : { boot, self, ...fields }
  })

  /** Whether the supervisor runs. A pid alone can belong to another process. */
  const isSupervised = Effect.gen(function* () {
    const { boot, self } = yield* stored
    const current = yield* readText(guest, "/proc/sys/kernel/random/boot_id")
    const pid = /^[1-9]\d*(?= )/.exec(self)?.[0]
    if (current.trim() !== boot || pid === undefined) return false
    const stat = yield* ifMissing("", ["ENOENT", "ESRCH"])(readText(guest, `/proc/${pid}/stat`))
    const { startedAt, state } = processOf(stat)
    return startedAt !== undefined && startedAt === processOf(self).startedAt && state !== "Z"
  })

  const statusOf = (view: View): Effect.Effect<Status, LightboxError> =>
    Effect.gen(function* () {
      if (view.ended !== undefined) return view.ended
      if (yield* isSupervised) return { _tag: "Running" }
      // It may have ended in the meantime.
      return (yield* look).ended ?? { _tag: "Lost" }
    })

  const status = Effect.flatMap(look, statusOf)

  const pidText = (view: View) => (view.names.has("pid") ? small("pid", 64) : Effect.succeed(""))

  /** The command's process group, once it has begun. Never 1: -1 is all processes. */
  const groupIn = (text: string): number | undefined =>
    /^[1-9]\d{0,9}\n$/.test(text) && text !== "1\n" ? Number(text) : undefined

  const info: Effect.Effect<Info, LightboxError> = Effect.gen(function* () {
    const view = yield* look
    const { argv, startedAt, stdin, terminal = false } = yield* stored
    const pid = groupIn(yield* pidText(view))
    return {
      id,
      argv,
      stdin,
      terminal,
      ...(pid === undefined ? {} : { pid }),
      startedAt,
      status: yield* statusOf(view)
    }
  })

  const wait: Effect.Effect<Ended, LightboxError> = Effect.gen(function* () {
    for (let millis = 10; ; millis = Math.min(2 * millis, 200)) {
      const now = yield* status
      if (now._tag !== "Running") return now
      yield* Effect.sleep(millis)
    }
  })

  const withoutGroup = Effect.suspend(() => {
    const problem = "it has no process id: the command has not begun, or has changed it. Remove the job with force"
    const reason = new FileError({ operation: "read", path: `${path}/pid`, code: "UNKNOWN", problem })
    return Effect.fail(new LightboxError({ method: "Job", reason }))
  })

  /** Waits until the command has begun. Returns its process group, or nothing if the job has ended. */
  const begun: Effect.Effect<number | undefined, LightboxError> = Effect.gen(function* () {
    for (let before = Supervisor.notBegun; ;) {
      const view = yield* look
      if ((yield* statusOf(view))._tag !== "Running") return undefined
      const text = yield* pidText(view)
      const group = groupIn(text)
      if (group !== undefined) return group
      // The command owns the file. A reader may see half of its change, but only once.
      if (text !== Supervisor.notBegun && text === before) return yield* withoutGroup
      before = text
      yield* Effect.sleep(20)
    }
  }).pipe(Effect.timeoutOrElse({ duration: "1 minute", orElse: () => withoutGroup }))

  /** The owner of the job. The command could have replaced what root would write to, or kill. */
  const owner = Effect.gen(function* () {
    // Only root can put a folder of root here, and only a link to one could be exchanged.
    const { gid, type, uid } = yield* guest.stat(path, { followSymlinks: false })
    return type === "Directory" ? `${uid}:${gid}` : yield* missing
  })

  /** Runs a script about the job as its owner. */
  const script = <E = never, R = never>(
    method: string,
    text: string,
    args: (group: number) => ReadonlyArray<string>,
    input?: Execution.Input<E, R>
  ): Effect.Effect<void, LightboxError | E, R> =>
    Effect.gen(function* () {
      const group = yield* begun
      if (group === undefined) return
      const argv = ["sh", "-c", text, "lightbox-job", ...args(group)] as const
      yield* Execution.collect(guest, method, { argv, user: yield* owner, cwd: "/" }, { input })
    })

  /** Finds the supervisor, what it has started, and all in `sessions`, to which it adds those of the former. */
  const supervised = Effect.fnUntraced(function* (sessions: Set<number>) {
    const { self } = yield* stored
    const { startedAt } = processOf(self)
    const all = yield* Effect.forEach(
      (yield* guest.readDirectoryEntries("/proc")).filter((entry) => /^\/proc\/\d+$/.test(entry.path)),
      (entry) =>
        Effect.map(ifMissing("", ["ENOENT", "ESRCH"])(readText(guest, `${entry.path}/stat`)), (stat) => ({
          pid: Number(entry.path.slice("/proc/".length)),
          ...processOf(stat)
        })),
      { concurrency: 8 }
    )
    const processes = all.filter(({ pid, state }) => pid > 1 && state !== "" && state !== "Z")
    const found = new Set(
      processes.flatMap((of) => (self.startsWith(`${of.pid} `) && of.startedAt === startedAt ? [of.pid] : []))
    )
    // A set also visits what is added meanwhile.
    for (const parent of found) for (const of of processes) if (of.parent === parent) found.add(of.pid)
    for (const { pid, session } of processes) if (found.has(pid)) sessions.add(session)
    return processes.flatMap(({ pid, session }) => (found.has(pid) || sessions.has(session) ? [pid] : []))
  })

  /** Kills the supervisor and everything that it has started, whatever the command has recorded. */
  const killAll = Effect.fnUntraced(function* (method: string) {
    const user = yield* owner
    const sessions = new Set<number>()
    for (let round = 0; round < killRounds; round++) {
      const pids = yield* supervised(sessions)
      if (pids.length === 0) return
      const argv = ["sh", "-c", Supervisor.kill, "lightbox-job", ...pids.map(String)] as const
      yield* Execution.collect(guest, method, { argv, user, cwd: "/" })
      yield* Effect.sleep(20)
    }
  })

  const sendSignal = (method: string, number: number) =>
    script(method, Supervisor.signal, (group) => [String(number), String(group)])

  const checkInput = (method: string) =>
    Effect.filterOrFail(
      Effect.andThen(look, stored),
      ({ stdin }) => stdin === "open",
      () => invalid(method, "stdin", 'the job has no input: start it with stdin: "open"')
    )

  const checkTerminal = (method: string) =>
    Effect.filterOrFail(
      Effect.andThen(look, stored),
      ({ terminal }) => terminal === true,
      () => invalid(method, "terminal", "the job has no terminal: start it with one")
    )

  const resize = (method: string, { columns, rows }: Guest.TerminalSize, before?: number) =>
    script(method, Supervisor.resize, () => [path, String(rows), String(columns), String(before ?? "")])

  const send = <E, R>(method: string, input: Execution.Input<E, R>) =>
    script(method, Supervisor.write, () => [path], input)

  const attach = Effect.scoped(
    Effect.gen(function* () {
      const method = "Job.attach"
      yield* checkTerminal(method)
      const end = endOf(yield* look)
      const size = Attach.size()
      // What fills the screen draws it again when its size changes.
      if (Attach.isTerminal()) yield* resize(method, size, size.columns === 1 ? 2 : size.columns - 1)
      const shown = Stream.runForEach(logs({ follow: true, since: Math.max(0, end - shownBytes) }), (event) =>
        event._tag === "Missing"
          ? Effect.void
          : Attach.writeTo(process.stdout, event.offset < end ? withoutQueries(event.bytes) : event.bytes)
      )
      const ended = yield* Attach.connect({
        run: Effect.andThen(shown, status),
        send: (keys) => send(method, keys),
        resize: (size) => resize(method, size)
      })
      return ended ?? (yield* status)
    })
  )

  const readPiece = ({ name, start }: Segment, from: number, until: number): Effect.Effect<Uint8Array, LightboxError> =>
    Effect.scoped(
      Effect.flatMap(guest.open(`${path}/${name}`, { read: true }), (file) =>
        Stream.runCollect(file.stream({ offset: from - start, bytesToRead: Math.min(until - from, pieceBytes) }))
      )
    ).pipe(
      Effect.map((pieces) => concat(pieces)),
      // Dropped since the listing.
      ifMissing(new Uint8Array())
    )

  /** Returns the next event, or nothing if there is none yet. */
  const next = ({ segments }: View, { gap, offset, until = Number.POSITIVE_INFINITY }: Position) =>
    Effect.gen(function* () {
      for (const segment of segments) {
        const { isGap, size, start } = segment
        const end = Math.min(start + size, until)
        if (start > offset && start <= until) {
          return { event: { _tag: "Missing", offset, bytes: start - offset } as const, gap }
        }
        if (isGap && start === offset && gap !== start) {
          return { event: { _tag: "Missing", offset, bytes: 0 } as const, gap: start }
        }
        if (end <= offset) continue
        const bytes = yield* readPiece(segment, offset, end)
        return { event: { _tag: "Output", offset, bytes } as const, gap }
      }
      return undefined
    })

  const logs = ({ follow = false, since = 0 }: LogOptions): Stream.Stream<LogEvent, LightboxError> => {
    const begin: Position = { offset: since, gap: -1, until: undefined, pause: 100 }
    return Stream.paginate<Position, LogEvent, LightboxError>(begin, (before) =>
      Effect.gen(function* () {
        const view = yield* look
        const position = follow ? before : { ...before, until: before.until ?? endOf(view) }
        const found = yield* next(view, position)
        if (found !== undefined) {
          const { event, gap } = found
          const length = event._tag === "Output" ? event.bytes.length : event.bytes
          if (length > 0 || event._tag === "Missing") {
            return [[event], Option.some({ ...position, gap, offset: position.offset + length, pause: 10 })]
          }
        }
        // A piece without bytes was dropped since the listing, so there is a newer one.
        const isComplete = found === undefined && (!follow || (yield* statusOf(view))._tag !== "Running")
        // What was written between the listing and the end is in a newer listing.
        if (isComplete && (!follow || view.ended !== undefined)) return [[], Option.none()]
        if (isComplete && endOf(yield* look) <= position.offset) return [[], Option.none()]
        yield* Effect.sleep(position.pause)
        return [[], Option.some({ ...position, pause: Math.min(2 * position.pause, 100) })]
      })
    )
  }

  const remove = Effect.fn("Job.remove")(
    function* (options?: { readonly force?: boolean | undefined }) {
      const { force = false } = yield* decodeRemove(options)
      if (force && (yield* status)._tag === "Running") yield* killAll("Job.remove")
      if ((yield* status)._tag === "Running") {
        const reason = new StillRunning({ resource: "job", name: id })
        return yield* new LightboxError({ method: "Job.remove", reason })
      }
      yield* ifMissing(undefined)(guest.removeDirectory(path, { recursive: true }))
    },
    Effect.mapError(forMethod("Job.remove"))
  )

  const traced = <A>(method: string, effect: Effect.Effect<A, LightboxError>) =>
    Effect.withSpan(Effect.mapError(effect, forMethod(method)), method)

  return printable<Job>(
    {
      [TypeId]: TypeId,
      id,
      info: traced("Job.info", info),
      status: traced("Job.status", status),
      logs: (options) =>
        Stream.unwrap(Effect.map(decodeLogs(options), logs)).pipe(
          Stream.mapError(forMethod("Job.logs")),
          Stream.withSpan("Job.logs")
        ),
      wait: traced("Job.wait", wait),
      signal: Effect.fn("Job.signal")(
        function* (signal) {
          yield* checkSignal(signal)
          yield* sendSignal("Job.signal", typeof signal === "number" ? signal : signals[signal])
        },
        Effect.mapError(forMethod("Job.signal"))
      ),
      write: Effect.fn("Job.write")(
        function* (input) {
          yield* checkInput("Job.write")
          yield* send("Job.write", input)
        },
        (effect) => Effect.mapError(effect, forMethod("Job.write"))
      ),
      endInput: traced(
        "Job.endInput",
        Effect.andThen(
          checkInput("Job.endInput"),
          script("Job.endInput", Supervisor.endInput, () => [path])
        )
      ),
      resize: Effect.fn("Job.resize")(
        function* (size) {
          const checked = yield* decodeSize(size)
          yield* checkTerminal("Job.resize")
          yield* resize("Job.resize", checked)
        },
        Effect.mapError(forMethod("Job.resize"))
      ),
      attach: traced("Job.attach", attach),
      remove
    },
    "Job",
    ({ id }) => ({ id })
  )
}

/** Removes what asks a terminal about itself: it would answer to the job, which asked another one. */
const withoutQueries = (bytes: Uint8Array): Uint8Array =>
  Buffer.from(Buffer.from(bytes).toString("latin1").replace(queries, ""), "latin1")

const queries = new RegExp(
  String.raw`\x1b(?:\[[?>=]?[\d;]*[cn]|\[[?>]?[\d;]*\$p|\[>\d*q|\][\d;]*;\?(?:\x07|\x1b\\)|P[+$]q[^\x1b]*\x1b\\)`,
  "g"
)

const pieceBytes = 1024 * 1024

/** Processes that go on starting others are killed this many times. */
const killRounds = 50

const endOf = ({ segments }: View): number => Math.max(0, ...segments.map(({ size, start }) => start + size))
