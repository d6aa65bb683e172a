import { assert, layer } from "@effect/vitest"
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Microsandbox from "../../src/Microsandbox.ts"
import * as MicrosandboxCloud from "../../src/MicrosandboxCloud.ts"
import * as MicrosandboxLocal from "../../src/MicrosandboxLocal.ts"

const local = Layer.unwrap(
  Effect.gen(function* () {
    const fs = yield* FileSystem.FileSystem
    process.env["MSB_BACKEND"] = "cloud"
    process.env["MSB_API_KEY"] = "msb_test_0123456789"
    process.env["MSB_API_URL"] = "http://127.0.0.1:1"
    return MicrosandboxLocal.layer({ home: yield* fs.makeTempDirectoryScoped({ prefix: "l" }) })
  })
)

layer(local.pipe(Layer.provideMerge(NodeServices.layer)), { excludeTestServices: true })("the local driver", (it) => {
  it.effect("uses this machine, whatever the environment says", () =>
    Effect.gen(function* () {
      const driver = yield* Microsandbox.Microsandbox
      assert.strictEqual(driver.backend, "local")
      assert.deepStrictEqual(yield* driver.listSandboxes(), [])
    })
  )

  it.effect("is the only backend of its process", () =>
    Effect.gen(function* () {
      const cloud = MicrosandboxCloud.layer({ apiKey: Redacted.make("key") })
      const error = yield* Effect.flip(Effect.scoped(Layer.build(cloud)))
      assert.strictEqual(error.reason._tag, "Unsupported")
    })
  )
})
