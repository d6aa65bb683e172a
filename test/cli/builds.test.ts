import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Schema from "effect/Schema"
import * as BuildRecord from "../../src/BuildRecord.ts"
import * as Shapes from "../../src/internal/cli/json.ts"
import * as Snapshot from "../../src/Snapshot.ts"
import { Cli, definitions, failing, json, succeeding, test } from "./support.ts"

const image = "alpine:3"

const tools = (script: string) =>
  Snapshot.make("tools", image).pipe(Snapshot.shell("echo one"), Snapshot.shell(script), Snapshot.shell("echo three"))

const ids = Effect.map(BuildRecord.list(), (found) => found.map(({ id }) => id))

describe("builds", () => {
  test(
    "lists what was built, filtered and formatted as other lists",
    Effect.gen(function* () {
      assert.strictEqual((yield* succeeding("builds")).stdout, "No build is recorded here.\n")
      yield* succeeding("build", definitions("two"), "--quiet")
      yield* succeeding("build", definitions("two"), "tools", "--quiet")
      yield* Effect.flip(Snapshot.build(Snapshot.shell(Snapshot.make("broken", image), "exit 3")))
      const { stdout } = yield* succeeding("builds")
      const [titles = "", ...rows] = stdout.trimEnd().split("\n")
      assert.match(titles, /^ID +SNAPSHOT +STATUS +STEPS +TOOK +STARTED$/)
      assert.lengthOf(rows, 4)
      assert.match(rows[0] ?? "", /^\S+ +broken +failed +1 run +\d+(ms|s).* +now$/)
      assert.match(rows[1] ?? "", /^\S+ +tools +unchanged +2 cached /)
      const all = yield* ids
      assert.strictEqual((yield* succeeding("builds", "-q")).stdout, all.map((id) => `${id}\n`).join(""))
      assert.strictEqual(
        (yield* succeeding("builds", "-f", "status=failed", "--format", "snapshot")).stdout,
        "broken\n"
      )
      assert.strictEqual(
        (yield* succeeding("builds", "-f", "snapshot=pl*", "--format", "{{.snapshot}} {{.stepsRun}}")).stdout,
        "plain 1\n"
      )
      const { message } = yield* failing(2, "builds", "-f", "status=broken")
      assert.match(message, /no status is "broken"; expected running, built/)
      const [records] = yield* json(Shapes.Builds, "builds")
      assert.deepStrictEqual(records, yield* BuildRecord.list())
    })
  )

  test(
    "show tells of each step what became of it, why, how long it took and what it wrote",
    Effect.gen(function* () {
      yield* Snapshot.build(tools("echo two"))
      yield* Effect.flip(Snapshot.build(tools("for i in 1 2 3 4 5; do echo line $i; done; exit 3")))
      const [last = "", first = ""] = yield* ids
      const { stdout } = yield* succeeding("builds", "show")
      assert.match(stdout, new RegExp(`^Build +${last}\nSnapshot +tools\nImage +alpine:3 \\(sha256:[0-9a-f]{12}\\)\n`))
      assert.match(stdout, /\nStatus +failed\nStarted +now\nTook +\d/)
      assert.match(stdout, /\nDeclared +test\/cli\/builds\.test\.ts:\d+\n/)
      assert.match(stdout, /\n {3}1 {2}echo one\n {6}ran, \S+\n {6}why: unchanged, but not kept\n {6}│ one\n/)
      assert.match(
        stdout,
        /\n {3}2 {2}for i in .*\n {6}failed, \S+ \(test\/cli\/builds\.test\.ts:\d+\)\n {6}why: script was "echo two"\n {6}│ line 1\n(.*\n){3} {6}│ line 5\n {6}.*exited with code 3.*\n/
      )
      assert.match(stdout, /\n {3}3 {2}echo three\n {6}pending\n {6}why: step 2 runs\n$/)
      assert.notInclude((yield* succeeding("builds", "show", "--tail", "1")).stdout, "line 4")
      assert.notInclude((yield* succeeding("builds", "show", "-n", "0")).stdout, "line 5")

      // By the id, its beginning, or the snapshot.
      assert.include((yield* succeeding("builds", "show", first)).stdout, "Status     built, generation 1")
      assert.strictEqual((yield* succeeding("builds", "show", "tools", "-q")).stdout, `${last}\n`)
      const shared = last.split("").findIndex((character, at) => character !== first[at])
      const beginning = last.slice(0, shared + 1)
      assert.strictEqual((yield* succeeding("builds", "show", beginning, "-q")).stdout, `${last}\n`)
      const [record] = yield* json(BuildRecord.BuildRecord, "builds", "show", first)
      assert.deepStrictEqual(record, yield* BuildRecord.get(first))

      const missing = yield* failing(1, "builds", "show", "a-b-c")
      assert.strictEqual(missing.message, 'There is no build named "a-b-c"')
      assert.strictEqual(missing.hint, "`lightbox builds` lists those that are recorded")
      assert.match((yield* failing(2, "builds", "show", "../x")).message, /ID: expected the id of a build/)
      assert.match((yield* failing(2, "builds", "show", last.slice(0, 3))).message, /2 builds begin with/)
      assert.match((yield* failing(2, "builds", "show", "-n", "-1")).message, /--tail/)
    })
  )

  test(
    "show says why a build failed that came to no step",
    Effect.gen(function* () {
      const { message } = yield* failing(2, "builds", "show")
      assert.include(message, "no build is recorded here")
      yield* Effect.flip(Snapshot.build(Snapshot.make("app", "absent"), { pullPolicy: "never" }))
      const { stdout } = yield* succeeding("builds", "show", "app")
      assert.match(stdout, /\nStatus +failed\n/)
      assert.match(stdout, /\n\n.*absent/)
    })
  )

  test(
    "compare tells which steps differ, why, and how long each took",
    Effect.gen(function* () {
      yield* Snapshot.build(tools("echo two"))
      yield* Snapshot.build(tools("echo zwei"))
      const [after = "", before = ""] = yield* ids
      const { stdout } = yield* succeeding("builds", "compare", before, after)
      const [, a = "", b = "", , titles = "", ...rows] = stdout.split("\n")
      assert.match(a, new RegExp(`^A +${before} +tools +built `))
      assert.match(b, new RegExp(`^B +${after} +tools +built `))
      assert.match(titles, /^CHANGE +A +B +STEP$/)
      assert.match(rows[0] ?? "", /^same +ran \S+ +ran \S+ +echo one <- unchanged, but not kept$/)
      assert.match(rows[1] ?? "", /^changed +ran \S+ +ran \S+ +echo zwei <- script was "echo two"$/)
      assert.match(rows[2] ?? "", /^changed +ran \S+ +ran \S+ +echo three <- step 2 runs$/)
      assert.match(stdout, /\n\n2 of 3 steps differ\n$/)
      assert.strictEqual(
        (yield* succeeding("builds", "compare", "-q", before, after)).stdout,
        "echo zwei\necho three\n"
      )
      const [comparison] = yield* json(BuildRecord.Comparison, "builds", "compare", before, after)
      assert.deepStrictEqual(
        comparison?.steps.map(({ change }) => change),
        ["same", "changed", "changed"]
      )
      assert.match((yield* failing(1, "builds", "compare", before, "x-y-z")).message, /no build named "x-y-z"/)
    })
  )

  test(
    "compare shows arguments where they differ",
    Effect.gen(function* () {
      const long = (end: string) => {
        const definition = Snapshot.make("tools", image).pipe(
          Snapshot.shell(`: ${"x".repeat(200)} ${end} ${"y".repeat(200)}`, { description: "long" }),
          Snapshot.workdir(`/${end}`)
        )
        return end === "one" ? Snapshot.shell(definition, "true") : Snapshot.write(definition, "/true", "")
      }
      yield* Snapshot.build(long("one"))
      yield* Snapshot.build(long("two"))
      const [after = "", before = ""] = yield* ids
      const { stdout } = yield* succeeding("builds", "compare", before, after)
      assert.match(stdout, /long <- script was "…x{20,30} one y{20,30}…"\n/)
      assert.match(stdout, / <- path was "\/one", is "\/two"/)
      assert.match(stdout, / <- was another kind of step: Shell/)
    })
  )

  test(
    "export writes a trace for viewers and spans for collectors, to a file or to the output",
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const { folder } = yield* Cli
      yield* Snapshot.build(tools("echo two"))
      const decode = <A>(schema: Schema.Codec<A, unknown>, text: string) =>
        Schema.decodeEffect(Schema.fromJsonString(Schema.toCodecJson(schema)))(text)
      const [id = ""] = yield* ids
      const record = yield* BuildRecord.get(id)
      const { stdout } = yield* succeeding("builds", "export")
      assert.deepStrictEqual(yield* decode(BuildRecord.Trace, stdout), BuildRecord.toTrace(record))
      const otlp = yield* succeeding("builds", "export", "tools", "--format", "otlp")
      assert.deepStrictEqual(yield* decode(BuildRecord.Spans, otlp.stdout), BuildRecord.toOtlp(record))
      const file = `${folder}/build.json`
      assert.strictEqual((yield* succeeding("builds", "export", id, "-o", file)).stdout, `Wrote ${file}\n`)
      assert.deepStrictEqual(
        yield* decode(BuildRecord.Trace, yield* fs.readFileString(file)),
        BuildRecord.toTrace(record)
      )
      const [written] = yield* json(Shapes.File, "builds", "export", id, "-o", file)
      assert.deepStrictEqual(written, { path: file })
      const { error } = yield* failing(1, "builds", "export", "-o", `${folder}/no/file`)
      assert.deepInclude(error?.reason, { _tag: "FileError", code: "ENOENT" })
      assert.strictEqual((yield* succeeding("__complete", "--", "builds", "export", "--output", "")).stdout, ":files\n")
    })
  )

  test(
    "are completed by id",
    Effect.gen(function* () {
      yield* Snapshot.build(tools("echo two"))
      const [id = ""] = yield* ids
      for (const words of [["show"], ["export"], ["compare"], ["compare", id]]) {
        const { stdout } = yield* succeeding("__complete", "--", "builds", ...words, "")
        assert.strictEqual(stdout, `${id}\tbuild of tools, built\n`)
      }
    })
  )

  test(
    "remove escape sequences of guests and definitions from what they print",
    Effect.gen(function* () {
      const definition = Snapshot.make("tools", image).pipe(
        Snapshot.shell("printf 'a\\033[31mred\\n'; exit 1", { description: "say \u001b[2Jred" })
      )
      yield* Effect.flip(Snapshot.build(definition))
      for (const args of [["show"], ["compare", "tools", "tools"], ["export"], ["show", "--json"]]) {
        const { stdout } = yield* succeeding("builds", ...args)
        assert.notInclude(stdout, "\u001b")
      }
      assert.include((yield* succeeding("builds", "show")).stdout, "│ ared")
    })
  )
})
