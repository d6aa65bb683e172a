import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fs from "node:fs"
import { Cli, ending, failing, test } from "./support.ts"

test(
  "mcp names the wrong flag, variable or field before anything boots",
  Effect.gen(function* () {
    const { folder, requests } = yield* Cli
    const file = `${folder}/policy.json`
    Fs.writeFileSync(file, JSON.stringify({ image: "alpine", mounts: { "/work": "./nope" } }))
    const message = (...flags: ReadonlyArray<string>) =>
      Effect.map(failing(2, "mcp", ...flags), (failure) => failure.message)
    assert.match(yield* message(), /^Invalid --image: pass either an image or a snapshot/)
    assert.match(yield* message("--image", "alpine", "--snapshot", "a"), /^Invalid --image: /)
    assert.match(yield* message("--image", "alpine", "--http", "65536"), /^Invalid --http: /)
    assert.match(yield* message("--policy", file), /^Invalid --policy: mounts\.\/work: .*nope does not exist/)
    const missing = yield* failing(1, "mcp", "--snapshot", "nope")
    assert.match(missing.message, /There is no snapshot named "nope"/)
    yield* Effect.acquireUseRelease(
      Effect.sync(() => (process.env["LIGHTBOX_MCP_TOKEN"] = "short")),
      () =>
        Effect.gen(function* () {
          const { stderr } = yield* ending(2)("mcp", "--image", "alpine", "--http", "0")
          assert.match(stderr, /Invalid LIGHTBOX_MCP_TOKEN: expected at least 16 characters/)
          // It is a secret.
          assert.notInclude(stderr, "short")
        }),
      () => Effect.sync(() => delete process.env["LIGHTBOX_MCP_TOKEN"])
    )
    assert.deepStrictEqual(requests, [])
  })
)
