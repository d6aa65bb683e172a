/**
 * Stands in for a microVM: the SDK starts this program instead of its own, and it runs commands on this machine.
 *
 * It does what the runtime does when a sandbox starts: reports its process id, adds its row to the database, and
 * listens on the socket of the sandbox. There it speaks the protocol of the agent in a guest, as far as commands, their
 * output and signals, and files go: output in pieces of 4 KiB, -1 for every signal, `SIGKILL` for the commands of a
 * client that is gone.
 *
 * Builds and sweeps clear what they take for a guest of their own: they kill all of its processes and empty its memory
 * file systems. So this runs only {@link programs} that change nothing, as nobody if it can, and serves files from a
 * folder of its own.
 */
import * as Cbor from "cborg"
import * as ChildProcess from "node:child_process"
import * as Fs from "node:fs"
import * as Net from "node:net"
import * as Path from "node:path"
import { DatabaseSync } from "node:sqlite"
import { parseArgs } from "node:util"

type Payload = { readonly [key: string]: unknown }

const isPayload = (u: unknown): u is Payload => typeof u === "object" && u !== null
const asPayload = (u: unknown): Payload => (isPayload(u) ? u : {})
const text = (u: unknown): string | undefined => (typeof u === "string" ? u : undefined)
const texts = (u: unknown): ReadonlyArray<string> => (Array.isArray(u) ? u.map(String) : [])
const count = (u: unknown): number => Number(u ?? 0)

// Frames: length, id, flags, and a body whose payload is encoded on its own.

const headerBytes = 9
const generation = 7

/** In the agent's order, with the payload at the end: a map of three entries. */
const encode = (id: number, type: string, payload: Payload, isLast = false): Buffer => {
  const entries = ["v", generation, "t", type, "p", Cbor.encode(payload)]
  const body = Buffer.concat([Buffer.of(0xa3), ...entries.map((entry) => Cbor.encode(entry))])
  const frame = Buffer.alloc(headerBytes + body.length)
  frame.writeUInt32BE(5 + body.length, 0)
  frame.writeUInt32BE(id, 4)
  frame.writeUInt8(isLast ? 1 : 0, 8)
  frame.set(body, headerBytes)
  return frame
}

/** The agent reads this much output at a time. */
const pieceBytes = 4096

/** What precedes the data of a frame, which comes last: all but the id is the same for data of the same length. */
const prefixes = new Map<string, Buffer>()

const prefixOf = (type: string, length: number): Buffer => {
  const key = `${type} ${length}`
  const known = prefixes.get(key)
  if (known !== undefined) return known
  const prefix = encode(0, type, { data: new Uint8Array(length) }).subarray(0, -length)
  if (length === pieceBytes) prefixes.set(key, prefix)
  return prefix
}

/** Frames of output, written together. */
const encodeOutput = (id: number, type: string, data: Buffer): Buffer => {
  const lengths = Array.from({ length: Math.ceil(data.length / pieceBytes) }, (_, index) =>
    Math.min(pieceBytes, data.length - index * pieceBytes)
  )
  const frames = Buffer.allocUnsafe(
    lengths.reduce((total, length) => total + prefixOf(type, length).length + length, 0)
  )
  let [at, from] = [0, 0]
  for (const length of lengths) {
    const prefix = prefixOf(type, length)
    frames.set(prefix, at)
    frames.writeUInt32BE(id, at + 4)
    data.copy(frames, at + prefix.length, from, from + length)
    at += prefix.length + length
    from += length
  }
  return frames
}

/** The programs that may run. */
const programs = new Set(["cat", "dmesg", "echo", "false", "head", "sh", "sleep", "true"])

/** Programs that are said to have done their work. */
const pretended = new Set(["kill", "sync"])

const nobody = process.getuid?.() === 0 ? { uid: 65_534, gid: 65_534 } : {}

const config = asPayload(
  JSON.parse(Fs.readFileSync(Number(process.argv[process.argv.indexOf("--config-fd") + 1]), "utf8"))
)

// Files, opened by any client.

/** The root of what clients see, but for the processes of this machine. */
const root = Path.join(String(config["runtime_dir"]), "guest")
Fs.mkdirSync(Path.join(root, "proc"), { recursive: true })
Fs.writeFileSync(Path.join(root, "proc/mounts"), "")

const place = (path: unknown): string =>
  /^\/proc\/\d+$/.test(String(path)) ? String(path) : Path.join(root, Path.normalize(`/${String(path)}`))

const files = new Map<number, number>()
let nextHandle = 1

const kindOf = (stats: Fs.Stats): string =>
  stats.isFile() ? "file" : stats.isDirectory() ? "dir" : stats.isSymbolicLink() ? "symlink" : "other"

const seconds = (milliseconds: number): number => Math.floor(milliseconds / 1000)

const entryOf = (path: string, stats: Fs.Stats): Payload => ({
  path,
  kind: kindOf(stats),
  size: stats.size,
  mode: stats.mode,
  modified: seconds(stats.mtimeMs),
  uid: stats.uid,
  gid: stats.gid,
  atime: seconds(stats.atimeMs),
  mtime: seconds(stats.mtimeMs)
})

const flagsOf = (options: Payload): number => {
  const { O_APPEND, O_CREAT, O_EXCL, O_RDONLY, O_RDWR, O_TRUNC, O_WRONLY } = Fs.constants
  const writes = options["write"] === true || options["append"] === true
  return [
    options["read"] === true ? (writes ? O_RDWR : O_RDONLY) : O_WRONLY,
    options["append"] === true ? O_APPEND : 0,
    options["create"] === true ? O_CREAT : 0,
    options["create_new"] === true ? O_CREAT | O_EXCL : 0,
    options["truncate"] === true ? O_TRUNC : 0
  ].reduce((flags, flag) => flags | flag, 0)
}

const fileOf = ({ handle }: Payload): number => {
  const file = files.get(count(handle))
  if (file === undefined) throw new Error("no such handle (os error 9)")
  return file
}

const openFile = (file: number): Payload => {
  files.set(nextHandle, file)
  return { Handle: nextHandle++ }
}

/** Operations that answer at once. */
const operations: { readonly [name: string]: (op: Payload) => Payload | null } = {
  Stat: ({ follow_symlink, path }) => {
    const stats = follow_symlink === true ? Fs.statSync(place(path)) : Fs.lstatSync(place(path))
    return { Stat: entryOf(String(path), stats) }
  },
  FStat: (op) => ({ Stat: entryOf("", Fs.fstatSync(fileOf(op))) }),
  Mkdir: ({ path }) => {
    Fs.mkdirSync(place(path), { recursive: true })
    return null
  },
  Remove: ({ path }) => {
    Fs.unlinkSync(place(path))
    return null
  },
  OpenFile: ({ options, path }) => {
    const chosen = asPayload(options)
    return openFile(Fs.openSync(place(path), flagsOf(chosen), count(chosen["mode"] ?? 0o644)))
  },
  CloseHandle: (op) => {
    Fs.closeSync(fileOf(op))
    files.delete(count(op["handle"]))
    return null
  }
}

/** As Rust describes an error of the system. */
const describe = (error: unknown): string => {
  const { errno, message } = asPayload(error)
  return typeof errno === "number" ? `${String(message)} (os error ${-errno})` : String(message)
}

const fileChunkBytes = 3 * 1024 * 1024

/** A client, its commands, and the writes that it has begun. */
class Client {
  private readonly socket: Net.Socket
  private readonly commands = new Map<number, ChildProcess.ChildProcess>()
  private readonly writes = new Map<number, { readonly file: number; at: number }>()
  private received: Buffer = Buffer.alloc(0)

  constructor(socket: Net.Socket, firstId: number, endId: number, ready: Payload) {
    this.socket = socket
    const range = Buffer.alloc(8)
    range.writeUInt32BE(firstId, 0)
    range.writeUInt32BE(endId, 4)
    socket.write(Buffer.concat([range, encode(0, "core.ready", ready)]))
    socket.on("data", (bytes: Buffer) => this.onData(bytes))
    socket.on("error", () => {})
    socket.on("close", () => {
      for (const command of this.commands.values()) signalGroup(command, 9)
    })
    socket.on("drain", () => {
      for (const { stderr, stdout } of this.commands.values()) {
        stdout?.resume()
        stderr?.resume()
      }
    })
  }

  private onData(bytes: Buffer): void {
    this.received = this.received.length === 0 ? bytes : Buffer.concat([this.received, bytes])
    while (this.received.length >= 4) {
      const length = this.received.readUInt32BE(0)
      if (this.received.length < 4 + length) return
      const frame = this.received.subarray(0, 4 + length)
      this.received = this.received.subarray(4 + length)
      const { p, t } = asPayload(Cbor.decode(frame.subarray(headerBytes)))
      const payload = p instanceof Uint8Array && p.length > 0 ? asPayload(Cbor.decode(p)) : {}
      this.onMessage(frame.readUInt32BE(4), String(t), payload)
    }
  }

  private onMessage(id: number, type: string, payload: Payload): void {
    const command = this.commands.get(id)
    switch (type) {
      case "core.ping":
        return this.send(id, "core.pong", {}, true)
      case "core.touch":
        return this.send(id, "core.touched", {}, true)
      case "core.shutdown":
        return process.exit(0)
      case "core.exec.request":
        return this.execute(id, payload)
      case "core.exec.stdin": {
        const { data } = payload
        if (data instanceof Uint8Array && data.length > 0) command?.stdin?.write(data)
        else command?.stdin?.end()
        return
      }
      case "core.exec.signal":
        if (command !== undefined) signalGroup(command, count(payload["signal"]))
        return
      case "core.fs.request":
        return this.answer(id, asPayload(payload["op"]))
      case "core.fs.data":
        return this.receive(id, payload["data"])
    }
  }

  private send(id: number, type: string, payload: Payload, isLast = false): void {
    this.socket.write(encode(id, type, payload, isLast))
  }

  private execute(id: number, request: Payload): void {
    const program = Path.basename(String(request["cmd"]))
    if (pretended.has(program)) {
      this.send(id, "core.exec.started", { pid: process.pid })
      return this.send(id, "core.exec.exited", { code: 0 }, true)
    }
    if (!programs.has(program)) {
      const message = `the stand-in does not run ${program}`
      return this.send(id, "core.exec.failed", { kind: "not_found", message }, true)
    }
    const env = texts(request["env"]).map((variable) => {
      const end = variable.indexOf("=")
      return [variable.slice(0, end), variable.slice(end + 1)]
    })
    // As the agent does: a session of its own, whose process group gets the signals.
    const child = ChildProcess.spawn(String(request["cmd"]), texts(request["args"]), {
      cwd: text(request["cwd"]) ?? "/",
      env: { PATH: process.env["PATH"], HOME: "/root", ...Object.fromEntries(env) },
      stdio: ["pipe", "pipe", "pipe"],
      detached: true,
      ...nobody
    })
    this.commands.set(id, child)
    child.on("spawn", () => this.send(id, "core.exec.started", { pid: child.pid }))
    child.on("error", (error) => {
      if (child.pid !== undefined) return
      this.commands.delete(id)
      const failure = asPayload(error)
      const kind = failure["code"] === "ENOENT" ? "not_found" : "other"
      const named = { errno: -count(failure["errno"]), errno_name: failure["code"] }
      this.send(id, "core.exec.failed", { kind, message: describe(error), stage: "execvp", ...named }, true)
    })
    child.stdin.on("error", (error) => this.send(id, "core.exec.stdin.error", { message: describe(error) }))
    for (const name of ["stdout", "stderr"] as const) {
      child[name].on("data", (data: Buffer) => {
        if (!this.socket.write(encodeOutput(id, `core.exec.${name}`, data))) child[name].pause()
      })
    }
    child.on("close", (code) => {
      if (this.commands.delete(id)) this.send(id, "core.exec.exited", { code: code ?? -1 }, true)
    })
  }

  private answer(id: number, op: Payload): void {
    const [name = ""] = Object.keys(op)
    const options = asPayload(op[name])
    try {
      if (name === "Read") return this.read(id, options)
      if (name === "Write") {
        this.writes.set(id, { file: fileOf(options), at: count(options["offset"]) })
        return
      }
      const run = operations[name]
      if (run === undefined) throw new Error(`${name} is not supported (os error 95)`)
      this.send(id, "core.fs.response", { ok: true, error: null, data: run(options) }, true)
    } catch (error) {
      this.send(id, "core.fs.response", { ok: false, error: describe(error), data: null }, true)
    }
  }

  private read(id: number, options: Payload): void {
    const file = fileOf(options)
    const { len, offset } = options
    const end = len === null || len === undefined ? Infinity : count(offset) + count(len)
    for (let at = count(offset); at < end;) {
      const bytes = Buffer.alloc(Math.min(fileChunkBytes, end - at))
      const size = Fs.readSync(file, bytes, 0, bytes.length, at)
      if (size === 0) break
      this.send(id, "core.fs.data", { data: bytes.subarray(0, size) })
      at += size
    }
    this.send(id, "core.fs.response", { ok: true, error: null, data: null }, true)
  }

  private receive(id: number, data: unknown): void {
    const write = this.writes.get(id)
    if (write === undefined || !(data instanceof Uint8Array)) return
    if (data.length > 0) write.at += Fs.writeSync(write.file, data, 0, data.length, write.at)
    else if (this.writes.delete(id)) this.send(id, "core.fs.response", { ok: true, error: null, data: null }, true)
  }
}

const signalGroup = ({ pid }: ChildProcess.ChildProcess, signal: number): void => {
  if (pid === undefined) return
  try {
    process.kill(-pid, signal)
  } catch {
    // It has ended.
  }
}

// The start of a sandbox.

/** How many ids a client has, and how many clients there are. */
const [idsPerClient, maxClients] = [33_554_432, 127]

const { values } = parseArgs({
  strict: false,
  args: process.argv.slice(3),
  options: { "sandbox-id": { type: "string" }, "parent-watch-fd": { type: "string" } }
})

const socketPath = String(config["agent_sock"])

process.stdout.write(`${JSON.stringify({ pid: process.pid })}\n`)

const database = new DatabaseSync(String(config["db_path"]), { timeout: 5000 })
database
  .prepare("INSERT INTO run (sandbox_id, pid, status, started_at) VALUES (?, ?, 'Running', ?)")
  .run(Number(values["sandbox-id"]), process.pid, new Date().toISOString().replace("T", " ").replace("Z", ""))
database.close()

const ready: Payload = { boot_time_ns: 0, init_time_ns: 0, ready_time_ns: 1_000_000, agent_version: "stand-in" }
const slots = new Set<number>()

Fs.mkdirSync(Path.dirname(socketPath), { recursive: true })
Fs.rmSync(socketPath, { force: true })
Net.createServer((socket) => {
  let slot = 0
  while (slots.has(slot)) slot++
  if (slot >= maxClients) return socket.destroy()
  slots.add(slot)
  socket.on("close", () => slots.delete(slot))
  return new Client(socket, slot * idsPerClient + 1, (slot + 1) * idsPerClient, ready)
}).listen(socketPath)

// The owner holds the other end of this pipe while it lives.
if (values["parent-watch-fd"] !== undefined) {
  const watched = new Net.Socket({ fd: Number(values["parent-watch-fd"]) })
  watched.on("close", () => process.exit(0))
  watched.resume()
}
