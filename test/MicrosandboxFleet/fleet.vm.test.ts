/** Real microVMs of a fleet: its host says what it has, and a program finds it through the directory. */
import { assert, layer } from "@effect/vitest"
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Path from "node:path"
import * as Gateway from "../../src/Gateway.ts"
import * as Sandbox from "../../src/Sandbox.ts"
import * as Snapshot from "../../src/Snapshot.ts"
import * as Cases from "../internal/directory/cases.ts"
import { run } from "../host/Subprocess.ts"
import * as Support from "../microvm/support.ts"
import * as Fleet from "./support.ts"

layer(Support.layer, { excludeTestServices: true })("a microVM of a fleet", (it) => {
  it.effect(
    "is built, placed where its snapshot is, found again after its program has ended, and removed",
    () =>
      Effect.gen(function* () {
        const url = yield* Fleet.directory
        const { host = "" } = yield* Gateway.serve({ tokens: [{ token: Fleet.token }], port: 0, directory: { url } })
        const directory = yield* Cases.open(url)
        const definition = Snapshot.make("fleet", Support.image).pipe(Snapshot.shell("echo built > /root/built"))
        yield* Effect.gen(function* () {
          assert.strictEqual((yield* Snapshot.build(definition)).stepsRun, 1)
          const output = yield* Sandbox.run({ snapshot: "fleet" }, (sandbox) => sandbox.readFileString("/root/built"))
          assert.strictEqual(output, "built\n")
          yield* Effect.scoped(Sandbox.launch({ snapshot: "fleet", name: "kept", detached: true }))
          assert.deepInclude(yield* directory.find("kept"), { host, state: "running" })
        }).pipe(Effect.provide(yield* Fleet.client(url)))
        yield* Effect.gen(function* () {
          assert.strictEqual((yield* Snapshot.build(definition)).stepsRun, 0)
          const kept = yield* Sandbox.connect("kept")
          assert.strictEqual((yield* kept.shell("cat /root/built")).stdout, "built\n")
          yield* Sandbox.remove("kept", { force: true })
          assert.isUndefined(yield* directory.find("kept"))
          yield* Snapshot.remove("fleet")
          assert.deepStrictEqual(yield* Sandbox.list(), [])
        }).pipe(Effect.scoped, Effect.provide(yield* Fleet.client(url)))
      }).pipe(Effect.scoped),
    900_000
  )

  it.effect(
    "is launched on another host when its own is killed, and lives through a restart of its host",
    () =>
      Effect.gen(function* () {
        const url = yield* Fleet.directory
        const { path } = yield* Support.Home
        const other = Path.join(yield* Fleet.folder("o"), "msb")
        // A home that was a host is that host, also as a copy.
        yield* run("cp", ["-a", yield* Config.String("MSB_HOME"), other])
        const homes = [path, other]
        const [a, b] = yield* Effect.forEach(homes, (home) => Fleet.process("machine", home, url))
        if (a === undefined || b === undefined) return assert.fail("a host is missing")
        const directory = yield* Cases.open(url)
        const resources = { memory: "256M" } as const
        yield* Effect.gen(function* () {
          // Built on one host, launched on both.
          yield* directory.cordon(b.id, "a test")
          const definition = Snapshot.make("fleet", Support.image).pipe(
            Snapshot.resources(resources),
            Snapshot.shell("echo built > /root/built")
          )
          assert.strictEqual((yield* Snapshot.build(definition)).stepsRun, 1)
          const first = yield* Sandbox.launch({ snapshot: "fleet", name: "first", resources })
          assert.strictEqual(first.id.split("~")[0], a.id)
          yield* directory.uncordon(b.id)
          yield* directory.cordon(a.id, "a test")
          yield* Effect.scoped(Sandbox.launch({ snapshot: "fleet", name: "kept", resources, detached: true }))
          const kept = yield* Sandbox.connect("kept")
          assert.strictEqual(kept.id.split("~")[0], b.id)
          assert.strictEqual(yield* kept.readFileString("/root/built"), "built\n")
          yield* kept.shell("echo here > /dev/shm/mark", { check: true })

          // Killed in the middle of a command.
          const command = yield* Effect.forkScoped(Effect.flip(first.shell("touch /begun; sleep 1000")))
          yield* first.shell("until [ -e /begun ]; do sleep 0.1; done", { check: true })
          yield* a.end("SIGKILL")
          const lost = yield* Fiber.join(command)
          assert.deepStrictEqual([lost.reason._tag, lost.outcome], ["GuestLost", "unknown"])
          const again = yield* Sandbox.launch({ snapshot: "fleet", name: "again", resources })
          assert.strictEqual(again.id.split("~")[0], b.id)
          assert.strictEqual(yield* again.readFileString("/root/built"), "built\n")

          // Restarted: what is detached goes on.
          yield* b.end("SIGTERM")
          const restarted = yield* Fleet.process("machine", other, url)
          assert.strictEqual(restarted.id, b.id)
          const found = yield* Sandbox.connect("kept")
          assert.strictEqual(found.id, kept.id)
          assert.strictEqual(yield* found.readFileString("/dev/shm/mark"), "here\n")
          yield* Sandbox.remove("kept", { force: true })
          yield* restarted.end("SIGTERM")
        }).pipe(Effect.scoped, Effect.provide(yield* Fleet.client(url)))
      }).pipe(Effect.scoped),
    900_000
  )
})
