/** `commit`, `diff`, `history` and `tag`. */
import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Snapshot from "../../src/Snapshot.ts"
import * as Shapes from "../../src/internal/cli/json.ts"
import { definitions, detached, failing, json, succeeding, test } from "./support.ts"

const two = definitions("two")

describe("commit, diff, history and tag", () => {
  test(
    "make snapshots of a sandbox, compare them, and give them names",
    Effect.gen(function* () {
      yield* detached("box")
      yield* succeeding("exec", "box", "sh", "-c", "echo one > /root/file")
      assert.strictEqual(
        (yield* succeeding("commit", "box", "app", "--label", "by=hand")).stdout,
        "Captured box as app, generation 1\n"
      )
      yield* succeeding("exec", "box", "sh", "-c", "echo three > /root/file; mkdir /root/new")
      const image = yield* succeeding("diff", "box")
      assert.match(image.stdout, /^KIND +SIZE +CHANGES +PATH\nA +6 +\/root\/file\nA +folder +\/root\/new\n$/)
      const [captured] = yield* json(Snapshot.Snapshot, "commit", "box", "app", "--keep", "3")
      assert.deepStrictEqual([captured?.name, captured?.generation], ["app", 2])
      const changed = "C +6 +size +/root/file\nA +folder +/root/new\n$".replaceAll("/", "\\/")
      for (const args of [["app"], ["app@1", "app"], ["app@1", "box"]]) {
        assert.match((yield* succeeding("diff", ...args)).stdout, new RegExp(changed), args.join(" "))
      }
      assert.strictEqual((yield* succeeding("-q", "diff", "app")).stdout, "/root/file\n/root/new\n")
      assert.strictEqual((yield* succeeding("diff", "app", "box")).stdout, "There are no differences.\n")
      const few = yield* succeeding("diff", "app", "--limit", "1")
      assert.include(few.stderr, "pass a higher --limit")
      const [diff] = yield* json(Snapshot.Diff, "diff", "app", "--limit", "1")
      assert.deepStrictEqual(
        [diff?.isComplete, diff?.differences.map(({ kind, path }) => [kind, path])],
        [false, [["changed", "/root/file"]]]
      )

      yield* succeeding("run", "app", "--name", "from-app", "--detach")
      yield* succeeding("exec", "from-app", "rm", "-r", "/root/new")
      assert.match((yield* succeeding("diff", "from-app")).stdout, /PATH\nD +folder +\/root\/new\n$/)

      assert.strictEqual((yield* succeeding("tag", "app@1", "old")).stdout, "old now points to app@1\n")
      assert.match(
        (yield* succeeding("history", "old")).stdout,
        /\nold@1 \(current\) .* by=hand +\(captured or loaded\)\n$/
      )
      assert.strictEqual((yield* failing(1, "tag", "app", "old")).error?.reason._tag, "AlreadyExists")
      const [tagged] = yield* json(Snapshot.Snapshot, "tag", "app", "old", "--overwrite")
      assert.strictEqual(tagged?.generation, 2)
      assert.strictEqual((yield* succeeding("diff", "old", "app")).stdout, "There are no differences.\n")
      // Both names need the disk.
      yield* succeeding("rm", "--snapshot", "app")
      yield* succeeding("run", "old", "--", "test", "-d", "/root/new")
      yield* succeeding("rm", "--force", "box", "from-app")
    })
  )

  test(
    "tell builds from captures, and name what is wrong",
    Effect.gen(function* () {
      yield* succeeding("build", two, "plain", "--quiet")
      yield* detached("box")
      yield* succeeding("commit", "box", "plain", "--quiet")
      assert.match(
        (yield* succeeding("history", "plain")).stdout,
        /^GENERATION +CREATED +LABELS +STEP\nplain@1 .* from alpine:3\n +echo plain > \/etc\/name\nplain@2 \(current\) .* \(captured or loaded\)\n$/
      )
      const [all] = yield* json(Shapes.Generations, "history", "plain")
      assert.deepStrictEqual(
        all?.map(({ build, isCurrent }) => [build, isCurrent]),
        [
          [{ image: "alpine:3", steps: ["echo plain > /etc/name"] }, false],
          [undefined, true]
        ]
      )
      // A name of the same disk has the same steps.
      yield* succeeding("tag", "plain@1", "again")
      assert.match((yield* succeeding("history", "again")).stdout, /\n +echo plain > \/etc\/name\n$/)
      assert.strictEqual((yield* succeeding("history", "plain", "-q")).stdout, "plain@1\nplain@2\n")

      const field = (...args: ReadonlyArray<string>) =>
        Effect.map(failing(2, ...args), ({ message }) => message.split(/[ :]/)[0])
      assert.strictEqual(yield* field("commit", "a b", "app"), "Invalid")
      const message = (...args: ReadonlyArray<string>) => Effect.map(failing(2, ...args), ({ message }) => message)
      assert.match(yield* message("commit", "a b", "app"), /SANDBOX/)
      assert.match(yield* message("commit", "box", "a b"), /NAME/)
      assert.match(yield* message("commit", "box", "app", "--keep", "0"), /--keep/)
      assert.match(yield* message("tag", "a b", "app"), /SNAPSHOT/)
      assert.match(yield* message("tag", "plain", "a b"), /NEW-NAME/)
      assert.match(yield* message("history", "a b"), /NAME/)
      assert.match(yield* message("diff", "a b", "plain"), /A: /)
      assert.match(yield* message("diff", "plain", "a b"), /B: /)
      assert.match(yield* message("diff", "plain", "plain", "--limit", "0"), /--limit/)
      assert.strictEqual((yield* failing(1, "commit", "missing", "app")).error?.reason._tag, "NotFound")
      assert.strictEqual((yield* failing(1, "diff", "plain", "missing")).error?.reason._tag, "NotFound")
      assert.strictEqual((yield* failing(1, "tag", "plain@9", "app")).error?.reason._tag, "NotFound")
      assert.strictEqual((yield* failing(1, "history", "missing")).error?.reason._tag, "NotFound")
      yield* succeeding("tag", "plain", "single")
      assert.match(yield* message("diff", "single"), /no earlier generation/)
      yield* succeeding("rm", "--force", "box")
    })
  )
})
