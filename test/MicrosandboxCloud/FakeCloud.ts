/**
 * The hosted service in small, on a port of this machine: what the SDK asks of it over HTTP, and a guest's agent behind
 * the WebSocket.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Crypto from "node:crypto"
import * as Http from "node:http"
import type { AddressInfo } from "node:net"
import type { Duplex } from "node:stream"
import * as Protocol from "../../src/internal/guest/protocol.ts"

/** What was asked. */
export interface Request {
  readonly method: string
  readonly path: string
  readonly query: URLSearchParams
  readonly authorization: string | undefined
  readonly body: string
}

interface Answer {
  readonly status: number
  readonly body: object
}

export interface FakeCloud {
  readonly url: string
  readonly requests: ReadonlyArray<Request>
  /** The names of all sandboxes. */
  readonly sandboxes: () => ReadonlyArray<string>
  /** The messages to the agents, such as `"core.exec.signal {"signal":9}"`. */
  readonly messages: ReadonlyArray<string>
  /** Answers the next request with a failure. */
  readonly failNext: (status: number, code: string) => void
  /** Delays the answers to creations until the promise settles. */
  holdUp: Promise<void>
  /** Ends the connections to all guests. */
  readonly disconnect: () => void
}

interface Sandbox {
  readonly id: string
  readonly name: string
  readonly slug: string
  readonly org_id: string
  status: string
  readonly spec: { readonly labels?: { readonly [key: string]: string } }
  readonly ephemeral: boolean
  readonly created_at: string
}

const failure = (status: number, code: string): Answer => ({
  status,
  body: { error: { code, message: `the service says ${code}` } }
})

const isLabelled = ({ spec }: Sandbox, labels: string | null): boolean => {
  const wanted: { readonly [key: string]: string } = JSON.parse(labels ?? "{}")
  return Object.entries(wanted).every(([key, value]) => spec.labels?.[key] === value)
}

/** Starts a service that ends with the scope. */
export const make: Effect.Effect<FakeCloud, never, Scope.Scope> = Effect.gen(function* () {
  const requests: Array<Request> = []
  const messages: Array<string> = []
  const sandboxes = new Map<string, Sandbox>()
  const sockets = new Set<Duplex>()
  let next: Answer | undefined

  const create = async (body: string): Promise<Answer> => {
    const spec: Sandbox["spec"] & { readonly name: string } = JSON.parse(body)
    if (sandboxes.has(spec.name)) return failure(409, "name_already_exists")
    const sandbox: Sandbox = {
      id: `id-of-${spec.name}`,
      name: spec.name,
      slug: spec.name,
      org_id: "organization",
      status: "running",
      spec,
      ephemeral: false,
      created_at: new Date(0).toISOString()
    }
    await cloud.holdUp
    sandboxes.set(spec.name, sandbox)
    return { status: 201, body: sandbox }
  }

  const answer = async ({ body, method, path, query }: Request): Promise<Answer> => {
    if (next !== undefined) {
      const answer = next
      next = undefined
      return answer
    }
    if (path === "/v1/sandboxes") {
      return method === "POST"
        ? create(body)
        : {
            status: 200,
            body: { data: [...sandboxes.values()].filter((one) => isLabelled(one, query.get("labels"))) }
          }
    }
    const [, by, key, verb] = /^\/v1\/sandboxes\/(by-name\/)?([^/]+)(?:\/(\w+))?$/.exec(path) ?? []
    const sandbox = [...sandboxes.values()].find(({ id, name }) => (by === undefined ? id : name) === key)
    if (sandbox === undefined) return failure(404, "sandbox_not_found")
    if (method === "DELETE") {
      sandboxes.delete(sandbox.name)
      return { status: 200, body: { message: "removed" } }
    }
    if (verb === "stop") sandbox.status = "stopped"
    if (verb === "start") sandbox.status = "running"
    return { status: 200, body: sandbox }
  }

  const received = (request: Http.IncomingMessage, body: string): Request => {
    const { pathname, searchParams } = new URL(request.url ?? "/", "http://localhost")
    const { method = "", headers } = request
    return { method, path: pathname, query: searchParams, authorization: headers.authorization, body }
  }

  const server = Http.createServer((message, response) => {
    const chunks: Array<Uint8Array> = []
    message.on("data", (chunk: Uint8Array) => chunks.push(chunk))
    message.on("end", async () => {
      const request = received(message, Buffer.concat(chunks).toString())
      requests.push(request)
      const { body, status } = await answer(request)
      response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body))
    })
  })
  server.on("upgrade", (message: Http.IncomingMessage, socket: Duplex) => {
    requests.push(received(message, ""))
    sockets.add(socket)
    socket.on("close", () => sockets.delete(socket))
    socket.on("error", () => socket.destroy())
    const key = `${message.headers["sec-websocket-key"]}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`
    socket.write(
      "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
        `Sec-WebSocket-Accept: ${Crypto.hash("sha1", key, "base64")}\r\n\r\n`
    )
    runAgent(socket, messages)
  })
  yield* Effect.acquireRelease(
    Effect.callback<void>((resume) => {
      server.listen(0, "127.0.0.1", () => resume(Effect.void))
    }),
    () =>
      Effect.sync(() => {
        for (const socket of sockets) socket.destroy()
        server.closeAllConnections()
        server.close()
      })
  )
  const address = server.address()
  const port = isAddress(address) ? address.port : 0
  const cloud: FakeCloud = {
    url: `http://127.0.0.1:${port}`,
    requests,
    messages,
    sandboxes: () => [...sandboxes.keys()],
    failNext: (status, code) => {
      next = failure(status, code)
    },
    holdUp: Promise.resolve(),
    disconnect: () => {
      for (const socket of sockets) socket.destroy()
    }
  }
  return cloud
})

const isAddress = (address: AddressInfo | string | null): address is AddressInfo =>
  typeof address === "object" && address !== null

// =============================================================================
// The agent
// =============================================================================

/** An agent whose programs are `echo`, `cat`, and `sleep`, which ends by a signal only; and who has no files. */
const runAgent = (socket: Duplex, messages: Array<string>): void => {
  const send = (id: number, type: string, payload: Protocol.Payload, isLast = false): void => {
    const frame = Protocol.encode(id, type, payload)
    if (isLast) frame[8] = 1
    socket.write(webSocketFrame(frame))
  }
  const exit = (id: number, code: number) => send(id, "core.exec.exited", { code }, true)
  const onMessage = ({ id, payload, type }: Protocol.Message): void => {
    const { data, ...rest } = payload
    messages.push(`${type} ${JSON.stringify(data instanceof Uint8Array ? { bytes: data.length } : rest)}`)
    switch (type) {
      case "core.exec.request": {
        const { args, cmd } = payload
        if (cmd === "missing") {
          send(id, "core.exec.failed", { kind: "not_found", errno: 2, message: "No such file or directory" }, true)
          return
        }
        send(id, "core.exec.started", { pid: 7 })
        if (cmd === "echo") {
          send(id, "core.exec.stdout", { data: Buffer.from(`${Array.isArray(args) ? args.join(" ") : ""}\n`) })
          exit(id, 0)
        }
        return
      }
      case "core.exec.stdin": {
        if (!(data instanceof Uint8Array)) return
        if (data.length === 0) exit(id, 0)
        else send(id, "core.exec.stdout", { data })
        return
      }
      case "core.exec.signal": {
        exit(id, -1)
        return
      }
      case "core.fs.request": {
        send(id, "core.fs.response", { ok: false, error: "No such file or directory (os error 2)" }, true)
      }
    }
  }

  const ids = new Uint8Array(8)
  new DataView(ids.buffer).setUint32(0, 1)
  new DataView(ids.buffer).setUint32(4, 1_000_000)
  socket.write(webSocketFrame(ids))
  send(0, "core.ready", { ready_time_ns: 5_000_000 })

  const decoder = new Protocol.Decoder()
  // What it expects first is for clients.
  decoder.push(
    ids,
    () => undefined,
    () => undefined
  )
  let received = Buffer.alloc(0)
  socket.on("data", (chunk: Uint8Array) => {
    received = Buffer.concat([received, chunk])
    for (let frame = unframe(received); frame !== undefined; frame = unframe(received)) {
      received = received.subarray(frame.end)
      if (frame.opcode === opcodes.close) socket.end()
      else if (frame.opcode === opcodes.binary) decoder.push(frame.payload, () => undefined, onMessage)
    }
  })
}

// =============================================================================
// WebSocket frames
// =============================================================================

const opcodes = { binary: 2, close: 8 } as const

const webSocketFrame = (payload: Uint8Array): Uint8Array => {
  const head = Buffer.alloc(10)
  head[0] = 0x80 | opcodes.binary
  head[1] = 127
  head.writeBigUInt64BE(BigInt(payload.length), 2)
  return Buffer.concat([head, payload])
}

/** The first frame of a client's bytes, if it is complete. */
const unframe = (
  bytes: Buffer
): { readonly opcode: number; readonly payload: Uint8Array; readonly end: number } | undefined => {
  if (bytes.length < 2) return undefined
  const short = bytes.readUInt8(1) & 0x7f
  const lengthBytes = short === 127 ? 8 : short === 126 ? 2 : 0
  const start = 2 + lengthBytes + 4
  if (bytes.length < start) return undefined
  const length = short === 127 ? Number(bytes.readBigUInt64BE(2)) : short === 126 ? bytes.readUInt16BE(2) : short
  if (bytes.length < start + length) return undefined
  const payload = new Uint8Array(length)
  for (let index = 0; index < length; index++) {
    payload[index] = bytes.readUInt8(start + index) ^ bytes.readUInt8(start - 4 + (index % 4))
  }
  return { opcode: bytes.readUInt8(0) & 0x0f, payload, end: start + length }
}
