/** `up`, `fork`, and waiting for what runs in sandboxes. */
import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schedule from "effect/Schedule"
import * as Shapes from "../../src/internal/cli/json.ts"
import * as Sandbox from "../../src/Sandbox.ts"
import { Cli, decodeLines, definitions, detached, failing, json, succeeding, test } from "./support.ts"

const names = Effect.map(Sandbox.list(), (found) => found.map(({ name }) => name).toSorted())

/** Runs the group in the background, and returns once its services have written everything. */
const start = Effect.fnUntraced(function* (...flags: ReadonlyArray<string>) {
  const { call, outputs } = yield* Cli
  const running = yield* Effect.forkChild(call(...flags, "up", definitions("group")))
  const printed = Effect.suspend(() => Effect.fromNullishOr(outputs[0]?.()))
  const whole = printed.pipe(Effect.filterOrFail((text) => text.split("\n").length > 2))
  return { running, printed: yield* Effect.retry(whole, Schedule.spaced("10 millis")) }
})

describe("up", () => {
  test(
    "runs a group, prints what its services write, and removes all when a member stops",
    Effect.gen(function* () {
      const { running } = yield* start()
      yield* Sandbox.kill("group-server")
      const { status, stderr, stdout } = yield* Fiber.join(running)
      assert.strictEqual(status, 1)
      assert.match(stdout, /^MEMBER +SANDBOX +PORTS$/m)
      assert.match(stdout, /^server +group-server +-$/m)
      assert.match(stdout, /^client +group-client +\S+:\d+->80$/m)
      assert.match(stdout, /^server\/echo \| listening$/m)
      assert.match(stdout, /^client\/once \| client$/m)
      assert.match(stderr, /^client\/once exited \(3\)$/m)
      assert.match(stderr, /group-server/)
      assert.deepStrictEqual(yield* names, [])
    })
  )

  test(
    "prints lines of JSON, and removes all when it is interrupted",
    Effect.gen(function* () {
      const { printed, running } = yield* start("--json")
      yield* Fiber.interrupt(running)
      assert.deepStrictEqual(yield* names, [])
      assert.deepStrictEqual(yield* decodeLines(Shapes.GroupOutput, printed.trim().split("\n").toSorted().join("\n")), [
        { member: "client", service: "once", line: "client" },
        { member: "server", service: "echo", line: "listening" }
      ])
    })
  )

  test(
    "names the module that has no group, and the option that is wrong, before anything boots",
    Effect.gen(function* () {
      const { requests } = yield* Cli
      assert.match((yield* failing(2, "up", definitions("two"))).message, /FILE: .* has no default export/)
      assert.match((yield* failing(2, "up", "missing.ts")).message, /FILE: there is no file/)
      assert.match((yield* failing(2, "up", definitions("badGroup"))).message, /client\.dependsOn\.server/)
      assert.deepStrictEqual(requests, [])
    })
  )
})

describe("run --service", () => {
  test(
    "starts services, and the sandbox is there when they are ready",
    Effect.gen(function* () {
      const flags = ["--detach", "--name", "web", "--service", "one=sleep 0.1; touch /run/up; exec sleep 1000"]
      yield* succeeding("run", "--image", "alpine:3", ...flags, "--ready", "one=file:/run/up")
      yield* succeeding("exec", "web", "test", "-e", "/run/up")
      const [jobs] = yield* json(Shapes.Jobs, "jobs", "web")
      assert.deepStrictEqual(
        jobs?.map(({ id }) => id),
        ["one"]
      )
    })
  )

  test(
    "starts them beside the command of a detached sandbox",
    Effect.gen(function* () {
      const flags = ["--detach", "--name", "web", "--service", "one=sleep 1000"]
      yield* succeeding("run", "--image", "alpine:3", ...flags, "sleep", "1000")
      const [jobs] = yield* json(Shapes.Jobs, "jobs", "web")
      assert.deepStrictEqual(jobs?.map(({ id }) => id).toSorted(), ["main", "one"])
    })
  )

  test(
    "refuses what it cannot start",
    Effect.gen(function* () {
      const { requests } = yield* Cli
      const message = (...flags: ReadonlyArray<string>) =>
        Effect.map(failing(125, "run", "--image", "alpine:3", ...flags), ({ message }) => message)
      assert.match(yield* message("--ready", "one=80"), /--ready one=80: there is no --service one/)
      assert.match(yield* message("--service", "one"), /NAME=SCRIPT/)
      assert.match(yield* message("--service", "a b=true"), /--service a b/)
      assert.match(yield* message("-d", "--service", "main=true", "true"), /--service main: is the name/)
      assert.match(yield* message("--service", "one=true", "--ready", "one=soon"), /http:PORT\[\/PATH\]/)
      assert.match(yield* message("--service", "one=true", "--ready", "one=70000"), /--ready one=70000/)
      assert.deepStrictEqual(requests, [])
    })
  )
})

describe("wait --for", () => {
  test(
    "waits until all probes succeed in all sandboxes",
    Effect.gen(function* () {
      yield* detached("one")
      yield* detached("two")
      const probes = ["--for", "file:/run/up", "--for", "command:test -e /run/up", "--for", "log:say:hello"]
      const waiting = yield* Effect.forkChild(json(Shapes.Changed, "wait", ...probes, "one", "two"))
      for (const name of ["one", "two"]) {
        yield* succeeding("job", "start", "--id", "say", name, "--", "sh", "-c", "echo hello; touch /run/up")
      }
      assert.deepStrictEqual(yield* Fiber.join(waiting), [{ ready: ["one", "two"] }])
    })
  )

  test(
    "says what it has last seen, and refuses what is no probe",
    Effect.gen(function* () {
      yield* detached("one")
      const late = yield* failing(1, "wait", "--for", "http:3000/health", "--timeout", "50ms", "one")
      assert.strictEqual(late.error?.reason._tag, "NotReady")
      assert.match((yield* failing(2, "wait", "--for", "soon", "one")).message, /http:PORT\[\/PATH\]/)
      assert.match((yield* failing(2, "wait", "--for", "70000", "one")).message, /--for 70000/)
    })
  )
})

describe("fork", () => {
  test(
    "boots copies of a disk that keep running",
    Effect.gen(function* () {
      yield* detached("box")
      yield* succeeding("exec", "box", "sh", "-c", "echo one > /root/file")
      assert.strictEqual((yield* succeeding("fork", "box", "-n", "2", "--name", "try")).stdout, "try-1\ntry-2\n")
      for (const name of ["box", "try-1", "try-2"]) {
        const [ran] = yield* json(Shapes.Ended, "exec", name, "cat", "/root/file")
        assert.strictEqual(ran?.stdout, "one\n", name)
      }
      const [one] = yield* json(Shapes.Changed, "fork", "box")
      assert.strictEqual(one?.["forked"]?.length, 1)
      assert.match((yield* failing(2, "fork", "box", "--count", "0")).message, /--count/)
      assert.match((yield* failing(2, "fork", "box", "--name", "a b")).message, /--name/)
      const { message } = yield* failing(1, "fork", "box", "--memory")
      assert.include(message, "this driver cannot copy a running sandbox with its memory")
    })
  )

  test(
    "with --memory copies a sandbox that goes on",
    Effect.gen(function* () {
      yield* detached("box")
      yield* succeeding("exec", "box", "sh", "-c", "echo one > /tmp/file")
      assert.strictEqual((yield* succeeding("fork", "box", "--memory", "--name", "try")).stdout, "try-1\n")
      for (const name of ["box", "try-1"]) {
        const [ran] = yield* json(Shapes.Ended, "exec", name, "cat", "/tmp/file")
        assert.strictEqual(ran?.stdout, "one\n", name)
      }
    }),
    { memorySnapshots: true }
  )
})
