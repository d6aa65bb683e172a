/**
 * A client that starts a server, begins a long call, and waits to be killed. Prints `ready` when the call runs.
 *
 * node test/internal/mcp/programs/client.ts FILE
 */
import * as ChildProcess from "node:child_process"
import * as Fs from "node:fs"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"

const [file = ""] = process.argv.slice(2)

const server = ChildProcess.spawn(
  process.execPath,
  [fileURLToPath(new URL("server.ts", import.meta.url)), file, "--image", "busybox"],
  { stdio: ["pipe", "pipe", "inherit"] }
)

const send = (message: object): void => void server.stdin.write(`${JSON.stringify({ jsonrpc: "2.0", ...message })}\n`)

createInterface(server.stdout).on("line", (line) => {
  // Standard output has nothing but the protocol.
  const { id } = JSON.parse(line)
  if (id === 1) {
    send({ method: "notifications/initialized" })
    send({ id: 2, method: "tools/call", params: { name: "run", arguments: { script: "echo up", wait: 0 } } })
  }
  if (id !== 2) return
  send({ id: 3, method: "tools/call", params: { name: "run", arguments: { script: "sleep 1000", wait: 50 } } })
  Fs.writeSync(1, "ready\n")
})

send({
  id: 1,
  method: "initialize",
  params: { protocolVersion: "2025-11-25", capabilities: {}, clientInfo: { name: "client", version: "1" } }
})
