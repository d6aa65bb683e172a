/**
 * The runtime's lease while it installs itself or first opens its database. A process killed meanwhile blocks all
 * others for half an hour.
 */
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Path from "node:path"
import type { LightboxError } from "../../../LightboxError.ts"
import { isCode } from "../../host/socket.ts"

export const isCause = ({ reason }: LightboxError): boolean =>
  reason._tag === "StoreBusy" && /install operation/.test(reason.problem)

const isGone = (pid: number): boolean => {
  try {
    process.kill(pid, 0)
    return false
  } catch (cause) {
    return isCode(cause, "ESRCH")
  }
}

/** Ends the lease if its holder is dead. */
export const release = (home: string): Effect.Effect<void> =>
  Effect.tryPromise(async () => {
    // Loaded on demand because Node.js 22 prints a warning.
    const { DatabaseSync } = await import("node:sqlite")
    const database = new DatabaseSync(Path.join(home, "db", "msb.db"), { timeout: 1000 })
    try {
      const lease = database
        .prepare("SELECT holder_pid, lease_expires_at FROM maintenance_lease WHERE name = 'install_exclusive'")
        .get()
      const pid = lease?.["holder_pid"]
      const expires = lease?.["lease_expires_at"]
      if (!Predicate.isNumber(pid) || expires === undefined || !isGone(pid)) return
      database
        .prepare(
          "UPDATE maintenance_lease SET holder_pid = NULL, lease_expires_at = '1970-01-01 00:00:00' " +
            "WHERE name = 'install_exclusive' AND holder_pid = ? AND lease_expires_at = ?"
        )
        .run(pid, expires)
    } finally {
      database.close()
    }
  }).pipe(Effect.ignore({ log: "Debug" }))
