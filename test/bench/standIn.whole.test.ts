/** The benchmarks that are measured with a stand-in for the microVM work wherever the other tests run. */
import { assert, layer } from "@effect/vitest"
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Sandbox from "../../src/Sandbox.ts"
import { reference as image } from "../images/Busybox.ts"
import * as Places from "./places.ts"
import * as StandIn from "./standIn/StandIn.ts"

layer(StandIn.layer.pipe(Layer.provideMerge(NodeServices.layer)), { excludeTestServices: true, timeout: 120_000 })(
  "benchmarks with the stand-in",
  (it) => {
    for (const { name, rows } of Places.benchesOf("stand-in", [])) {
      it.effect(
        `measure both sides of ${name}`,
        () =>
          Effect.gen(function* () {
            const measured = yield* Effect.scoped(rows(1, "stand-in"))
            assert.isAbove(measured.length, 1)
            for (const row of measured) {
              assert.isFinite(row.ours.p50)
              assert.isFinite(row.reference?.p50)
            }
            assert.isAbove(measured[0]?.ratio ?? 0, 0)
          }),
        180_000
      )
    }

    it.effect("run no program that could harm this machine", () =>
      Effect.scoped(
        Effect.gen(function* () {
          const sandbox = yield* Sandbox.launch({ image, resources: { cpus: 1, memory: "256M" } })
          assert.strictEqual(
            (yield* Effect.flip(sandbox.exec("rm", ["-rf", "/nowhere"]))).reason._tag,
            "CommandNotStarted"
          )
          assert.strictEqual((yield* sandbox.exec("kill", ["-9", "-1"])).exitCode, 0)
          assert.isFalse(yield* sandbox.exists("/etc/passwd"))
        })
      )
    )
  }
)
