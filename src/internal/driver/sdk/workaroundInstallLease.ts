/**
 * The runtime's lease while it installs itself or first opens its database. A process killed meanwhile blocks all
 * others for half an hour.
 */
import * as Effect from "effect/Effect"
import * as ChildProcess from "node:child_process"
import * as Path from "node:path"
import { promisify } from "node:util"
import type { LightboxError } from "../../../LightboxError.ts"

export const isCause = ({ reason }: LightboxError): boolean =>
  reason._tag === "StoreBusy" && /install operation/.test(reason.problem)

const script = `
const { DatabaseSync } = require("node:sqlite")
const isGone = (pid) => {
  try {
    process.kill(pid, 0)
    return false
  } catch (error) {
    return error.code === "ESRCH"
  }
}
const database = new DatabaseSync(process.argv[1], { timeout: 1000 })
const lease = database
  .prepare("SELECT holder_pid AS pid, lease_expires_at AS expires FROM maintenance_lease WHERE name = 'install_exclusive'")
  .get()
if (typeof lease?.pid === "number" && lease.expires !== undefined && isGone(lease.pid)) {
  database
    .prepare(
      "UPDATE maintenance_lease SET holder_pid = NULL, lease_expires_at = '1970-01-01 00:00:00' " +
        "WHERE name = 'install_exclusive' AND holder_pid = ? AND lease_expires_at = ?"
    )
    .run(lease.pid, lease.expires)
}
database.close()
`

/**
 * Ends the lease if its holder is dead. In a process of its own: two SQLite libraries in one process break each other's
 * locks. Does nothing in a compiled program, whose executable is not Node.js.
 */
export const release = (home: string): Effect.Effect<void> =>
  /^node(js)?$/.test(Path.basename(process.execPath))
    ? Effect.tryPromise(() =>
        promisify(ChildProcess.execFile)(process.execPath, ["--eval", script, Path.join(home, "db", "msb.db")])
      ).pipe(Effect.ignore({ log: "Debug" }))
    : Effect.void
