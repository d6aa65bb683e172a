/**
 * Commands: how they are started, fed, read, signalled and ended.
 */
import { assert } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import * as Crypto from "node:crypto"
import * as Http from "node:http"
import type { Readable } from "node:stream"
import * as Microsandbox from "../../src/Microsandbox.ts"
import type * as Sandbox from "../../src/Sandbox.ts"
import * as SandboxProxy from "../../src/SandboxProxy.ts"
import * as Bench from "./Bench.ts"
import type { Group } from "./contract.ts"

export const commands: Group<Bench.Shared> = (test) => {
  // ---------------------------------------------------------------------------
  // Starting
  // ---------------------------------------------------------------------------

  test("returns the exit code and both outputs", function* () {
    const { sandbox } = yield* Bench.Shared
    const result = yield* sandbox.exec("sh", ["-c", "echo out; echo err >&2; exit 3"])
    assert.deepStrictEqual([result.exitCode, result.stdout, result.stderr], [3, "out\n", "err\n"])
  })

  test("runs a program without a shell", function* () {
    const { sandbox } = yield* Bench.Shared
    const result = yield* sandbox.exec("echo", ["$HOME", "a  b", "*", ""])
    assert.strictEqual(result.stdout, "$HOME a  b * \n")
  })

  test("truncates an exit code to a byte", function* () {
    const { sandbox } = yield* Bench.Shared
    assert.strictEqual((yield* sandbox.shell("exit 300")).exitCode, 44)
  })

  test("returns empty output for a command that writes nothing", function* () {
    const { sandbox } = yield* Bench.Shared
    const result = yield* sandbox.exec("true")
    assert.deepStrictEqual([result.exitCode, result.stdoutBytes.length, result.stderrBytes.length], [0, 0, 0])
  })

  test("passes the sandbox's environment and the command's own", function* () {
    const { sandbox } = yield* Bench.Shared
    const result = yield* sandbox.shell("echo $FROM_CONFIG $OWN $SECRET $HOME", {
      env: { OWN: "own", SECRET: Redacted.make("hidden") }
    })
    assert.strictEqual(result.stdout, "configured own hidden /root\n")
  })

  test("finds the scripts of the configuration", function* () {
    const { sandbox } = yield* Bench.Shared
    const result = yield* sandbox.exec("greet", ["you"])
    assert.strictEqual(result.stdout, "hello you\n")
  })

  test("runs a command in the given folder", function* () {
    const { sandbox } = yield* Bench.Shared
    assert.strictEqual((yield* sandbox.exec("pwd")).stdout, "/\n")
    assert.strictEqual((yield* sandbox.exec("pwd", [], { cwd: "/etc" })).stdout, "/etc\n")
  })

  test("runs a command as the given user", function* () {
    const { sandbox } = yield* Bench.Shared
    const idOf = (user?: string) =>
      Effect.map(sandbox.exec("id", [], user === undefined ? {} : { user }), (result) => result.stdout.trim())
    assert.strictEqual(yield* idOf(), "uid=0(root) gid=0(root)")
    assert.strictEqual(yield* idOf("app"), "uid=1000(app) gid=1000(app) groups=1000(app)")
    assert.strictEqual(yield* idOf("1000"), "uid=1000(app) gid=1000(app) groups=1000(app)")
    assert.strictEqual(yield* idOf("app:root"), "uid=1000(app) gid=0(root) groups=0(root)")
    assert.strictEqual(yield* idOf("4242"), "uid=4242 gid=0(root)")
    assert.strictEqual((yield* sandbox.shell("echo $HOME", { user: "app" })).stdout, "/home/app\n")
  })

  test("keeps a user from writing files owned by root", function* () {
    const { sandbox } = yield* Bench.Shared
    const result = yield* sandbox.shell("touch /etc/mine; touch /home/app/mine && ls /home/app", { user: "app" })
    assert.strictEqual(result.stdout, "mine\n")
    assert.include(result.stderr, "Permission denied")
  })

  test("fails with ProgramNotFound for a missing program", function* () {
    const { sandbox } = yield* Bench.Shared
    for (const program of ["not-there", "/bin/not-there", "/etc/passwd/not-there"]) {
      const reason = yield* Bench.failsWith("CommandNotStarted", sandbox.exec(program, ["word"]))
      assert.strictEqual(reason.kind, "ProgramNotFound")
      assert.deepStrictEqual(reason.argv, [program, "word"])
    }
    const methods = yield* Effect.forEach(
      [
        Effect.asVoid(sandbox.exec("not-there")),
        Stream.runDrain(sandbox.execStream("not-there")),
        Effect.asVoid(Effect.scoped(sandbox.spawn("not-there")))
      ],
      (call) => Effect.map(Effect.flip(call), ({ method }) => method)
    )
    assert.deepStrictEqual(methods, ["Sandbox.exec", "Sandbox.execStream", "Sandbox.spawn"])
  })

  test("fails with the kind of problem for a file that cannot be executed", function* () {
    const { sandbox } = yield* Bench.Shared
    yield* sandbox.writeFileString("/tmp/text", "just text")
    const plain = yield* Bench.failsWith("CommandNotStarted", sandbox.exec("/tmp/text"))
    assert.deepStrictEqual([plain.kind, plain.errno], ["PermissionDenied", "EACCES"])
    yield* sandbox.writeFileString("/tmp/text", "just text", { mode: 0o755 })
    const marked = yield* Bench.failsWith("CommandNotStarted", sandbox.exec("/tmp/text"))
    assert.deepStrictEqual([marked.kind, marked.errno], ["NotExecutable", "ENOEXEC"])
    const folder = yield* Bench.failsWith("CommandNotStarted", sandbox.exec("/etc"))
    assert.strictEqual(folder.kind, "PermissionDenied")
    yield* sandbox.writeFileString("/tmp/script", "#!/not/there\n", { mode: 0o755 })
    const script = yield* Bench.failsWith("CommandNotStarted", sandbox.exec("/tmp/script"))
    assert.strictEqual(script.kind, "ProgramNotFound")
  })

  test("starts no command with a word longer than Linux allows", function* () {
    const { sandbox } = yield* Bench.Shared
    assert.strictEqual((yield* sandbox.exec("true", ["x".repeat(131_071)])).exitCode, 0)
    const { errno } = yield* Bench.failsWith("CommandNotStarted", sandbox.exec("true", ["x".repeat(131_072)]))
    assert.strictEqual(errno, "E2BIG")
  })

  test("runs a script with its interpreter", function* () {
    const { sandbox } = yield* Bench.Shared
    yield* sandbox.writeFileString("/tmp/tool", '#!/bin/sh\necho "$0" "$1"\n', { mode: 0o755 })
    assert.strictEqual((yield* sandbox.exec("/tmp/tool", ["a b"])).stdout, "/tmp/tool a b\n")
  })

  test("fails with BadWorkdir for a working directory that is missing or a file", function* () {
    const { sandbox } = yield* Bench.Shared
    const missing = yield* Bench.failsWith("CommandNotStarted", sandbox.exec("true", [], { cwd: "/not/there" }))
    assert.deepStrictEqual([missing.kind, missing.errno], ["BadWorkdir", "ENOENT"])
    const file = yield* Bench.failsWith("CommandNotStarted", sandbox.exec("true", [], { cwd: "/etc/passwd" }))
    assert.deepStrictEqual([file.kind, file.errno], ["BadWorkdir", "ENOTDIR"])
    const terminal = { rows: 24, columns: 80 }
    const seen = yield* Bench.failsWith(
      "CommandNotStarted",
      Effect.scoped(sandbox.guest.spawn({ argv: ["true"], cwd: "/not/there", terminal }))
    )
    assert.strictEqual(seen.kind, "BadWorkdir")
  })

  test("fails with UnknownUser for a missing user or group", function* () {
    const { sandbox } = yield* Bench.Shared
    for (const user of ["nobody-here", "app:nobodies"]) {
      const reason = yield* Bench.failsWith("CommandNotStarted", sandbox.exec("true", [], { user }))
      assert.strictEqual(reason.kind, "UnknownUser")
    }
  })

  test("applies resource limits to a command", function* () {
    const { sandbox } = yield* Bench.Shared
    const result = yield* sandbox.shell("ulimit -n; ulimit -Hn", { rlimits: { nofile: { soft: 100, hard: 200 } } })
    assert.strictEqual(result.stdout, "100\n200\n")
  })

  // ---------------------------------------------------------------------------
  // Output
  // ---------------------------------------------------------------------------

  test("returns binary output unchanged", function* () {
    const { sandbox } = yield* Bench.Shared
    const result = yield* sandbox.shell("printf '\\000\\001\\377\\376a\\303'")
    assert.deepStrictEqual([...result.stdoutBytes], [0, 1, 255, 254, 97, 195])
    assert.include(result.stdout, "\uFFFD")
  })

  test("returns output without a trailing newline", function* () {
    const { sandbox } = yield* Bench.Shared
    assert.strictEqual((yield* sandbox.shell("printf abc")).stdout, "abc")
  })

  test("keeps ten thousand small pieces of output in order", function* () {
    const { sandbox } = yield* Bench.Shared
    const script = "i=0; while [ $i -lt 10000 ]; do echo $i; i=$((i+1)); done"
    const result = yield* sandbox.shell(script)
    assert.strictEqual(result.stdout, Array.from({ length: 10_000 }, (_, index) => `${index}\n`).join(""))
  })

  test("buffers more output than it holds in memory", function* () {
    const { sandbox } = yield* Bench.Shared
    const size = 6 * 1024 * 1024
    const text = yield* Effect.scoped(
      Effect.gen(function* () {
        const process = yield* sandbox.spawn("head", ["-c", String(size), "/dev/zero"])
        yield* process.exitCode
        return yield* Stream.runFold(
          process.output,
          () => 0,
          (sum, { bytes }) => sum + bytes.length
        )
      })
    )
    assert.strictEqual(text, size)
  })

  test('delivers all output with overflow "suspend"', function* () {
    const { sandbox } = yield* Bench.Shared
    const size = 2 * 1024 * 1024
    const read = yield* Effect.scoped(
      Effect.gen(function* () {
        const output = { memoryBytes: 65_536, overflow: "suspend" } as const
        const process = yield* sandbox.spawn("head", ["-c", String(size), "/dev/zero"], { output })
        return yield* Stream.runFold(
          process.output,
          () => 0,
          (sum, { bytes }) => sum + bytes.length
        )
      })
    )
    assert.strictEqual(read, size)
  })

  test("discards output on request", function* () {
    const { sandbox } = yield* Bench.Shared
    const { exitCode, stdout } = yield* Effect.scoped(
      Effect.flatMap(
        sandbox.spawn("sh", ["-c", "echo dropped; exit 4"], { output: { overflow: "discard" } }),
        Bench.outcome
      )
    )
    assert.deepStrictEqual([exitCode, stdout], [4, ""])
  })

  test("ends a command whose output exceeds the limit", function* () {
    const { sandbox } = yield* Bench.Shared
    const reason = yield* Bench.failsWith("OutputTooLarge", sandbox.exec("yes", [], { maxOutput: 100_000 }))
    assert.strictEqual(reason.limitBytes, 100_000)
    yield* Bench.eventually(Bench.commandLines(sandbox), (lines) => !lines.includes("yes"))
  })

  test("reports the command, exit code and outputs of a failure", function* () {
    const { sandbox } = yield* Bench.Shared
    const script = "echo out; echo err >&2; exit 3"
    const reason = yield* Bench.failsWith("CommandFailed", sandbox.exec("sh", ["-c", script], { check: true }))
    assert.deepInclude(reason, { argv: ["sh", "-c", script], exitCode: 3, stdout: "out\n", stderr: "err\n" })
    const killed = yield* Bench.failsWith("CommandFailed", sandbox.shell("kill -KILL $$", { check: true }))
    assert.strictEqual(killed.exitCode, -1)
  })

  test("streams events while a command runs", function* () {
    const { sandbox } = yield* Bench.Shared
    const events = yield* Stream.runCollect(sandbox.shellStream("echo one; exit 2"))
    assert.deepStrictEqual(
      events.map((event) => event._tag),
      ["Started", "Stdout", "Exited"]
    )
    const last = events.at(-1)
    assert.isTrue(last?._tag === "Exited" && last.exitCode === 2)
  })

  // ---------------------------------------------------------------------------
  // Input
  // ---------------------------------------------------------------------------

  test("gives a command empty input by default", function* () {
    const { sandbox } = yield* Bench.Shared
    assert.strictEqual((yield* sandbox.exec("cat")).stdout, "")
  })

  test("passes 3 MiB of input unchanged", function* () {
    const { sandbox } = yield* Bench.Shared
    const data = Crypto.randomBytes(3 * 1024 * 1024)
    const result = yield* sandbox.exec("md5sum", [], { stdin: data })
    assert.strictEqual(result.stdout, `${Crypto.hash("md5", data)}  -\n`)
  })

  test("streams input, and returns output before the input ends", function* () {
    const { sandbox } = yield* Bench.Shared
    const answer = yield* Effect.scoped(
      Effect.gen(function* () {
        const process = yield* sandbox.spawn("cat")
        const first = yield* Deferred.make<void>()
        const input = Stream.concat(
          Stream.make(Bench.encode("one\n")),
          Stream.fromEffect(Effect.as(Deferred.await(first), Bench.encode("two\n")))
        )
        yield* Effect.forkScoped(Stream.run(input, process.stdin))
        let text = ""
        yield* Stream.runForEach(process.output, ({ bytes }) => {
          text += Bench.decode(bytes)
          return Deferred.succeed(first, undefined)
        })
        return [text, yield* process.exitCode]
      })
    )
    assert.deepStrictEqual(answer, ["one\ntwo\n", 0])
  })

  test("ignores input that a command does not read", function* () {
    const { sandbox } = yield* Bench.Shared
    const result = yield* sandbox.exec("head", ["-c", "3"], { stdin: new Uint8Array(300_000).fill(65) })
    assert.deepStrictEqual([result.exitCode, result.stdout], [0, "AAA"])
    assert.strictEqual((yield* sandbox.exec("true", [], { stdin: new Uint8Array(300_000) })).exitCode, 0)
  })

  // ---------------------------------------------------------------------------
  // Signals and ends
  // ---------------------------------------------------------------------------

  for (const signal of ["SIGHUP", "SIGINT", "SIGQUIT", "SIGKILL", "SIGUSR1", "SIGTERM"] as const) {
    test(`ends a command with ${signal}`, function* () {
      const { sandbox } = yield* Bench.Shared
      const ended = yield* Effect.scoped(
        Effect.gen(function* () {
          const process = yield* sandbox.spawn("sleep", ["1000"])
          yield* process.signal(signal)
          return [yield* process.exitCode, yield* process.endedBy]
        })
      )
      assert.deepStrictEqual(ended, [-1, signal])
    })
  }

  test("leaves a command running after SIGCONT, SIGWINCH and 0, and rejects an unknown signal", function* () {
    const { sandbox } = yield* Bench.Shared
    const { exitCode, stdout } = yield* Effect.scoped(
      Effect.gen(function* () {
        const process = yield* sandbox.spawn("sh", ["-c", "read line; echo $line"])
        for (const signal of ["SIGCONT", "SIGWINCH", 0] as const) yield* process.signal(signal)
        const refused = yield* Bench.failsWith("InvalidConfig", process.signal(99))
        assert.strictEqual(refused.field, "signal")
        yield* Effect.forkScoped(Stream.run(Stream.make(Bench.encode("alive\n")), process.stdin))
        return yield* Bench.outcome(process)
      })
    )
    assert.deepStrictEqual([exitCode, stdout], [0, "alive\n"])
  })

  test("lets a command handle a signal", function* () {
    const { sandbox } = yield* Bench.Shared
    const result = yield* sandbox.shell("trap 'echo handled' TERM; kill -TERM $$; echo after")
    assert.strictEqual(result.stdout, "handled\nafter\n")
  })

  test("ignores a signal after the command has ended", function* () {
    const { sandbox } = yield* Bench.Shared
    yield* Effect.scoped(
      Effect.gen(function* () {
        const process = yield* sandbox.spawn("true")
        assert.strictEqual(yield* process.exitCode, 0)
        yield* process.signal("SIGKILL")
        assert.strictEqual(yield* process.exitCode, 0)
        assert.isUndefined(yield* process.endedBy)
      })
    )
  })

  test("sends a signal to everything the command started", function* () {
    const { sandbox } = yield* Bench.Shared
    yield* Effect.scoped(
      Effect.gen(function* () {
        const process = yield* sandbox.spawn("sh", ["-c", "sleep 1001 & sleep 1002"])
        yield* Bench.eventually(Bench.commandLines(sandbox), (lines) => lines.includes("sleep 1001"))
        yield* process.signal("SIGTERM")
        assert.strictEqual(yield* process.exitCode, -1)
      })
    )
    yield* Bench.eventually(Bench.commandLines(sandbox), (lines) => !lines.some((line) => /sleep 100[12]/.test(line)))
  })

  test("ends the command and everything it started when the scope closes", function* () {
    const { sandbox } = yield* Bench.Shared
    yield* Effect.scoped(
      Effect.gen(function* () {
        yield* sandbox.spawn("sh", ["-c", "sleep 1003 & sleep 1004"])
        yield* Bench.eventually(Bench.commandLines(sandbox), (lines) => lines.includes("sleep 1003"))
      })
    )
    yield* Bench.eventually(Bench.commandLines(sandbox), (lines) => !lines.some((line) => /sleep 100[34]/.test(line)))
  })

  test("leaves no process after a time limit", function* () {
    const { sandbox } = yield* Bench.Shared
    const reason = yield* Bench.failsWith("TimedOut", sandbox.exec("sleep", ["1005"], { timeout: "300 millis" }))
    assert.strictEqual(reason.limitMillis, 300)
    yield* Bench.eventually(Bench.commandLines(sandbox), (lines) => !lines.includes("sleep 1005"))
  })

  test("leaves no process after an interruption", function* () {
    const { sandbox } = yield* Bench.Shared
    const fiber = yield* Effect.forkChild(sandbox.exec("sleep", ["1006"]))
    yield* Bench.eventually(Bench.commandLines(sandbox), (lines) => lines.includes("sleep 1006"))
    yield* Fiber.interrupt(fiber)
    yield* Bench.eventually(Bench.commandLines(sandbox), (lines) => !lines.includes("sleep 1006"))
  })

  test("waits for a background process that holds the output", function* () {
    const { sandbox } = yield* Bench.Shared
    const process = yield* Effect.timed(sandbox.shell("sleep 1 & echo now"))
    assert.strictEqual(process[1].stdout, "now\n")
    assert.isAtLeast(Duration.toMillis(process[0]), 900)
  })

  test("kills a background process that holds the output for too long", function* () {
    const { sandbox } = yield* Bench.Shared
    const script = "(sleep 1011; echo late) & echo now; exit 3"
    const { exitCode, stdout } = yield* sandbox.shell(script, { timeout: "1 minute" })
    assert.deepStrictEqual([exitCode, stdout], [3, "now\n"])
    const events = yield* Stream.runCollect(sandbox.shellStream(script, { timeout: "1 minute" }))
    assert.deepInclude(events.at(-1), { _tag: "Exited", exitCode: 3 })
    yield* Bench.eventually(Bench.commandLines(sandbox), (lines) => !lines.includes("sleep 1011"))
  })

  test("does not wait for a background process with redirected output", function* () {
    const { sandbox } = yield* Bench.Shared
    for (const background of ["sleep 1008", "(sleep 1008)", "for n in 1; do sleep 1008; done"]) {
      const { stdout } = yield* sandbox.shell(`${background} > /dev/null 2>&1 & echo now`, { timeout: "1 minute" })
      assert.strictEqual(stdout, "now\n")
    }
    yield* sandbox.exec("kill", ["-9", "-1"])
  })

  test("ends every process but itself with kill -9 -1", function* () {
    const { sandbox } = yield* Bench.Shared
    yield* Effect.scoped(
      Effect.gen(function* () {
        const process = yield* sandbox.spawn("sleep", ["1007"])
        assert.strictEqual((yield* sandbox.exec("kill", ["-9", "-1"])).exitCode, 0)
        assert.strictEqual(yield* process.exitCode, -1)
      })
    )
    assert.strictEqual((yield* sandbox.exec("true")).exitCode, 0)
  })

  test("lists a running process in /proc", function* () {
    const { sandbox } = yield* Bench.Shared
    yield* Effect.scoped(
      Effect.gen(function* () {
        const process = yield* sandbox.spawn("sleep", ["1008"])
        assert.strictEqual((yield* sandbox.stat(`/proc/${process.pid}`)).type, "Directory")
        assert.strictEqual(yield* sandbox.readFileString(`/proc/${process.pid}/cmdline`), "sleep\x001008\x00")
        yield* process.signal("SIGKILL")
        yield* process.exitCode
        assert.isFalse(yield* sandbox.exists(`/proc/${process.pid}`))
      })
    )
  })

  test("runs ten commands at the same time", function* () {
    const { sandbox } = yield* Bench.Shared
    // Each waits for the file of the next: one after the other, they would never end.
    const results = yield* Effect.forEach(
      Array.from({ length: 10 }, (_, index) => index),
      (index) => {
        const next = (index + 1) % 10
        return sandbox.shell(
          `touch /tmp/turn-${index}; while [ ! -e /tmp/turn-${next} ]; do sleep 0.05; done; echo ${index}`
        )
      },
      { concurrency: "unbounded" }
    )
    assert.deepStrictEqual(
      results.map(({ stdout }) => stdout),
      Array.from({ length: 10 }, (_, index) => `${index}\n`)
    )
  })

  test("runs more than 128 commands at the same time", function* () {
    const { sandbox } = yield* Bench.Shared
    const numbers = Array.from({ length: 150 }, (_, index) => `${index}\n`)
    const outputs = yield* Effect.scoped(
      Effect.gen(function* () {
        // All of them run before the first gets its input.
        const processes = yield* Effect.forEach(numbers, () => sandbox.spawn("cat"), { concurrency: "unbounded" })
        assert.strictEqual(new Set(processes.map(({ pid }) => pid)).size, numbers.length)
        return yield* Effect.forEach(
          processes,
          (process, index) =>
            Effect.andThen(
              Stream.run(Stream.make(Bench.encode(numbers[index] ?? "")), process.stdin),
              Bench.outcome(process)
            ),
          { concurrency: "unbounded" }
        )
      })
    )
    assert.deepStrictEqual(
      outputs.map(({ stdout }) => stdout),
      numbers
    )
  })

  // ---------------------------------------------------------------------------
  // Terminals
  // ---------------------------------------------------------------------------

  test("gives a command a terminal that has a size, echoes input and joins the outputs", function* () {
    const { sandbox } = yield* Bench.Shared
    const { exitCode, stdout } = yield* Effect.scoped(
      Effect.gen(function* () {
        const script = "tty >/dev/null && stty size; echo err >&2; read line; echo got $line"
        const process = yield* sandbox.spawn("sh", ["-c", script], { terminal: { rows: 10, columns: 20 } })
        let stdout = ""
        const isAsking = yield* Deferred.make<void>()
        const typed = Effect.as(Deferred.await(isAsking), Bench.encode("typed\n"))
        yield* Effect.forkScoped(Stream.run(Stream.fromEffect(typed), process.stdin))
        yield* Stream.runForEach(process.output, ({ _tag, bytes }) => {
          stdout += `${_tag === "Stdout" ? "" : "stderr: "}${Bench.decode(bytes)}`
          return stdout.includes("err") ? Deferred.succeed(isAsking, undefined) : Effect.void
        })
        return { exitCode: yield* process.exitCode, stdout }
      })
    )
    assert.deepStrictEqual([exitCode, stdout], [0, "10 20\r\nerr\r\ntyped\r\ngot typed\r\n"])
  })

  test("resizes a terminal", function* () {
    const { sandbox } = yield* Bench.Shared
    const { stdout } = yield* Effect.scoped(
      Effect.gen(function* () {
        const process = yield* sandbox.spawn("sh", ["-c", "read line; stty size"], {
          terminal: { rows: 10, columns: 20 }
        })
        yield* process.resize({ rows: 33, columns: 44 })
        yield* Effect.forkScoped(Stream.run(Stream.make(Bench.encode("now\n")), process.stdin))
        return yield* Bench.outcome(process)
      })
    )
    assert.include(stdout, "33 44")
  })

  // ---------------------------------------------------------------------------
  // Connections
  // ---------------------------------------------------------------------------

  test("connects to a port in the guest", function* () {
    const { sandbox } = yield* Bench.Shared
    const answer = yield* Effect.scoped(
      Effect.gen(function* () {
        const server = yield* sandbox.spawn("nc", ["-l", "-p", "7000", "-e", "/bin/cat"])
        const connection = yield* Effect.retry(sandbox.guest.connect("127.0.0.1", 7000), {
          times: 50,
          schedule: Schedule.spaced("100 millis")
        })
        yield* Effect.forkScoped(Stream.run(Stream.make(Bench.encode("ping\n")), connection.write))
        const text = yield* Stream.mkString(Stream.decodeText(connection.read))
        return [text, yield* server.exitCode]
      })
    )
    assert.deepStrictEqual(answer, ["ping\n", 0])
  })

  test("fails with ECONNREFUSED for a port that nobody listens on", function* () {
    const { sandbox } = yield* Bench.Shared
    const refused = Effect.scoped(sandbox.guest.connect("127.0.0.1", 7999))
    assert.strictEqual((yield* Bench.failsWithCode("ECONNREFUSED", refused)).path, "127.0.0.1:7999")
  })

  test("fails with FileError for an unknown host", function* () {
    const { sandbox } = yield* Bench.Shared
    yield* Bench.failsWith("FileError", Effect.scoped(sandbox.guest.connect("nobody.invalid", 80)))
  })

  /** Serves each connection with a copy of what it says. */
  const echo = (sandbox: Sandbox.Sandbox, port: number) =>
    sandbox.spawn("sh", ["-c", `while true; do nc -l -p ${port} -e /bin/cat; done`])

  test("forwards a port in both directions, and tells the guest the end of each side", function* () {
    const { sandbox } = yield* Bench.Shared
    yield* Effect.scoped(
      Effect.gen(function* () {
        yield* echo(sandbox, 7001)
        const forward = yield* sandbox.forward(7001)
        assert.deepStrictEqual([forward.guest, forward.bind], [7001, "127.0.0.1"])
        const answer = Bench.dial(forward.host, "over there and back\n")
        const again = Effect.repeat(answer, { until: (text) => text !== "", schedule: Schedule.spaced("100 millis") })
        assert.strictEqual(yield* again, "over there and back\n")
        const many = Array.from({ length: 5 }, (_, index) => `${index} ${"x".repeat(200_000)}`)
        for (const text of many) {
          const echoed = Effect.repeat(Bench.dial(forward.host, text), {
            until: (text) => text !== "",
            schedule: Schedule.spaced("100 millis")
          })
          assert.strictEqual(yield* echoed, text)
        }
      })
    )
  })

  test("closes a connection to a forwarded port if nobody listens in the guest", function* () {
    const { sandbox } = yield* Bench.Shared
    const forward = yield* Effect.scoped(
      Effect.gen(function* () {
        const forward = yield* sandbox.forward(7998)
        assert.deepStrictEqual(yield* sandbox.forwards, [forward])
        assert.strictEqual(yield* Bench.dial(forward.host, "anybody?"), "")
        return forward
      })
    )
    assert.deepStrictEqual(yield* sandbox.forwards, [])
    assert.match(String((yield* Effect.flip(Bench.dial(forward.host, ""))).cause), /ECONNREFUSED/)
  })

  test("serves a port of a sandbox by its name, upgrades included", function* () {
    const { info, sandbox } = yield* Bench.Shared
    const script = `
      upgrade= length=0
      while read -r line; do
        line=$(printf %s "$line" | tr -d '\\r')
        case "$line" in
          "") break ;;
          Upgrade:*) upgrade=yes ;;
          Content-Length:*) length=\${line#*: } ;;
        esac
      done
      if [ "$upgrade" ]; then
        printf 'HTTP/1.1 101 Switching Protocols\\r\\nConnection: Upgrade\\r\\nUpgrade: echo\\r\\n\\r\\n'
        exec cat
      fi
      printf 'HTTP/1.1 200 OK\\r\\nContent-Length: %s\\r\\n\\r\\n' "$length"
      head -c "$length"
    `
    yield* sandbox.writeFileString("/tmp/serve", script)
    yield* Effect.scoped(
      Effect.gen(function* () {
        yield* sandbox.spawn("sh", ["-c", "while true; do nc -l -p 7005 -e sh /tmp/serve; done"])
        const proxy = yield* SandboxProxy.make({ port: 0 })
        const host = `7005-${info.name}.localhost`
        const ask = (headers: Http.OutgoingHttpHeaders, body: string) =>
          Effect.callback<{ readonly status: number | undefined; readonly text: string }, Error>((resume) => {
            const request = Http.request({
              host: "127.0.0.1",
              port: proxy.port,
              method: "POST",
              agent: false,
              headers: { host, ...headers }
            })
            const read = (status: number | undefined, from: Readable) => {
              let text = ""
              from.setEncoding("utf8").on("data", (part: string) => {
                text += part
                // The end of an upgraded connection is up to its client.
                if (text === body && status === 101) request.destroy()
                if (text === body) resume(Effect.succeed({ status, text }))
              })
              from.on("end", () => resume(Effect.succeed({ status, text })))
            }
            request.on("error", (error) => resume(Effect.fail(error)))
            request.on("response", (response) => read(response.statusCode, response))
            request.on("upgrade", (response, socket) => {
              read(
                response.statusCode,
                socket.on("error", () => {})
              )
              socket.write(body)
            })
            request.end("Upgrade" in headers ? "" : body)
          })
        // Between two connections, nobody listens.
        const served = (headers: Http.OutgoingHttpHeaders, body: string) =>
          Effect.repeat(ask(headers, body), {
            until: ({ status }) => status !== 502,
            schedule: Schedule.spaced("100 millis")
          })
        const text = "there and back ".repeat(5000)
        assert.deepStrictEqual(yield* served({ "Content-Length": text.length }, text), { status: 200, text })
        const upgraded = yield* served({ Connection: "Upgrade", Upgrade: "echo" }, text)
        assert.deepStrictEqual(upgraded, { status: 101, text })
      })
    )
  })

  test("pings and touches a sandbox", function* () {
    const { sandbox } = yield* Bench.Shared
    assert.isTrue(Duration.isDuration(yield* sandbox.ping))
    yield* sandbox.touch
  })

  test("rejects a restart of a sandbox that cannot be started again", function* () {
    const driver = yield* Microsandbox.Microsandbox
    const { info, sandbox } = yield* Bench.Shared
    const change = { env: { ADDED: "added" }, apply: "restart" } as const
    const refused = yield* Bench.failsWith("Unsupported", driver.modifySandbox(info, change))
    assert.strictEqual(refused.feature, "modify.apply")
    assert.isFalse((yield* driver.modifySandbox(info, { ...change, dryRun: true })).applied)
    assert.strictEqual((yield* sandbox.exec("true")).exitCode, 0)
  })
}
