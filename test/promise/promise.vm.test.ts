/** The Promise adapter on real microVMs, as users run it: under Node.js, imported and required, and under Bun. */
import { assert, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as ChildProcess from "effect/process/ChildProcess"
import * as Stream from "effect/Stream"
import { fileURLToPath } from "node:url"
import * as Volume from "../../src/Volume.ts"
import * as Support from "../microvm/support.ts"

const pathOf = (name: string): string => fileURLToPath(new URL(name, import.meta.url))

const node = process.execPath
const bun = pathOf("../../node_modules/.bin/bun")

/** Runs a program on the home of this file, in its folder for files. */
const start = Effect.fnUntraced(function* (runtime: string, name: string, ...args: ReadonlyArray<string>) {
  const home = yield* Support.Home
  return yield* ChildProcess.make(runtime, [pathOf(`programs/microvm/${name}`), ...args], {
    cwd: home.files,
    // What a program detached shares its process group, and must not end with it.
    detached: false,
    stdin: "ignore",
    stderr: "inherit",
    env: { MSB_HOME: home.path },
    extendEnv: true,
    killSignal: "SIGKILL"
  })
})

const nothingLeft = Support.assertNothingLeft({ snapshots: ["quick-start"] })

layer(Support.layer, { excludeTestServices: true })("the Promise adapter", (it) => {
  it.effect("builds, keeps the builder, runs and mounts under Node.js", () =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const { files } = yield* Support.Home
      yield* fs.makeDirectory(`${files}/project`)
      yield* fs.writeFileString(`${files}/project/from-the-host`, "from the host")
      const ended = yield* Support.outcome(start(node, "main.ts", Support.image))
      assert.deepStrictEqual(ended, { stdout: "done\n", exitCode: 0 })
      yield* nothingLeft
    })
  )

  it.effect("works with require, reuses the snapshot, and detaches a sandbox used under Bun", () =>
    Effect.gen(function* () {
      const detached = yield* Support.outcome(start(node, "detach.cjs", Support.image))
      assert.deepStrictEqual(detached, { stdout: "done\n", exitCode: 0 })

      const visitor = yield* start(bun, "visit.ts")
      const said = yield* visitor.stdout.pipe(
        Stream.decodeText(),
        // A line may arrive in any number of chunks.
        Stream.splitLines,
        Stream.tap((line) => (line === "ready" ? visitor.kill({ killSignal: "SIGTERM" }) : Effect.void)),
        Stream.runCollect
      )
      assert.deepStrictEqual([said, yield* visitor.exitCode], [["ready"], 143])
      yield* nothingLeft
      yield* Volume.remove("cache")
    }).pipe(Effect.scoped)
  )

  it.effect("has pools, metrics, logs, watches and folder copies", () =>
    Effect.gen(function* () {
      const ended = yield* Support.outcome(start(node, "everything.ts", Support.image))
      assert.deepStrictEqual(ended, { stdout: '["pooled",true,"create","copied",true] 1\n', exitCode: 0 })
      yield* nothingLeft
    })
  )

  it.effect("works beside the Effect library, also under Bun", () =>
    Effect.gen(function* () {
      const ended = yield* Support.outcome(start(bun, "effect.ts"))
      assert.deepStrictEqual(ended, { stdout: '["baked\\n","1\\n2\\n3\\n"]\n', exitCode: 0 })
      yield* nothingLeft
    })
  )
})
