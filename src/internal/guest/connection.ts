/** A connection to the relay of a running sandbox, shared by all its operations. */
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { Duplex } from "node:stream"
import { GuestBusy, GuestLost, InvalidConfig, LightboxError, NotRunning } from "../../LightboxError.ts"
import * as Protocol from "./protocol.ts"
import { timeLimit } from "../config/validation.ts"

/** A session: a command, a file operation or a TCP connection. */
export interface Session {
  readonly onMessage: (message: Protocol.Message) => void
  readonly onLost: (error: LightboxError) => void
}

export interface AgentConnection {
  /** Time from the start of the guest's kernel until the agent was ready. */
  readonly bootMillis: number
  /** Starts a session with a new id. Its last message removes it. */
  readonly open: (session: Session) => number
  /** Removes a session; later messages for it are dropped. */
  readonly close: (id: number) => void
  /** Sends a message, waiting for the relay's backpressure. */
  readonly send: (id: number, type: string, payload: Protocol.Payload) => Effect.Effect<void, LightboxError>
  /** Sends a message without waiting. Returns whether it is short enough to send, not whether it arrived. */
  readonly post: (id: number, type: string, payload: Protocol.Payload) => boolean
  /** Stops reading until `resume` was called as often as `pause`. */
  readonly pause: () => void
  /** Whether reading has stopped. */
  readonly isPaused: boolean
  readonly resume: () => void
  /** Completes when the connection is lost. */
  readonly lost: Effect.Effect<LightboxError>
}

export interface Channel extends Duplex {
  readonly ref: () => unknown
  readonly unref: () => unknown
}

export const make = Effect.fnUntraced(function* (options: {
  readonly name: string
  readonly open: () => Channel
  readonly timeout: Duration.Duration
}): Effect.fn.Return<AgentConnection, LightboxError, Scope.Scope> {
  const client = yield* Effect.acquireRelease(
    Effect.sync(() => new Client(options.name, options.open())),
    (client) => Effect.sync(() => client.destroy())
  )
  yield* Deferred.await(client.ready).pipe(
    timeLimit("Microsandbox.connect", `connecting to "${options.name}"`, options.timeout)
  )
  return client
})

class Client implements AgentConnection {
  readonly ready = Deferred.makeUnsafe<void, LightboxError>()
  bootMillis = 0

  private readonly name: string
  private readonly socket: Channel
  private readonly decoder = new Protocol.Decoder()
  private readonly sessions = new Map<number, Session>()
  private readonly gone = Deferred.makeUnsafe<LightboxError>()
  private loss: LightboxError | undefined
  private firstId = 0
  private endId = 0
  private nextId = 0
  private pauses = 0
  private waiting: Array<() => void> = []

  constructor(name: string, socket: Channel) {
    this.name = name
    this.socket = socket
    this.socket.on("data", (chunk) => this.onData(chunk))
    this.socket.on("drain", () => this.onDrain())
    this.socket.on("error", (error) => this.onGone(error))
    this.socket.on("close", () => this.onGone(undefined))
  }

  readonly lost: Effect.Effect<LightboxError> = Deferred.await(this.gone)

  open(session: Session): number {
    const id = this.claimId()
    if (this.loss !== undefined) {
      session.onLost(this.loss)
      return id
    }
    if (this.sessions.size === 0) this.socket.ref()
    this.sessions.set(id, session)
    return id
  }

  close(id: number): void {
    // An idle connection must not keep the process alive.
    if (this.sessions.delete(id) && this.sessions.size === 0) this.socket.unref()
  }

  send(id: number, type: string, payload: Protocol.Payload): Effect.Effect<void, LightboxError> {
    return Effect.callback<void, LightboxError>((resume) => {
      if (this.loss !== undefined) return resume(Effect.fail(this.loss))
      const frame = Protocol.encode(id, type, payload)
      if (isTooLong(frame)) return resume(Effect.fail(tooLong(frame.length)))
      if (this.write(frame)) return resume(Effect.void)
      const wake = () => resume(this.loss === undefined ? Effect.void : Effect.fail(this.loss))
      this.waiting.push(wake)
      return Effect.sync(() => {
        this.waiting = this.waiting.filter((other) => other !== wake)
      })
    })
  }

  post(id: number, type: string, payload: Protocol.Payload): boolean {
    if (this.loss !== undefined) return true
    const frame = Protocol.encode(id, type, payload)
    if (isTooLong(frame)) return false
    this.write(frame)
    return true
  }

  get isPaused(): boolean {
    return this.pauses > 0
  }

  pause(): void {
    if (this.pauses++ === 0) this.socket.pause()
  }

  resume(): void {
    if (--this.pauses === 0) this.socket.resume()
  }

  destroy(): void {
    this.onGone(undefined)
    // Sends the last messages, such as a request to end a command.
    this.socket.uncork()
    this.socket.destroy()
  }

  /** Sends all writes of one tick together: each system call wakes the relay and the guest. */
  private write(frame: Uint8Array): boolean {
    if (this.socket.writableCorked === 0) {
      this.socket.cork()
      queueMicrotask(() => this.socket.uncork())
    }
    return this.socket.write(frame)
  }

  private claimId(): number {
    do {
      this.nextId = this.nextId + 1 < this.endId ? this.nextId + 1 : this.firstId
    } while (this.sessions.has(this.nextId))
    return this.nextId
  }

  private onData(chunk: Uint8Array): void {
    try {
      this.decoder.push(
        chunk,
        ({ endId, firstId }) => {
          this.firstId = firstId
          this.endId = endId
          this.nextId = firstId - 1
        },
        (message) => this.onMessage(message)
      )
    } catch (cause) {
      this.onGone(cause)
      this.socket.destroy()
    }
  }

  private onMessage(message: Protocol.Message): void {
    if (message.type === "core.ready") {
      const nanos = message.payload["ready_time_ns"]
      this.bootMillis = typeof nanos === "number" || typeof nanos === "bigint" ? Number(nanos) / 1_000_000 : 0
      this.socket.unref()
      Deferred.doneUnsafe(this.ready, Effect.void)
      return
    }
    const session = this.sessions.get(message.id)
    if (session === undefined) return
    if (message.isLast) this.close(message.id)
    session.onMessage(message)
  }

  private onDrain(): void {
    const waiting = this.waiting
    this.waiting = []
    for (const wake of waiting) wake()
  }

  private onGone(cause: unknown): void {
    if (this.loss !== undefined) return
    const problem = cause instanceof Error ? cause.message : "the connection to it closed"
    this.loss = new LightboxError({
      method: "Guest",
      reason: new GuestLost({ name: this.name, problem, ...(cause === undefined ? {} : { cause }) })
    })
    Deferred.doneUnsafe(this.ready, Effect.fail(this.refusal(cause)))
    Deferred.doneUnsafe(this.gone, Effect.succeed(this.loss))
    const sessions = [...this.sessions.values()]
    this.sessions.clear()
    for (const session of sessions) session.onLost(this.loss)
    this.onDrain()
  }

  /** A relay at its limit of connections accepts and closes; a missing one refuses. */
  private refusal(cause: unknown): LightboxError {
    return new LightboxError({
      method: "Microsandbox.connect",
      reason:
        cause === undefined
          ? new GuestBusy({ name: this.name, problem: "all of its connections are taken" })
          : new NotRunning({ name: this.name, cause })
    })
  }
}

/** The relay would close the connection, ending all sessions. */
const isTooLong = (frame: Uint8Array): boolean => frame.length > Protocol.maxFrameBytes

const tooLong = (length: number): LightboxError =>
  new LightboxError({
    method: "Guest",
    reason: new InvalidConfig({
      field: "command",
      problem: `expected at most ${Protocol.maxFrameBytes} bytes of arguments and variables, got ${length}`
    })
  })
