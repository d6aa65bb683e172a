/** Sandboxes, with every fault. */
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import type { LightboxError } from "../../src/LightboxError.ts"
import * as Microsandbox from "../../src/Microsandbox.ts"
import * as Sandbox from "../../src/Sandbox.ts"
import * as Snapshot from "../../src/Snapshot.ts"
import { image, matrix, type Operation, type Surface } from "./matrix.ts"

const launch = Sandbox.launch({ name: "box", image })

/** An existing sandbox, with files to work on. */
const there = Effect.gen(function* () {
  const sandbox = yield* launch
  yield* sandbox.shell("mkdir -p /data/inner; echo text > /data/file; echo more > /data/inner/file", { check: true })
})

const stopped = Effect.andThen(
  there,
  Effect.flatMap(Sandbox.connect("box"), (sandbox) => sandbox.stop())
)

const services = { one: { command: "exec sleep 1000" }, two: { command: "sleep 1000", dependsOn: ["one"] } }

const warm = Snapshot.build(Snapshot.make("warm", image).pipe(Snapshot.defaults({ services: { one: services.one } })), {
  warm: true
})

const kept = Effect.andThen(Effect.scoped(Sandbox.launch({ name: "box", image, detached: true })), Sandbox.stop("box"))

/** As a launch with a service leaves it. */
const stoppedWithService = Effect.gen(function* () {
  const sandbox = yield* launch
  const text = JSON.stringify({ sandbox: sandbox.id, services: { one: services.one } })
  yield* sandbox.makeDirectory("/var/lib/lightbox")
  yield* sandbox.writeFileString("/var/lib/lightbox/services.json", text)
  yield* sandbox.stop()
})

/** An operation over its own connection. */
const over = (
  name: string,
  use: (sandbox: Sandbox.Sandbox) => Operation["run"],
  given: Operation["run"] = there
): Operation => ({ name, given, run: Effect.flatMap(Sandbox.connect("box"), use) })

/** Ends a sandbox, unless it has ended already. */
const whileRunning = (use: (sandbox: Sandbox.Sandbox) => Operation["run"]): Operation["run"] =>
  Effect.flatMap(Sandbox.get("box"), ({ status }) =>
    status === "running" ? Effect.flatMap(Sandbox.connect("box"), use) : Effect.void
  )

const alone = Sandbox.launch({ name: "alone", image, overwrite: true })

class Box extends Sandbox.Service<Box>()("Box", { image }) {}

/** A file on the host, in the home, which is removed with the test. */
const hostPath = (name: string) => Microsandbox.Microsandbox.useSync(({ home }) => `${home}/${name}`)

/** Attaches, and types `exit` every second. */
const typing = (attached: Effect.Effect<number, LightboxError>) =>
  Effect.raceFirst(
    attached,
    Effect.forever(
      Effect.delay(
        Effect.sync(() => process.stdin.emit("data", Buffer.from("exit\n"))),
        "1 second"
      )
    )
  )

const surface: Surface = {
  exports: Sandbox,
  // A fork is a capture and launches, which fail on their own.
  others: ["ExecResult", "fork", "Sandbox", "decodeText", "isSandbox", "layerConfig", "splitLines"],
  instance: alone,
  fields: ["name", "id", "ports", "resumed", "guest"]
}

matrix("Sandbox", surface, [
  { name: "launch", run: launch },
  {
    name: "launch from an image that is not pulled yet, with a volume",
    run: Sandbox.launch({ image, mounts: { "/data": { volume: "data" } } })
  },
  {
    name: "launch with services",
    run: Sandbox.launch({ image, services })
  },
  {
    name: "group",
    run: Sandbox.group({ one: { image }, two: { image, dependsOn: { one: { ports: [80] } } } })
  },
  { name: "launch with overwrite", given: there, run: Sandbox.launch({ name: "box", image, overwrite: true }) },
  { name: "run", run: Sandbox.run({ image }, (sandbox) => sandbox.exec("true", [], { check: true })) },
  { name: "connect", given: there, run: Sandbox.connect("box") },
  { name: "getOrCreate", run: Sandbox.getOrCreate("kept", { image }) },
  { name: "getOrCreate of a stopped one", given: kept, run: Sandbox.getOrCreate("box", { image }) },
  { name: "start", given: stopped, run: Sandbox.start("box") },
  { name: "start with a service", given: stoppedWithService, run: Sandbox.start("box") },
  { name: "restart", given: there, run: Sandbox.restart("box") },
  { name: "remove", given: stopped, run: Sandbox.remove("box") },
  { name: "remove with force", given: there, run: Sandbox.remove("box", { force: true }) },
  { name: "launch that resumes", stored: warm, run: Sandbox.launch({ snapshot: "warm", onResume: "true" }) },
  {
    name: "fork with memory",
    given: Sandbox.launch({ name: "box", image, services: { one: services.one } }),
    run: Effect.flatMap(Sandbox.connect("box"), (sandbox) => Sandbox.fork(sandbox, { memory: true }))
  },
  { name: "pause", given: there, run: Sandbox.pause("box") },
  { name: "resume", given: Effect.andThen(there, Sandbox.pause("box")), run: Sandbox.resume("box") },
  { name: "stop", given: there, run: Sandbox.stop("box") },
  { name: "kill", given: there, run: Sandbox.kill("box") },
  { name: "list", given: there, run: Sandbox.list() },
  { name: "get", given: there, run: Sandbox.get("box") },
  { name: "waitFor", given: there, run: Sandbox.waitFor("box", "running") },
  { name: "layer", run: Effect.provide(Effect.asVoid(Sandbox.Sandbox), Sandbox.layer({ image })) },
  { name: "Service", run: Effect.provide(Effect.asVoid(Box), Box.layer) },
  over("exec", (sandbox) => sandbox.exec("cat", [], { stdin: "input" })),
  over("shell", (sandbox) => sandbox.shell("sleep 1 & echo done")),
  over("exec with a time limit", (sandbox) =>
    Effect.catchReason(
      sandbox.exec("sleep", ["1000"], { timeout: "2 seconds" }),
      "LightboxError",
      "TimedOut",
      () => Effect.void
    )
  ),
  over("execStream", (sandbox) => Stream.runDrain(sandbox.execStream("cat", ["/data/file"]))),
  over("shellStream", (sandbox) => Stream.runDrain(sandbox.shellStream("cat /data/file"))),
  over("spawn", (sandbox) => sandbox.spawn("sleep", ["1000"])),
  over("waitUntil", (sandbox) =>
    sandbox.waitUntil({ all: [{ file: "/data/file" }, { command: "true" }, { any: [{ port: 1 }, { file: "/data" }] }] })
  ),
  over("forward", (sandbox) => sandbox.forward(80)),
  over("forwards", (sandbox) => sandbox.forwards),
  over("start a job", (sandbox) => Effect.flatMap(sandbox.start("echo", ["done"]), (job) => job.wait)),
  over("job", (sandbox) =>
    Effect.gen(function* () {
      const { id } = yield* sandbox.start("sleep", ["1000"], { stdin: "open" })
      const job = yield* sandbox.job(id)
      yield* job.write("input")
      yield* Stream.runDrain(job.logs())
      yield* job.remove({ force: true })
    })
  ),
  over("job with a terminal", (sandbox) =>
    Effect.gen(function* () {
      const job = yield* sandbox.start("sh", ["-c", "read -r line"], { terminal: { rows: 24, columns: 80 } })
      yield* job.resize({ rows: 40, columns: 100 })
      yield* job.write("\r")
      yield* job.wait
    })
  ),
  over("jobs", (sandbox) => sandbox.jobs),
  over("attach", (sandbox) => sandbox.attach("true")),
  over("attachShell", (sandbox) => typing(sandbox.attachShell)),
  over("readFile", (sandbox) => sandbox.readFile("/data/file")),
  over("readFileString", (sandbox) => sandbox.readFileString("/data/file")),
  over("stream", (sandbox) => Stream.runDrain(sandbox.stream("/data/file"))),
  over("writeFile", (sandbox) => sandbox.writeFile("/data/new", new Uint8Array(9))),
  over("writeFileString", (sandbox) => sandbox.writeFileString("/data/new", "text", { mode: 0o600 })),
  over("sink", (sandbox) => Stream.run(Stream.make(new Uint8Array(9)), sandbox.sink("/data/new"))),
  over("exists", (sandbox) => sandbox.exists("/data/file")),
  over("stat", (sandbox) => sandbox.stat("/data/file")),
  over("readDirectory", (sandbox) => sandbox.readDirectory("/data")),
  over("readDirectoryEntries", (sandbox) => sandbox.readDirectoryEntries("/data")),
  over("realPath", (sandbox) => sandbox.realPath("/data/file")),
  over("symlink", (sandbox) => Effect.andThen(sandbox.remove("/data/link"), sandbox.symlink("file", "/data/link"))),
  over("readLink", (sandbox) => sandbox.readLink("/proc/self")),
  over("makeDirectory", (sandbox) => sandbox.makeDirectory("/data/a/b")),
  over("remove files", (sandbox) => sandbox.remove("/data/inner", { recursive: true })),
  over("rename", (sandbox) =>
    Effect.andThen(sandbox.writeFileString("/data/one", "one"), sandbox.rename("/data/one", "/data/two"))
  ),
  over("copyFile", (sandbox) => sandbox.copyFile("/data/file", "/data/copy")),
  over("copyIn", (sandbox) => sandbox.copyIn(import.meta.dirname, "/data/tests")),
  over("copyOut", (sandbox) => Effect.flatMap(hostPath("out"), (path) => sandbox.copyOut("/data", path))),
  over("ping", (sandbox) => sandbox.ping),
  over("touch", (sandbox) => sandbox.touch),
  over("metrics", (sandbox) => sandbox.metrics),
  over("logs", (sandbox) => Stream.runDrain(sandbox.logs())),
  over("modify", (sandbox) => sandbox.modify({ labels: { team: "platform" }, apply: "next-start" })),
  over("info", (sandbox) => sandbox.info),
  over("pause and resume a connected one", (sandbox) => Effect.andThen(sandbox.pause, sandbox.resume)),
  {
    name: "growRootDisk",
    given: Sandbox.launch({ name: "box", image, rootDisk: "copy" }),
    run: Effect.flatMap(Sandbox.connect("box"), (sandbox) => sandbox.growRootDisk("8G"))
  },
  { name: "stop a running sandbox", given: there, run: whileRunning((sandbox) => sandbox.stop()) },
  { name: "kill a running sandbox", given: there, run: whileRunning((sandbox) => sandbox.kill) },
  { name: "detach", run: Effect.flatMap(alone, (sandbox) => sandbox.detach) },
  { name: "detachFor", run: Effect.flatMap(alone, (sandbox) => sandbox.detachFor("1 hour")) }
])
