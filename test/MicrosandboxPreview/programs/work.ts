/** Does one thing with the memory of a sandbox for ever, until it is killed: `work.ts HOME SANDBOX capture|resume|fork` */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Microsandbox from "../../../src/Microsandbox.ts"
import * as MicrosandboxPreview from "../../../src/MicrosandboxPreview.ts"
import * as Ownership from "../../../src/Ownership.ts"
import { generate, instanceLabel } from "../../../src/internal/ownership/labels.ts"
import { runtime } from "../support.ts"

const [home = "", sandbox = "", what = "", snapshot = ""] = process.argv.slice(2)

const work = Effect.gen(function* () {
  const driver = yield* Microsandbox.Microsandbox
  const ownership = yield* Ownership.Ownership
  const memory = driver.memory ?? (yield* Effect.die(new Error("the driver has no memory")))
  const name = `killed-${what}`
  const token = yield* generate
  yield* Console.log("begins")
  if (what === "capture") {
    yield* ownership.note({ kind: "capture", token, name })
    yield* memory.captureMemory({ sandbox, name })
  } else {
    yield* ownership.note({ kind: "sandbox", token, name })
    const labels = { [instanceLabel]: token }
    if (what === "fork") {
      yield* memory.forkSandbox(yield* driver.getSandbox(sandbox), [{ name, labels }])
    } else {
      yield* driver.createSandbox({
        name,
        source: { _tag: "Snapshot", name: snapshot },
        config: {},
        labels,
        resume: "memory"
      })
    }
  }
  yield* Console.log("done")
  return yield* Effect.never
})

work.pipe(
  Effect.provide(MicrosandboxPreview.layer({ home, runtime, sweep: false, bootTimeout: "100 seconds" })),
  NodeRuntime.runMain
)
