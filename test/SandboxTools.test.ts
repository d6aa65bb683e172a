/** The tools, through the MCP server in this process, on the twin. */
import { assert, describe, it } from "@effect/vitest"
import type * as McpTest from "effect/ai/McpTest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import type { Services } from "../src/Driver.ts"
import type { Policy } from "../src/internal/mcp/policy.ts"
import * as MicrosandboxMemory from "../src/MicrosandboxMemory.ts"
import * as Sandbox from "../src/Sandbox.ts"
import * as Snapshot from "../src/Snapshot.ts"
import { ask, call, connect, failure } from "./internal/mcp/support.ts"

const test = <A, E>(
  name: string,
  use: (client: McpTest.Client) => Effect.Effect<A, E, Services | Scope.Scope>,
  policy?: Partial<Policy>
) =>
  it.live(name, () =>
    Effect.flatMap(connect(policy), use).pipe(
      Effect.scoped,
      Effect.provide(MicrosandboxMemory.layer({ images: { busybox: {} } }))
    )
  )

const maxBytes = 30_000

describe("run and job", () => {
  test("return the output, in the order of writing, and the exit code", (client) =>
    Effect.gen(function* () {
      const { id, ...result } = yield* call(client, "run", {
        script: "echo one; echo two >&2; pwd; exit 3",
        cwd: "/tmp"
      })
      assert.match(id, /^[0-9a-f]{12}$/)
      assert.deepStrictEqual(result, { status: "exited", exitCode: 3, output: "one\ntwo\n/tmp\n", from: 0, next: 13 })
    }))

  test("leave a long script running, which job polls and ends", (client) =>
    Effect.gen(function* () {
      const started = yield* call(client, "run", { script: "echo up; sleep 1000", wait: 0 })
      assert.strictEqual(started.status, "running")
      const polled = yield* call(client, "job", { id: started.id }).pipe(
        Effect.repeat({ until: ({ next }) => next === 3, schedule: Schedule.spaced("10 millis") })
      )
      assert.deepStrictEqual(polled, { id: started.id, status: "running", output: "up\n", from: 0, next: 3 })
      const ended = yield* call(client, "job", { id: started.id, since: 3, signal: "term" })
      assert.deepStrictEqual(ended, {
        id: started.id,
        status: "killed",
        output: "",
        from: 3,
        next: 3,
        note: "Ended by SIGTERM."
      })
    }))

  test("show the end of a large output, and all of it page by page, without splitting characters", (client) =>
    Effect.gen(function* () {
      const content = `${"ä\n".repeat(10_000)}x${"ä\n".repeat(20_000)}`
      yield* call(client, "write", { path: "/tmp/output", content })
      const { id, from, next, note, output } = yield* call(client, "run", { script: "cat /tmp/output", wait: 50 })
      const size = Buffer.byteLength(content)
      assert.isAtLeast(from, size - maxBytes)
      assert.isAtMost(from, size - maxBytes + 3)
      assert.strictEqual(next, size)
      assert.isFalse(output.includes("\ufffd"))
      assert.match(String(note), /bytes before this are not shown: since 0 reads them\.$/)
      let whole = ""
      for (let since = 0; since < size;) {
        const page = yield* call(client, "job", { id, since })
        assert.strictEqual(page.from, since)
        assert.isAtMost(Buffer.byteLength(page.output), maxBytes)
        assert.strictEqual(page.note?.includes(`since ${page.next} reads on`) ?? false, page.next < size)
        whole += page.output
        since = page.next
      }
      assert.strictEqual(whole, content)
    }))

  test("say that early output of a very long log is lost", (client) =>
    Effect.gen(function* () {
      yield* call(client, "write", { path: "/tmp/output", content: "x".repeat(3_000_000) })
      const { id } = yield* call(client, "run", { script: "cd /tmp; cat output output output", wait: 50 })
      const page = yield* call(client, "job", { id, since: 0 })
      assert.isAbove(page.from, 0)
      assert.match(String(page.note), /^Earlier output is no longer kept\. /)
    }))

  test("kill the job of a call that is cancelled", (client) =>
    Effect.gen(function* () {
      const running = yield* Effect.forkChild(call(client, "run", { script: "sleep 1000", wait: 50 }))
      const jobs = Effect.gen(function* () {
        const [info] = yield* Sandbox.list()
        return info === undefined ? [] : yield* (yield* Sandbox.connect(info.name)).jobs
      })
      const until = (tag: string) =>
        Effect.repeat(jobs, {
          until: ([job]) => job?.status._tag === tag && job.pid !== undefined,
          schedule: Schedule.spaced("10 millis")
        })
      yield* until("Running")
      yield* Fiber.interrupt(running)
      const [job] = yield* until("Signaled")
      assert.deepStrictEqual(job?.status, { _tag: "Signaled", signal: "SIGKILL" })
    }))

  test("leave no job running, at whatever moment the call is cancelled", (client) =>
    Effect.gen(function* () {
      yield* call(client, "run", { script: "true" })
      const [info] = yield* Sandbox.list()
      assert.isDefined(info)
      const sandbox = yield* Sandbox.connect(info.name)
      const ids = new Set<string>()
      for (let steps = 0; ids.size === 0; steps++) {
        const running = yield* Effect.forkChild(call(client, "run", { script: "sleep 1000", wait: 50 }))
        for (let step = 0; step < steps; step++) yield* Effect.yieldNow
        yield* Fiber.interrupt(running)
        // The server ends the call on its own time.
        const jobs = yield* Effect.repeat(sandbox.jobs, {
          until: (jobs) => jobs.every(({ status }) => status._tag !== "Running"),
          times: 100,
          schedule: Schedule.spaced("10 millis")
        })
        for (const { id, status } of jobs) {
          assert.notStrictEqual(status._tag, "Running", `after ${steps} steps`)
          if (status._tag === "Signaled") ids.add(id)
        }
      }
    }))

  test("fail with what to do", (client) =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* failure(client, "job", { id: "nope" }), {
        error: 'There is no job named "nope"',
        hint: "run starts a job and returns its id"
      })
      const { error } = yield* failure(client, "run", { script: "true", wait: 51 })
      assert.strictEqual(error, "Invalid wait: expected 0 to 50 seconds")
      const script = yield* failure(client, "run", { script: "true\0" })
      assert.match(script.error, /^Invalid script: /)
      const cwd = yield* failure(client, "run", { script: "true", cwd: "/nope" })
      assert.strictEqual(cwd.hint, "Create the folder first, or pass another cwd")
      const { id } = yield* call(client, "run", { script: "true" })
      const signal = yield* failure(client, "job", { id, signal: "SIGNOPE" })
      assert.strictEqual(signal.error, "Invalid signal: expected a signal such as SIGINT or SIGKILL")
      const since = yield* failure(client, "job", { id, since: -1 })
      assert.strictEqual(since.error, "Invalid since: expected 0 or more")
    }))
})

describe("read, write and edit", () => {
  test("create a file with its folders, change it, and read it", (client) =>
    Effect.gen(function* () {
      const path = "/work/src/a.txt"
      assert.deepStrictEqual(yield* call(client, "write", { path, content: "ä\ntwo\nthree" }), { bytes: 12 })
      assert.deepStrictEqual(yield* call(client, "edit", { path, old: "two", new: "$& 2" }), { replaced: 1 })
      assert.deepStrictEqual(yield* call(client, "read", { path }), { content: "ä\n$& 2\nthree" })
      assert.deepStrictEqual(yield* call(client, "read", { path, line: 2 }), { content: "$& 2\nthree" })
      assert.deepStrictEqual(yield* call(client, "read", { path, line: 4 }), {
        content: "",
        note: "The file has 3 lines."
      })
      assert.deepStrictEqual(yield* call(client, "edit", { path, old: "e", new: "E", all: true }), { replaced: 2 })
      assert.deepStrictEqual(yield* call(client, "write", { path, content: "" }), { bytes: 0 })
      assert.deepStrictEqual(yield* call(client, "read", { path }), { content: "" })
    }))

  test("give a new file to the owner of its folder", (client) =>
    Effect.gen(function* () {
      yield* call(client, "run", { script: "mkdir /home/app; chown 1000:1000 /home/app" })
      yield* call(client, "write", { path: "/home/app/a", content: "a" })
      const { output } = yield* call(client, "run", { script: "stat -c %u:%g /home/app/a" })
      assert.strictEqual(output, "1000:1000\n")
    }))

  test("read a large file page by page", (client) =>
    Effect.gen(function* () {
      yield* call(client, "run", { script: "seq 100000 120000 > /tmp/numbers" })
      const lines: Array<string> = []
      for (let line: number | undefined = 1; line !== undefined;) {
        const page: { readonly content: string; readonly next?: number } = yield* call(client, "read", {
          path: "/tmp/numbers",
          line
        })
        assert.isAtMost(page.content.length, maxBytes)
        lines.push(...page.content.trimEnd().split("\n"))
        line = page.next
      }
      assert.deepStrictEqual(
        lines,
        Array.from({ length: 20_001 }, (_, index) => String(100_000 + index))
      )
    }))

  test("cut a line that is too long, and say so", (client) =>
    Effect.gen(function* () {
      yield* call(client, "write", { path: "/tmp/long", content: `${"ä".repeat(20_000)}\nend\n` })
      const { content, next, note } = yield* call(client, "read", { path: "/tmp/long" })
      assert.strictEqual(content, "ä".repeat(maxBytes / 2))
      assert.match(String(note), /^Line 1 is longer and was cut/)
      assert.deepStrictEqual(yield* call(client, "read", { path: "/tmp/long", line: next }), { content: "end\n" })
    }))

  test("fail with what to do", (client) =>
    Effect.gen(function* () {
      yield* call(client, "run", { script: "printf 'a\\0b' > /tmp/binary; printf '\\377' > /tmp/latin" })
      yield* call(client, "write", { path: "/tmp/twice", content: "a a" })
      const cases = [
        ["read", { path: "a.txt" }, "Invalid path: expected an absolute path", undefined],
        ["read", { path: "/tmp/nope" }, /No such file/, "search lists the folders that exist"],
        ["read", { path: "/tmp" }, /EISDIR/, "search lists a folder"],
        ["read", { path: "/tmp/binary" }, /not a text file: use run/, undefined],
        ["read", { path: "/tmp/twice", line: 0 }, "Invalid line: expected 1 or more", undefined],
        ["write", { path: "/tmp/twice/b", content: "" }, /EEXIST/, "A part of the path is a file"],
        ["write", { path: "/tmp", content: "" }, /EISDIR/, "search lists a folder"],
        ["edit", { path: "/tmp/twice", old: "", new: "b" }, /^Invalid old: expected text/, undefined],
        ["edit", { path: "/tmp/twice", old: "b", new: "a" }, /does not contain this text/, undefined],
        ["edit", { path: "/tmp/twice", old: "a", new: "b" }, /contains it 2 times; pass more/, undefined],
        ["edit", { path: "/tmp/latin", old: "a", new: "b" }, /not a text file/, undefined]
      ] as const
      for (const [name, args, expected, hint] of cases) {
        const failed = yield* failure(client, name, args)
        if (typeof expected === "string") assert.strictEqual(failed.error, expected)
        else assert.match(failed.error, expected)
        assert.strictEqual(failed.hint, hint, failed.error)
      }
      assert.deepStrictEqual(yield* call(client, "read", { path: "/tmp/twice" }), { content: "a a" })
    }))

  test("do not read a file to edit that is too large", (client) =>
    Effect.gen(function* () {
      yield* call(client, "write", { path: "/tmp/large", content: "a".repeat(4 * 1024 * 1024 + 1) })
      const { error, hint } = yield* failure(client, "edit", { path: "/tmp/large", old: "a", new: "b" })
      assert.match(error, /EFBIG/)
      assert.strictEqual(hint, "Use run, with tools such as head, tail and sed")
    }))
})

describe("search", () => {
  test("lists a folder, finds files, and finds lines", (client) =>
    Effect.gen(function* () {
      yield* call(client, "write", { path: "/work/src/a.ts", content: "one\ntwo (2)\n" })
      yield* call(client, "write", { path: "/work/b.ts", content: "two (3)\n" })
      yield* call(client, "write", { path: "/work/node_modules/c.ts", content: "two (4)\n" })
      yield* call(client, "run", { script: "ln -s b.ts /work/link" })
      const found = (args: object) => Effect.map(call(client, "search", { path: "/work", ...args }), (result) => result)
      assert.deepStrictEqual(yield* found({}), { matches: ["b.ts", "link@", "node_modules/", "src/"] })
      assert.sameMembers([...(yield* found({ glob: "*.ts" })).matches], ["/work/b.ts", "/work/src/a.ts"])
      assert.sameMembers(
        [...(yield* found({ pattern: "two \\([23]\\)" })).matches],
        ["/work/b.ts:1:two (3)", "/work/src/a.ts:2:two (2)"]
      )
      assert.deepStrictEqual(yield* found({ pattern: "-two", glob: "a*" }), { matches: [] })
      // A folder that is skipped below another can be searched itself.
      assert.deepStrictEqual(yield* found({ path: "/work/node_modules", pattern: "two" }), {
        matches: ["/work/node_modules/c.ts:1:two (4)"]
      })
    }))

  test("returns at most 200 matches of bounded length, and says that there are more", (client) =>
    Effect.gen(function* () {
      yield* call(client, "run", { script: "mkdir /work; seq 1 200 > /work/lines" })
      yield* call(client, "write", { path: "/work/long", content: "x".repeat(2000) })
      const all = yield* call(client, "search", { path: "/work", pattern: "[0-9]" })
      assert.strictEqual(all.matches.length, 200)
      assert.isUndefined(all.note)
      yield* call(client, "run", { script: "echo 201 >> /work/lines" })
      const cut = yield* call(client, "search", { path: "/work", pattern: "[0-9]" })
      assert.strictEqual(cut.matches.length, 200)
      assert.match(String(cut.note), /^There are more/)
      const { matches } = yield* call(client, "search", { path: "/work", pattern: "x" })
      assert.strictEqual(matches.length, 1)
      assert.strictEqual(matches[0]?.length, 401)
    }))

  test("fails with what to do", (client) =>
    Effect.gen(function* () {
      const missing = yield* failure(client, "search", { path: "/nope" })
      assert.strictEqual(missing.hint, "search lists the folders that exist")
      yield* call(client, "write", { path: "/tmp/file", content: "" })
      const file = yield* failure(client, "search", { path: "/tmp/file", pattern: "a" })
      assert.strictEqual(file.error, "Invalid path: expected a folder; read shows a file")
      const regex = yield* failure(client, "search", { path: "/tmp", pattern: "[" })
      assert.match(regex.error, /^Invalid pattern: grep: /)
      for (const field of ["glob", "pattern"]) {
        const { error } = yield* failure(client, "search", { path: "/tmp", [field]: "a\0b" })
        assert.match(error, new RegExp(`^Invalid ${field}: `))
      }
    }))

  test(
    "finds what only root can read, as the other file tools do",
    (client) =>
      Effect.gen(function* () {
        yield* call(client, "write", { path: "/root/secret/a.txt", content: "needle" })
        assert.strictEqual((yield* call(client, "run", { script: "cat /root/secret/a.txt" })).exitCode, 1)
        const found = yield* call(client, "search", { path: "/root/secret", pattern: "needle" })
        assert.deepStrictEqual(found, { matches: ["/root/secret/a.txt:1:needle"] })
        const files = yield* call(client, "search", { path: "/root/secret", glob: "*.txt" })
        assert.deepStrictEqual(files, { matches: ["/root/secret/a.txt"] })
      }),
    { launch: { image: "busybox", network: "none", user: "app" } }
  )

  test("returns at most 30,000 bytes, whatever the text is", (client) =>
    Effect.gen(function* () {
      yield* call(client, "write", { path: "/work/a", content: `${"漢".repeat(410)}\n`.repeat(28) })
      const { matches, note } = yield* call(client, "search", { path: "/work", pattern: "." })
      assert.isAtMost(Buffer.byteLength(matches.join("")), maxBytes)
      assert.match(String(note), /^There are more/)
      assert.strictEqual(matches[0], `${`/work/a:1:${"漢".repeat(400)}`.slice(0, 400)}…`)
    }))
})

describe("forward", () => {
  test("opens a port once", (client) =>
    Effect.gen(function* () {
      yield* call(client, "run", { script: "nc -l -p 80 -e /bin/cat", wait: 0 })
      const { url } = yield* call(client, "forward", { port: 80 })
      assert.match(url, /^http:\/\/127\.0\.0\.1:\d+$/)
      assert.deepStrictEqual(yield* call(client, "forward", { port: 80 }), { url })
      // The server may not listen yet.
      const answer = yield* Effect.retry(ask(url), { schedule: Schedule.spaced("20 millis") })
      assert.strictEqual(answer, "hello\n")
    }))

  test(
    "opens only the ports of the policy",
    (client) =>
      Effect.gen(function* () {
        yield* call(client, "forward", { port: 3000 })
        assert.deepStrictEqual(yield* failure(client, "forward", { port: 80 }), {
          error: "Cannot use forward: this session may forward 3000",
          hint: "Go on without it, or ask the user to allow it"
        })
      }),
    { forwards: [3000] }
  )

  test("fails for what is no port", (client) =>
    Effect.gen(function* () {
      const { error } = yield* failure(client, "forward", { port: 0 })
      assert.match(error, /^Invalid port: /)
    }))
})

describe("snapshot", () => {
  test("captures the disk and goes on", (client) =>
    Effect.gen(function* () {
      yield* call(client, "write", { path: "/root/a", content: "kept" })
      assert.deepStrictEqual(yield* call(client, "snapshot", { name: "agent-a" }), { name: "agent-a", generation: 1 })
      assert.deepStrictEqual(yield* call(client, "read", { path: "/root/a" }), { content: "kept" })
      const kept = yield* Sandbox.run({ snapshot: "agent-a" }, (sandbox) => sandbox.readFileString("/root/a"))
      assert.strictEqual(kept, "kept")
    }))

  test("moves no name of others", (client) =>
    Effect.gen(function* () {
      const { error } = yield* failure(client, "snapshot", { name: "node-ci" })
      assert.strictEqual(error, 'Invalid name: expected a name that begins with "agent-"')
      assert.isFalse(yield* Snapshot.exists("node-ci"))
    }))

  test(
    "fails if the policy forbids it",
    (client) =>
      Effect.gen(function* () {
        const { error } = yield* failure(client, "snapshot", { name: "agent-a" })
        assert.strictEqual(error, "Cannot use snapshot: this session may not capture snapshots")
      }),
    { snapshots: false }
  )
})

describe("a tool", () => {
  test("refuses arguments of another type, and names them", (client) =>
    Effect.gen(function* () {
      const { content, isError } = yield* client.callTool({ name: "read", arguments: { path: 1 } })
      assert.isTrue(isError)
      assert.match(JSON.stringify(content), /path/)
    }))
})
