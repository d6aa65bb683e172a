/** The adapters for agent frameworks on a real microVM. */
import { assert, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as ChildProcess from "effect/process/ChildProcess"
import { fileURLToPath } from "node:url"
import * as Support from "../microvm/support.ts"

const program = fileURLToPath(new URL("programs/adapters.ts", import.meta.url))

layer(Support.layer, { excludeTestServices: true })("the adapters for agent frameworks", (it) => {
  it.effect("work with one sandbox", () =>
    Effect.gen(function* () {
      const home = yield* Support.Home
      const command = ChildProcess.make(process.execPath, [program, Support.image], {
        cwd: home.files,
        stdin: "ignore",
        stderr: "inherit",
        env: { MSB_HOME: home.path },
        extendEnv: true
      })
      const ended = yield* Support.outcome(command)
      assert.deepStrictEqual(ended, { stdout: "all adapters agree\n", exitCode: 0 })
      yield* Support.assertNothingLeft()
    })
  )
})
