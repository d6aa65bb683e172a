/**
 * What the driver's models look like when they are printed and encoded.
 */
import { assert, describe, it } from "@effect/vitest"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Util from "node:util"
import * as Microsandbox from "../../src/Microsandbox.ts"
import * as MicrosandboxMemory from "../../src/MicrosandboxMemory.ts"
import * as Sandbox from "../../src/Sandbox.ts"
import * as Volume from "../../src/Volume.ts"

const json = <A, I>(schema: Schema.Codec<A, I>, value: A): string =>
  Schema.encodeSync(Schema.fromJsonString(Schema.toCodecJson(schema)))(value)

const roundTrip = <A, I>(schema: Schema.Codec<A, I>, value: A) => {
  const codec = Schema.fromJsonString(Schema.toCodecJson(schema))
  assert.deepStrictEqual(Schema.decodeSync(codec)(Schema.encodeSync(codec)(value)), value)
}

describe("models of the driver", () => {
  it.effect("survive a round trip through JSON", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const driver = yield* Microsandbox.Microsandbox
        yield* Volume.ensure("cache", { quota: "64M" })
        const sandbox = yield* Sandbox.launch({
          image: "busybox",
          ports: { 0: 80 },
          mounts: { "/c": { volume: "cache" } }
        })
        roundTrip(Microsandbox.SandboxInfo, yield* sandbox.info)
        roundTrip(Microsandbox.VolumeInfo, yield* Volume.get("cache"))
        roundTrip(Schema.Array(Microsandbox.ImageInfo), yield* driver.listImages())
        roundTrip(Microsandbox.ImageDetail, yield* driver.getImage("busybox"))
        roundTrip(Microsandbox.Metrics, yield* sandbox.metrics)
        roundTrip(Microsandbox.ModificationPlan, yield* sandbox.modify({ memory: "1G", dryRun: true }))
        assert.doesNotThrow(() => JSON.stringify([sandbox.ports]))
      })
    ).pipe(Effect.provide(MicrosandboxMemory.layer({ sweep: false })))
  )

  it.effect("show the text of a log entry", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const sandbox = yield* Sandbox.launch({ image: "busybox" })
        yield* sandbox.shell("echo hello")
        const [entry] = yield* Stream.runCollect(sandbox.logs({ sources: ["stdout"] }))
        assert.strictEqual(entry?.text, "hello\n")
        assert.include(Util.inspect(entry), "text: 'hello\\n'")
        assert.include(JSON.stringify(entry), '"text":"hello\\n"')
      })
    ).pipe(Effect.provide(MicrosandboxMemory.layer({ sweep: false })))
  )

  it("have a codec for a log entry", () => {
    const entry = new Microsandbox.LogEntry({
      timestamp: DateTime.makeUnsafe(0),
      source: "stderr",
      session: 1,
      bytes: new Uint8Array([255]),
      cursor: "1"
    })
    assert.include(json(Microsandbox.LogEntry, entry), '"bytes":"/w=="')
    roundTrip(Microsandbox.LogEntry, entry)
  })
})
