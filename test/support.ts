/** What tests of all kinds share. */
import * as Effect from "effect/Effect"
import * as Fs from "node:fs"
import * as Net from "node:net"
import * as Os from "node:os"
import * as Path from "node:path"

/** Whether microVMs are emulated here: that transfers about a megabyte a second. */
export const isEmulated = process.env["LIGHTBOX_HOST"] === "emulated"

const isReadingFiles = () => process.getActiveResourcesInfo().some((resource) => resource.startsWith("FSReq"))

/** Runs what does not depend on the clock. Work on files ends, so that a clock which is advanced in turns waits for it. */
export const turn = Effect.promise(async () => {
  do await new Promise<void>((resolve) => setImmediate(resolve))
  while (isReadingFiles())
})

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
