/** Stands before a server of HTTP: notes what it is asked for, and can answer instead of it. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Http from "node:http"

export interface Asked {
  readonly method: string
  readonly path: string
  readonly headers: Http.IncomingHttpHeaders
}

export interface Relay {
  readonly url: string
  readonly asked: Array<Asked>
  /** Answers instead of the server if it returns `true`. */
  intercept: (request: Asked, response: Http.ServerResponse) => boolean
}

/** Starts a relay for the scope. */
export const make = (url: string): Effect.Effect<Relay, never, Scope.Scope> => {
  const { hostname, port } = new URL(url)
  const asked: Array<Asked> = []
  let relay: Relay | undefined
  const server = Http.createServer((request, response) => {
    const one = { method: request.method ?? "", path: request.url ?? "", headers: request.headers }
    asked.push(one)
    if (relay?.intercept(one, response) === true) return
    const options = { hostname, port, method: one.method, path: one.path, headers: request.headers }
    const far = Http.request(options, (answer) => {
      response.writeHead(answer.statusCode ?? 0, answer.headers)
      answer.pipe(response)
    })
    far.on("error", () => response.destroy())
    request.pipe(far)
  })
  return Effect.acquireRelease(
    Effect.callback<Relay>((resume) => {
      server.listen(0, "127.0.0.1", () => {
        relay = { url: `http://127.0.0.1:${Object(server.address()).port}`, asked, intercept: () => false }
        resume(Effect.succeed(relay))
      })
    }),
    () =>
      Effect.sync(() => {
        server.closeAllConnections()
        server.close()
      })
  )
}
