/** What a forced build leaves for later builds. */
import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as MicrosandboxMemory from "../../src/MicrosandboxMemory.ts"
import * as Snapshot from "../../src/Snapshot.ts"

const version = (name: string) => Snapshot.make("app", "plain").pipe(Snapshot.shell(`echo ${name} > /root/version`))

it.effect("a forced result that was removed with its generation is built again", () =>
  Effect.gen(function* () {
    yield* Snapshot.build(version("one"))
    const forced = yield* Snapshot.build(version("one"), { force: true, keep: 1 })
    yield* Snapshot.build(version("two"), { keep: 1 })
    const again = yield* Snapshot.build(version("one"), { keep: 1 })
    assert.notStrictEqual(again.key, forced.key)
    assert.strictEqual((yield* Snapshot.build(version("one"))).stepsRun, 0)
  }).pipe(Effect.provide(MicrosandboxMemory.layer()))
)
