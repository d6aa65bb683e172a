/** `exec` and `shell`, and how every command for a guest runs. */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import { isLightboxError, type LightboxError } from "../../LightboxError.ts"
import * as Sandbox from "../../Sandbox.ts"
import { statusOf } from "../config/signals.ts"
import { invalid } from "../config/validation.ts"
import { keyboard, writeTo } from "../guest/attach.ts"
import { driver, Json, print } from "./environment.ts"
import { namedArgument, nameFlags } from "./failure.ts"
import * as Flags from "./flags.ts"
import * as Shapes from "./json.ts"
import * as Status from "./status.ts"

type Options = Pick<Sandbox.ExecOptions, "cwd" | "env" | "stdin" | "user">

type Words = ReadonlyArray<string>

/** Prints how a command ended as JSON. */
const printed = Effect.fnUntraced(function* (
  sandbox: Sandbox.Sandbox,
  [command = "", ...args]: Words,
  options: Options
) {
  const ended = yield* sandbox.exec(command, args, options)
  const { duration, exitCode, signal, stderr, stdout } = ended
  const durationMillis = Duration.toMillis(duration)
  yield* print(Shapes.Ended, { exitCode, signal, stdout, stderr, durationMillis }, { full: "" })
  return statusOf(ended)
})

/** Runs a command without a terminal, and passes its output on as it is. */
const piped = Effect.fnUntraced(function* (sandbox: Sandbox.Sandbox, [command = "", ...args]: Words, options: Options) {
  const last = yield* sandbox.execStream(command, args, options).pipe(
    Stream.tap((event) =>
      event._tag === "Stdout" || event._tag === "Stderr"
        ? writeTo(event._tag === "Stdout" ? process.stdout : process.stderr, event.bytes)
        : Effect.void
    ),
    Stream.runLast
  )
  return Option.isSome(last) && last.value._tag === "Exited" ? statusOf(last.value) : 1
})

/** Runs a command or a shell on this terminal, if it is one, and exits with its status. */
export const runIn = Effect.fnUntraced(function* (
  method: string,
  sandbox: Sandbox.Sandbox,
  words: Words,
  options: Omit<Options, "stdin"> = {}
) {
  if (yield* Json) {
    if (words.length === 0) {
      return yield* invalid(method, "--json", "an interactive shell needs a terminal; give a command")
    }
    return yield* new Status.Ended({ status: yield* printed(sandbox, words, options) })
  }
  const [command = (yield* sandbox.info).shell, ...args] = words
  return yield* new Status.Ended({ status: yield* sandbox.attach(command, args, options) })
})

export const ownFailure = <E>(error: LightboxError | E): Status.GuestCommandFailed | E =>
  isLightboxError(error) ? new Status.GuestCommandFailed({ error }) : error

const named = <A, E, R>(effect: Effect.Effect<A, E | LightboxError, R>) =>
  Effect.mapError(namedArgument(effect), (error) =>
    ownFailure(isLightboxError(error) ? nameFlags(Flags.runningNames)(error) : error)
  )

const optionsOf = (
  input: Parameters<typeof Flags.variables>[0] & {
    readonly user: string | undefined
    readonly workdir: string | undefined
  }
) => ({ cwd: input.workdir, env: Flags.variables(input), user: input.user })

/** Checks that a command can get the terminal that `--tty` asks for. */
export const expectTerminal = Effect.fnUntraced(function* (method: string) {
  if (yield* Json) return yield* invalid(method, "--tty", "cannot be combined with --json")
  if (process.stdin.isTTY && process.stdout.isTTY) return
  return yield* invalid(method, "--tty", "standard input and output are not a terminal")
})

const word = Argument.String("command").pipe(Argument.withMetavar("COMMAND"))

export const command = word.pipe(
  Argument.withDescription("Command and arguments (default: a shell)"),
  Argument.variadic()
)

export const requiredCommand = word.pipe(Argument.withDescription("Command and arguments"), Argument.atLeast(1))

const name = Flags.nameOf("Name of a running sandbox")

export const exec = Command.make(
  "exec",
  {
    name,
    command: requiredCommand,
    interactive: Flags.toggle("interactive", "Pass on standard input; without it, the command reads none").pipe(
      Flag.withAlias("i")
    ),
    tty: Flags.toggle("tty", "Run it on this terminal, with the keyboard").pipe(Flag.withAlias("t")),
    ...Flags.running
  },
  Effect.fnUntraced(
    function* ({ command: words, interactive, name, tty, ...input }) {
      const isJson = yield* Json
      if (tty) yield* expectTerminal("exec")
      const sandbox = yield* Sandbox.connect(name)
      const options = optionsOf(input)
      if (tty) return yield* runIn("exec", sandbox, words, options)
      const run = isJson ? printed : piped
      const status = yield* run(sandbox, words, { ...options, ...(interactive ? { stdin: keyboard } : {}) })
      return yield* new Status.Ended({ status })
    },
    Effect.scoped,
    named
  )
).pipe(
  Command.withDescription("Run a command in a running sandbox"),
  Command.withExamples([
    { command: "lightbox exec web tail -n 20 /var/log/messages" },
    { command: "lightbox exec -it web sh", description: "Open a shell" },
    { command: "lightbox exec -i web sh -c 'cat > /srv/data' < data", description: "Pass on standard input" }
  ]),
  Command.provide(driver())
)

export const shell = Command.make(
  "shell",
  { name, command, ...Flags.running },
  Effect.fnUntraced(
    function* ({ command, name, ...input }) {
      return yield* runIn("shell", yield* Sandbox.connect(name), command, optionsOf(input))
    },
    Effect.scoped,
    named
  )
).pipe(
  Command.withDescription("Open a shell in a running sandbox, or run a command on this terminal"),
  Command.withExamples([
    { command: "lightbox shell web" },
    { command: "lightbox shell web -- tail -f /var/log/messages" }
  ]),
  Command.provide(driver())
)
