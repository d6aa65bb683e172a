/** Records of builds: what they hold, what they leave out, and how much of them is kept. */
import { assert, describe, it } from "@effect/vitest"
import * as DateTime from "effect/DateTime"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { BuildEvent } from "../../src/BuildEvent.ts"
import * as BuildRecord from "../../src/BuildRecord.ts"
import * as Recording from "../../src/internal/build/recording.ts"
import * as Records from "../../src/internal/store/records.ts"
import * as Microsandbox from "../../src/Microsandbox.ts"
import * as MicrosandboxMemory from "../../src/MicrosandboxMemory.ts"
import * as Reaper from "../../src/Reaper.ts"
import * as Snapshot from "../../src/Snapshot.ts"
import * as Support from "../Snapshot/support.ts"

const { image, test } = Support

const folder = Effect.map(Microsandbox.Microsandbox, ({ home }) => Records.folderOf(home))

/** The paths of all files, relative to the folder of the records. */
const files = Effect.map(folder, (folder) =>
  Fs.existsSync(folder)
    ? Fs.readdirSync(folder, { recursive: true, encoding: "utf8" }).filter((path) => path.endsWith(".jsonl"))
    : []
)

/** The record of the last build. */
const last = Effect.gen(function* () {
  const [first] = yield* BuildRecord.list()
  if (first === undefined) return assert.fail("nothing is recorded")
  return yield* BuildRecord.get(first.id)
})

const outcomes = ({ steps }: BuildRecord.BuildRecord) =>
  steps.map(({ outcome, reason }) => (reason === undefined ? outcome : `${outcome} ${reason._tag}`))

const tools = (...scripts: ReadonlyArray<string>) =>
  scripts.reduce(
    (definition, script): Snapshot.Definition => Snapshot.shell(definition, script),
    Snapshot.make("tools", image)
  )

describe("a record", () => {
  test(
    "has the plan with its reasons, the events, the result and the caller of a build",
    Effect.gen(function* () {
      const { events, onEvent } = Support.recorder()
      yield* Snapshot.build(tools("echo one", "echo two; printf half >&2"), { onEvent })
      const record = yield* last
      assert.deepInclude(record, {
        snapshot: "tools",
        image,
        status: "built",
        stepsRun: 2,
        stepsReused: 0,
        generation: 1,
        followed: []
      })
      assert.deepInclude(record.caller, { pid: process.pid })
      assert.match(record.caller.declaredAt ?? "", /^test\/BuildRecord\/records\.test\.ts:\d+$/)
      assert.match(record.imageDigest ?? "", /^sha256:[0-9a-f]{64}$/)
      assert.deepStrictEqual(outcomes(record), ["ran NeverBuilt", "ran EarlierChanged"])
      assert.deepStrictEqual(
        record.steps.map(({ output }) => output),
        [["one"], ["two", "half"]]
      )
      assert.match(record.steps[0]?.declaredAt ?? "", /records\.test\.ts:\d+$/)
      assert.strictEqual(record.id, events[0]?.buildId)
      assert.deepStrictEqual(record.events, events)

      // A change runs the steps from there on, and is told apart.
      yield* Snapshot.build(tools("echo one", "echo zwei"))
      assert.deepStrictEqual(outcomes(yield* last), ["ran NotKept", "ran ArgumentsChanged"])
    })
  )

  test(
    "encodes to JSON and back",
    Effect.gen(function* () {
      yield* Snapshot.build(tools("echo one"))
      const codec = Schema.fromJsonString(Schema.toCodecJson(BuildRecord.BuildRecord))
      const record = yield* last
      const text = yield* Schema.encodeEffect(codec)(record)
      assert.deepStrictEqual(yield* Schema.decodeEffect(codec)(text), record)
      assert.containsAllKeys(JSON.parse(text), ["durationMillis", "steps", "events"])
    })
  )

  test(
    "says why a step failed, what it wrote, and which attempt it was",
    Effect.gen(function* () {
      const definition = Snapshot.make("tools", image).pipe(
        Snapshot.shell("echo one"),
        Snapshot.shell("echo out; echo err >&2; exit 3", { retry: Schedule.recurs(2) }),
        Snapshot.shell("echo three")
      )
      yield* Effect.flip(Snapshot.build(definition))
      const record = yield* last
      assert.deepInclude(record, { status: "failed", reason: "CommandFailed", stepsRun: 2 })
      assert.match(record.problem ?? "", /exited with code 3/)
      assert.deepStrictEqual(outcomes(record), ["ran NeverBuilt", "failed EarlierChanged", "pending EarlierChanged"])
      const [, failed] = record.steps
      assert.deepInclude(failed, { attempts: 3, output: ["out", "err"] })
      assert.match(failed?.problem ?? "", /exited with code 3/)
    })
  )

  test(
    "says that a build was interrupted, and in which step",
    Effect.gen(function* () {
      const { onEvent, until } = Support.recorder()
      const fiber = yield* Effect.forkChild(Snapshot.build(tools("echo begun; sleep 1000"), { onEvent }))
      yield* until("StepOutput")
      yield* Fiber.interrupt(fiber)
      const record = yield* last
      assert.deepInclude(record, { status: "interrupted" })
      assert.isUndefined(record.problem)
      assert.deepInclude(record.steps[0], { outcome: "ended", output: ["begun"] })
    })
  )

  test(
    "is there while the build runs",
    Effect.gen(function* () {
      const gate = yield* Deferred.make<void>()
      const { onEvent, until } = Support.recorder()
      const definition = Snapshot.step(Snapshot.make("tools", image), "wait", () => Deferred.await(gate))
      const fiber = yield* Effect.forkChild(Snapshot.build(definition, { onEvent }))
      yield* until("StepStarted")
      const record = yield* last
      assert.deepInclude(record, { status: "running", stepsRun: 1 })
      assert.deepStrictEqual(outcomes(record), ["running NeverBuilt"])
      yield* Deferred.succeed(gate, undefined)
      yield* Fiber.join(fiber)
      assert.strictEqual((yield* BuildRecord.get(record.id)).status, "built")
    })
  )

  test(
    "names the build that needed it",
    Effect.gen(function* () {
      const inner = Snapshot.shell(Snapshot.make("inner", image), "echo inner")
      const outer = Snapshot.step(Snapshot.make("outer", image), "build another", () => Snapshot.build(inner))
      yield* Snapshot.build(outer)
      const [first, second] = yield* BuildRecord.list()
      assert.deepStrictEqual([first?.snapshot, second?.snapshot], ["inner", "outer"])
      assert.strictEqual(first?.parent, second?.id)
      assert.isUndefined(second?.parent)
    })
  )

  test(
    "says that a build waited for another one, which made its steps",
    Effect.gen(function* () {
      const gate = yield* Deferred.make<void>()
      const one = Support.recorder()
      const other = Support.recorder()
      const definition = Snapshot.make("tools", image).pipe(
        Snapshot.step("wait", () => Deferred.await(gate)),
        Snapshot.shell("echo two")
      )
      const first = yield* Effect.forkChild(Snapshot.build(definition, { onEvent: one.onEvent }))
      yield* one.until("StepStarted")
      const second = yield* Effect.forkChild(Snapshot.build(definition, { onEvent: other.onEvent }))
      yield* other.until("Waiting")
      yield* Deferred.succeed(gate, undefined)
      yield* Fiber.join(first)
      yield* Fiber.join(second)
      const id = other.events.find(({ _tag }) => _tag === "Waiting")?.buildId
      const record = yield* BuildRecord.get(id ?? "")
      // Either of them moves the name.
      assert.include(["built", "unchanged"], record.status)
      assert.deepInclude(record, { stepsRun: 0, followed: [one.events[0]?.buildId ?? ""] })
      assert.deepStrictEqual(
        record.steps.map(({ outcome }) => outcome),
        ["taken", "taken"]
      )
    })
  )

  it("encodes events as their schema does", () => {
    const at = DateTime.makeUnsafe(1_700_000_000_123)
    const common = { buildId: "a-b-c", sequence: 7, snapshot: "tools", at }
    const step = { index: 1, description: "echo" }
    const duration = Duration.millis(12.6)
    const events: ReadonlyArray<BuildEvent> = [
      { _tag: "Planned", ...common, steps: 2, hits: 1 },
      { _tag: "Pulling", ...common, image, phase: "Downloading", layer: 1, done: 2, total: 3 },
      { _tag: "Booted", ...common, builder: "b", duration },
      { _tag: "StepOutput", ...common, ...step, stream: "stdout", text: 'a "b"\n' },
      { _tag: "Failed", ...common, duration, problem: "no" }
    ]
    for (const event of events) {
      assert.deepStrictEqual(
        JSON.parse(JSON.stringify(Recording.plain(event))),
        Schema.encodeSync(Schema.toCodecJson(BuildEvent))(event)
      )
    }
  })
})

describe("records", () => {
  test(
    "of builds that reuse a result keep the last one, and list the latest first",
    Effect.gen(function* () {
      yield* Snapshot.build(tools("echo one"))
      yield* Snapshot.build(tools("echo one"))
      const [before] = yield* BuildRecord.list()
      yield* Snapshot.build(tools("echo one"))
      const all = yield* BuildRecord.list()
      assert.deepStrictEqual(
        all.map(({ status, stepsReused, stepsRun }) => [status, stepsRun, stepsReused]),
        [
          ["unchanged", 0, 1],
          ["built", 1, 0]
        ]
      )
      assert.notStrictEqual(all[0]?.id, before?.id)
      assert.deepStrictEqual(outcomes(yield* last), ["cached"])

      // What an older and longer record leaves behind the end is not read.
      const [reused = ""] = (yield* files).filter((path) => path.startsWith("reused"))
      const path = Path.join(yield* folder, reused)
      Fs.appendFileSync(
        path,
        '{"_tag":"Ended","at":0,"durationMillis":0,"status":"lost","stepsRun":9,"stepsReused":9}\n'
      )
      assert.deepInclude((yield* BuildRecord.list())[0], { status: "unchanged", stepsReused: 1 })
      assert.deepStrictEqual(outcomes(yield* last), ["cached"])

      // Under names that are used once, too.
      const scoped = Effect.scoped(Snapshot.buildScoped(tools("echo one")))
      yield* scoped
      yield* scoped
      assert.lengthOf(yield* files, 2)
    })
  )

  test(
    "can be listed for a snapshot, and up to a limit",
    Effect.gen(function* () {
      for (const name of ["a", "b", "a"]) yield* Snapshot.build(Snapshot.make(name, image), { force: true })
      const names = (options?: BuildRecord.ListOptions) =>
        Effect.map(BuildRecord.list(options), (found) => found.map(({ snapshot }) => snapshot))
      assert.deepStrictEqual(yield* names(), ["a", "b", "a"])
      assert.deepStrictEqual(yield* names({ snapshot: "b" }), ["b"])
      assert.deepStrictEqual(yield* names({ limit: 2 }), ["a", "b"])
      const { reason } = yield* Effect.flip(BuildRecord.list({ limit: 0 }))
      assert.deepInclude(reason, { _tag: "InvalidConfig", field: "limit" })
    })
  )

  test(
    "of an unknown id are not found, and an id is checked",
    Effect.gen(function* () {
      const missing = yield* Effect.flip(BuildRecord.get("a-b-c"))
      assert.deepInclude(missing.reason, { _tag: "NotFound", resource: "build", name: "a-b-c" })
      const wrong = yield* Effect.flip(BuildRecord.get("../names/tools"))
      assert.deepInclude(wrong.reason, { _tag: "InvalidConfig", field: "id" })
    })
  )

  test(
    "skip torn lines, lines of other versions and foreign files",
    Effect.gen(function* () {
      yield* Snapshot.build(tools("echo one"))
      const { id, ...record } = yield* last
      const path = Path.join(yield* folder, `${id}.jsonl`)
      const lines = Fs.readFileSync(path, "utf8").trimEnd().split("\n")
      // The process was killed while it wrote the line of its end.
      const torn = [...lines.slice(0, 2), '{"_tag":"Later","x":1}', "\u0000\u0000", ...lines.slice(2, -1)].join("\n")
      Fs.writeFileSync(path, `${torn}\n${(lines.at(-1) ?? "").slice(0, 40)}`)
      Fs.writeFileSync(Path.join(yield* folder, "a-b-c.jsonl"), "no record\n")
      Fs.writeFileSync(Path.join(yield* folder, "notes.txt"), "mine")
      const [found, ...others] = yield* BuildRecord.list()
      assert.deepStrictEqual(others, [])
      assert.deepInclude(found, { id, status: "lost", stepsRun: 1 })
      const lost = yield* BuildRecord.get(id)
      assert.deepStrictEqual(lost.events, record.events)
      assert.isUndefined(lost.duration)
    })
  )

  test(
    "say that a build is lost when its owner is dead, whatever has become of its process id",
    Effect.gen(function* () {
      yield* Snapshot.build(tools("echo one"))
      const [found] = yield* BuildRecord.list()
      const id = found?.id ?? ""
      const path = Path.join(yield* folder, `${id}.jsonl`)
      const lines = Fs.readFileSync(path, "utf8").trimEnd().split("\n")
      const owned = Path.join(yield* folder, `${id}.0123456789ab.jsonl`)
      Fs.rmSync(path)
      Fs.writeFileSync(owned, lines.slice(0, -1).join("\n"))
      assert.deepInclude((yield* BuildRecord.list())[0], { id, status: "lost" })
      // A sweep ends it.
      yield* Reaper.sweep()
      assert.deepStrictEqual(yield* files, [`${id}.jsonl`])
      assert.strictEqual((yield* BuildRecord.get(id)).status, "lost")
    })
  )
})

/** Writes 900 KB in several pieces, and fails. */
const flood: MicrosandboxMemory.Command = ({ stdout }) =>
  Effect.forEach(
    Array.from({ length: 90 }, (_, hundred) =>
      Array.from({ length: 100 }, (_, line) => `line ${100 * hundred + line} ${"x".repeat(90)}\n`).join("")
    ),
    stdout,
    { discard: true }
  ).pipe(Effect.as(1))

describe("recording", () => {
  const secret = 'sek"ret-value\nof two lines'
  const parts = ["ret-value", "of two lines"]

  test(
    "keeps the secrets of a build out of every field",
    Effect.gen(function* () {
      const options = {
        secrets: { TOKEN: Redacted.make(secret), FILE: { value: Redacted.make("filed-secret"), as: "file" as const } },
        description: `deploy with of two lines and filed-secret`
      }
      const copied = Fs.mkdtempSync(Path.join(Os.tmpdir(), "r"))
      yield* Effect.addFinalizer(() => Effect.sync(() => Fs.rmSync(copied, { recursive: true })))
      Fs.writeFileSync(Path.join(copied, "registry-secret.txt"), "1")
      const definition = (script: string) =>
        Snapshot.make("tools", image).pipe(
          Snapshot.copy(copied, "/srv/registry-secret"),
          Snapshot.builder({ registry: { username: "me", password: Redacted.make("registry-secret") } }),
          Snapshot.env({ LEAK: "filed-secret", URL: "https://me:registry-secret@example.com" }),
          Snapshot.shell(script, options),
          Snapshot.exec("echo", [Redacted.make("argument-secret"), "argument-secret"])
        )
      const all = (script: string) =>
        `: registry-secret '${secret.split("\n")[0]}'; printf '%s\\n' "$TOKEN"; echo filed-secret >&2; ${script}`
      yield* Snapshot.build(definition(all("true")))
      Fs.writeFileSync(Path.join(copied, "registry-secret.txt"), "2")
      // Reasons hold what was and what is.
      yield* Effect.flip(Snapshot.build(definition(all(`echo ${parts[1]}; exit 1`))))
      yield* Effect.exit(
        Snapshot.build(Snapshot.step(definition("true"), "of two lines", () => Effect.die(`${secret} registry-secret`)))
      )
      const home = yield* folder
      const found = yield* files
      assert.lengthOf(found, 3)
      for (const path of found) {
        const text = Fs.readFileSync(Path.join(home, path), "utf8")
        for (const part of [...parts, "filed-secret", "registry-secret", "argument-secret"]) {
          assert.notInclude(text, part, path)
        }
        assert.include(text, "<redacted>")
        assert.strictEqual(Fs.statSync(Path.join(home, path)).mode & 0o077, 0)
      }
      // What is redacted can still be read.
      for (const { id } of yield* BuildRecord.list()) {
        const record = yield* BuildRecord.get(id)
        assert.isAbove(record.steps.length, 1)
        assert.isAbove(record.events.length, 5)
      }
    }),
    { images: { [image]: {} } }
  )

  test(
    "keeps the beginning and the end of a long output",
    Effect.gen(function* () {
      yield* Effect.flip(Snapshot.build(tools("flood")))
      const record = yield* last
      const text = record.events.flatMap((event) => (event._tag === "StepOutput" ? [event.text] : [])).join("")
      assert.isBelow(text.length, 320 * 1024)
      assert.match(text, /^line 0 /)
      assert.match(record.steps[0]?.output.at(-1) ?? "", /^line 8999 /)
      assert.include(record.steps[0]?.output.join("\n"), "line 8960 ")
      assert.strictEqual(record.status, "failed")
    }),
    { commands: { flood } }
  )

  test(
    "keeps so many records, of so many bytes, for so long",
    Effect.gen(function* () {
      const { home } = yield* Microsandbox.Microsandbox
      for (let index = 0; index < 5; index++) {
        yield* Snapshot.build(Snapshot.make(`build-${index}`, image), { force: true })
      }
      const paths = yield* files
      const all = yield* BuildRecord.list()
      const limits = { count: 100, ageMillis: 1e9, bytes: 1e9 }
      for (const [age, { id }] of all.entries()) {
        const at = Date.now() / 1000 - 100 * age
        Fs.utimesSync(Path.join(yield* folder, `${id}.jsonl`), at, at)
      }
      yield* Records.prune(home, limits)
      assert.lengthOf(yield* files, paths.length)
      yield* Records.prune(home, { ...limits, count: 4 })
      const names = () => Effect.map(BuildRecord.list(), (found) => found.map(({ snapshot }) => snapshot))
      assert.deepStrictEqual(yield* names(), ["build-4", "build-3", "build-2", "build-1"])
      yield* Records.prune(home, { ...limits, ageMillis: 250_000 })
      assert.deepStrictEqual(yield* names(), ["build-4", "build-3", "build-2"])
      const size = Fs.statSync(Path.join(yield* folder, `${all[0]?.id}.jsonl`)).size
      yield* Records.prune(home, { ...limits, bytes: size * 1.5 })
      assert.deepStrictEqual(yield* names(), ["build-4"])
    })
  )

  test(
    "removes what is too much when a build ends",
    Effect.gen(function* () {
      const path = yield* folder
      yield* Snapshot.build(tools("echo one"))
      for (let index = 0; index < Records.limits.count + 20; index++) {
        Fs.writeFileSync(Path.join(path, `${index.toString(36)}-old-0.jsonl`), "{}")
        Fs.utimesSync(Path.join(path, `${index.toString(36)}-old-0.jsonl`), index, index)
      }
      yield* Snapshot.build(tools("echo two"))
      assert.deepStrictEqual(
        (yield* BuildRecord.list()).map(({ status }) => status),
        ["built", "built"]
      )
      assert.isAtMost((yield* files).length, Records.limits.count)
    })
  )

  test(
    "never removes the record of a running build",
    Effect.gen(function* () {
      const { home } = yield* Microsandbox.Microsandbox
      const gate = yield* Deferred.make<void>()
      const { onEvent, until } = Support.recorder()
      const definition = Snapshot.step(Snapshot.make("tools", image), "wait", () => Deferred.await(gate))
      const fiber = yield* Effect.forkChild(Snapshot.build(definition, { onEvent }))
      yield* until("StepStarted")
      yield* Records.prune(home, { count: 0, ageMillis: 0, bytes: 0 })
      assert.strictEqual((yield* last).status, "running")
      yield* Deferred.succeed(gate, undefined)
      yield* Fiber.join(fiber)
      assert.strictEqual((yield* last).status, "built")
    })
  )

  it.effect("that fails is one warning, and the build goes on", () =>
    Effect.gen(function* () {
      const warnings: Array<unknown> = []
      const logger = Logger.make(({ logLevel, message }) => {
        if (logLevel === "Warn") warnings.push(message)
      })
      yield* Effect.gen(function* () {
        const path = yield* folder
        Fs.mkdirSync(Path.dirname(path), { recursive: true })
        Fs.writeFileSync(path, "not a folder")
        for (const script of ["echo one", "echo two", "echo two"]) {
          assert.strictEqual((yield* Snapshot.build(tools(script))).name, "tools")
        }
        yield* Effect.flip(Snapshot.build(tools("exit 1")))
      }).pipe(Support.withTwin, Effect.provide(Logger.layer([logger])))
      assert.lengthOf(warnings, 1)
      assert.match(String(warnings[0]), /^Builds cannot be recorded in .*\/lightbox\/builds: /)
    })
  )

  test(
    "is off where the layer says so",
    Effect.gen(function* () {
      yield* Snapshot.build(tools("echo one"))
      yield* Snapshot.build(tools("echo one"))
      yield* Effect.flip(Snapshot.build(tools("exit 1")))
      assert.deepStrictEqual(yield* BuildRecord.list(), [])
      assert.isFalse(Fs.existsSync(yield* folder))
    }),
    { records: false }
  )

  it.effect("can be turned off by the configuration", () =>
    Effect.gen(function* () {
      const { reason } = yield* Effect.flip(
        Effect.scoped(
          // @ts-expect-error: as plain JavaScript may.
          Layer.build(MicrosandboxMemory.layer({ records: "no" }))
        )
      )
      assert.deepInclude(reason, { _tag: "InvalidConfig", field: "records" })
    })
  )
})
