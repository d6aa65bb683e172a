/** The example of telemetry, in memory: what its collector gets has the documented names. */
import { assert, describe, it } from "@effect/vitest"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as MicrosandboxMemory from "effect-lightbox/MicrosandboxMemory"
import { program } from "../../examples/build-events/program.ts"
import { instruments } from "../../src/internal/report/metrics.ts"
import * as Spans from "../telemetry/spans.ts"

describe("the example of telemetry", () => {
  it.live("shows documented spans and metrics, as a collector has them", () =>
    Effect.gen(function* () {
      const printed: Array<string> = []
      const console: Console.Console = Object.assign(Object.create(globalThis.console), {
        log: (...args: ReadonlyArray<unknown>) => printed.push(args.join(" "))
      })
      yield* program.pipe(
        Effect.provideService(Console.Console, console),
        Effect.provide(MicrosandboxMemory.layer({ images: { busybox: {} } }))
      )
      const [, spans = "", metrics = ""] =
        /Spans, as the collector has them:\n([^]*)\nMetrics:\n([^]*)/.exec(printed.join("\n")) ?? []
      for (const name of ["Snapshot.build", "Snapshot.step", "Sandbox.launch", "Sandbox.exec"]) {
        const [module = "", operation = ""] = name.split(".")
        assert.isTrue(Spans.operations[module]?.includes(operation), name)
        assert.match(spans, new RegExp(`^ *${name} .*`, "m"))
      }
      assert.match(spans, /Snapshot\.step .*step\.index=2 .*step\.attempt=1/)
      const shown = [...metrics.matchAll(/^(lightbox_\w+?)(?:_count|_sum)?(?:\{.*\})? {2}/gm)].map(
        ([, name = ""]) => name
      )
      assert.isAbove(shown.length, 5)
      const names = instruments.map(({ metric }) => metric.id)
      assert.deepStrictEqual(
        shown.filter((name) => !names.includes(name)),
        []
      )
      assert.match(metrics, /^lightbox_builds_total\{outcome=succeeded\} {2}2$/m)
    })
  )
})
