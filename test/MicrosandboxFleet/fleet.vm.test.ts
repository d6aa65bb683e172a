/** Real microVMs of a fleet: its host says what it has, and a program finds it through the directory. */
import { assert, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Path from "node:path"
import * as Sandbox from "../../src/Sandbox.ts"
import * as Snapshot from "../../src/Snapshot.ts"
import * as Cases from "../internal/directory/cases.ts"
import { run } from "../host/Subprocess.ts"
import * as Support from "../microvm/support.ts"
import * as Fleet from "./support.ts"

layer(Support.layer, { excludeTestServices: true })("microVMs of a fleet", (it) => {
  it.effect(
    "are built on one host and launched on both, launched again when a host is killed, and live through a restart",
    () =>
      Effect.gen(function* () {
        const url = yield* Fleet.directory
        const { path } = yield* Support.Home
        const other = Path.join(yield* Fleet.folder("o"), "msb")
        yield* run("cp", ["-a", path, other])
        const [a, b] = yield* Effect.all([Fleet.process("machine", path, url), Fleet.process("machine", other, url)], {
          concurrency: 2
        })
        const directory = yield* Cases.open(url)
        const hostOf = ({ id }: Sandbox.Sandbox) => id.split("~")[0]
        const resources = { memory: "256M" } as const
        const definition = Snapshot.make("fleet", Support.image).pipe(
          Snapshot.resources(resources),
          Snapshot.shell("echo built > /root/built")
        )
        const kept = yield* Effect.gen(function* () {
          yield* directory.cordon(b.id, "a test")
          assert.strictEqual((yield* Snapshot.build(definition)).stepsRun, 1)
          const first = yield* Sandbox.launch({ snapshot: "fleet", name: "first", resources })
          assert.strictEqual(hostOf(first), a.id)
          yield* directory.uncordon(b.id)
          yield* directory.cordon(a.id, "a test")
          yield* Effect.scoped(Sandbox.launch({ snapshot: "fleet", name: "kept", resources, detached: true }))
          const kept = yield* Sandbox.connect("kept")
          assert.strictEqual(hostOf(kept), b.id)
          assert.strictEqual(yield* kept.readFileString("/root/built"), "built\n")
          yield* kept.shell("echo here > /dev/shm/mark", { check: true })

          // Killed in the middle of a command.
          const command = yield* Effect.forkScoped(Effect.flip(first.shell("touch /begun; sleep 1000")))
          yield* first.shell("until [ -e /begun ]; do sleep 0.1; done", { check: true })
          yield* a.end("SIGKILL")
          const lost = yield* Fiber.join(command)
          assert.deepStrictEqual([lost.reason._tag, lost.outcome], ["GuestLost", "unknown"])
          const again = yield* Sandbox.launch({ snapshot: "fleet", name: "again", resources })
          assert.strictEqual(hostOf(again), b.id)
          assert.strictEqual(yield* again.readFileString("/root/built"), "built\n")
          return kept.id
        }).pipe(Effect.scoped, Effect.provide(yield* Fleet.client(url)))

        // What is detached goes on while its host is restarted, and belongs to no program.
        yield* b.end("SIGTERM")
        const restarted = yield* Fleet.process("machine", other, url)
        assert.strictEqual(restarted.id, b.id)
        yield* Effect.gen(function* () {
          const found = yield* Sandbox.connect("kept")
          assert.strictEqual(found.id, kept)
          assert.strictEqual(yield* found.readFileString("/dev/shm/mark"), "here\n")
          assert.deepStrictEqual(
            (yield* Sandbox.list()).map(({ name }) => name),
            ["kept"]
          )
          assert.strictEqual((yield* Snapshot.build(definition)).stepsRun, 0)
          yield* Sandbox.remove("kept", { force: true })
          assert.isUndefined(yield* directory.find("kept"))
          yield* Snapshot.remove("fleet")
        }).pipe(Effect.scoped, Effect.provide(yield* Fleet.client(url)))
        yield* restarted.end("SIGTERM")
      }).pipe(Effect.scoped),
    900_000
  )
})
