/** Real microVMs of a fleet: its host says what it has, and a program finds it through the directory. */
import { assert, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Gateway from "../../src/Gateway.ts"
import * as Sandbox from "../../src/Sandbox.ts"
import * as Snapshot from "../../src/Snapshot.ts"
import * as Cases from "../internal/directory/cases.ts"
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
})
