/** Builds on real microVMs: what runs, what does not, and the result. */
import { assert, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Path from "effect/Path"
import * as Schedule from "effect/Schedule"
import * as Sandbox from "../../src/Sandbox.ts"
import * as Snapshot from "../../src/Snapshot.ts"
import * as Support from "../microvm/support.ts"

/** A test boots up to ten virtual machines, on processors that it shares with others. */
const limit = 900_000

layer(Support.layer, { excludeTestServices: true })("builds", (it) => {
  it.effect(
    "run ten steps once, then none, then only the changed last one, and name a changed file",
    () =>
      Effect.gen(function* () {
        const fs = yield* FileSystem.FileSystem
        const path = yield* Path.Path
        const observer = yield* Support.Observer
        const folder = path.join((yield* Support.Home).files, "copied")
        yield* fs.makeDirectory(path.join(folder, "inner"), { recursive: true })
        yield* fs.writeFileString(path.join(folder, "inner/file"), "first")
        const ten = (last: string) => {
          let definition: Snapshot.Definition = Snapshot.make("ten", Support.image)
          for (let index = 1; index <= 8; index++) {
            definition = Snapshot.shell(definition, `echo ${index} >> /root/lines`)
          }
          return definition.pipe(
            Snapshot.copy(folder, "/root/copied"),
            Snapshot.checkpoint,
            Snapshot.shell(`echo ${last} >> /root/lines`)
          )
        }
        const build = Effect.fnUntraced(function* (definition: Snapshot.Definition) {
          const before = observer.count("boot")
          const { onEvent, stepsRun } = Support.recorder()
          const { generation } = yield* Snapshot.build(definition, { checkpoints: "marked", onEvent })
          return { boots: observer.count("boot") - before, generation, steps: stepsRun() }
        })

        // One boot to begin with, and one after the checkpoint.
        assert.deepStrictEqual(yield* build(ten("10")), {
          boots: 2,
          generation: 1,
          steps: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
        })
        assert.deepStrictEqual(yield* build(ten("10")), { boots: 0, generation: 1, steps: [] })
        assert.deepStrictEqual(yield* build(ten("changed")), { boots: 1, generation: 2, steps: [10] })
        yield* Sandbox.run({ snapshot: "ten" }, (sandbox) =>
          Effect.gen(function* () {
            const { stdout } = yield* sandbox.shell("cat /root/lines /root/copied/inner/file", { check: true })
            assert.strictEqual(stdout, "1\n2\n3\n4\n5\n6\n7\n8\nchanged\nfirst")
          })
        )

        yield* fs.writeFileString(path.join(folder, "inner/file"), "second")
        const { steps } = yield* Snapshot.plan(ten("changed"))
        const reasons = steps.map(({ verdict }) => (verdict._tag === "Hit" ? "Hit" : verdict.reason))
        assert.deepInclude(reasons[8], { _tag: "FilesChanged" })
        assert.include(JSON.stringify(reasons[8]), '"path":"inner/file"')
        assert.deepStrictEqual(reasons[9], { _tag: "EarlierChanged", index: 9 })
        yield* Snapshot.remove("ten")
        yield* Snapshot.prune()
        yield* Support.assertNothingLeft({ snapshots: [] })
      }),
    limit
  )

  it.effect(
    "leave the same disk with a checkpoint and failed attempts as without",
    () =>
      Effect.gen(function* () {
        const define = (name: string, failures: number) => {
          let attempts = 0
          return Snapshot.make(name, Support.image).pipe(
            Snapshot.workdir("/srv/work"),
            Snapshot.shell(
              [
                "mkdir -p deep/er /tmp/folder && echo one > deep/er/file && ln deep/er/file hard && ln -s deep soft",
                "chmod 4711 hard; chown app deep; truncate -s 1M sparse; head -c 100000 /dev/zero > zeros; mkfifo pipe",
                "echo temporary | tee /tmp/folder/file /run/file /dev/shm/file > /dev/null",
                "sleep 1000 > /dev/null 2>&1 & echo started > started"
              ].join("\n")
            ),
            Snapshot.checkpoint,
            Snapshot.env({ SHOWN: "to the step" }),
            // What it sees of the step before, and what it removes.
            Snapshot.shell(
              [
                "{ ls -A /tmp /run /dev/shm; pgrep sleep; echo $SHOWN; pwd; } > seen",
                "rm deep/er/file; mv soft softer; mkdir hidden; rm -r hidden"
              ].join("\n")
            ),
            Snapshot.step(
              "fails at first",
              (sandbox) =>
                Effect.suspend(() =>
                  sandbox.shell(`echo attempt >> attempts; rm zeros; test ${++attempts} -gt ${failures}`, {
                    check: true
                  })
                ),
              { retry: Schedule.recurs(failures) }
            ),
            Snapshot.write("/srv/work/written", "content\n", { mode: 0o640, owner: "app" })
          )
        }
        const everything = [
          "find / -xdev -type d -exec stat -c '%N %F %a %u:%g' {} +",
          "find / -xdev ! -type d -exec stat -c '%N %F %a %u:%g %h %s' {} +",
          "find / -xdev -type f -exec sha256sum {} +"
        ].join("; ")
        const disk = (snapshot: string) =>
          Sandbox.run({ snapshot, hostname: "same" }, (sandbox) =>
            Effect.map(sandbox.shell(everything, { check: true }), ({ stdout }) => stdout.split("\n").toSorted())
          )

        const { onEvent, stepsRun } = Support.recorder()
        yield* Snapshot.build(define("pieces", 2), { checkpoints: "marked", onEvent })
        // Each attempt on a disk that no attempt has touched.
        assert.deepStrictEqual(stepsRun(), [1, 2, 3, 4, 3, 4, 3, 4, 5])
        yield* Snapshot.build(define("whole", 0).pipe(Snapshot.skipCache), { checkpoints: "final", force: true })
        const [pieces, whole] = [yield* disk("pieces"), yield* disk("whole")]
        assert.deepStrictEqual(pieces, whole)
        assert.include(whole.join("\n"), "/srv/work/softer' -> 'deep'")
        assert.isAbove(whole.length, 300)
        yield* Snapshot.remove("pieces")
        yield* Snapshot.remove("whole")
        yield* Snapshot.prune()
        yield* Support.assertNothingLeft({ snapshots: [] })
      }),
    limit
  )
})
