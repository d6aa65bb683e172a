/** A registry in this process, whose answers tests can replace. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Crypto from "node:crypto"
import * as Http from "node:http"

/** A request, and what became of it. */
export interface Asked {
  readonly method: string
  /** What follows `/v2/`. */
  readonly path: string
  readonly authorization: string | undefined
  readonly range: string | undefined
  /** Bytes of the request's body, and of the answer's. */
  received: number
  sent: number
}

export interface FakeRegistry {
  /** Host and port. */
  host: string
  readonly blobs: Map<string, Buffer>
  /** By repository and tag, and by repository and digest. */
  readonly manifests: Map<string, Buffer>
  readonly asked: Array<Asked>
  /** Whether a part of a blob can be asked for. Default: `true`. */
  hasRanges: boolean
  /** Answers instead of the registry if it returns `true`. */
  intercept: (request: Asked, response: Http.ServerResponse) => boolean
}

/** The name of what has a content. */
export const digestOf = (bytes: Uint8Array): string => `sha256:${Crypto.hash("sha256", bytes)}`

const read = async (request: Http.IncomingMessage): Promise<Buffer> => {
  const parts: Array<Buffer> = []
  for await (const part of request) parts.push(part)
  return Buffer.concat(parts)
}

const answer = (registry: FakeRegistry, request: Asked, body: Buffer, response: Http.ServerResponse): void => {
  const { blobs, manifests } = registry
  const url = new URL(`http://${registry.host}/v2/${request.path}`)
  const [, repository = "", kind = "", rest = ""] =
    /^\/v2\/(?:(.+)\/(blobs\/uploads|blobs|manifests|tags)\/(.*))?$/.exec(url.pathname) ?? []
  const end = (status: number, content: Buffer | string = "", headers: Http.OutgoingHttpHeaders = {}) => {
    const bytes = Buffer.from(content)
    request.sent = request.method === "HEAD" ? 0 : bytes.length
    response.writeHead(status, { "content-length": bytes.length, ...headers })
    response.end(request.method === "HEAD" ? undefined : bytes)
  }
  const digest = digestOf(body)
  if (request.method === "POST" && kind === "blobs/uploads") {
    return end(202, "", { location: `/v2/${repository}/blobs/uploads/1?state=a%2Fb` })
  }
  if (request.method === "PUT" && kind === "blobs/uploads") {
    if (url.searchParams.get("digest") !== digest || url.searchParams.get("state") !== "a/b") return end(400)
    blobs.set(digest, body)
    return end(201)
  }
  if (request.method === "PUT" && kind === "manifests") {
    const manifest = JSON.parse(body.toString("utf8"))
    for (const part of [manifest.config, ...manifest.layers]) if (!blobs.has(part.digest)) return end(400)
    for (const version of [rest, digest]) manifests.set(`${repository}:${version}`, body)
    return end(201)
  }
  if (kind === "tags") {
    const tags = [...manifests.keys()].filter((key) => key.startsWith(`${repository}:`) && !key.includes("sha256"))
    return end(200, JSON.stringify({ tags: tags.map((key) => key.slice(repository.length + 1)) }))
  }
  const found = kind === "manifests" ? manifests.get(`${repository}:${rest}`) : blobs.get(rest)
  if (found === undefined) return end(kind === "" ? 200 : 404)
  const [, from, to] = /^bytes=(\d+)-(\d+)$/.exec(request.range ?? "") ?? []
  if (from === undefined || !registry.hasRanges) return end(200, found)
  end(206, found.subarray(Number(from), Number(to) + 1))
}

/** Starts a registry, which does not keep the process alive. With `closes`, neither does it keep connections. */
export const start = (options?: { readonly closes: boolean }): Promise<FakeRegistry & { readonly stop: () => void }> =>
  new Promise((resolve) => {
    const server = Http.createServer(async (request, response) => {
      const { authorization, range } = request.headers
      const { method = "", url = "" } = request
      const asked: Asked = { method, path: url.replace(/^\/v2\//, ""), authorization, range, received: 0, sent: 0 }
      registry.asked.push(asked)
      if (options?.closes === true) response.shouldKeepAlive = false
      try {
        const body = await read(request)
        asked.received = body.length
        if (!registry.intercept(asked, response)) answer(registry, asked, body, response)
      } catch {
        response.destroy()
      }
    })
    const registry: FakeRegistry & { readonly stop: () => void } = {
      host: "",
      blobs: new Map(),
      manifests: new Map(),
      asked: [],
      hasRanges: true,
      intercept: () => false,
      stop: () => {
        server.closeAllConnections()
        server.close()
      }
    }
    server.unref().listen(0, "127.0.0.1", () => {
      registry.host = `localhost:${Object(server.address()).port}`
      resolve(registry)
    })
  })

/** A registry for the life of the scope. */
export const make: Effect.Effect<FakeRegistry, never, Scope.Scope> = Effect.acquireRelease(
  Effect.promise(() => start()),
  ({ stop }) => Effect.sync(stop)
)
