/** Loads a snapshot, and is killed between the SDK's work and the move to its name: `loadKilled.ts HOME FILE`. */
import * as Effect from "effect/Effect"
import * as FsSync from "node:fs"
import * as Module from "node:module"
import * as MicrosandboxLocal from "../../../src/MicrosandboxLocal.ts"
import * as Snapshot from "../../../src/Snapshot.ts"

const [home = "", file = ""] = process.argv.slice(2)

const { rename } = FsSync.promises
Object.assign(FsSync.promises, {
  rename: (from: string, to: string) => {
    if (to.includes(".loaded-")) process.kill(process.pid, "SIGKILL")
    return rename(from, to)
  }
})
Module.syncBuiltinESMExports()

void Snapshot.load(file, { name: "copy" }).pipe(Effect.provide(MicrosandboxLocal.layer({ home })), Effect.runPromise)
