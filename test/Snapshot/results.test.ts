/** Results that a program gets: they print, compare and encode. */
import { assert, describe, it } from "@effect/vitest"
import * as Arbitrary from "effect/Arbitrary"
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Util from "node:util"
import { BuildEvent } from "../../src/BuildEvent.ts"
import * as Cleanup from "../../src/Cleanup.ts"
import * as Plan from "../../src/Plan.ts"
import * as Sandbox from "../../src/Sandbox.ts"
import * as Snapshot from "../../src/Snapshot.ts"
import * as Support from "./support.ts"

const { test } = Support

const schemas = {
  Snapshot: Snapshot.Snapshot,
  Generation: Snapshot.Generation,
  Plan: Plan.Plan,
  Report: Cleanup.Report
}

const comesBackWhole = <A, I>(schema: Schema.Codec<A, I>, value: A) =>
  Effect.gen(function* () {
    const codec = Schema.toCodecJson(schema)
    const text = JSON.stringify(yield* Schema.encodeEffect(codec)(value))
    const read: unknown = JSON.parse(text)
    // After a key that is one backslash, V8 13.6 reads every escaped key as one: that is not for us to mend.
    if (JSON.stringify(read) === text) {
      assert.isTrue(Equal.equals(yield* Schema.decodeUnknownEffect(codec)(read), value), text)
    }
  })

describe("a result", () => {
  for (const [name, schema] of Object.entries<Schema.Codec<unknown, unknown>>(schemas)) {
    it.effect.prop(
      `survives a round trip through JSON: ${name}`,
      { value: Arbitrary.schema(schema) },
      ({ value }) => comesBackWhole(schema, value),
      { arbitrary: { runs: 100 } }
    )
  }

  // A span is whole milliseconds: these are drawn from what is encoded.
  it.effect.prop(
    "survives a round trip through JSON: Built",
    { json: Arbitrary.schema(Schema.toType(Schema.toEncoded(Snapshot.Built))) },
    ({ json }) =>
      Effect.flatMap(Schema.decodeEffect(Snapshot.Built)(json), (built) => comesBackWhole(Snapshot.Built, built)),
    { arbitrary: { runs: 100 } }
  )

  it.effect.prop(
    "survives a round trip through JSON: BuildEvent",
    { json: Arbitrary.schema(Schema.toEncoded(BuildEvent)) },
    ({ json }) => Effect.flatMap(Schema.decodeEffect(BuildEvent)(json), (event) => comesBackWhole(BuildEvent, event)),
    { arbitrary: { runs: 100 } }
  )

  test(
    "of a build encodes with JSON.stringify as its schema does",
    Effect.gen(function* () {
      const built = yield* Snapshot.build(Support.tenSteps("ten"))
      const read = yield* Schema.decodeUnknownEffect(Schema.toCodecJson(Snapshot.Built))(
        JSON.parse(JSON.stringify(built))
      )
      assert.isTrue(Equal.equals(read, built))
      assert.deepInclude(JSON.parse(JSON.stringify(built)), {
        name: "ten",
        stepsRun: 10,
        durationMillis: Duration.toMillis(built.duration),
        createdAt: DateTime.formatIso(built.createdAt)
      })
      const [listed] = yield* Snapshot.list()
      assert.strictEqual(JSON.parse(JSON.stringify(listed)).digest, built.digest)
      assert.strictEqual(typeof built.size, "number")
    })
  )

  test(
    "prints in a readable form",
    Effect.gen(function* () {
      const definition = Support.tenSteps("ten")
      const plan = yield* Snapshot.plan(definition)
      assert.strictEqual(Util.inspect(plan), Plan.format(plan))
      const built = Util.inspect(yield* definition.pipe(Snapshot.build({ keep: 1 })))
      assert.match(built, /name: 'ten'/)
      assert.match(built, /stepsRun: 10/)
      const report = yield* Snapshot.prune({ dryRun: true })
      assert.match(Util.inspect(report), /resource: 'snapshot'/)
      assert.strictEqual(report.freedBytes, JSON.parse(JSON.stringify(report)).freedBytes)
    })
  )
})

describe("a definition", () => {
  class Greeting extends Context.Service<Greeting, string>()("effect-lightbox/test/Snapshot/results.test/Greeting") {}

  test(
    "gets the services that its steps, its base and its verification need",
    Effect.gen(function* () {
      const said: Array<string> = []
      const say = () => Effect.map(Greeting, (greeting) => said.push(greeting))
      const base = Snapshot.make("base", Support.image).pipe(Snapshot.step("base", say))
      yield* Snapshot.from("top", base).pipe(
        Snapshot.step("top", say),
        Snapshot.verify(say),
        Snapshot.provide(Layer.succeed(Greeting, "hello")),
        Snapshot.build
      )
      assert.deepStrictEqual(said, ["hello", "hello", "hello"])
    })
  )

  test(
    "cannot be launched, and the error says to build it first",
    Effect.gen(function* () {
      const snapshot: unknown = Support.tenSteps("ten")
      const options: Sandbox.LaunchOptions = JSON.parse("{}")
      const error = yield* Effect.flip(Effect.scoped(Sandbox.launch(Object.assign(options, { snapshot }))))
      assert.match(error.message, /this is a definition: pass Snapshot\.build\(definition\)/)
    })
  )
})
