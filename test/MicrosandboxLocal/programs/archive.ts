/**
 * Saves a snapshot of the real SDK without a microVM: `archive.ts HOME FILE`. A stopped sandbox is put into the runtime's
 * database by a process of its own, as two SQLite libraries in one process break each other's locks.
 */
import { Sandbox, SandboxBuilder, Snapshot } from "microsandbox"
import * as ChildProcess from "node:child_process"
import * as Fs from "node:fs"
import * as Path from "node:path"

const [home = "", file = ""] = process.argv.slice(2)

const insert = `
const { DatabaseSync } = require("node:sqlite")
const database = new DatabaseSync(process.argv[1])
const now = new Date().toISOString().replace("T", " ").replace("Z", "")
database
  .prepare("INSERT INTO sandbox(name, config, status, created_at, updated_at, ephemeral) VALUES(?, ?, 'Stopped', ?, ?, 0)")
  .run("source", process.argv[2], now, now)
database.close()
`

const main = async (): Promise<void> => {
  Fs.mkdirSync(home, { recursive: true })
  process.env["MSB_HOME"] = home
  await Sandbox.list()
  const built: unknown = await new SandboxBuilder("source").image("base").build()
  const config: unknown = typeof built === "string" ? JSON.parse(built) : built
  const row = JSON.stringify({
    ...(typeof config === "object" ? config : {}),
    manifest_digest: `sha256:${"a".repeat(64)}`
  })
  ChildProcess.execFileSync(process.execPath, ["--eval", insert, Path.join(home, "db/msb.db"), row], {
    stdio: ["ignore", "ignore", "inherit"]
  })
  const folder = Path.join(home, "sandboxes/source")
  Fs.mkdirSync(folder, { recursive: true })
  Fs.writeFileSync(Path.join(folder, "upper.ext4"), Buffer.alloc(1024 * 1024, 7))
  await Snapshot.builder("saved").fromSandbox("source").recordIntegrity().create()
  await Snapshot.save("saved", file, { withImage: false })
  await Snapshot.remove("saved", { force: true })
}

main().catch((error: unknown) => {
  console.error(error)
  process.exit(1)
})
