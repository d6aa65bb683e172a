/** What tests of all kinds share. */
import * as Effect from "effect/Effect"
import * as Fs from "node:fs"
import * as Net from "node:net"
import * as Os from "node:os"
import * as Path from "node:path"

/** Whether microVMs are emulated here: that transfers about a megabyte a second. */
export const isEmulated = process.env["LIGHTBOX_HOST"] === "emulated"

/** Runs what does not depend on the clock, such as the next piece of work on files. */
export const turn = Effect.promise(() => new Promise<void>((resolve) => setImmediate(resolve)))

const worksOnFiles = () => process.getActiveResourcesInfo().some((resource) => resource.startsWith("FSReq"))

/** Runs what does not depend on the clock, until no work on files is left that a clock could run ahead of. */
export const quiet = Effect.repeat(turn, { while: worksOnFiles })

/** A folder for the life of the scope. Holds sockets, whose paths must be short. */
export const temporary = Effect.acquireRelease(
  Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "t"))),
  (folder) => Effect.sync(() => Fs.rmSync(folder, { recursive: true, force: true }))
)

/** An unused TCP port of this host. */
export const freePort = Effect.callback<number>((resume) => {
  const server = Net.createServer()
  server.listen(0, "127.0.0.1", () => {
    const address = server.address()
    server.close(() => resume(Effect.succeed(typeof address === "object" ? (address?.port ?? 0) : 0)))
  })
})
