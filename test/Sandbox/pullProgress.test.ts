import { assert, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as MicrosandboxMemory from "../../src/MicrosandboxMemory.ts"
import * as Sandbox from "../../src/Sandbox.ts"

const image = "lightbox.test/busybox:1"

layer(MicrosandboxMemory.layer({ images: { [image]: {} } }))("the progress of a pull", (it) => {
  it.effect("continues when its listener throws or dies", () =>
    Effect.gen(function* () {
      const told: Array<string> = []
      const result = yield* Sandbox.run(
        {
          image,
          onPullProgress: ({ _tag }) => {
            told.push(_tag)
            if (_tag === "Resolved") throw new Error("not interested")
            return Effect.die("not interested")
          }
        },
        (sandbox) => sandbox.shell("echo launched")
      )
      assert.strictEqual(result.stdout, "launched\n")
      assert.deepStrictEqual(told, ["Resolving", "Resolved", "Downloading", "Unpacking", "Pulled"])
    })
  )
})
