/** The programs of the README, as printed there, on real microVMs. */
import { assert, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Path from "effect/Path"
import * as Sources from "../package/sources.ts"
import * as Support from "./support.ts"

layer(Support.layer, { excludeTestServices: true })("the README", (it) => {
  it.effect("has programs that run as printed", () =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const path = yield* Path.Path
      const programs = Sources.examples().filter(({ isRun, path }) => isRun && path === "README.md")
      assert.isAtLeast(programs.length, 2)
      // Inside the package, where its name leads to what was built of it.
      const cache = path.join(Sources.root, ".cache")
      yield* fs.makeDirectory(cache, { recursive: true })
      const folder = yield* fs.makeTempDirectoryScoped({ directory: cache, prefix: "readme" })
      for (const { code, line } of programs) {
        const file = path.join(folder, `line-${line}.ts`)
        yield* fs.writeFileString(file, code)
        const { exitCode, stdout } = yield* Support.outcome(Support.script(file))
        assert.strictEqual(stdout, "Hello from a microVM, reader.\n", `the program at line ${line}`)
        assert.strictEqual(exitCode, 0)
        yield* Support.assertNothingLeft({ snapshots: ["greeter"] })
      }
    })
  )
})
