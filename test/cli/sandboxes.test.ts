import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as FileSystem from "effect/FileSystem"
import * as Schema from "effect/Schema"
import * as Path from "node:path"
import * as Shapes from "../../src/internal/cli/json.ts"
import { NotFound, Unknown } from "../../src/LightboxError.ts"
import * as MicrosandboxMemory from "../../src/MicrosandboxMemory.ts"
import * as Sandbox from "../../src/Sandbox.ts"
import * as Snapshot from "../../src/Snapshot.ts"
import { Cli, decodeLines, definitions, detached, ending, failing, json, succeeding, test } from "./support.ts"

const statuses = Effect.map(Sandbox.list(), (found) =>
  Object.fromEntries(found.map(({ name, status }) => [name, status]))
)

/** The output of a command in a sandbox. */
const output = Effect.fnUntraced(function* (...words: ReadonlyArray<string>) {
  const [ended] = yield* json(Shapes.Ended, "exec", ...words)
  return ended?.stdout
})

describe("the exec and shell commands", () => {
  test(
    "run a command with variables, in a folder, as a user",
    Effect.gen(function* () {
      yield* detached("web")
      const flags = ["-e", "A=1", "-w", "/etc", "-u", "nobody"]
      const script = 'echo "$A $PWD $(whoami)"; exit 4'
      for (const command of ["exec", "shell"]) {
        const { stdout } = yield* ending(4)("--json", command, ...flags, "web", "--", "sh", "-c", script)
        const [ended] = yield* decodeLines(Shapes.Ended, stdout)
        assert.deepInclude(ended, { exitCode: 4, stdout: "1 /etc nobody\n" })
      }
      yield* ending(4)("exec", "web", "sh", "-c", "exit 4")
      yield* ending(137)("exec", "web", "sh", "-c", "kill -9 $$")
      assert.strictEqual((yield* inventoryOfProcesses).length, 0)
    })
  )

  test(
    "take all words from the command on as its own, as docker does",
    Effect.gen(function* () {
      yield* detached("web")
      const echo = ["sh", "-c", 'echo "$@"', "sh"]
      assert.strictEqual(yield* output("web", ...echo, "-i", "--json", "--help", "--"), "-i --json --help --\n")
      assert.strictEqual(yield* output("-u", "root", "web", ...echo, "-x"), "-x\n")
      assert.strictEqual(yield* output("-iu", "root", "--env", "A=1", "web", ...echo, "-x"), "-x\n")
      assert.strictEqual(yield* output("--home", "/elsewhere", "--env=A=1", "web", ...echo, "-x"), "-x\n")
      assert.strictEqual(yield* output("-e=A=w", "web", ...echo, "-x"), "-x\n")
      const [ran] = yield* json(Shapes.Ended, "run", "--image", "alpine:3", "--memory", "1G", ...echo, "--memory")
      assert.strictEqual(ran?.stdout, "--memory\n")
      yield* ending(3)("shell", "web", "sh", "-c", "exit 3")
    })
  )

  test(
    "run what a snapshot is for, with its launch defaults",
    Effect.gen(function* () {
      const script = 'echo "$A $B $PWD"; ls /run/up'
      const defaults = {
        cwd: "/etc",
        env: { A: "baked", B: "baked" },
        cmd: ["sh", "-c", script],
        ports: { 0: 80 },
        services: { one: { command: "touch /run/up; exec sleep 1000", ready: { file: "/run/up" } } }
      }
      yield* Snapshot.build(Snapshot.make("server", "alpine:3").pipe(Snapshot.defaults(defaults)))
      const ran = (...words: ReadonlyArray<string>) =>
        Effect.map(json(Shapes.Ended, "run", ...words), ([ended]) => ended?.stdout)
      assert.strictEqual(yield* ran("server"), "baked baked /etc\n/run/up\n")
      assert.strictEqual(yield* ran("-e", "B=typed", "-w", "/", "server"), "baked typed /\n/run/up\n")
      assert.strictEqual(yield* ran("server", "sh", "-c", "echo $A"), "baked\n")
      const [found] = yield* json(Shapes.Inspected, "inspect", "server")
      assert.deepInclude(found?.[0], { defaults })
      yield* succeeding("run", "server", "--name", "up", "--detach")
      const ports = Effect.map(json(Shapes.Ports, "port", "up"), ([all]) => all?.map(({ guest }) => guest))
      assert.deepStrictEqual(yield* ports, [80])
      yield* succeeding("restart", "up")
      assert.strictEqual(yield* output("up", "ls", "/run/up"), "/run/up\n")
    })
  )

  test(
    "fail with a status of their own, before anything runs",
    Effect.gen(function* () {
      const { inject } = yield* MicrosandboxMemory.Control
      yield* detached("web")
      yield* inject(
        MicrosandboxMemory.failAt("guest.spawn", new Unknown({ problem: "a command has run" }), { times: 100 })
      )
      const problem = (...words: ReadonlyArray<string>) =>
        Effect.map(failing(125, "exec", ...words), ({ message }) => message)
      assert.include(yield* problem("web"), "command")
      assert.include(yield* problem("--frob", "web", "true"), "--frob")
      assert.include(yield* problem("no name", "true"), "Invalid NAME")
      assert.include(yield* problem("nothing", "true"), 'There is no sandbox named "nothing"')
      assert.include(yield* problem("-w", "srv", "web", "true"), "Invalid --workdir")
      assert.include(yield* problem("-u", "", "web", "true"), "Invalid --user")
      assert.include(
        yield* problem("-e", "NOT_SET_HERE", "web", "true"),
        '"NOT_SET_HERE". Expected: a variable that is set'
      )
      assert.include(yield* problem("-t", "web", "true"), "Invalid --tty: cannot be combined with --json")
      assert.include((yield* ending(125)("exec", "-it", "web", "true")).stderr, "input and output are not a terminal")
      yield* succeeding("stop", "web")
      assert.strictEqual((yield* failing(125, "exec", "web", "true")).hint, "`lightbox start web` starts it")
    })
  )
})

const inventoryOfProcesses = MicrosandboxMemory.Control.use((control) => control.inventory).pipe(
  Effect.map(({ processes }) => processes)
)

describe("start, stop, restart and kill", () => {
  test(
    "change several sandboxes, whose disks stay",
    Effect.gen(function* () {
      yield* detached("a")
      yield* detached("b")
      yield* output("a", "sh", "-c", "echo here > /root/note; sync")
      assert.strictEqual((yield* succeeding("stop", "a", "b", "a", "-t", "30s")).stdout, "Stopped a\nStopped b\n")
      assert.deepStrictEqual(yield* statuses, { a: "stopped", b: "stopped" })
      assert.deepStrictEqual(yield* json(Shapes.Changed, "start", "b"), [{ started: ["b"] }])
      assert.strictEqual((yield* succeeding("start", "a", "b")).stdout, "Started a\nb is running already\n")
      assert.strictEqual(yield* output("a", "cat", "/root/note"), "here\n")

      const control = yield* MicrosandboxMemory.Control
      const { length } = yield* control.calls
      assert.deepStrictEqual(yield* json(Shapes.Changed, "restart", "a", "--timeout", "1m"), [{ restarted: ["a"] }])
      assert.includeMembers(
        (yield* control.calls).slice(length).map(({ operation }) => operation),
        ["stopSandbox", "startSandbox"]
      )

      assert.strictEqual((yield* succeeding("kill", "a", "--quiet")).stdout, "")
      assert.deepStrictEqual(yield* json(Shapes.Changed, "kill", "a", "b"), [{ killed: ["b"] }])
      assert.strictEqual((yield* succeeding("stop", "a")).stdout, "a is stopped already\n")
      assert.strictEqual((yield* succeeding("restart", "a")).stdout, "Restarted a\n")
      assert.deepStrictEqual(yield* statuses, { a: "running", b: "stopped" })
    })
  )

  test(
    "pause sandboxes and let them go on, where the runtime can do so",
    Effect.gen(function* () {
      yield* detached("a")
      assert.strictEqual((yield* succeeding("pause", "a")).stdout, "Paused a\n")
      assert.strictEqual((yield* succeeding("pause", "a")).stdout, "a is paused already\n")
      assert.deepStrictEqual(yield* statuses, { a: "paused" })
      assert.deepStrictEqual(yield* json(Shapes.Changed, "resume", "a"), [{ resumed: ["a"] }])
      assert.strictEqual(yield* output("a", "echo", "on"), "on\n")
    }),
    { memorySnapshots: true }
  )

  test(
    "pause nothing where the runtime cannot",
    Effect.gen(function* () {
      yield* detached("a")
      assert.strictEqual((yield* failing(1, "pause", "a")).error?.reason._tag, "Unsupported")
      assert.deepStrictEqual(yield* statuses, { a: "running" })
    })
  )

  test(
    "change nothing if a name or a flag is wrong",
    Effect.gen(function* () {
      yield* detached("a")
      for (const command of ["start", "stop", "restart", "kill", "pause", "resume"]) {
        assert.strictEqual((yield* failing(1, command, "a", "nothing")).error?.reason._tag, "NotFound")
        assert.include((yield* failing(2, command, "a", "no name")).message, "Invalid NAME")
        assert.include((yield* failing(2, command)).message, "name")
      }
      assert.include((yield* failing(2, "stop", "a", "-t", "long")).message, "--timeout")
      assert.deepStrictEqual(yield* statuses, { a: "running" })
    })
  )

  test(
    "go on when one of them fails, and report every failure",
    Effect.gen(function* () {
      const { inject } = yield* MicrosandboxMemory.Control
      for (const name of ["a", "b", "c"]) yield* detached(name)
      for (const sandbox of ["a", "c"]) {
        yield* inject(MicrosandboxMemory.failAt("stopSandbox", new Unknown({ problem: `not ${sandbox}` }), { sandbox }))
      }
      const { stderr, stdout } = yield* ending(1)("stop", "a", "b", "c")
      assert.strictEqual(stdout, "Stopped b\n")
      assert.match(stderr, /error: .*not c[^]*error: .*not a/)
      assert.deepStrictEqual(yield* statuses, { a: "running", b: "stopped", c: "running" })
    })
  )
})

describe("the cp command", () => {
  const project = Effect.gen(function* () {
    const fs = yield* FileSystem.FileSystem
    const { folder } = yield* Cli
    const path = Path.join(folder, "project")
    yield* fs.makeDirectory(Path.join(path, "src"), { recursive: true })
    yield* fs.writeFileString(Path.join(path, "src/main"), "main")
    yield* fs.writeFileString(Path.join(path, "read me"), "read")
    return path
  })

  test(
    "copies files and folders into a sandbox",
    Effect.gen(function* () {
      const path = yield* project
      yield* detached("web")
      assert.strictEqual(
        (yield* succeeding("cp", Path.join(path, "read me"), "web:/new/file")).stdout,
        `Copied ${path}/read me to web:/new/file\n`
      )
      for (const target of ["/new", "/other/"]) {
        assert.deepStrictEqual(yield* json(Shapes.Copied, "cp", Path.join(path, "read me"), `web:${target}`), [
          { from: `${path}/read me`, to: `web:${Path.posix.join(target, "read me")}` }
        ])
      }
      yield* succeeding("cp", path, "web:/a")
      yield* succeeding("cp", path, "web:/a")
      yield* succeeding("cp", `${path}/.`, "web:/new", "--quiet")
      assert.strictEqual(
        yield* output("web", "sh", "-c", "cd /; find a new other -type f | sort"),
        [
          "a/project/read me",
          "a/project/src/main",
          "a/read me",
          "a/src/main",
          "new/file",
          "new/read me",
          "new/src/main",
          "other/read me",
          ""
        ].join("\n")
      )
      assert.strictEqual(yield* output("web", "cat", "/new/file"), "read")
    })
  )

  test(
    "copies files and folders out of a sandbox",
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const { folder } = yield* Cli
      yield* detached("web")
      yield* output("web", "sh", "-c", "mkdir -p /srv/data/in; echo 1 > /srv/data/in/one; echo 2 > /srv/two")
      yield* succeeding("cp", "web:/srv/two", Path.join(folder, "renamed"))
      yield* succeeding("cp", "web:/srv/two", folder)
      yield* succeeding("cp", "web:/srv/data", Path.join(folder, "fresh"))
      yield* succeeding("cp", "web:/srv/data", folder)
      yield* succeeding("cp", "web:/srv/data/.", folder)
      assert.deepStrictEqual((yield* fs.readDirectory(folder, { recursive: true })).toSorted(), [
        "data",
        "data/in",
        "data/in/one",
        "fresh",
        "fresh/in",
        "fresh/in/one",
        "in",
        "in/one",
        "renamed",
        "two"
      ])
      assert.strictEqual(yield* fs.readFileString(Path.join(folder, "in/one")), "1\n")
    })
  )

  test(
    "names what is wrong before anything is copied",
    Effect.gen(function* () {
      const path = yield* project
      yield* detached("web")
      const problem = (...words: ReadonlyArray<string>) =>
        Effect.map(failing(2, "cp", ...words), ({ message }) => message)
      assert.include(yield* problem(path, "/tmp/x"), "Invalid DST: either SRC or DST must be in a sandbox")
      assert.include(yield* problem("web:/a", "web:/b"), "Invalid DST: either SRC or DST")
      assert.include(yield* problem(path, "./web:/b"), "Invalid DST: either SRC or DST")
      assert.include(yield* problem(path, "web:b"), "Invalid DST: expected an absolute path")
      assert.include(yield* problem("web:b", path), "Invalid SRC: expected an absolute path")
      assert.include(yield* problem(path, "no name:/b"), "Invalid DST")
      assert.include(yield* problem(`${path}/none`, "web:/b"), `Invalid SRC: ${path}/none does not exist on this host`)
      assert.include(yield* problem(path), "target")
      assert.strictEqual((yield* failing(1, "cp", path, "nothing:/b")).error?.reason._tag, "NotFound")
      assert.strictEqual((yield* failing(1, "cp", "web:/none", path)).error?.reason._tag, "FileError")
      assert.strictEqual(yield* output("web", "sh", "-c", "ls -d /b || echo none"), "none\n")
    })
  )
})

describe("the logs command", () => {
  test(
    "prints what commands have written, of a sandbox that runs or not",
    Effect.gen(function* () {
      yield* detached("web")
      assert.strictEqual((yield* succeeding("logs", "web")).stdout, "")
      for (const word of ["one", "two", "three"]) yield* output("web", "echo", word)
      yield* output("web", "sh", "-c", "echo wrong >&2")
      const all = { status: 0, stdout: "one\ntwo\nthree\n", stderr: "wrong\n" }
      assert.deepStrictEqual(yield* succeeding("logs", "web"), all)
      yield* succeeding("stop", "web")
      assert.deepStrictEqual(yield* succeeding("logs", "web"), all)
      assert.deepStrictEqual(yield* succeeding("logs", "web", "--tail", "2"), { ...all, stdout: "three\n" })
      assert.match((yield* succeeding("logs", "web", "-t", "-n", "2")).stdout, /^\d{4}-\d\d-\d\dT[\d:.]+Z three\n$/)
      assert.isAbove((yield* succeeding("logs", "web", "--system")).stdout.length, all.stdout.length)
      const entries = yield* json(Shapes.LogEntry, "logs", "web")
      assert.deepStrictEqual(
        entries.map(({ source, text }) => [source, text]),
        [
          ["stdout", "one\n"],
          ["stdout", "two\n"],
          ["stdout", "three\n"],
          ["stderr", "wrong\n"]
        ]
      )
      assert.include((yield* failing(2, "logs", "web", "--tail", "0")).message, "Invalid --tail")
      assert.include((yield* failing(2, "logs", "web", "--tail", "x")).message, "--tail")
      assert.include((yield* failing(2, "logs", "no name")).message, "Invalid NAME")
      assert.strictEqual((yield* failing(1, "logs", "nothing")).error?.reason._tag, "NotFound")
    })
  )

  test(
    "follows a sandbox until it stops",
    Effect.gen(function* () {
      yield* detached("web")
      yield* output("web", "echo", "before")
      const following = yield* Effect.forkScoped(succeeding("logs", "-f", "web"))
      yield* output("web", "echo", "after")
      yield* succeeding("kill", "web")
      assert.strictEqual((yield* Fiber.join(following)).stdout, "before\nafter\n")
    }).pipe(Effect.scoped)
  )

  test(
    "ends when the sandbox that it follows is removed",
    Effect.gen(function* () {
      const { inject } = yield* MicrosandboxMemory.Control
      yield* detached("web")
      const removed = new NotFound({ resource: "sandbox", name: "web" })
      yield* inject(MicrosandboxMemory.failAt("readLogs", removed, { times: 2 }))
      assert.strictEqual((yield* succeeding("logs", "-f", "web")).stdout, "")
      yield* failing(1, "logs", "web")
    })
  )
})

describe("the inspect command", () => {
  test(
    "shows sandboxes, snapshots, volumes and images, and says which is which",
    Effect.gen(function* () {
      yield* succeeding("build", definitions("two"), "--quiet")
      yield* detached("web", "--volume", "cache:/cache")
      const [found] = yield* json(Shapes.Inspected, "inspect", "web", "tools", "cache", "alpine:3")
      assert.deepStrictEqual(
        found?.map((one) => [one.type, one.type === "image" ? one.reference : one.name]),
        [
          ["sandbox", "web"],
          ["snapshot", "tools"],
          ["volume", "cache"],
          ["image", "alpine:3"]
        ]
      )
      const [sandbox, snapshot] = found ?? []
      assert.deepInclude(sandbox, { status: "running", volumes: ["cache"] })
      assert.deepStrictEqual(
        snapshot?.type === "snapshot" ? snapshot.generations.map(({ isCurrent }) => isCurrent) : [],
        [true]
      )
      const { stdout } = yield* succeeding("inspect", "tools")
      assert.match(stdout, /^\[\n {2}\{\n {4}"type": "snapshot",\n/)
      const decode = Schema.decodeEffect(Schema.fromJsonString(Schema.toCodecJson(Shapes.Inspected)))
      assert.deepStrictEqual(yield* decode(stdout), found?.slice(1, 2) ?? [])
    })
  )

  test(
    "refuses a name of several kinds unless it is told which, and one of none",
    Effect.gen(function* () {
      yield* detached("web")
      yield* succeeding("volume", "create", "web")
      const ambiguous = yield* failing(2, "inspect", "web")
      assert.include(ambiguous.message, '"web" is the name of a sandbox and a volume; pass --type')
      for (const type of ["sandbox", "volume"]) {
        const [found] = yield* json(Shapes.Inspected, "inspect", "web", "--type", type)
        assert.deepStrictEqual(
          found?.map((one) => one.type),
          [type]
        )
      }
      const none = yield* failing(1, "inspect", "nothing")
      assert.strictEqual(none.message, 'There is no sandbox, snapshot, volume or image named "nothing"')
      assert.include(none.hint, "lightbox ps")
      assert.strictEqual((yield* failing(1, "inspect", "web", "--type", "image")).error?.reason._tag, "NotFound")
      assert.include((yield* failing(2, "inspect", "no name", "--type", "volume")).message, "Invalid NAME")
      assert.include((yield* failing(2, "inspect", "web", "--type", "pod")).message, "--type")
    })
  )
})

describe("the top command", () => {
  test(
    "shows what running sandboxes use",
    Effect.gen(function* () {
      assert.match((yield* succeeding("top")).stdout, /^No sandbox is running/)
      yield* detached("a")
      yield* detached("b")
      yield* detached("c")
      yield* succeeding("stop", "b")
      const { stdout } = yield* succeeding("stats")
      assert.match(stdout, /^NAME +CPU +MEMORY /)
      assert.match(stdout, /^a +0\.0% +[\d.]+M\/512\.0M /m)
      assert.notMatch(stdout, /^b/m)
      assert.deepStrictEqual((yield* succeeding("top", "-q")).stdout.trim().split("\n").toSorted(), ["a", "c"])
      const [usages] = yield* json(Shapes.Usages, "top", "c", "--once")
      assert.deepStrictEqual(
        usages?.map(({ memoryLimit, name }) => [name, memoryLimit]),
        [["c", 512 * 1024 ** 2]]
      )
      assert.strictEqual((yield* failing(1, "top", "b")).error?.reason._tag, "NotRunning")
      assert.strictEqual((yield* failing(1, "top", "nothing")).error?.reason._tag, "NotFound")
      assert.include((yield* failing(2, "top", "no name")).message, "Invalid NAME")
    })
  )
})
