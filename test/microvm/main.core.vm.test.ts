/** The core workflow on real microVMs: build, launch, run, release. `npm test` runs these. */
import { assert, layer } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as FileSystem from "effect/FileSystem"
import * as Path from "effect/Path"
import * as Stream from "effect/Stream"
import * as Crypto from "node:crypto"
import * as Sandbox from "../../src/Sandbox.ts"
import * as Snapshot from "../../src/Snapshot.ts"
import * as Volume from "../../src/Volume.ts"
import * as Support from "./support.ts"

const greeter = Snapshot.make("greeter", Support.image).pipe(
  Snapshot.env({ GREETING: "Hello" }),
  Snapshot.workdir("/srv/greeter"),
  Snapshot.shell("echo $GREETING > greeting; pwd"),
  Snapshot.write("/etc/greeter/name", "builder\n", { mode: 0o600, owner: "app" }),
  Snapshot.exec("sh", ["-c", "cat greeting /etc/greeter/name > both"])
)

/** The whole blocks of a file, or of the disk that holds it. */
const blocksOf = (bytes: Uint8Array): ReadonlySet<string> =>
  new Set(
    Array.from({ length: Math.floor(bytes.length / 4096) }, (_, index) =>
      Crypto.hash("sha256", bytes.subarray(index * 4096, (index + 1) * 4096))
    )
  )

layer(Support.layer, { excludeTestServices: true })("the core workflow", (it) => {
  it.effect("builds a snapshot, boots sandboxes from it, and leaves nothing but the snapshot", () =>
    Effect.gen(function* () {
      const recorder = Support.recorder()
      const built = yield* Snapshot.build(greeter, { onEvent: recorder.onEvent })
      assert.deepStrictEqual([built.name, built.generation, built.stepsRun], ["greeter", 1, 4])
      const output = recorder.events.flatMap((event) => (event._tag === "StepOutput" ? [event.text] : []))
      assert.deepStrictEqual(output, ["/srv/greeter\n"])
      assert.deepStrictEqual(recorder.stepsRun(), [1, 2, 3, 4])
      yield* Support.assertNothingLeft({ snapshots: ["greeter"] })

      const read = (snapshot: string | Snapshot.Snapshot) =>
        Sandbox.run({ snapshot, cwd: "/srv/greeter" }, (sandbox) =>
          Effect.gen(function* () {
            const shown = yield* sandbox.shell("cat both; stat -c '%a %U' /etc/greeter/name; echo changed > both")
            assert.deepStrictEqual([shown.exitCode, shown.stdout, shown.stderr], [0, "Hello\nbuilder\n600 app\n", ""])
          })
        )
      yield* read(built)
      yield* Support.assertNothingLeft({ snapshots: ["greeter"] })
      // The second sandbox does not see what the first one wrote.
      yield* read("greeter")
      yield* Support.assertNothingLeft({ snapshots: ["greeter"] })

      // Nor the locks of names that are not used again.
      const fs = yield* FileSystem.FileSystem
      const path = yield* Path.Path
      const home = yield* Support.Home
      for (const folder of ["locks", "creation-locks"]) {
        assert.deepStrictEqual(yield* fs.readDirectory(path.join(home.path, "run", folder)), [], folder)
      }
    })
  )

  it.effect("reports where and how a step failed, and removes the builder", () =>
    Effect.gen(function* () {
      const before = yield* Support.snapshotNames
      const failing = Snapshot.make("failing", Support.image).pipe(
        Snapshot.shell("echo fine"),
        Snapshot.shell("seq 3; seq 200 >&2; exit 7", { description: "the bad one" })
      )
      const error = yield* Effect.flip(Snapshot.build(failing, { checkpoints: "final" }))
      assert.strictEqual(error.reason._tag, "CommandFailed")
      if (error.reason._tag !== "CommandFailed") return
      assert.deepStrictEqual([error.reason.exitCode, error.reason.stdout.trim()], [7, "1\n2\n3"])
      assert.deepStrictEqual(
        error.reason.stderr.trim().split("\n"),
        Array.from({ length: 50 }, (_, line) => `${line + 151}`)
      )
      assert.deepInclude(error.step, { definition: "failing", index: 2, description: "the bad one", attempt: 1 })
      assert.match(error.step?.declaredAt ?? "", /main\.core\.vm\.test\.ts:\d+$/)
      yield* Support.assertNothingLeft({ snapshots: before })
    })
  )

  it.effect("keeps what was written to volumes and a host folder just before the end", () =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const path = yield* Path.Path
      const home = yield* Support.Home
      const shared = path.join(home.files, "shared")
      yield* fs.makeDirectory(shared)
      const volume = yield* Volume.ensure("data")
      yield* Volume.ensure("disk", { kind: "disk", quota: "128M" })
      const bytes = Crypto.randomBytes(3_000_000)
      yield* Sandbox.run(
        {
          image: Support.image,
          mounts: { "/shared": shared, "/data": { volume: "data" }, "/disk": { volume: "disk" } }
        },
        (sandbox) =>
          Effect.all(
            [
              sandbox.exec("dd", ["of=/disk/file", "bs=100k"], { stdin: bytes, check: true }),
              sandbox.exec("dd", ["of=/shared/file", "bs=100k"], { stdin: bytes, check: true }),
              sandbox.exec("dd", ["of=/data/file", "bs=100k"], { stdin: bytes, check: true })
            ],
            { concurrency: 3 }
          )
      )
      // The guest caches the file system of a disk: only a flush writes it out.
      const blocks = blocksOf(yield* fs.readFile((yield* Volume.get("disk")).path))
      assert.deepStrictEqual(
        [...blocksOf(bytes)].filter((block) => !blocks.has(block)),
        []
      )
      assert.isTrue(bytes.equals(yield* fs.readFile(path.join(shared, "file"))))
      assert.isTrue(bytes.equals(yield* fs.readFile(path.join(home.path, "volumes", volume.name, "file"))))
      yield* Support.assertNothingLeft()
      yield* Volume.remove("data")
      yield* Volume.remove("disk")
    })
  )

  it.effect("runs ten commands at once, and stops a sandbox with a hanging command", () =>
    Effect.gen(function* () {
      yield* Effect.scoped(
        Effect.gen(function* () {
          const sandbox = yield* Sandbox.launch({ image: Support.image })
          // Each announces itself and ends when all run: one after the other, none would end.
          const meet =
            "mkdir -p /run/met && touch /run/met/$0 && until [ $(ls /run/met | wc -l) = 10 ]; do usleep 50000; done; echo $0"
          const results = yield* Effect.forEach(
            Array.from({ length: 10 }, (_, index) => `${index}`),
            (index) => sandbox.exec("sh", ["-c", meet, index], { check: true }),
            { concurrency: "unbounded" }
          )
          assert.deepStrictEqual(
            results.map(({ stdout }) => stdout),
            Array.from({ length: 10 }, (_, index) => `${index}\n`)
          )

          const started = yield* Deferred.make<void>()
          const hung = yield* sandbox.shellStream("trap '' TERM; echo started; while :; do sleep 1; done").pipe(
            Stream.tap(({ _tag }) => (_tag === "Stdout" ? Deferred.succeed(started, undefined) : Effect.void)),
            Stream.runDrain,
            Effect.flip,
            Effect.forkScoped
          )
          yield* Deferred.await(started)
          yield* sandbox.stop()
          assert.strictEqual((yield* Fiber.join(hung)).reason._tag, "GuestLost")
          assert.strictEqual((yield* sandbox.info).status, "stopped")
        })
      )
      yield* Support.assertNothingLeft()
    })
  )

  it.effect("leaves nothing of a build interrupted in a step", () =>
    Effect.gen(function* () {
      const before = yield* Support.snapshotNames
      const recorder = Support.recorder()
      const endless = Snapshot.make("endless", Support.image).pipe(Snapshot.shell("echo begun; sleep 1000"))
      yield* Support.interruptAt(Snapshot.build(endless, { onEvent: recorder.onEvent }), recorder.until("StepOutput"))
      yield* Support.assertNothingLeft({ snapshots: before })
    })
  )
})
