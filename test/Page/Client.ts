/** A client of the page's server without a browser: its requests, and its stream. */
import * as NodeWS from "@effect/platform-node-shared/NodeWS"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import * as Http from "node:http"

export interface Answer {
  readonly status: number | undefined
  readonly headers: Http.IncomingHttpHeaders
  readonly text: string
}

const portOf = (host: string): number => Number(host.slice(host.lastIndexOf(":") + 1))

/** Sends a request to 127.0.0.1, where browsers find the host. */
export const ask = (host: string, path: string, headers: Http.OutgoingHttpHeaders = {}, method = "GET") =>
  Effect.callback<Answer, Error>((resume) => {
    const request = Http.request(
      { host: "127.0.0.1", port: portOf(host), path, method, agent: false, headers: { host, ...headers } },
      (response) => {
        let text = ""
        response.setEncoding("utf8").on("data", (part: string) => (text += part))
        response.on("end", () =>
          resume(Effect.succeed({ status: response.statusCode, headers: response.headers, text }))
        )
      }
    )
    request.on("error", (error) => resume(Effect.fail(error)))
    request.end()
  })

/** What a browser has of a session. */
export interface Session {
  readonly host: string
  readonly cookie: string
  readonly key: string
}

/** Opens the link, as a browser does. */
export const open = Effect.fnUntraced(function* (url: string) {
  const { host, pathname, search } = new URL(url)
  const { headers, text } = yield* ask(host, `${pathname}${search}`)
  return {
    host,
    cookie: headers["set-cookie"]?.[0]?.split(";")[0] ?? "",
    key: /name="lightbox-key" content="([^"]*)"/.exec(text)?.[1] ?? ""
  }
})

export interface Message {
  readonly _tag: string
  readonly requestId?: string
  readonly values?: ReadonlyArray<unknown>
  readonly exit?: {
    readonly _tag: string
    readonly value?: unknown
    readonly cause?: ReadonlyArray<{ readonly error?: unknown }>
  }
}

/** Tries to open a stream, and returns the status of a refusal. */
export const refusal = (
  { cookie, host, key }: Session,
  change: { readonly headers?: Http.OutgoingHttpHeaders; readonly key?: string; readonly path?: string } = {}
) =>
  Effect.callback<number | void>((resume) => {
    const socket = new NodeWS.WebSocket(
      `ws://127.0.0.1:${portOf(host)}${change.path ?? "/stream"}`,
      ["lightbox", `lightbox.${change.key ?? key}`],
      { headers: { cookie, host, origin: `http://${host}`, ...change.headers } }
    )
    socket.on("unexpected-response", (request, response) => {
      resume(Effect.succeed(response.statusCode))
      request.destroy()
    })
    socket.on("error", () => {})
    socket.on("open", () => {
      socket.terminate()
      resume(Effect.void)
    })
  })

/** Opens a stream for the scope. Parts of what is followed are acknowledged when they are taken. */
export const stream = Effect.fnUntraced(function* ({ cookie, host, key }: Session) {
  const socket = yield* Effect.acquireRelease(
    Effect.callback<NodeWS.WebSocket, Error>((resume) => {
      const socket = new NodeWS.WebSocket(`ws://127.0.0.1:${portOf(host)}/stream`, ["lightbox", `lightbox.${key}`], {
        headers: { cookie, host, origin: `http://${host}` }
      })
      socket.on("open", () => resume(Effect.succeed(socket)))
      socket.on("error", (error) => resume(Effect.fail(error)))
    }),
    (socket) => Effect.sync(() => socket.terminate())
  )
  const sent = new Map<string, Queue.Queue<Message>>()
  let received = ""
  let closed = () => {}
  const close = new Promise<void>((resolve) => (closed = resolve))
  socket.on("close", () => closed())
  socket.on("message", (data: Buffer) => {
    const text = data.toString()
    received += text
    for (const line of text.split("\n")) {
      if (line === "") continue
      const message: Message = JSON.parse(line)
      const queue = sent.get(String(message.requestId))
      if (queue !== undefined) Queue.offerUnsafe(queue, message)
    }
  })
  let next = 0
  const send = (message: object) => Effect.sync(() => socket.send(`${JSON.stringify(message)}\n`))
  const request = Effect.fnUntraced(function* (tag: string, payload: unknown) {
    const id = String(next++)
    const queue = yield* Queue.unbounded<Message>()
    sent.set(id, queue)
    yield* send({ _tag: "Request", id, tag, payload: payload ?? null, headers: [] })
    return { id, queue }
  })
  return {
    /** All that has come so far. */
    received: () => received,
    closed: Effect.promise(() => close),
    send,
    /** Asks, and returns the value or the error. */
    ask: Effect.fnUntraced(function* (tag: string, payload?: unknown) {
      const { queue } = yield* request(tag, payload)
      const { exit } = yield* Queue.take(queue)
      return exit?._tag === "Success" ? { value: exit.value } : { error: exit?.cause?.[0]?.error }
    }),
    /** Follows a stream. */
    follow: Effect.fnUntraced(function* (tag: string, payload?: unknown) {
      const { id, queue } = yield* request(tag, payload)
      const take = Effect.gen(function* () {
        const message = yield* Queue.take(queue)
        if (message._tag === "Chunk") yield* send({ _tag: "Ack", requestId: id })
        return message
      })
      /** Takes values until one passes. */
      const until = Effect.fnUntraced(function* <A>(find: (value: unknown) => A | undefined) {
        for (;;) {
          const message = yield* take
          if (message._tag !== "Chunk") return yield* Effect.die(new Error(`ended: ${JSON.stringify(message)}`))
          for (const value of message.values ?? []) {
            const found = find(value)
            if (found !== undefined) return found
          }
        }
      })
      /** Takes all values until the end. */
      const all = Effect.gen(function* () {
        const values: Array<unknown> = []
        for (;;) {
          const message = yield* take
          if (message._tag !== "Chunk") return { values, exit: message.exit }
          values.push(...(message.values ?? []))
        }
      })
      return { until, all, take, queue, stop: send({ _tag: "Interrupt", requestId: id }) }
    })
  }
})
