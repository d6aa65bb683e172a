/** `jobs` and `job`. */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import type * as Job from "../../Job.ts"
import * as Sandbox from "../../Sandbox.ts"
import type { SignalName } from "../config/signals.ts"
import { signals, statusOf } from "../config/signals.ts"
import { keyboard, size } from "../guest/attach.ts"
import { write as writeText } from "../report/output.ts"
import { driver, Json, Outputs, print, printList, printRemoved, toJson } from "./environment.ts"
import { requiredCommand } from "./exec.ts"
import { namedArgument, nameFlags } from "./failure.ts"
import * as Flags from "./flags.ts"
import * as Shapes from "./json.ts"
import * as Status from "./status.ts"

const sandboxName = Argument.String("sandbox").pipe(
  Argument.withMetavar("SANDBOX"),
  Argument.withDescription("Name of a running sandbox")
)

const id = Argument.String("id").pipe(Argument.withMetavar("ID"), Argument.withDescription("Id of the job"))

const on = { sandbox: sandboxName, id }

const find = Effect.fnUntraced(function* (input: { readonly sandbox: string; readonly id: string }) {
  return yield* Effect.flatMap(Sandbox.connect(input.sandbox), (sandbox) => sandbox.job(input.id)).pipe(
    Effect.mapError(nameFlags({ id: "ID", name: "SANDBOX" }))
  )
})

export const describe = (status: Job.Status): string => {
  switch (status._tag) {
    case "Running":
      return "running"
    case "Exited":
      return `exited (${status.exitCode})`
    case "Signaled":
      return `ended by ${typeof status.signal === "number" ? `signal ${status.signal}` : status.signal}`
    case "Lost":
      return "lost"
  }
}

const lostStatus = 255

const exitStatusOf = (ended: Job.Ended): number =>
  ended._tag === "Lost"
    ? lostStatus
    : statusOf(ended._tag === "Exited" ? ended : { exitCode: -1, signal: ended.signal })

const listed = {
  sandbox: sandboxName.pipe(Argument.withDescription("Name of a running sandbox (default: all)"), Argument.optional),
  ...Flags.listing
}

/** The jobs of a sandbox, or of all running ones. Those that end meanwhile have none. */
const jobsOf = Effect.fnUntraced(function* (name: string | undefined) {
  const of = (sandbox: string) =>
    Effect.scoped(Effect.flatMap(Sandbox.connect(sandbox), ({ jobs }) => jobs)).pipe(
      Effect.map((found) => found.map((job) => Object.assign({ sandbox }, job)))
    )
  if (name !== undefined) return yield* of(name)
  const none = () => Effect.succeed([])
  const running = (yield* Sandbox.list()).filter(({ status }) => status === "running")
  const found = yield* Effect.forEach(running, ({ name }) =>
    Effect.catchReasons(of(name), "LightboxError", { NotFound: none, NotRunning: none })
  )
  return found.flat()
})

const list = Effect.fnUntraced(function* ({
  sandbox,
  ...listing
}: Flags.Listing & { readonly sandbox: Option.Option<string> }) {
  yield* printList(
    Shapes.Jobs,
    yield* jobsOf(Option.getOrUndefined(sandbox)),
    {
      columns: ["ID", "SANDBOX", "STATUS", "STARTED", "COMMAND"],
      row: ({ argv, id, sandbox, startedAt, status }) => [id, sandbox, describe(status), startedAt, argv.join(" ")],
      none: "There are no jobs."
    },
    listing
  )
}, namedArgument)

const listDescription = "List the jobs of a sandbox, or of all that run"

export const jobs = Command.make("jobs", listed, list).pipe(
  Command.withDescription(listDescription),
  Command.provide(driver())
)

const ls = Command.make("ls", listed, list).pipe(Command.withDescription(listDescription))

const start = Command.make(
  "start",
  {
    sandbox: sandboxName,
    command: requiredCommand,
    id: Flags.text("id", "ID", "Id of the job (default: random)"),
    ...Flags.running,
    tty: Flags.toggle("tty", "Run it on a terminal of its own, for job attach").pipe(Flag.withAlias("t")),
    input: Flags.toggle("input", "Keep the input open, for job write").pipe(Flag.withAlias("i")),
    maxLog: Flags.text("max-log", "SIZE", "Limit for the kept output (default: 8M)")
  },
  Effect.fnUntraced(
    function* ({ command: [command = "", ...args], env, envFile, id, input, maxLog, sandbox, tty, user, workdir }) {
      const connected = yield* Sandbox.connect(sandbox)
      const job = yield* connected
        .start(command, args, {
          id,
          env: { ...(tty ? { TERM: process.env["TERM"] ?? "xterm" } : {}), ...Flags.variables({ env, envFile }) },
          cwd: workdir,
          user,
          stdin: input || tty ? "open" : "empty",
          terminal: tty ? size() : undefined,
          maxLog: yield* Flags.bytesOf("--max-log", maxLog)
        })
        .pipe(Effect.mapError(nameFlags({ ...Flags.runningNames, id: "--id", maxLog: "--max-log" })))
      yield* print(Shapes.JobStarted, { id: job.id }, { full: job.id })
    },
    Effect.scoped,
    namedArgument
  )
).pipe(
  Command.withDescription("Start a job and print its id"),
  Command.withExamples([
    { command: "lightbox job start web --id server -- npm run dev" },
    { command: "lightbox job start -t web --id edit -- vi notes", description: "Start an editor to attach to" }
  ])
)

const attach = Command.make(
  "attach",
  on,
  Effect.fnUntraced(function* (input) {
    const job = yield* find(input)
    const status = yield* job.attach
    if (status._tag !== "Running") return yield* new Status.Ended({ status: exitStatusOf(status) })
    const { stderr } = yield* Outputs
    stderr.write(`\r\nDetached. To attach again: lightbox job attach ${input.sandbox} ${input.id}\n`)
  }, Effect.scoped)
).pipe(Command.withDescription("Connect this terminal to a job that was started with --tty; Ctrl+] leaves it running"))

const encodeEvent = toJson(Shapes.JobOutput)

const logs = Command.make(
  "logs",
  {
    ...on,
    follow: Flags.toggle("follow", "Read on until the job has ended").pipe(Flag.withAlias("f")),
    since: Flags.count("since", "BYTES", "Offset of the first byte (default: 0)")
  },
  Effect.fnUntraced(function* ({ follow, since, ...input }) {
    const job = yield* find(input)
    const isJson = yield* Json
    const { stderr, stdout } = yield* Outputs
    const decoder = new TextDecoder()
    yield* Stream.runForEach(job.logs({ follow, since }), (event) => {
      if (isJson) return writeText(stdout, `${encodeEvent(event)}\n`)
      if (event._tag === "Output") return writeText(stdout, decoder.decode(event.bytes, { stream: true }))
      if (event.bytes === 0) return writeText(stderr, "lightbox: output was lost, because the disk was full\n")
      return writeText(stderr, `lightbox: ${event.bytes} bytes are not kept\n`)
    }).pipe(Effect.mapError(nameFlags({ since: "--since" })))
  }, Effect.scoped)
).pipe(Command.withDescription("Print the output of a job"))

const wait = Command.make(
  "wait",
  on,
  Effect.fnUntraced(function* (input) {
    const ended = yield* (yield* find(input)).wait
    yield* print(Shapes.JobEnded, { id: input.id, status: ended }, { full: describe(ended) })
    return yield* new Status.Ended({ status: exitStatusOf(ended) })
  }, Effect.scoped)
).pipe(Command.withDescription("Wait for a job to end, and exit with its status"))

const isSignal = (name: string): name is SignalName => name in signals

const kill = Command.make(
  "kill",
  {
    ...on,
    signal: Flags.text("signal", "SIGNAL", "Name or number of the signal (default: SIGKILL)").pipe(Flag.withAlias("s"))
  },
  Effect.fnUntraced(function* ({ signal = "SIGKILL", ...input }) {
    const job = yield* find(input)
    const name = `SIG${signal.toUpperCase().replace(/^SIG/, "")}`
    yield* job.signal(isSignal(name) ? name : Number(signal)).pipe(Effect.mapError(nameFlags({ signal: "--signal" })))
  }, Effect.scoped)
).pipe(Command.withDescription("Send a signal to the process group of a job"))

const write = Command.make(
  "write",
  { ...on, end: Flags.toggle("end", "End the input of the job afterwards") },
  Effect.fnUntraced(function* ({ end, ...input }) {
    const job = yield* find(input)
    const { stdin } = yield* job.info
    if (stdin === "open") yield* job.write(keyboard)
    else yield* job.write("")
    if (end) yield* job.endInput
  }, Effect.scoped)
).pipe(Command.withDescription("Send standard input to a job that was started with --input"))

const rm = Command.make(
  "rm",
  { ...on, force: Flags.toggle("force", "Kill a running job first").pipe(Flag.withAlias("f")) },
  Effect.fnUntraced(function* ({ force, ...input }) {
    yield* (yield* find(input)).remove({ force })
    yield* printRemoved([input.id])
  }, Effect.scoped)
).pipe(Command.withDescription("Remove a job and its output"))

export const job = Command.make("job").pipe(
  Command.withDescription("Start, read and end jobs: commands that outlive their connection"),
  Command.withSubcommands([start, ls, attach, logs, wait, kill, write, rm]),
  Command.provide(driver())
)
