/**
 * Works in a home on a file system of its own, and copies its block device wherever the driver is called to change
 * something, or a file has changed: `power.ts PART HOME FILES DEVICE CUTS EVERY`. A copy is what a power cut would leave.
 * While it is made, nothing of this process goes on.
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as ChildProcess from "node:child_process"
import * as FsSync from "node:fs"
import * as Module from "node:module"
import * as Path from "node:path"
import * as Microsandbox from "../../../src/Microsandbox.ts"
import * as MicrosandboxMemory from "../../../src/MicrosandboxMemory.ts"
import { around, isReading } from "../Calls.ts"
import { parts } from "../work.ts"

const [part = "", home = "", files = "", device = "", cuts = "", every = "1"] = process.argv.slice(2)

let places = 0

const cut = (what: string): void => {
  if (places++ % Number(every) !== 0) return
  const name = `${part}-${places} after ${what}`.replaceAll("/", "_")
  ChildProcess.execFileSync("cp", ["--sparse=always", device, Path.join(cuts, name)])
}

const changes = ["writeFile", "mkdir", "rename", "link", "symlink", "rm", "unlink", "utimes", "copyFile"] as const

for (const name of changes) {
  const original: unknown = FsSync.promises[name]
  if (typeof original !== "function") throw new Error(`there is no ${name}`)
  Object.assign(FsSync.promises, {
    [name]: async (path: unknown, ...rest: ReadonlyArray<unknown>) => {
      const result: unknown = await Reflect.apply(original, FsSync.promises, [path, ...rest])
      if (String(path).startsWith(home)) cut(`${name} ${Path.relative(home, String(path))}`)
      return result
    }
  })
}
Module.syncBuiltinESMExports()

const work = parts[part]
if (work === undefined) throw new Error(`there is no part ${part}`)

Effect.gen(function* () {
  const driver = yield* Microsandbox.Microsandbox
  const watched = around(driver, (operation, call) =>
    isReading(operation) ? call : Effect.tap(call, () => Effect.sync(() => cut(operation)))
  )
  yield* Effect.provideService(Effect.scoped(work("main", "plain", files)), Microsandbox.Microsandbox, watched)
})
  .pipe(Effect.provide(Layer.fresh(MicrosandboxMemory.layer({ home, memorySnapshots: true }))), Effect.runPromise)
  .then(
    () => cut("the end"),
    (error: unknown) => {
      console.error(error)
      process.exit(1)
    }
  )
