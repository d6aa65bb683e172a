/** Jobs: how they are started, read, fed, signalled and ended. */
import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import { execFileSync } from "node:child_process"
import * as Fs from "node:fs"
import * as Path from "node:path"
import type * as Job from "../../src/Job.ts"
import type { LightboxError } from "../../src/LightboxError.ts"
import * as Sandbox from "../../src/Sandbox.ts"
import * as Bench from "./Bench.ts"
import type { Group } from "./contract.ts"

const folder = "/var/lib/lightbox/jobs"

/** Reads a log, and checks that the offsets have neither gaps nor repeats. */
export const read = (events: Stream.Stream<Job.LogEvent, LightboxError>, since = 0) =>
  Effect.map(Stream.runCollect(events), (all) => {
    const bytes: Array<Uint8Array> = []
    const missing: Array<number> = []
    let offset = since
    for (const event of all) {
      assert.strictEqual(event.offset, offset)
      offset += event._tag === "Output" ? event.bytes.length : event.bytes
      if (event._tag === "Output") bytes.push(event.bytes)
      else missing.push(event.bytes)
    }
    return { text: Buffer.concat(bytes).toString(), missing, end: offset }
  })

const finished = (job: Job.Job) =>
  Effect.all({ ended: job.wait, log: Effect.map(read(job.logs()), ({ text }) => text) })

/** Finds the program `script`, or copies this machine's into a guest of busybox. */
const provideScript = Effect.fnUntraced(function* (sandbox: Sandbox.Sandbox) {
  const { stdout } = yield* sandbox.shell("command -v script")
  if (stdout !== "") return stdout.trim()
  const program = "/usr/bin/script"
  const libraries = execFileSync("ldd", [program], { encoding: "utf8" }).match(/\/\S+/g) ?? []
  for (const path of [program, ...libraries]) {
    yield* sandbox.makeDirectory(Path.dirname(path))
    yield* sandbox.writeFile(path, Fs.readFileSync(path), { mode: 0o755 })
  }
  return program
})

export const jobs: Group<Bench.Shared> = (test) => {
  test("a job records its exit code, and both outputs in order", function* () {
    const { sandbox } = yield* Bench.Shared
    const job = yield* sandbox.start("sh", ["-c", "echo out; echo err >&2; echo $OWN; pwd; exit 3"], {
      env: { OWN: "own" },
      cwd: "/etc",
      maxLog: "8G"
    })
    assert.deepStrictEqual(yield* finished(job), {
      ended: { _tag: "Exited", exitCode: 3 },
      log: "out\nerr\nown\n/etc\n"
    })
  })

  test("a job tells a signal from an exit code", function* () {
    const { sandbox } = yield* Bench.Shared
    const ended = yield* Effect.forEach(
      ["kill -KILL $$", "kill -INT $$", "exit 137", "exit 255", "sh -c 'kill -TERM $$'; exit $?"],
      (script) => Effect.flatMap(sandbox.start("sh", ["-c", script]), (job) => job.wait)
    )
    assert.deepStrictEqual(ended, [
      { _tag: "Signaled", signal: "SIGKILL" },
      { _tag: "Signaled", signal: "SIGINT" },
      { _tag: "Exited", exitCode: 137 },
      { _tag: "Exited", exitCode: 255 },
      { _tag: "Exited", exitCode: 143 }
    ])
  })

  test("a signal reaches the process group of a job, however blocked", function* () {
    const { sandbox } = yield* Bench.Shared
    const job = yield* sandbox.start("sh", ["-c", "trap '' TERM; sleep 4321 & wait"], { stdin: "open" })
    assert.deepStrictEqual(yield* job.status, { _tag: "Running" })
    yield* job.signal("SIGTERM")
    yield* job.signal("SIGSTOP")
    yield* job.signal("SIGKILL")
    assert.deepStrictEqual(yield* job.wait, { _tag: "Signaled", signal: "SIGKILL" })
    yield* job.signal("SIGTERM")
    const left = yield* sandbox.shell("ps -o args | grep -c '^sleep 4321'")
    assert.strictEqual(left.stdout, "0\n")
  })

  test("a job that has changed its process id fails at once, and is killed with all that it started", function* () {
    const { sandbox } = yield* Bench.Shared
    const script = `echo x > ${folder}/own/pid; echo ready; setsid sleep 4326 & exec sleep 4326`
    const job = yield* sandbox.start("sh", ["-c", script], { id: "own" })
    yield* Stream.runDrain(Stream.take(job.logs({ follow: true }), 1))
    yield* Bench.failsWith("FileError", job.signal("SIGKILL"))
    assert.deepStrictEqual(yield* job.status, { _tag: "Running" })
    yield* job.remove({ force: true })
    yield* Bench.failsWith("NotFound", job.info)
    const left = yield* sandbox.shell("ps -o args | grep -c '^sleep 4326'")
    assert.strictEqual(left.stdout, "0\n")
  })

  test("a job that handles a signal exits as it likes", function* () {
    const { sandbox } = yield* Bench.Shared
    const job = yield* sandbox.start("sh", [
      "-c",
      "trap 'echo caught; exit 5' USR1; echo ready; while :; do sleep 0.05; done"
    ])
    yield* Stream.runDrain(Stream.take(job.logs({ follow: true }), 1))
    yield* job.signal("SIGUSR1")
    const { ended, log } = yield* finished(job)
    assert.deepStrictEqual(ended, { _tag: "Exited", exitCode: 5 })
    // The shell may also report how the signal ended its sleep.
    assert.isTrue(log.startsWith("ready\n") && log.endsWith("caught\n"), log)
  })

  test("a log goes on where the last reader was", function* () {
    const { sandbox } = yield* Bench.Shared
    const job = yield* sandbox.start("sh", ["-c", "echo one; read -r x; echo two; read -r x; echo three"], {
      stdin: "open",
      maxLog: "128K"
    })
    const first = yield* read(Stream.take(job.logs({ follow: true }), 1))
    assert.deepStrictEqual([first.text, first.end], ["one\n", 4])
    const second = yield* Effect.forkChild(read(job.logs({ follow: true, since: first.end }), first.end))
    yield* job.write("a\n")
    yield* job.write(Stream.make(new TextEncoder().encode("b\n")))
    assert.deepStrictEqual((yield* Fiber.join(second)).text, "two\nthree\n")
    assert.deepStrictEqual((yield* read(job.logs({ since: 2 }), 2)).text, "e\ntwo\nthree\n")
    assert.deepStrictEqual((yield* read(job.logs({ since: 400, follow: true }), 400)).text, "")
  })

  test("a log drops its oldest output, and says how much", function* () {
    const { sandbox } = yield* Bench.Shared
    const job = yield* sandbox.start("sh", ["-c", "head -c 1000000 /dev/zero | tr '\\0' a; echo end"], {
      maxLog: "256K"
    })
    assert.deepStrictEqual(yield* job.wait, { _tag: "Exited", exitCode: 0 })
    const { end, missing, text } = yield* read(job.logs())
    assert.strictEqual(end, 1_000_004)
    assert.deepStrictEqual(missing, [end - text.length])
    assert.isTrue(text.length >= 128 * 1024 && text.length <= 256 * 1024, `kept ${text.length}`)
    assert.isTrue(/^a+end\n$/.test(text))
  })

  test("input reaches a job until it is ended", function* () {
    const { sandbox } = yield* Bench.Shared
    const job = yield* sandbox.start("sh", ["-c", "cat; echo end"], { stdin: "open" })
    yield* job.write("one ")
    yield* job.write("two ")
    yield* job.endInput
    assert.deepStrictEqual(yield* finished(job), { ended: { _tag: "Exited", exitCode: 0 }, log: "one two end\n" })
    yield* job.write("too late")
    yield* job.endInput

    const closed = yield* sandbox.start("sh", ["-c", "exec <&-; echo closed; sleep 4322"], { stdin: "open" })
    yield* Stream.runDrain(Stream.take(closed.logs({ follow: true }), 1))
    yield* closed.write("dropped")
    yield* closed.remove({ force: true })

    const without = yield* sandbox.start("cat")
    assert.deepStrictEqual(yield* finished(without), { ended: { _tag: "Exited", exitCode: 0 }, log: "" })
    assert.strictEqual((yield* Bench.failsWith("InvalidConfig", without.write("x"))).field, "stdin")
  })

  test("a background process that holds the output of a job is killed a second after its end", function* () {
    const { sandbox } = yield* Bench.Shared
    const job = yield* sandbox.start("sh", ["-c", "sleep 4323 & echo parent"])
    assert.deepStrictEqual(yield* finished(job), { ended: { _tag: "Exited", exitCode: 0 }, log: "parent\n" })
    const left = yield* sandbox.shell("ps -o args | grep -c '^sleep 4323'")
    assert.strictEqual(left.stdout, "0\n")
  })

  test("a background process without the output of a job stays", function* () {
    const { sandbox } = yield* Bench.Shared
    const job = yield* sandbox.start("sh", ["-c", "sleep 4324 > /dev/null 2>&1 & echo $!"])
    const { log } = yield* finished(job)
    assert.strictEqual((yield* sandbox.exec("kill", [log.trim()])).exitCode, 0)
  })

  test("a process with a session of its own cannot keep a job from ending", function* () {
    const { sandbox } = yield* Bench.Shared
    const job = yield* sandbox.start("sh", ["-c", "setsid sleep 4325 & echo parent"])
    assert.deepStrictEqual(yield* finished(job), { ended: { _tag: "Exited", exitCode: 0 }, log: "parent\n" })
    yield* sandbox.shell("kill $(ps -o pid,args | grep 'sleep 432[5]' | sed 's/^ *//; s/ .*//')")
  })

  test("jobs are listed and found over another connection, after the first has closed", function* () {
    const { sandbox } = yield* Bench.Shared
    yield* Effect.scoped(
      Effect.flatMap(Sandbox.connect(sandbox.name), (own) =>
        own.start("sh", ["-c", "echo $1; exec sleep 4326", "sh", Redacted.make("hidden")], { id: "found" })
      )
    )
    const info = (yield* sandbox.jobs).find(({ id }) => id === "found")
    assert.deepStrictEqual(info?.argv, ["sh", "-c", "echo $1; exec sleep 4326", "sh", "<redacted>"])
    assert.deepStrictEqual(info?.status, { _tag: "Running" })
    const job = yield* sandbox.job("found")
    assert.strictEqual((yield* read(Stream.take(job.logs({ follow: true }), 1))).text, "hidden\n")
    const { pid } = yield* job.info
    assert.strictEqual((yield* sandbox.exec("kill", [`${pid}`])).exitCode, 0)
    assert.deepStrictEqual(yield* job.wait, { _tag: "Signaled", signal: "SIGTERM" })
    assert.notInclude(yield* sandbox.readFileString(`${folder}/found/job`), "hidden")
    yield* job.remove()
    assert.isUndefined((yield* sandbox.jobs).find(({ id }) => id === "found"))
    assert.deepInclude(yield* Bench.failsWith("NotFound", job.status), { resource: "job", name: "found" })
  })

  test("an id is taken until its job is removed, which takes force while it runs", function* () {
    const { sandbox } = yield* Bench.Shared
    const job = yield* sandbox.start("sleep", ["4327"], { id: "taken" })
    assert.deepInclude(yield* Bench.failsWith("AlreadyExists", sandbox.start("true", [], { id: "taken" })), {
      resource: "job",
      name: "taken"
    })
    assert.deepInclude(yield* Bench.failsWith("StillRunning", job.remove()), { resource: "job", name: "taken" })
    yield* job.remove({ force: true })
    const again = yield* sandbox.start("true", [], { id: "taken" })
    assert.deepStrictEqual(yield* again.wait, { _tag: "Exited", exitCode: 0 })
    yield* again.remove()
    assert.deepInclude(yield* Bench.failsWith("NotFound", sandbox.job("taken")), { resource: "job" })
  })

  test("a job that cannot start leaves nothing", function* () {
    const { sandbox } = yield* Bench.Shared
    const before = (yield* sandbox.jobs).length
    const program = yield* Bench.failsWith("CommandNotStarted", sandbox.start("not-there", ["word"]))
    assert.deepStrictEqual([program.kind, program.argv], ["ProgramNotFound", ["not-there", "word"]])
    const workdir = yield* Bench.failsWith("CommandNotStarted", sandbox.start("true", [], { cwd: "/not/there" }))
    assert.deepStrictEqual([workdir.kind, workdir.argv], ["BadWorkdir", ["true"]])
    const user = yield* Bench.failsWith("CommandNotStarted", sandbox.start("true", [], { user: "nobody-knows" }))
    assert.strictEqual(user.kind, "UnknownUser")
    assert.strictEqual((yield* sandbox.jobs).length, before)
  })

  test("a job runs as its user, and only that user and root can see it", function* () {
    const { sandbox } = yield* Bench.Shared
    const job = yield* sandbox.start("sh", ["-c", "id -u; cat"], {
      id: "own",
      user: "app",
      stdin: "open"
    })
    yield* job.write("fed\n")
    const asApp = (script: string) => sandbox.exec("sh", ["-c", script], { user: "app", cwd: folder, check: true })
    yield* asApp("mv own moved && ln -s moved own")
    yield* Bench.failsWith("NotFound", job.signal("SIGTERM"))
    yield* asApp("rm own && mv moved own")
    yield* job.endInput
    assert.strictEqual((yield* finished(job)).log, "1000\nfed\n")
    const look = (user: string) =>
      Effect.map(sandbox.exec("ls", [`${folder}/own`], { user }), ({ exitCode }) => exitCode === 0)
    assert.deepStrictEqual([yield* look("app"), yield* look("4242")], [true, false])
    yield* job.remove()
  })

  test("a supervisor that was killed leaves its job lost", function* () {
    const { sandbox } = yield* Bench.Shared
    const job = yield* sandbox.start("sleep", ["4329"], { id: "orphan" })
    yield* sandbox.shell(`kill -KILL $(sed -n '2s/ .*//p' ${folder}/orphan/job)`)
    assert.deepStrictEqual(yield* job.wait, { _tag: "Lost" })
    assert.strictEqual((yield* read(job.logs({ follow: true }))).text, "")
    yield* job.signal("SIGKILL")
    yield* job.remove()
  })

  test("a job with a terminal is resized and typed into, over any connection", function* () {
    const { sandbox } = yield* Bench.Shared
    const program = yield* provideScript(sandbox)
    const script = `tty >/dev/null && echo on $TERM; stty size; trap 'stty size' WINCH; while :; do read -r x && echo "got $x"; done`
    yield* Effect.scoped(
      Effect.flatMap(Sandbox.connect(sandbox.name), (own) =>
        own.start("sh", ["-c", script, Redacted.make("it's")], { id: "tty", terminal: { rows: 40, columns: 100 } })
      )
    )
    const job = yield* sandbox.job("tty")
    const info = yield* job.info
    assert.deepInclude(info, { terminal: true, stdin: "open", argv: ["sh", "-c", script, "<redacted>"] })
    const until = (...parts: ReadonlyArray<string>) =>
      job.logs({ follow: true }).pipe(
        Stream.scan(
          () => "",
          (seen, event) => (event._tag === "Output" ? seen + Buffer.from(event.bytes).toString() : seen)
        ),
        Stream.takeUntil((seen) => parts.every((part) => seen.includes(part))),
        Stream.runFold(
          () => "",
          (_, seen) => seen
        )
      )
    assert.strictEqual(yield* until("100\r\n"), "on xterm\r\n40 100\r\n")
    yield* job.resize({ rows: 10, columns: 20 })
    yield* job.write("one\r")
    assert.include(yield* until("10 20\r\n", "got one\r\n"), "\r\none\r\n")
    yield* job.signal("SIGTERM")
    assert.deepStrictEqual(yield* job.wait, { _tag: "Signaled", signal: "SIGTERM" })
    yield* job.resize({ rows: 10, columns: 20 })
    yield* job.remove()

    const ended = yield* sandbox.start("sh", ["-c", "read -r x; exit 3"], {
      user: "app",
      terminal: { rows: 1, columns: 1 }
    })
    yield* ended.resize({ rows: 2, columns: 1 })
    yield* ended.endInput
    assert.deepStrictEqual(yield* ended.wait, { _tag: "Exited", exitCode: 3 })
    const without = yield* sandbox.start("true")
    const problem = without.resize({ rows: 1, columns: 1 })
    assert.strictEqual((yield* Bench.failsWith("InvalidConfig", problem)).field, "terminal")
    assert.strictEqual((yield* Bench.failsWith("InvalidConfig", without.attach)).field, "terminal")
    yield* sandbox.rename(program, `${program}.moved`)
    const { feature } = yield* Bench.failsWith(
      "Unsupported",
      sandbox.start("true", [], { terminal: { rows: 1, columns: 1 } })
    )
    assert.strictEqual(feature, "a job with a terminal")
    yield* sandbox.rename(`${program}.moved`, program)
  })

  test("many jobs run at once", function* () {
    const { sandbox } = yield* Bench.Shared
    const count = 50
    const started = yield* Effect.forEach(
      Array.from({ length: count }, (_, index) => index),
      (index) =>
        sandbox.start("sh", ["-c", `echo ${index}; cat; exit ${index}`], { id: `many-${index}`, stdin: "open" }),
      { concurrency: 10 }
    )
    const running = (yield* sandbox.jobs).filter(({ status }) => status._tag === "Running")
    assert.strictEqual(running.length, count)
    yield* Effect.forEach(started, ({ endInput }) => endInput, { concurrency: 10 })
    const ended = yield* Effect.forEach(started, finished, { concurrency: 10 })
    assert.deepStrictEqual(
      ended,
      started.map((_, index) => ({ ended: { _tag: "Exited", exitCode: index }, log: `${index}\n` }))
    )
  })

  test("a start keeps the last fifty of the jobs that have ended", function* () {
    const { sandbox } = yield* Bench.Shared
    yield* sandbox.exec("sh", ["-c", "mkdir trap && mkfifo trap/job"], { user: "app", cwd: folder })
    const last = yield* sandbox.start("true")
    yield* last.wait
    yield* sandbox.jobs.pipe(
      Effect.repeat({ until: (jobs) => jobs.length === 51, schedule: Schedule.spaced("50 millis") })
    )
    yield* Effect.forEach(yield* sandbox.jobs, ({ id }) =>
      Effect.flatMap(sandbox.job(id), (job) => job.remove({ force: true }))
    )
    yield* sandbox.remove(`${folder}/trap`, { recursive: true })
  })
}
