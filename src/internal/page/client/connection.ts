/**
 * The connection to the server: one WebSocket that speaks Effect's RPC protocol. When it breaks, it is opened again, and what
 * is followed is followed again.
 */
import type * as Rpc from "effect/rpc/Rpc"
import type * as RpcGroup from "effect/rpc/RpcGroup"
import type { operations, Problem } from "../protocol.ts"
import { keyName, paths, subprotocol } from "./names.ts"

type Operations = RpcGroup.Rpcs<typeof operations>
type Operation<Tag extends Operations["_tag"]> = Rpc.ExtractTag<Operations, Tag>

/** The names of all operations. */
export type Tag = Operations["_tag"]
export type Payload<T extends Tag> = Rpc.Payload<Operation<T>>
/** What a stream carries, or what a question is answered with. */
export type Value<T extends Tag> = [Rpc.SuccessChunk<Operation<T>>] extends [never]
  ? Rpc.Success<Operation<T>>
  : Rpc.SuccessChunk<Operation<T>>

interface Call {
  readonly tag: string
  readonly payload: unknown
  /** Follow again after a break. */
  readonly isLasting: boolean
  readonly onRestart: () => void
  readonly onValues: (values: ReadonlyArray<never>) => void
  readonly onEnd: (value: never) => void
  readonly onProblem: (problem: Problem) => void
}

/** The server encodes values by the schemas whose types are used here: they fit wherever they are expected. */
interface Message {
  readonly _tag: string
  readonly requestId?: string
  readonly values?: ReadonlyArray<never>
  readonly exit?: {
    readonly _tag: "Success" | "Failure"
    readonly value: never
    readonly cause?: ReadonlyArray<{ readonly _tag: string; readonly error?: Problem; readonly defect?: unknown }>
  }
}

export type State = "connecting" | "open" | "lost"

const lost: Problem = { problem: "The connection was lost.", reason: "Lost" }

/** Milliseconds until the next try, which become more. */
const delays = [250, 500, 1000, 2000, 5000]

/** A server that does not answer for so long is gone, such as one behind a machine that slept. */
const pingMillis = 20_000

let socket: WebSocket | undefined
let tries = 0
let next = 0
let isAnswered = true
const calls = new Map<string, Call>()
const listeners = new Set<(state: State) => void>()
let state: State = "connecting"

/** Calls a function with the state, now and when it changes. Returns how to stop. */
export const onState = (listener: (state: State) => void): (() => void) => {
  listeners.add(listener)
  listener(state)
  return () => listeners.delete(listener)
}

const setState = (changed: State): void => {
  state = changed
  for (const listener of listeners) listener(changed)
}

const send = (message: object): void => {
  if (socket?.readyState === WebSocket.OPEN) socket.send(`${JSON.stringify(message)}\n`)
}

const ask = (id: string, { payload, tag }: Call): void =>
  send({ _tag: "Request", id, tag, payload: payload ?? null, headers: [] })

const problemIn = (exit: NonNullable<Message["exit"]>): Problem => {
  for (const { _tag, defect, error } of exit.cause ?? []) {
    if (error !== undefined) return error
    if (_tag === "Die") {
      const text = typeof defect === "string" ? defect : JSON.stringify(defect)
      return { problem: `The server failed: ${text}`, reason: "Defect" }
    }
  }
  return lost
}

const onMessage = (message: Message): void => {
  isAnswered = true
  const id = String(message.requestId)
  const call = calls.get(id)
  if (call === undefined) return
  if (message._tag === "Chunk") {
    call.onValues(message.values ?? [])
    // The server sends the next part when this one was taken.
    send({ _tag: "Ack", requestId: id })
  } else if (message._tag === "Exit" && message.exit !== undefined) {
    calls.delete(id)
    if (message.exit._tag === "Success") call.onEnd(message.exit.value)
    else call.onProblem(problemIn(message.exit))
  }
}

/** Opens the connection. */
export const open = (): void => {
  const key = localStorage.getItem(keyName) ?? ""
  const opened = new WebSocket(`ws://${location.host}${paths.stream}`, [subprotocol, `${subprotocol}.${key}`])
  socket = opened
  opened.addEventListener("open", () => {
    tries = 0
    isAnswered = true
    for (const [id, call] of calls) {
      call.onRestart()
      ask(id, call)
    }
    // Whoever listens asks more.
    setState("open")
  })
  opened.addEventListener("message", ({ data }) => {
    for (const line of String(data).split("\n")) {
      if (line !== "") onMessage(JSON.parse(line))
    }
  })
  opened.addEventListener("close", () => {
    if (socket !== opened) return
    socket = undefined
    setState("lost")
    for (const [id, call] of calls) {
      if (call.isLasting) continue
      calls.delete(id)
      call.onProblem(lost)
    }
    setTimeout(open, delays[Math.min(tries++, delays.length - 1)])
  })
}

setInterval(() => {
  if (!isAnswered) socket?.close()
  isAnswered = false
  send({ _tag: "Ping" })
}, pingMillis)

const start = (call: Call): (() => void) => {
  const id = String(next++)
  calls.set(id, call)
  ask(id, call)
  return () => {
    if (calls.delete(id)) send({ _tag: "Interrupt", requestId: id })
  }
}

/** Follows a stream until the returned function is called. `onRestart`: all values come once more. */
export const follow = <T extends Tag>(
  tag: T,
  payload: Payload<T>,
  on: {
    readonly values: (values: ReadonlyArray<Value<T>>) => void
    readonly restart?: () => void
    readonly end?: () => void
    readonly problem?: (problem: Problem) => void
    /** Default: `true`. */
    readonly isLasting?: boolean
  }
): (() => void) =>
  start({
    tag,
    payload,
    isLasting: on.isLasting ?? true,
    onRestart: on.restart ?? (() => {}),
    onValues: on.values,
    onEnd: on.end ?? (() => {}),
    onProblem: on.problem ?? (() => {})
  })

/** Asks a question. Rejects with a `Problem`. */
export const request = <T extends Tag>(tag: T, payload: Payload<T>): Promise<Value<T>> =>
  new Promise((resolve, reject) => {
    if (socket?.readyState !== WebSocket.OPEN) return reject(lost)
    start({
      tag,
      payload,
      isLasting: false,
      onRestart: () => {},
      onValues: () => {},
      onEnd: resolve,
      onProblem: reject
    })
  })

/** The problem that a request was rejected with. */
export const problemOf = (error: unknown): Problem =>
  typeof error === "object" && error !== null && "problem" in error && typeof error.problem === "string"
    ? { reason: "", ...error, problem: error.problem }
    : { problem: String(error), reason: "Unknown" }
