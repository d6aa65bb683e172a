/** Records of builds on real microVMs. */
import { assert, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Fs from "node:fs"
import * as BuildRecord from "../../src/BuildRecord.ts"
import * as Records from "../../src/internal/store/records.ts"
import * as Microsandbox from "../../src/Microsandbox.ts"
import * as Snapshot from "../../src/Snapshot.ts"
import * as Support from "../microvm/support.ts"

layer(Support.layer, { excludeTestServices: true })("records of builds", (it) => {
  it.effect(
    "have what each step did, why and for how long, without secrets",
    () =>
      Effect.gen(function* () {
        const definition = (script: string) =>
          Snapshot.make("recorded", Support.image).pipe(
            Snapshot.shell("echo one"),
            Snapshot.shell(script, { secrets: { TOKEN: Redacted.make("a-secret-of-mine") } })
          )
        yield* Snapshot.build(definition("echo $TOKEN two"))
        yield* Snapshot.build(definition("echo $TOKEN two"))
        yield* Effect.flip(Snapshot.build(definition("echo $TOKEN >&2; exit 3")))
        const all = yield* BuildRecord.list({ snapshot: "recorded" })
        assert.deepStrictEqual(
          all.map(({ status, stepsReused, stepsRun }) => [status, stepsRun, stepsReused]),
          [
            ["failed", 2, 0],
            ["unchanged", 0, 2],
            ["built", 2, 0]
          ]
        )
        const [last, , first] = yield* Effect.forEach(all, ({ id }) => BuildRecord.get(id))
        if (first === undefined || last === undefined) return assert.fail("a record is missing")
        assert.deepStrictEqual(
          first.steps.map(({ outcome, output }) => [outcome, ...output]),
          [
            ["ran", "one"],
            ["ran", "<redacted> two"]
          ]
        )
        assert.deepInclude(last.steps[1], { outcome: "failed", output: ["<redacted>"] })
        assert.deepStrictEqual(
          BuildRecord.compare(first, last).steps.map(({ change, why }) => [change, why?._tag]),
          [
            ["same", undefined],
            ["changed", "ArgumentsChanged"]
          ]
        )
        const kinds = BuildRecord.toTrace(first).traceEvents.map(({ cat }) => cat)
        assert.includeMembers(kinds, ["build", "boot", "step", "checkpoint"])

        const { home } = yield* Microsandbox.Microsandbox
        const folder = Records.folderOf(home)
        for (const path of Fs.readdirSync(folder, { recursive: true, encoding: "utf8" })) {
          if (!path.endsWith(".jsonl")) continue
          assert.notInclude(Fs.readFileSync(`${folder}/${path}`, "utf8"), "a-secret-of-mine")
        }
      }),
    600_000
  )
})
