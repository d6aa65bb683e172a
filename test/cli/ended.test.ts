import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Shapes from "../../src/internal/cli/json.ts"
import * as Sandbox from "../../src/Sandbox.ts"
import * as SandboxRecord from "../../src/SandboxRecord.ts"
import { failing, json, succeeding, test } from "./support.ts"

const image = "alpine:3"

describe("ended", () => {
  test(
    "lists the sandboxes that ended, and why",
    Effect.gen(function* () {
      assert.strictEqual((yield* succeeding("ended")).stdout, "No ended sandbox is recorded here.\n")
      yield* Sandbox.run({ image, name: "one" }, () => Effect.void)
      yield* Sandbox.run({ image, name: "two" }, (sandbox) => sandbox.detach)
      yield* succeeding("rm", "-f", "two")
      const { stdout } = yield* succeeding("ended")
      const [titles = "", ...rows] = stdout.trimEnd().split("\n")
      assert.match(titles, /^ID +NAME +SOURCE +STATUS +WHY +LIVED +ENDED$/)
      assert.lengthOf(rows, 2)
      assert.match(rows[0] ?? "", /^\S+ +two +alpine:3 +running +removed .*now$/)
      assert.match(rows[1] ?? "", /^\S+ +one +alpine:3 +running +released .*now$/)
      assert.strictEqual((yield* succeeding("ended", "-f", "cause=released", "--format", "name")).stdout, "one\n")
      const [records] = yield* json(Shapes.EndedSandboxes, "ended")
      assert.deepStrictEqual(records, yield* SandboxRecord.list())
    })
  )

  test(
    "shows what one wrote last, found by its name or by its record, without control characters",
    Effect.gen(function* () {
      yield* Sandbox.run({ image, name: "agent" }, (sandbox) => sandbox.shell("echo first"))
      yield* Sandbox.run({ image, name: "agent" }, (sandbox) => sandbox.shell("printf 'red \\033[31mend\\n'"))
      const [last, first] = yield* SandboxRecord.list()
      const { stdout } = yield* succeeding("ended", "show", "agent")
      assert.match(stdout, /^agent, from alpine:3\nreleased.*: the scope of its launch closed\nIt was running when /)
      assert.match(stdout, /\nIts last output:\n {2}red .*end\n/)
      assert.notInclude(stdout, "\u001b")
      assert.match(stdout, /\nIts system log:\n/)
      assert.strictEqual((yield* succeeding("ended", "show")).stdout, stdout)
      assert.include((yield* succeeding("ended", "show", first?.id ?? "")).stdout, "  first\n")
      assert.strictEqual((yield* succeeding("ended", "show", "agent", "-q")).stdout, `${last?.id}\n`)
      const [record] = yield* json(SandboxRecord.SandboxRecord, "ended", "show", "agent")
      assert.deepStrictEqual(record, yield* SandboxRecord.get(last?.id ?? ""))
      const missing = yield* failing(1, "ended", "show", "a-b-c")
      assert.deepInclude(missing, {
        message: 'There is no record named "a-b-c"',
        hint: "`lightbox ended` lists those that are recorded"
      })
      assert.include((yield* failing(2, "ended", "show", "no such name")).message, "Invalid ID")
    })
  )
})
