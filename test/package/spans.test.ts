import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Tracer from "effect/Tracer"
import * as MicrosandboxMemory from "../../src/MicrosandboxMemory.ts"
import { calls } from "./calls.ts"
import * as Sources from "./sources.ts"

/** Constructors that are no operations of their own. */
const others = [
  "Sandbox.run",
  "Sandbox.Service",
  "Snapshot.Service",
  "Snapshot.from",
  "Snapshot.make",
  "Volume.Service"
]

const operations = Object.keys(calls).flatMap((module) =>
  Sources.exportsOf(`src/${module}.ts`)
    .filter(({ comment }) => /^ \* @category (operations|constructors)$/m.test(comment))
    .map(({ name }) => `${module}.${name}`)
    .filter((name) => !others.includes(name))
)

describe("spans", () => {
  it("are tested for every operation", () => {
    const tested = Object.entries(calls).flatMap(([module, names]) =>
      Object.keys(names).map((name) => `${module}.${name}`)
    )
    assert.deepStrictEqual(tested.toSorted(), operations.toSorted())
  })

  it.effect.each(
    Object.entries(calls).flatMap(([module, names]) =>
      Object.entries(names).map(([name, call]) => [`${module}.${name}`, call] as const)
    )
  )("%s has a span of its name", ([name, call]) =>
    Effect.gen(function* () {
      const spans: Array<string> = []
      const tracer = Tracer.make({
        span: (options) => {
          spans.push(options.name)
          return new Tracer.NativeSpan(options)
        }
      })
      yield* Effect.exit(Effect.withTracer(call, tracer))
      assert.include(spans, name)
    }).pipe(Effect.scoped, Effect.provide(MicrosandboxMemory.layer(), { local: true }))
  )
})
