import { assert, describe, it } from "@effect/vitest"
import { identity } from "effect/Function"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as Sink from "effect/Sink"
import * as Stream from "effect/Stream"
import * as Http from "node:http"
import * as Net from "node:net"
import type { Services } from "../src/Driver.ts"
import type * as Guest from "../src/Guest.ts"
import { FileError, LightboxError } from "../src/LightboxError.ts"
import * as Microsandbox from "../src/Microsandbox.ts"
import * as MicrosandboxMemory from "../src/MicrosandboxMemory.ts"
import * as Sandbox from "../src/Sandbox.ts"
import * as SandboxProxy from "../src/SandboxProxy.ts"

/** Connects to a server of this test instead of one in a guest. */
const connectTo = (port: number, guest: Guest.Guest): ReturnType<Guest.Guest["connect"]> =>
  Effect.gen(function* () {
    const socket = yield* Effect.acquireRelease(
      Effect.callback<Net.Socket, LightboxError>((resume) => {
        const socket = Net.connect({ port, host: "127.0.0.1", allowHalfOpen: true }, () =>
          resume(Effect.succeed(socket))
        )
        socket.once("error", ({ message }) => {
          const reason = new FileError({ operation: "connect", path: "", code: "ECONNREFUSED", problem: message })
          resume(Effect.fail(new LightboxError({ method: "test", reason })))
        })
      }),
      (socket) => Effect.sync(() => socket.destroy())
    )
    return {
      read: Stream.orDie(Stream.fromAsyncIterable<Uint8Array, unknown>(socket, identity)).pipe(
        Stream.interruptWhen(Effect.flatMap(guest.lost, Effect.fail))
      ),
      write: Sink.mapEffect(
        Sink.forEach((bytes: Uint8Array) =>
          Effect.callback<void>((resume) => void socket.write(bytes, () => resume(Effect.void)))
        ),
        () => Effect.sync(() => void socket.end())
      )
    }
  })

/** The twin, whose guests have the servers of this test. */
const layer = Layer.effect(
  Microsandbox.Microsandbox,
  Effect.map(Microsandbox.Microsandbox, (memory) => ({
    ...memory,
    connect: (sandbox: Microsandbox.SandboxRef) =>
      Effect.map(memory.connect(sandbox), (guest) => ({
        ...guest,
        connect: (_: string, port: number) =>
          Effect.raceFirst(Effect.flatMap(guest.lost, Effect.fail), connectTo(port, guest))
      }))
  }))
).pipe(Layer.provideMerge(MicrosandboxMemory.layer()))

const test = <A, E>(name: string, effect: Effect.Effect<A, E, Scope.Scope | Services | MicrosandboxMemory.Control>) =>
  it.live(name, () => Effect.provide(Effect.scoped(effect), layer))

/** Starts a server, and returns its port. */
const serverOf = (server: Net.Server) =>
  Effect.acquireRelease(
    Effect.callback<number>((resume) => {
      server.listen(0, "127.0.0.1", () => {
        const address = server.address()
        resume(Effect.succeed(typeof address === "object" && address !== null ? address.port : 0))
      })
    }),
    () => Effect.sync(() => server.close())
  )

interface Answer {
  readonly status: number | undefined
  readonly headers: Http.IncomingHttpHeaders
  readonly rawHeaders: ReadonlyArray<string>
  readonly text: string
}

/** Sends a request to the proxy. */
const ask = (
  port: number,
  host: string,
  options: Omit<Http.RequestOptions, "headers"> & { readonly headers?: Http.OutgoingHttpHeaders } = {},
  body = ""
) =>
  Effect.callback<Answer, Error>((resume) => {
    const headers = { host, ...options.headers }
    const request = Http.request({ host: "127.0.0.1", port, agent: false, ...options, headers }, (response) => {
      const parts: Array<Buffer> = []
      response.on("data", (part: Buffer) => parts.push(part))
      response.on("error", (error) => resume(Effect.fail(error)))
      response.on("end", () => {
        const { headers, rawHeaders, statusCode: status } = response
        resume(Effect.succeed({ status, headers, rawHeaders, text: Buffer.concat(parts).toString() }))
      })
    })
    request.on("error", (error) => resume(Effect.fail(error)))
    request.end(body)
  })

/** Sends bytes, and returns all that come back until the end. */
const talk = (port: number, ...parts: ReadonlyArray<string>) =>
  Effect.callback<string>((resume) => {
    let text = ""
    let awaited: string | undefined
    const rest = [...parts]
    const socket = Net.connect(port, "127.0.0.1", () => next())
    const next = () => {
      const part = rest.shift()
      if (part === undefined) return void socket.end()
      // Each part is sent once the one before has come back, the first without its head.
      awaited = part.split("\r\n\r\n").at(-1)
      socket.write(part, "latin1")
    }
    socket.setEncoding("latin1").on("data", (data: string) => {
      text += data
      if (awaited !== undefined && text.endsWith(awaited)) next()
    })
    socket.on("error", () => {})
    socket.on("close", () => resume(Effect.succeed(text)))
  })

/** Sends bytes, and then some after the end of the answer, until the other side closes the connection. */
const stay = (port: number, bytes: string) =>
  Effect.callback<string>((resume) => {
    let text = ""
    const socket = Net.connect({ port, host: "127.0.0.1", allowHalfOpen: true }, () => socket.write(bytes))
    const push = () => socket.write("more", (error) => (error ? undefined : setTimeout(push, 20)))
    socket.on("data", (data) => (text += data.toString("latin1"))).on("end", push)
    socket.on("error", () => {}).on("close", () => resume(Effect.succeed(text)))
  })

/** Starts a sandbox, a server for it and the proxy. */
const started = Effect.fnUntraced(function* (handler: Http.RequestListener, name = "web") {
  const server = Http.createServer(handler)
  const guest = yield* serverOf(server)
  const sandbox = yield* Sandbox.launch({ image: "alpine:3", name })
  const proxy = yield* SandboxProxy.make({ port: 0 })
  return { sandbox, server, guest, port: proxy.port, host: `${guest}-${name}.localhost:${proxy.port}`, proxy }
})

describe("the proxy", () => {
  test(
    "passes requests and responses on, with their own headers",
    Effect.gen(function* () {
      const seen: Array<{ readonly request: Http.IncomingMessage; readonly body: string }> = []
      const { host, port, proxy, guest } = yield* started((request, response) => {
        let body = ""
        request.on("data", (part) => (body += String(part)))
        request.on("end", () => {
          seen.push({ request, body })
          response.writeHead(201, "Made", [
            "Set-Cookie",
            "a=1",
            "Set-Cookie",
            "b=2",
            "X-Own",
            "yes",
            "Connection",
            "X-Private",
            "X-Private",
            "1",
            "Keep-Alive",
            "timeout=9"
          ])
          response.end("made")
        })
      })
      assert.strictEqual(proxy.urlOf(guest, "web"), `http://${host}`)
      const headers = {
        "X-Own": "1",
        "X-Private": "2",
        Connection: "keep-alive, X-Private",
        "Proxy-Connection": "a",
        TE: "b"
      }
      const made = yield* ask(port, host, { method: "PUT", path: "/a%20b?c=d", headers }, "body")
      assert.deepInclude(made, { status: 201, text: "made" })
      assert.deepStrictEqual(made.headers["set-cookie"], ["a=1", "b=2"])
      assert.include(made.rawHeaders, "X-Own")
      assert.notInclude(JSON.stringify(made.rawHeaders), "X-Private")
      assert.notInclude(JSON.stringify(made.rawHeaders), "timeout=9")
      const [first] = seen
      assert.deepInclude(first?.request, { method: "PUT", url: "/a%20b?c=d" })
      assert.strictEqual(first?.body, "body")
      assert.deepInclude(first?.request.headers, { host, "x-own": "1", connection: "close", "content-length": "4" })
      for (const name of ["x-private", "proxy-connection", "te"]) assert.notProperty(first?.request.headers, name)

      yield* ask(port, host, { method: "POST", headers: { "Transfer-Encoding": "chunked" } }, "chunks")
      assert.strictEqual(seen[1]?.body, "chunks")
      yield* ask(port, host, { method: "POST", headers: { "Content-Length": "0" } })
      const head = yield* ask(port, host, { method: "HEAD" })
      assert.deepInclude(head, { status: 201, text: "" })
      // A name in another case, as browsers send it, and one with a dot at its end.
      assert.strictEqual((yield* ask(port, `${guest}-WEB.LOCALHOST.`)).status, 201)
    })
  )

  test(
    "streams bodies both ways",
    Effect.gen(function* () {
      const chunk = Buffer.alloc(64 * 1024, "x")
      const total = 400
      let received = 0
      let begun = () => {}
      const hasBegun = new Promise<void>((resolve) => (begun = resolve))
      const { host, port } = yield* started((request, response) => {
        if (request.url === "/up") {
          request.once("data", begun)
          request.on("data", ({ length }: Buffer) => (received += length))
          request.on("end", () => response.end(`${received}`))
          return
        }
        let sent = 0
        const more = () => {
          while (sent < total) {
            sent++
            if (!response.write(chunk)) return void response.once("drain", more)
          }
          response.end()
        }
        more()
      })
      const length = yield* Effect.callback<number>((resume) => {
        Http.get({ host: "127.0.0.1", port, headers: { host } }, (response) => {
          let length = 0
          response.on("data", (part: Buffer) => (length += part.length))
          response.on("end", () => resume(Effect.succeed(length)))
        })
      })
      assert.strictEqual(length, total * chunk.length)

      // The server reads the beginning before the client has sent the end.
      const upload = yield* Effect.callback<string>((resume) => {
        const request = Http.request({ host: "127.0.0.1", port, path: "/up", method: "POST", headers: { host } })
        request.on("response", (response) => response.on("data", (text) => resume(Effect.succeed(String(text)))))
        request.write(chunk)
        void hasBegun.then(() => request.end(chunk))
      })
      assert.strictEqual(upload, `${2 * chunk.length}`)
    })
  )

  test(
    "passes on the beginning of a response before its end, and does not complete one that is cut",
    Effect.gen(function* () {
      const { host, port } = yield* started((_, response) => {
        response.writeHead(200, { "Content-Type": "text/event-stream" })
        response.write("data: 1\n\n")
        response.on("close", () => {})
      })
      const stream = yield* Effect.callback<Http.IncomingMessage>((resume) => {
        Http.get({ host: "127.0.0.1", port, headers: { host } }, (response) => resume(Effect.succeed(response)))
      })
      const first = yield* Effect.callback<string>((resume) => {
        stream.once("data", (data) => resume(Effect.succeed(String(data))))
      })
      assert.strictEqual(first, "data: 1\n\n")
      const failed = Effect.callback<string>((resume) => {
        stream.on("error", ({ message }) => resume(Effect.succeed(message)))
        stream.on("end", () => resume(Effect.succeed("complete")))
        stream.resume()
      })
      yield* Sandbox.kill("web")
      assert.strictEqual(yield* failed, "aborted")
    })
  )

  test(
    "passes upgrades on byte for byte, to the end of both sides",
    Effect.gen(function* () {
      const { host, port, server } = yield* started((_, response) => response.end("plain"))
      const heads: Array<string> = []
      server.on("upgrade", (request, socket, head: Buffer) => {
        heads.push([request.method, request.url, ...request.rawHeaders].join("|"))
        socket.write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n")
        socket.write(head)
        socket.pipe(socket)
      })
      const headers = `Host: ${host}\r\nConnection: Upgrade\r\nUpgrade: echo\r\nX-Odd:  a \r\n\r\n`
      const text = yield* talk(port, `GET /chat HTTP/1.1\r\n${headers}\x00early\xff`, "\x81\x05later", "end")
      assert.strictEqual(
        text,
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n\x00early\xff\x81\x05laterend"
      )
      assert.deepStrictEqual(heads, [`GET|/chat|Host|${host}|Connection|Upgrade|Upgrade|echo|X-Odd|a`])
    })
  )

  test(
    "refuses hosts that are not below localhost, and says what is missing of others",
    Effect.gen(function* () {
      const { guest, host, port, sandbox } = yield* started((_, response) => response.end("reached"))
      const status = (host: string, path = "/") =>
        Effect.map(ask(port, host, { path }), ({ headers, status, text }) => {
          if (status !== 200) assert.strictEqual(headers["content-type"], "text/plain; charset=utf-8")
          return `${status} ${text.trim()}`
        })
      for (const other of [
        "evil.example",
        `${guest}-web.localhost.evil.example`,
        "127.0.0.1",
        `${guest}-web`,
        `${guest}-weblocalhost`
      ]) {
        assert.strictEqual(yield* status(other), "421 This host is not served here.", other)
      }
      assert.match(yield* status(host, "http://evil.example/"), /^421 /)
      assert.include(yield* talk(port, `GET / HTTP/1.1\r\nHost: ${host}\r\nHost: evil.example\r\n\r\n`), "HTTP/1.1 4")
      assert.include(
        yield* talk(port, "GET / HTTP/1.1\r\nHost: evil.example\r\nConnection: Upgrade\r\nUpgrade: a\r\n\r\n"),
        " 421 Misdirected Request\r\n"
      )
      for (const other of ["localhost", "web.localhost", "0-web.localhost", "65536-web.localhost", "80-.localhost"]) {
        assert.match(yield* status(other), /^404 Expected a host such as/, other)
      }
      assert.strictEqual(yield* status("80-nobody.localhost"), '404 There is no sandbox named "nobody".')
      assert.strictEqual(yield* status("1-web.localhost"), '502 Nothing listens on port 1 of sandbox "web".')
      assert.strictEqual(yield* status(host), "200 reached")
      yield* sandbox.stop()
      assert.strictEqual(yield* status(host), '502 Sandbox "web" is stopped.')
      yield* Sandbox.start("web")
      assert.strictEqual(yield* status(host), "200 reached")
    })
  )

  test(
    "closes a refused connection that the client leaves open",
    Effect.gen(function* () {
      const { port } = yield* started((_, response) => response.end("reached"))
      const text = yield* stay(
        port,
        "GET / HTTP/1.1\r\nHost: evil.example\r\nConnection: Upgrade\r\nUpgrade: a\r\n\r\n"
      )
      assert.include(text, " 421 Misdirected Request\r\n")
    })
  )

  test(
    "answers 502 if the server does not speak HTTP, and reads on",
    Effect.gen(function* () {
      const { port } = yield* started((_, response) => response.end("reached"))
      const odd = yield* serverOf(Net.createServer((socket) => void socket.on("error", () => {}).end("SSH-2.0\r\n")))
      const answer = yield* ask(port, `${odd}-web.localhost`, { method: "POST" }, "x".repeat(100))
      assert.deepInclude(answer, { status: 502, text: "The server in the sandbox did not answer with HTTP.\n" })
    })
  )

  test(
    "closes its connections and its port with the scope",
    Effect.gen(function* () {
      const guest = yield* serverOf(Http.createServer(() => {}))
      yield* Sandbox.launch({ image: "alpine:3", name: "web" })
      const port = yield* Effect.scoped(
        Effect.gen(function* () {
          const { port } = yield* SandboxProxy.make({ port: 0 })
          const error = yield* Effect.flip(SandboxProxy.make({ port }))
          assert.deepInclude(error.reason, { _tag: "InvalidConfig", field: "port" })
          yield* Effect.forkScoped(ask(port, `${guest}-web.localhost`), { startImmediately: true })
          return port
        })
      )
      assert.match((yield* Effect.flip(ask(port, "x"))).message, /ECONNREFUSED/)
    })
  )
})
