/**
 * The snapshots of a host as a read-only registry, from which other hosts pull: `/v2/snapshots/NAME` with the generations as
 * tags, and `/v2/keys/KEY` for results.
 */
import * as Effect from "effect/Effect"
import * as FsSync from "node:fs"
import type * as Http from "node:http"
import * as NodeStream from "node:stream"
import { isLightboxError, LightboxError, Unsupported } from "../../LightboxError.ts"
import type * as Microsandbox from "../../Microsandbox.ts"
import type * as Ownership from "../../Ownership.ts"
import { SnapshotReference } from "../config/schemas.ts"
import { decoder } from "../config/validation.ts"
import * as Refused from "../host/http.ts"
import * as Client from "../registry/client.ts"
import * as Folder from "../registry/folder.ts"
import { manifestType } from "../registry/repository.ts"
import { folderOf } from "../store/exportFolder.ts"
import * as Generations from "../store/generations.ts"
import * as Store from "../store/store.ts"

export const prefix = "/v2/"

const method = "Snapshot.pull"

const decodeReference = decoder(SnapshotReference, method, "snapshot")

/** How often a client is told that its snapshot is still being packed. Clients give up after a minute of silence. */
const processingMillis = 15_000

type Wanted = { readonly repository: string; readonly kind: "manifests" | "blobs" | "tags"; readonly version: string }

const parse = (path: string): Wanted | undefined => {
  const [, repository = "", kind, version = ""] =
    /^\/v2\/(snapshots\/[^/]+|keys\/[0-9a-f]{64})\/(manifests|blobs|tags)\/([^/]+)$/.exec(path) ?? []
  return kind === "manifests" || kind === "blobs" || kind === "tags" ? { repository, kind, version } : undefined
}

/** The snapshot of a repository and a version. */
const referenceOf = ({ repository, version }: Wanted): Effect.Effect<string, LightboxError> => {
  const [kind, name = ""] = repository.split("/")
  if (kind === "keys") return Effect.succeed(Store.artifactName(name))
  return decodeReference(version === "latest" ? name : `${name}@${version}`)
}

const range = /^bytes=(\d{1,15})-(\d{1,15})$/

/** Explains what went wrong as registries do: status, code and message. */
const explain = (error: unknown): readonly [number, string, string] => {
  if (error instanceof Refused.Refused) {
    return [error.status, error.status === 405 ? "UNSUPPORTED" : "BLOB_UNKNOWN", error.message]
  }
  if (!isLightboxError(error)) return [500, "UNKNOWN", "The host failed."]
  switch (error.reason._tag) {
    case "NotFound":
      return [404, "MANIFEST_UNKNOWN", error.message]
    case "InvalidConfig":
      return [400, "NAME_INVALID", error.message]
    default:
      return [409, "UNKNOWN", error.message]
  }
}

/** Answers the requests of pulls. */
export const make = (
  driver: Microsandbox.Microsandbox["Service"],
  ownership: Ownership.Ownership["Service"],
  run: <A, E>(effect: Effect.Effect<A, E>) => Promise<A>
) => {
  const respond = respondWith(driver, ownership, run)
  return async (request: Http.IncomingMessage, response: Http.ServerResponse, path: string): Promise<void> => {
    try {
      await respond(request, response, path)
    } catch (error) {
      if (response.headersSent) return void response.destroy()
      const [status, code, message] = explain(error)
      const body = Client.encodeErrors({ errors: [{ code, message }] })
      response.writeHead(status, { "Content-Type": "application/json", Connection: "close" }).end(body)
    }
  }
}

const respondWith =
  (
    driver: Microsandbox.Microsandbox["Service"],
    ownership: Ownership.Ownership["Service"],
    run: <A, E>(effect: Effect.Effect<A, E>) => Promise<A>
  ) =>
  async (request: Http.IncomingMessage, response: Http.ServerResponse, path: string): Promise<void> => {
    const isHead = request.method === "HEAD"
    if (request.method !== "GET" && !isHead) throw new Refused.Refused(405, "Snapshots of a host can be pulled only.")
    if (driver.remoteHome !== undefined) {
      const problem = "its snapshots are on another machine: pull from there"
      throw new LightboxError({ method, reason: new Unsupported({ feature: "pull", problem }) })
    }
    const answer = (bytes: Uint8Array, headers: Http.OutgoingHttpHeaders): void => {
      response.writeHead(200, { "Content-Length": bytes.length, ...headers }).end(isHead ? undefined : bytes)
    }
    if (path === prefix) return answer(Buffer.from("{}"), { "Content-Type": "application/json" })
    const wanted = parse(path)
    if (wanted === undefined) throw new Refused.Refused(404, "There is nothing at this path.")
    const store = Store.make(driver, ownership)
    const folder = folderOf(driver.home)

    if (wanted.kind === "tags") {
      const [kind, name = ""] = wanted.repository.split("/")
      const tags =
        kind === "keys"
          ? []
          : (await run(Generations.generations(driver, store, name))).map(({ generation }) => `${generation}`)
      const body = JSON.stringify({ name: wanted.repository, tags: [...tags, "latest"] })
      return answer(Buffer.from(body), { "Content-Type": "application/json" })
    }

    if (wanted.kind === "manifests" && !wanted.version.includes(":")) {
      const { manifestOf } = await import("../store/exporting.ts")
      const reference = await run(referenceOf(wanted))
      // Packing a large disk takes longer than clients wait in silence.
      const waiting = setInterval(() => response.writeProcessing(), processingMillis)
      try {
        const manifest = await run(manifestOf(driver, store, reference))
        return answer(manifest, { "Content-Type": manifestType })
      } finally {
        clearInterval(waiting)
      }
    }

    const found = await Folder.find(folder, wanted.version)
    if (found === undefined) throw new Refused.Refused(404, "There is no such part.")
    const type = wanted.kind === "manifests" ? manifestType : "application/octet-stream"
    const [, first = "0", last = `${found.size - 1}`] = range.exec(request.headers.range ?? "") ?? []
    const [from, to] = [Number(first), Math.min(Number(last), found.size - 1)]
    const isPart = from > 0 || to < found.size - 1
    if (from > to && found.size > 0) throw new Refused.Refused(416, "Expected a part of what there is.")
    response.writeHead(isPart ? 206 : 200, {
      "Content-Type": type,
      "Content-Length": Math.max(0, to - from + 1),
      ...(isPart ? { "Content-Range": `bytes ${from}-${to}/${found.size}` } : {})
    })
    if (isHead || found.size === 0) return void response.end()
    await NodeStream.promises.pipeline(FsSync.createReadStream(found.path, { start: from, end: to }), response)
  }
