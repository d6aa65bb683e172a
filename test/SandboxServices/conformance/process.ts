/** What programs may expect of a `ChildProcessSpawner`. */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as PlatformError from "effect/PlatformError"
import * as ChildProcess from "effect/process/ChildProcess"
import * as ChildProcessSpawner from "effect/process/ChildProcessSpawner"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as Sink from "effect/Sink"
import * as Stream from "effect/Stream"
import { type Behaviour, differs, inFolder, outcome, same } from "./Behaviour.ts"

const encode = (text: string) => Stream.encodeText(Stream.make(text))

const text = <E>(stream: Stream.Stream<Uint8Array, E>) => Stream.mkString(Stream.decodeText(stream))

/** A script of the guest's or host's shell. */
const shell = (script: string, options?: ChildProcess.CommandOptions, ...args: ReadonlyArray<string>) =>
  ChildProcess.make("sh", ["-c", script, "sh", ...args], options)

const string = (command: ChildProcess.Command) =>
  ChildProcessSpawner.ChildProcessSpawner.use((spawner) => spawner.string(command))

const exitCode = (command: ChildProcess.Command) =>
  ChildProcessSpawner.ChildProcessSpawner.use((spawner) => Effect.map(spawner.exitCode(command), Number))

/** Checks a condition until it holds, and gives up after some time. */
const eventually = <E, R>(condition: Effect.Effect<boolean, E, R>) =>
  condition.pipe(
    Effect.repeat({ until: (holds) => holds, schedule: Schedule.spaced("20 millis") }),
    Effect.timeoutOption("20 seconds"),
    Effect.map(Option.isSome)
  )

const isAlive = (pid: string) => Effect.map(exitCode(shell('kill -0 "$1" 2>/dev/null', {}, pid)), (code) => code === 0)

const isDead = (pid: string) => eventually(Effect.map(isAlive(pid), (alive) => !alive))

const firstLine = <E>(stream: Stream.Stream<Uint8Array, E>) =>
  Effect.map(Stream.runHead(Stream.splitLines(Stream.decodeText(stream))), Option.getOrThrow)

// =============================================================================
// Commands
// =============================================================================

/** A variable of this process, which the host's commands inherit. */
const ofThisProcess = "LIGHTBOX_CONFORMANCE"
process.env[ofThisProcess] = "of the host"

const commands: ReadonlyArray<Behaviour> = [
  same(
    "a command receives its arguments unchanged, and returns output and exit code",
    ["$HOME * 'a b' \n", 0, false],
    Effect.gen(function* () {
      const handle = yield* ChildProcess.make("echo", ["$HOME", "*", "'a b'", ""])
      const output = yield* text(handle.stdout)
      return [output, Number(yield* handle.exitCode), yield* handle.isRunning]
    })
  ),
  same(
    "a nonzero exit code is not a failure",
    [1, 42, 255],
    Effect.forEach([1, 42, 255], (code) => exitCode(shell('exit "$1"', {}, String(code))))
  ),
  same(
    "the helpers return text, lines and both outputs",
    ["a\nb\n", ["a", "b"], ["a", "b", "e"], ["a", "b"]],
    Effect.gen(function* () {
      const spawner = yield* ChildProcessSpawner.ChildProcessSpawner
      const command = shell("echo a; echo b; echo e >&2")
      return [
        yield* spawner.string(command),
        yield* spawner.lines(command),
        (yield* spawner.lines(command, { includeStderr: true })).toSorted(),
        yield* Stream.runCollect(spawner.streamLines(command))
      ]
    })
  ),
  same(
    "a command runs in the given folder, also with a relative path",
    [true, true, "NotFound"],
    inFolder((fs, folder) =>
      Effect.gen(function* () {
        yield* fs.makeDirectory(`${folder}/below`)
        const real = yield* fs.realPath(folder)
        const pwd = (cwd: string) => string(ChildProcess.make("pwd", [], { cwd }))
        const cwd = (yield* string(ChildProcess.make("pwd"))).trimEnd()
        const up = cwd.split("/").flatMap((part) => (part === "" ? [] : [".."]))
        return [
          (yield* pwd(folder)).trimEnd() === real,
          (yield* pwd([...up, `${folder}/below`].join("/").replace("//", "/"))).trimEnd() === `${real}/below`,
          yield* outcome(pwd(`${folder}/missing`))
        ]
      })
    )
  ),
  same(
    "a program is found by path, and by a path relative to its working directory",
    ["by path\n", "by path\n"],
    inFolder((fs, folder) =>
      Effect.gen(function* () {
        yield* fs.writeFileString(`${folder}/program`, "#!/bin/sh\necho by path\n", { mode: 0o755 })
        return [
          yield* string(ChildProcess.make(`${folder}/program`)),
          yield* string(ChildProcess.make("./program", [], { cwd: folder }))
        ]
      })
    )
  ),
  same(
    "a program that cannot be started fails with its command line",
    [
      ["NotFound", "ChildProcess", "spawn", "missing-program --flag 'a b'"],
      ["NotFound", "ChildProcess", "spawn", "missing-program"],
      ["PermissionDenied", "ChildProcess", "spawn", "./file"],
      ["PermissionDenied", "ChildProcess", "spawn", "./file"]
    ],
    inFolder((fs, folder) =>
      Effect.gen(function* () {
        yield* fs.writeFileString(`${folder}/file`, "no program")
        const env = { PATH: "/bin:/usr/bin" }
        return yield* Effect.forEach(
          [
            ChildProcess.make("missing-program", ["--flag", "a b"]),
            ChildProcess.make("missing-program", [], { env }),
            ChildProcess.make("./file", [], { cwd: folder }),
            ChildProcess.make("./file", [], { cwd: folder, env })
          ],
          (command) =>
            Effect.map(Effect.flip(command), ({ reason }) => [
              reason._tag,
              reason.module,
              reason.method,
              "pathOrDescriptor" in reason ? reason.pathOrDescriptor : undefined
            ])
        )
      })
    )
  ),
  same(
    "env replaces the environment, and extends it with extendEnv",
    ["ONLY=this\n", "this there", "gone there", "ONLY=this\n"],
    Effect.gen(function* () {
      const show = 'echo "${ONLY-gone} ${PATH:+there}"'
      return [
        yield* string(ChildProcess.make("/usr/bin/env", [], { env: { ONLY: "this" } })),
        (yield* string(shell(show, { env: { ONLY: "this" }, extendEnv: true }))).trimEnd(),
        (yield* string(shell(show, { env: { ONLY: undefined }, extendEnv: true }))).trimEnd(),
        yield* string(ChildProcess.make("/usr/bin/env", [], { env: { ONLY: "this", OTHER: undefined } }))
      ]
    })
  ),
  same(
    "an undefined variable is removed",
    ["there", "gone"],
    Effect.forEach([{}, { HOME: undefined }], (env) =>
      Effect.map(string(shell('echo "${HOME+there}${HOME-gone}"', { env, extendEnv: true })), (output) =>
        output.trimEnd() === "gone" ? "gone" : "there"
      )
    )
  ),
  differs(
    "the environment of the calling process",
    { onHost: "of the host", inGuest: "not there", because: "what the host has in its environment is not for a guest" },
    Effect.map(
      string(shell(`echo "\${${ofThisProcess}-not there}"`, { env: { OTHER: "" }, extendEnv: true })),
      (output) => output.trimEnd()
    )
  ),
  same(
    "with shell, the command is a script",
    ["HELLO\n", "a b\n", "BadArgument"],
    Effect.gen(function* () {
      return [
        yield* string(ChildProcess.make("echo hello | tr a-z A-Z", { shell: true })),
        yield* string(ChildProcess.make("set -- 'a b'; echo \"$1\"", { shell: "/bin/sh" })),
        yield* outcome(ChildProcess.make("echo", ["a"], { shell: true }))
      ]
    })
  ),
  same(
    "redacted arguments and variables arrive, and appear in no error",
    ["secret-1 secret-2\n", true, true],
    Effect.gen(function* () {
      const one = Redacted.make("secret-1")
      const env = { TWO: Redacted.make("secret-2") }
      const error = yield* Effect.flip(ChildProcess.make("missing-program", [one], { env, extendEnv: true }))
      const shown = `${String(error)} ${JSON.stringify(error)} ${error.stack ?? ""} ${String(error.reason.cause)}`
      return [
        yield* string(ChildProcess.make("sh", ["-c", 'echo "$0 $TWO"', one], { env, extendEnv: true })),
        shown.includes("<redacted>"),
        !shown.includes("secret-1") && !shown.includes("secret-2")
      ]
    })
  ),
  same(
    "NUL characters are rejected",
    ["BadArgument", "BadArgument", "BadArgument"],
    Effect.forEach(
      [
        ChildProcess.make("a\0b"),
        ChildProcess.make("echo", ["a\0b"]),
        ChildProcess.make("echo", [], { env: { A: "a\0b" } })
      ],
      outcome
    )
  )
]

// =============================================================================
// Input and output
// =============================================================================

const streams: ReadonlyArray<Behaviour> = [
  same(
    "stdout, stderr and all return what was written to them",
    ["out\n", "err\n", ["err", "out"]],
    Effect.gen(function* () {
      const handle = yield* shell("echo out; echo err >&2")
      const [stdout, stderr] = yield* Effect.all([text(handle.stdout), text(handle.stderr)], {
        concurrency: "unbounded"
      })
      const all = yield* text((yield* shell("echo out; echo err >&2")).all)
      return [stdout, stderr, all.trimEnd().split("\n").toSorted()]
    })
  ),
  same(
    "output arrives as it is written",
    ["first", "second"],
    Effect.gen(function* () {
      const handle = yield* shell("echo first; read line; echo $line")
      return yield* handle.stdout.pipe(
        Stream.decodeText,
        Stream.splitLines,
        Stream.tap((line) => (line === "first" ? Stream.run(encode("second\n"), handle.stdin) : Effect.void)),
        Stream.runCollect
      )
    })
  ),
  same(
    "large output arrives complete on both streams",
    [1_500_000, 500_000, 0],
    Effect.gen(function* () {
      const handle = yield* shell("head -c 1500000 /dev/zero; head -c 500000 /dev/zero >&2")
      const size = (stream: typeof handle.stdout) =>
        Stream.runFold(
          stream,
          () => 0,
          (sum, bytes) => sum + bytes.length
        )
      const [stdout, stderr] = yield* Effect.all([size(handle.stdout), size(handle.stderr)], {
        concurrency: "unbounded"
      })
      return [stdout, stderr, Number(yield* handle.exitCode)]
    })
  ),
  differs(
    "output that nobody reads",
    {
      onHost: "the command waits",
      inGuest: "it is kept",
      because: "all commands of a sandbox share a connection, which one that is not read must not hold up"
    },
    Effect.gen(function* () {
      const script = "head -c 500000 /dev/zero"
      const handle = yield* shell(script, { killSignal: "SIGKILL" })
      // However slow it is here, one whose output is read is as slow.
      yield* string(shell(script))
      const ended = yield* Effect.timeoutOption(handle.exitCode, "5 seconds")
      return Option.isSome(ended) ? "it is kept" : "the command waits"
    })
  ),
  same(
    "ignored output is empty, and a sink sees output as it is read",
    ["", "in all: 6"],
    Effect.gen(function* () {
      const ignored = yield* shell("echo hello", { stdout: "ignore", stderr: "ignore" })
      const sizes = Sink.map(
        Sink.reduce(
          () => 0,
          (sum: number, bytes: Uint8Array) => sum + bytes.length
        ),
        (sum) => new TextEncoder().encode(`in all: ${sum}`)
      )
      const counted = yield* shell("echo hello", { stdout: sizes })
      return [yield* text(ignored.stdout), (yield* text(counted.stdout)).slice(0, 9)]
    })
  ),
  same(
    "input comes from a stream, or through the handle",
    ["a b c", "d e f"],
    Effect.gen(function* () {
      const first = yield* ChildProcess.make("cat", { stdin: encode("a b c") })
      const second = yield* ChildProcess.make("cat")
      yield* Stream.run(encode("d e f"), second.stdin)
      return [yield* text(first.stdout), yield* text(second.stdout)]
    })
  ),
  same(
    "input stays open with endOnDone false, and is empty with ignore",
    ["one", "two", ""],
    Effect.gen(function* () {
      const handle = yield* shell("read a; echo $a; read b; echo $b", {
        stdin: { stream: "pipe", endOnDone: false }
      })
      yield* Stream.run(encode("one\n"), handle.stdin)
      yield* Stream.run(encode("two\n"), handle.stdin)
      const lines = yield* Stream.runCollect(Stream.splitLines(Stream.decodeText(handle.stdout)))
      return [...lines, yield* text((yield* ChildProcess.make("cat", { stdin: "ignore" })).stdout)]
    })
  ),
  same(
    "a failing input fails the process",
    "TimedOut",
    Effect.gen(function* () {
      const error = PlatformError.systemError({ _tag: "TimedOut", module: "Test", method: "input" })
      const handle = yield* ChildProcess.make("cat", {
        stdin: Stream.concat(encode("a"), Stream.fail(error)),
        killSignal: "SIGKILL"
      })
      return yield* outcome(handle.exitCode)
    })
  ),
  same(
    "additional descriptors carry output and input",
    ["on 3\n", "on 5\n", "READ FROM 3\n", ""],
    Effect.gen(function* () {
      const writer = yield* shell("echo on 3 >&3; echo on 5 >&5", {
        additionalFds: { fd3: { type: "output" }, fd5: { type: "output" } }
      })
      const reader = yield* shell("cat <&3 | tr a-z A-Z >&4", {
        additionalFds: { fd3: { type: "input", stream: encode("read from 3\n") }, fd4: { type: "output" } }
      })
      return [
        yield* text(writer.getOutputFd(3)),
        yield* text(writer.getOutputFd(5)),
        yield* text(reader.getOutputFd(4)),
        yield* text(reader.getOutputFd(7))
      ]
    })
  ),
  same(
    "a missing program fails the same way with additional descriptors",
    "NotFound",
    outcome(ChildProcess.make("missing-program", [], { additionalFds: { fd3: { type: "output" } } }))
  ),
  differs(
    "an additional descriptor for both directions",
    {
      onHost: ["success", "pong: ping"],
      inGuest: ["BadArgument", ""],
      because: "descriptors of a guest are named pipes, which have one direction"
    },
    Effect.gen(function* () {
      const command = shell('IFS= read -r line <&3; echo "pong: $line" >&3', {
        additionalFds: { fd3: { type: "duplex", stream: encode("ping\n") } }
      })
      const answer = yield* Effect.matchEffect(command, {
        onFailure: () => Effect.succeed(""),
        onSuccess: (handle) => firstLine(handle.getOutputFd(3))
      })
      return [yield* outcome(command), answer]
    })
  )
]

// =============================================================================
// Pipelines
// =============================================================================

const upper = ChildProcess.make("tr", ["a-z", "A-Z"])

const pipelines: ReadonlyArray<Behaviour> = [
  same(
    "the output of a command is the input of the next",
    ["HELLO WORLD\n", "HELLO-WORLD\n", 3],
    Effect.gen(function* () {
      const two = ChildProcess.make("echo", ["hello world"]).pipe(ChildProcess.pipeTo(upper))
      return [
        yield* string(two),
        yield* string(two.pipe(ChildProcess.pipeTo(ChildProcess.make("tr", [" ", "-"])))),
        yield* exitCode(two.pipe(ChildProcess.pipeTo(shell("cat > /dev/null; exit 3"))))
      ]
    })
  ),
  same(
    "a pipeline can be piped into a pipeline",
    "HELLO-WORLD\n",
    string(
      ChildProcess.make("echo", ["hello world"]).pipe(
        ChildProcess.pipeTo(upper.pipe(ChildProcess.pipeTo(ChildProcess.make("tr", [" ", "-"]))))
      )
    )
  ),
  same(
    "stderr, both outputs and descriptors can be piped, also into a descriptor",
    ["ERR\n", ["ERR", "OUT"], "ON 3\n", "from stdin: out\n"],
    Effect.gen(function* () {
      const both = shell("echo out; echo err >&2")
      const pipe = (from: ChildProcess.PipeFromOption) => string(both.pipe(ChildProcess.pipeTo(upper, { from })))
      const three = shell("echo on 3 >&3", { additionalFds: { fd3: { type: "output" } } })
      return [
        yield* pipe("stderr"),
        (yield* pipe("all")).trimEnd().split("\n").toSorted(),
        yield* string(three.pipe(ChildProcess.pipeTo(upper, { from: "fd3" }))),
        yield* string(
          both.pipe(ChildProcess.pipeTo(shell('echo "from stdin: $(cat <&3)"', { stdin: "ignore" }), { to: "fd3" }))
        )
      ]
    })
  ),
  same(
    "input of a pipeline goes to its first command",
    "HELLO",
    Effect.gen(function* () {
      const handle = yield* ChildProcess.make("cat").pipe(ChildProcess.pipeTo(upper))
      yield* Stream.run(encode("hello"), handle.stdin)
      return yield* text(handle.stdout)
    })
  ),
  same(
    "killing a pipeline kills all its commands",
    [true, true],
    Effect.gen(function* () {
      const handle = yield* shell("echo $$; exec sleep 100").pipe(
        ChildProcess.pipeTo(shell("read first; echo $first $$; exec sleep 100"))
      )
      const [first = "", second = ""] = (yield* firstLine(handle.stdout)).split(" ")
      yield* handle.kill({ killSignal: "SIGKILL" })
      return [yield* isDead(first), yield* isDead(second)]
    })
  )
]

// =============================================================================
// The end
// =============================================================================

const endings: ReadonlyArray<Behaviour> = [
  same(
    "a process ended by a signal has no exit code",
    ["Unknown", "Unknown", false],
    Effect.gen(function* () {
      const handle = yield* ChildProcess.make("sleep", ["100"])
      yield* handle.kill()
      return [
        yield* outcome(handle.exitCode),
        yield* outcome(shell("kill -9 $$").pipe(exitCode)),
        yield* handle.isRunning
      ]
    })
  ),
  same(
    "kill sends the given signal",
    ["USR1\n", 7],
    Effect.gen(function* () {
      const handle = yield* shell("trap 'echo USR1; exit 7' USR1; echo ready; while :; do sleep 0.05; done")
      const output = yield* handle.stdout.pipe(
        Stream.decodeText,
        Stream.splitLines,
        Stream.tap((line) =>
          line === "ready" ? Effect.forkScoped(handle.kill({ killSignal: "SIGUSR1" })) : Effect.void
        ),
        Stream.drop(1),
        Stream.runCollect
      )
      return [`${output.join("\n")}\n`, Number(yield* handle.exitCode)]
    })
  ),
  same(
    "a process that ignores the signal is killed after forceKillAfter",
    ["Unknown", false],
    Effect.gen(function* () {
      const handle = yield* shell("trap '' TERM; echo ready; while :; do sleep 0.05; done")
      yield* firstLine(handle.stdout)
      yield* handle.kill({ forceKillAfter: "100 millis" })
      return [yield* outcome(handle.exitCode), yield* handle.isRunning]
    })
  ),
  same(
    "closing the scope ends a process, which can clean up",
    ["cleaned up", true],
    inFolder((fs, folder) =>
      Effect.gen(function* () {
        const script = 'trap \'printf "cleaned up" > "$1"; exit 0\' TERM; echo $$; while :; do sleep 0.05; done'
        const pid = yield* Effect.scoped(
          Effect.flatMap(shell(script, {}, `${folder}/file`), (handle) => firstLine(handle.stdout))
        )
        return [yield* fs.readFileString(`${folder}/file`), yield* isDead(pid)]
      })
    )
  ),
  same(
    "closing the scope kills a process that ignores the signal, after forceKillAfter",
    true,
    Effect.flatMap(
      Effect.scoped(
        Effect.flatMap(
          shell("trap '' TERM; echo $$; while :; do sleep 0.05; done", { forceKillAfter: "100 millis" }),
          (handle) => firstLine(handle.stdout)
        )
      ),
      isDead
    )
  ),
  same(
    "interrupting a wait for a process ends the process",
    true,
    inFolder((fs, folder) =>
      Effect.gen(function* () {
        const file = `${folder}/pid`
        const waiting = Effect.andThen(exitCode(shell('echo $$ > "$1"; exec sleep 100', {}, file)), Effect.never)
        const started = eventually(
          Effect.map(
            Effect.orElseSucceed(fs.readFileString(file), () => ""),
            (pid) => pid !== ""
          )
        )
        yield* Effect.raceFirst(waiting, started)
        return yield* isDead((yield* fs.readFileString(file)).trimEnd())
      })
    )
  ),
  same(
    "closing the scope ends background processes, even after the process itself has ended",
    [0, true, true],
    Effect.gen(function* () {
      const scope = yield* Scope.fork(yield* Effect.scope)
      const handle = yield* Scope.provide(shell("sleep 100 > /dev/null 2>&1 < /dev/null & echo $!"), scope)
      const pid = yield* firstLine(handle.stdout)
      const code = Number(yield* handle.exitCode)
      const alive = yield* isAlive(pid)
      yield* Scope.close(scope, Exit.void)
      return [code, alive, yield* isDead(pid)]
    })
  ),
  same(
    "closing the scope kills background processes that ignore the signal, after forceKillAfter",
    [0, true],
    Effect.gen(function* () {
      const script = "(trap '' TERM; exec sleep 100) > /dev/null 2>&1 < /dev/null & echo $!"
      const [pid, code] = yield* Effect.scoped(
        Effect.gen(function* () {
          const handle = yield* shell(script, { forceKillAfter: "100 millis" })
          return [yield* firstLine(handle.stdout), Number(yield* handle.exitCode)] as const
        })
      )
      return [code, yield* isDead(pid)]
    })
  ),
  differs(
    "a background process that holds the output, after waiting for the exit code",
    {
      onHost: [0, true],
      inGuest: [0, false],
      because: "the agent tells the exit code when nobody has the output open any more"
    },
    Effect.gen(function* () {
      const handle = yield* shell("sleep 100 & echo $!", { killSignal: "SIGKILL" })
      const pid = yield* firstLine(handle.stdout)
      return [Number(yield* handle.exitCode), yield* isAlive(pid)]
    })
  ),
  same(
    "an unreferenced process outlives the scope, and one referenced again does not",
    [true, true, true],
    Effect.gen(function* () {
      const spawnIn = Effect.fnUntraced(function* (isReferencedAgain: boolean) {
        const scope = yield* Scope.fork(yield* Effect.scope)
        const handle = yield* Scope.provide(
          ChildProcess.make("sleep", ["100"], { stdout: "ignore", stderr: "ignore" }),
          scope
        )
        const reref = yield* handle.unref
        if (isReferencedAgain) yield* reref
        yield* Scope.close(scope, Exit.void)
        return handle
      })
      const free = yield* spawnIn(false)
      const bound = yield* spawnIn(true)
      const alive = yield* isAlive(String(free.pid))
      yield* free.kill({ killSignal: "SIGKILL" })
      return [alive, yield* isDead(String(free.pid)), yield* isDead(String(bound.pid))]
    })
  ),
  differs(
    "killing a process that has ended",
    { onHost: "Unknown", inGuest: "success", because: "there is nothing left to do" },
    Effect.gen(function* () {
      const handle = yield* ChildProcess.make("true")
      yield* handle.exitCode
      return yield* outcome(handle.kill())
    })
  ),
  differs(
    "a signal unknown to Linux",
    { onHost: "a defect", inGuest: "BadArgument", because: "Node.js throws" },
    Effect.gen(function* () {
      const handle = yield* ChildProcess.make("sleep", ["100"], { killSignal: "SIGKILL" })
      const kill = outcome(handle.kill({ killSignal: "SIGBREAK" }))
      return yield* Effect.catchDefect(kill, () => Effect.succeed("a defect"))
    })
  )
]

export const behaviours: ReadonlyArray<Behaviour> = [...commands, ...streams, ...pipelines, ...endings]
