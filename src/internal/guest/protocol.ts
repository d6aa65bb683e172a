/**
 * The wire format of the runtime's relay and the guest's agent (generation 7): frames of `[length u32][id u32][flags
 * u8][CBOR {v, t, p}]` with big-endian integers, where the payload `p` is itself CBOR.
 *
 * The SDK documents its socket for other clients (`AgentClient.socketPath`). One connection of ours carries any number
 * of commands and file operations, can be closed, and reports the guest's errno. The SDK's own handles take one of 128
 * relay slots per command until garbage collection, hold one lock per sandbox, and drop start failures.
 */
import * as Predicate from "effect/Predicate"
import type { CommandNotStarted } from "../../LightboxError.ts"
import * as Cbor from "cborg"

export const generation = 7

/** The largest frame that relay and agent accept, without its length prefix. */
export const maxFrameBytes = 4 * 1024 * 1024

/** Payload bytes per frame, leaving room for the envelope. */
export const maxChunkBytes = 1024 * 1024

const headerBytes = 9

/** Flags required by the frame's type; the agent refuses frames without them. */
const flags = { terminal: 1, sessionStart: 2 } as const

const sessionStarts = new Set(["core.exec.request", "core.fs.request", "core.tcp.connect"])

export interface Message {
  readonly id: number
  readonly type: string
  readonly payload: Payload
  /** Whether it is the last message of its session. */
  readonly isLast: boolean
  readonly generation: number
}

export interface Payload {
  readonly [key: string]: unknown
}

const encodeOptions = { ignoreUndefinedProperties: true }

export const encode = (id: number, type: string, payload: Payload): Uint8Array => {
  const body = Cbor.encode({ v: generation, t: type, p: Cbor.encode(payload, encodeOptions) })
  const frame = new Uint8Array(headerBytes + body.length)
  const view = new DataView(frame.buffer)
  view.setUint32(0, 5 + body.length)
  view.setUint32(4, id)
  view.setUint8(8, sessionStarts.has(type) ? flags.sessionStart : 0)
  frame.set(body, headerBytes)
  return frame
}

/** Ample for the agent's largest answer, a page of 512 files. */
const maxValues = 65_536

const maxDepth = 16

/** Counts values before the decoder makes objects of them: four megabytes can hold four million empty maps. */
class BoundedTokenizer extends Cbor.Tokenizer {
  private count = 0
  /** How many values each open array or map still has. */
  private readonly open: Array<number> = []

  override next(): Cbor.Token {
    const token = super.next()
    const { type, value } = token
    if (++this.count > maxValues) throw new TypeError(`the relay sent a message of more than ${maxValues} values`)
    if (Cbor.Type.equals(type, Cbor.Type.break)) this.open.pop()
    else if (this.open.length > 0) this.open.push((this.open.pop() ?? 0) - 1)
    if (Cbor.Type.equals(type, Cbor.Type.array)) this.open.push(Number(value))
    else if (Cbor.Type.equals(type, Cbor.Type.map)) this.open.push(2 * Number(value))
    if (this.open.length > maxDepth) throw new TypeError(`the relay sent a message nested deeper than ${maxDepth}`)
    while (this.open.at(-1) === 0) this.open.pop()
    return token
  }
}

const decodeOptions = { allowIndefinite: true, allowUndefined: true, allowBigInt: true }

/** The tokenizer slices bytes: those of a `Buffer` become views, others copies. */
const decode = (bytes: Uint8Array): Payload =>
  asPayload(Cbor.decode(bytes, { tokenizer: new BoundedTokenizer(bytes, decodeOptions) }))

const decodeBody = (id: number, flagBits: number, body: Buffer): Message => {
  const { p, t: type, v } = decode(body)
  if (!Predicate.isString(type) || !(p instanceof Uint8Array) || !Predicate.isNumber(v)) {
    throw new TypeError("the relay sent a frame that is not a message")
  }
  return {
    id,
    type,
    payload: p.length === 0 ? {} : decode(new Uint8Array(p.buffer, p.byteOffset, p.byteLength)),
    isLast: (flagBits & flags.terminal) !== 0,
    generation: v
  }
}

const isPayload = (u: unknown): u is Payload => Predicate.isObject(u)

/** The fields of a value, if it has any. */
export const asPayload = (u: unknown): Payload => (isPayload(u) ? u : {})

/** A text of a message. */
export const textOf = (u: unknown): string | undefined => (Predicate.isString(u) ? u : undefined)

/** A number of a message. */
export const numberOf = (u: unknown): number | undefined =>
  typeof u === "number" ? u : typeof u === "bigint" ? Number(u) : undefined

/** What the agent calls the reasons for which a command did not start. */
export const startProblems: { readonly [kind in CommandNotStarted["kind"]]: string } = {
  ProgramNotFound: "not_found",
  PermissionDenied: "permission_denied",
  NotExecutable: "not_executable",
  BadWorkdir: "bad_cwd",
  BadArguments: "bad_args",
  ResourceLimit: "resource_limit",
  UnknownUser: "user_setup_failed",
  OutOfMemory: "out_of_memory",
  NoTerminal: "pty_setup_failed",
  Other: "other"
}

/** The relay's first message: the ids for this connection, and the agent's greeting. */
export interface Greeting {
  readonly firstId: number
  readonly endId: number
}

/**
 * Splits a byte stream into messages. Copies frames that span chunks, and the bytes in a message, which may be kept for
 * longer than the chunk that they came in.
 */
export class Decoder {
  private readonly chunks: Array<Buffer> = []
  private size = 0
  private greeting: Greeting | undefined

  /** Adds bytes and reports complete messages. Throws on invalid frames. */
  push(chunk: Uint8Array, onGreeting: (greeting: Greeting) => void, onMessage: (message: Message) => void): void {
    this.chunks.push(Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength))
    this.size += chunk.length
    if (this.greeting === undefined) {
      if (this.size < 8) return
      const head = this.take(8)
      this.greeting = { firstId: head.readUInt32BE(0), endId: head.readUInt32BE(4) }
      onGreeting(this.greeting)
    }
    while (this.size >= 4) {
      const length = this.peek(4).readUInt32BE(0)
      if (length < 5 || length > maxFrameBytes) throw new TypeError(`the relay sent a frame of ${length} bytes`)
      if (this.size < 4 + length) return
      const frame = this.take(4 + length)
      onMessage(decodeBody(frame.readUInt32BE(4), frame.readUInt8(8), frame.subarray(headerBytes)))
    }
  }

  private peek(count: number): Buffer {
    const first = this.chunks[0]
    if (first !== undefined && first.length >= count) return first
    const joined = Buffer.allocUnsafeSlow(count)
    let filled = 0
    for (const chunk of this.chunks) {
      filled += chunk.copy(joined, filled)
      if (filled === count) break
    }
    return joined
  }

  private take(count: number): Buffer {
    const bytes = this.peek(count).subarray(0, count)
    for (let rest = count; rest > 0;) {
      const first = this.chunks.shift()
      if (first === undefined) break
      if (first.length > rest) this.chunks.unshift(first.subarray(rest))
      rest -= first.length
    }
    this.size -= count
    return bytes
  }
}

export const concat = (
  chunks: ReadonlyArray<Uint8Array>,
  size = chunks.reduce((total, { length }) => total + length, 0)
): Uint8Array => {
  const only = chunks.length === 1 ? chunks[0] : undefined
  if (only !== undefined) return only
  const joined = new Uint8Array(size)
  let offset = 0
  for (const chunk of chunks) {
    joined.set(chunk, offset)
    offset += chunk.length
  }
  return joined
}
