/** Snapshots in a bucket, with s3rver for a service. */
import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, layer } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as ChildProcess from "effect/process/ChildProcess"
import * as Redacted from "effect/Redacted"
import * as Stream from "effect/Stream"
import * as Crypto from "node:crypto"
import * as Fs from "node:fs"
import { createRequire } from "node:module"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import type { Services } from "../../src/Driver.ts"
import * as Client from "../../src/internal/registry/client.ts"
import * as Snapshot from "../../src/Snapshot.ts"
import { failsWith } from "../Microsandbox/Bench.ts"
import { folder } from "../MicrosandboxRemote/support.ts"
import * as Relay from "../Relay.ts"
import * as Ballast from "./ballast.ts"
import * as Support from "./support.ts"

const program = fileURLToPath(new URL("programs/transfer.ts", import.meta.url))

/** The command of the package. */
const s3rver = Path.join(
  Path.dirname(createRequire(import.meta.url).resolve("s3rver/package.json")),
  "bin",
  "s3rver.js"
)

const keys = { AWS_ACCESS_KEY_ID: "S3RVER", AWS_SECRET_ACCESS_KEY: "S3RVER" }

/** A service with the bucket `cache`. */
class Service extends Context.Service<Service, { readonly endpoint: string; readonly files: string }>()(
  "effect-lightbox/test/Snapshot/bucket.whole.test/Service"
) {
  static readonly layer = Layer.effect(
    Service,
    Effect.gen(function* () {
      const files = yield* folder("s3-")
      const child = yield* ChildProcess.make(
        process.execPath,
        [s3rver, "--directory", files, "--address", "127.0.0.1", "--port", "0", "--configure-bucket", "cache"],
        { stdin: "ignore", stderr: "ignore" }
      )
      const address = yield* Deferred.make<string>()
      yield* Effect.forkScoped(
        Stream.runForEach(Stream.splitLines(Stream.decodeText(child.stdout)), (line) => {
          const [, port] = /listening on .*:(\d+)/.exec(line) ?? []
          return port === undefined ? Effect.void : Deferred.succeed(address, `http://127.0.0.1:${port}`)
        })
      )
      const relay = yield* Relay.make(yield* Deferred.await(address))
      relay.intercept = (asked, response) => {
        if (isSigned(asked, keys.AWS_SECRET_ACCESS_KEY)) return false
        const body = "<Error><Code>SignatureDoesNotMatch</Code><Message>It does not match.</Message></Error>"
        response.writeHead(403, { "content-type": "application/xml" }).end(asked.method === "HEAD" ? undefined : body)
        return true
      }
      return Service.of({ endpoint: relay.url, files })
    })
  )
}

/** Checks a signature as the service of AWS does: s3rver believes those of version 4. */
const isSigned = ({ headers, method, path }: Relay.Asked, secret: string): boolean => {
  const url = new URL(path, "http://host")
  const [, scope = "", names = "", signature = ""] =
    /^AWS4-HMAC-SHA256 Credential=[^/]+\/([^,]+), SignedHeaders=([^,]+), Signature=([0-9a-f]+)$/.exec(
      headers.authorization ?? ""
    ) ?? []
  const hmac = (key: string | Buffer, text: string) => Crypto.createHmac("sha256", key).update(text).digest()
  const query = [...url.searchParams]
    .map(([name, value]) => `${encodeURIComponent(name)}=${encodeURIComponent(value)}`)
    .toSorted()
    .join("&")
  const signed = names.split(";").map((name) => `${name}:${String(headers[name] ?? "").trim()}\n`)
  const canonical = [method, url.pathname, query, signed.join(""), names, headers["x-amz-content-sha256"]].join("\n")
  const text = ["AWS4-HMAC-SHA256", headers["x-amz-date"], scope, Crypto.hash("sha256", canonical)].join("\n")
  const key = scope.split("/").reduce<string | Buffer>(hmac, `AWS4${secret}`)
  return hmac(key, text).toString("hex") === signature
}

/** The disk needs three packs. */
const app = Ballast.make(Support.image, 20 * 1024 * 1024)

const small = (version: number) => app(version, 1000)

/** A machine of its own. */
const machine = Effect.gen(function* () {
  const home = yield* folder("m")
  const on = <A, E>(effect: Effect.Effect<A, E, Services>) =>
    Effect.provideService(Support.withTwin(effect, { home }), Client.Pause, 0)
  return { home, on }
})

const access = (endpoint: string): Snapshot.S3 => ({
  endpoint,
  accessKeyId: keys.AWS_ACCESS_KEY_ID,
  secretAccessKey: Redacted.make(keys.AWS_SECRET_ACCESS_KEY)
})

layer(Layer.provideMerge(Service.layer, NodeServices.layer), { excludeTestServices: true })("a bucket", (it) => {
  it.effect("keeps snapshots, and is sent only what changed", () =>
    Effect.gen(function* () {
      const { endpoint } = yield* Service
      const one = yield* machine
      const two = yield* machine
      const s3 = access(endpoint)
      const reference = "s3://cache/team/app:main"
      const built = yield* one.on(Snapshot.build(app(1)))
      const pushed = yield* one.on(Snapshot.push("app", reference, { s3 }))
      assert.isAbove(pushed.moved, 0.9 * pushed.total)
      const pulled = yield* two.on(Snapshot.pull("app", reference, { s3 }))
      assert.deepStrictEqual([pulled.key, pulled.digest, pulled.labels], [built.key, built.digest, { version: "1" }])
      assert.strictEqual(yield* two.on(Support.readIn("app", "/version")), "1\n")
      assert.strictEqual((yield* two.on(Snapshot.build(app(1)))).stepsRun, 0)
      // By what it contains.
      yield* two.on(Snapshot.pull("exact", `s3://cache/team/app@${pushed.digest}`, { s3 }))

      yield* one.on(Snapshot.build(app(2)))
      const next = yield* one.on(Snapshot.push("app", "s3://cache/team/app:next", { s3 }))
      assert.isBelow(next.moved, 0.03 * next.total)
      let moved = 0
      const onProgress = (progress: Snapshot.TransferProgress) =>
        Effect.sync(() => {
          moved = progress.moved
        })
      yield* two.on(Snapshot.pull("app", "s3://cache/team/app:next", { s3, onProgress }))
      assert.isAbove(moved, 0)
      assert.isBelow(moved, 0.03 * next.total)
      assert.strictEqual(yield* two.on(Support.readIn("app", "/version")), "2\n")
      // A tag moves.
      yield* one.on(Snapshot.push("app", reference, { s3 }))
      assert.deepStrictEqual((yield* two.on(Snapshot.pull("moved", reference, { s3 }))).labels, { version: "2" })
    })
  )

  it.effect("is not believed, and its refusals are explained", () =>
    Effect.gen(function* () {
      const { endpoint, files } = yield* Service
      const one = yield* machine
      const two = yield* machine
      const s3 = access(endpoint)
      yield* one.on(Snapshot.build(small(1)))
      const transfer = (reference: string, given: Snapshot.S3 = s3) =>
        one.on(Snapshot.push("app", reference, { s3: given }))
      const fails = (reference: string, given?: Snapshot.S3) =>
        Effect.map(failsWith("TransferFailed", transfer(reference, given)), ({ kind, problem }) => [kind, problem])
      const [kind, problem = ""] = yield* fails("s3://none/app:1")
      assert.deepStrictEqual([kind, problem.replace(/^\S+/, "")], ["NotFound", " has no bucket none"])
      const stranger = { ...s3, accessKeyId: "SOMEBODY" }
      assert.strictEqual((yield* fails("s3://cache/x:1", stranger))[0], "Unauthorized")
      const guess = { ...s3, secretAccessKey: Redacted.make("guessed") }
      const [, said = ""] = yield* fails("s3://cache/x:1", guess)
      assert.match(said, /refused the access key/)
      assert.notInclude(said, "guessed")
      assert.strictEqual((yield* fails("s3://cache/x:1", { endpoint }))[0], "Unauthorized")
      assert.strictEqual((yield* fails("s3://cache/x:1", { ...s3, endpoint: "http://127.0.0.1:1" }))[0], "Unreachable")
      const missing = two.on(Snapshot.pull("app", "s3://cache/team/none:1", { s3 }))
      assert.strictEqual((yield* failsWith("TransferFailed", missing)).kind, "NotFound")
      for (const [reference, given, field] of [
        ["s3://C/app", s3, "reference"],
        ["s3://cache/../app", s3, "reference"],
        ["s3://cache/app:1", { ...s3, region: "Not A Region" }, "s3.region"],
        ["s3://cache/app:1", { accessKeyId: "x" }, "s3.secretAccessKey"],
        ["s3://cache/app:1", { ...s3, endpoint: "ftp://x" }, "s3.endpoint"]
      ] as const) {
        assert.strictEqual((yield* failsWith("InvalidConfig", transfer(reference, given))).field, field)
      }

      const reference = "s3://cache/damaged/app:1"
      yield* transfer(reference)
      const blobs = Path.join(files, "cache", "damaged", "app", "blobs", "sha256")
      const [largest = ""] = Fs.readdirSync(blobs)
        .filter((name) => name.endsWith("_object"))
        .map((name) => Path.join(blobs, name))
        .toSorted((a, b) => Fs.statSync(b).size - Fs.statSync(a).size)
      const bytes = Fs.readFileSync(largest)
      bytes.writeUInt8(bytes.readUInt8(20) ^ 1, 20)
      Fs.writeFileSync(largest, bytes)
      const damaged = yield* failsWith("SnapshotDamaged", two.on(Snapshot.pull("app", reference, { s3 })))
      assert.strictEqual(damaged.name, reference)
      assert.deepStrictEqual(yield* two.on(Snapshot.list({ layers: true })), [])
    })
  )

  it.effect("goes on where a killed process stopped", () =>
    Effect.gen(function* () {
      const { endpoint } = yield* Service
      const one = yield* machine
      const two = yield* machine
      const relay = yield* Relay.make(endpoint)
      const s3 = access(relay.url)
      const reference = "s3://cache/killed/app:1"
      yield* one.on(Snapshot.build(app(1)))
      /** Kills a process once a part has arrived, while it waits for the others. */
      const killed = Effect.fnUntraced(function* (home: string, verb: string, isPart: (asked: Relay.Asked) => boolean) {
        let parts = 0
        relay.intercept = (asked) => isPart(asked) && ++parts > 1
        const child = yield* ChildProcess.make(process.execPath, [program, home, verb, reference], {
          stdin: "ignore",
          stderr: "inherit",
          env: { ...keys, AWS_ENDPOINT_URL_S3: relay.url },
          extendEnv: true
        })
        yield* Stream.runHead(Stream.decodeText(child.stdout))
        yield* child.kill({ killSignal: "SIGKILL" })
        relay.intercept = () => false
      })
      const isBlob = (method: string) => (asked: Relay.Asked) =>
        asked.method === method && asked.path.includes("/blobs/")
      yield* killed(one.home, "push", isBlob("PUT"))
      const missing = two.on(Snapshot.pull("app", reference, { s3 }))
      assert.strictEqual((yield* failsWith("TransferFailed", missing)).kind, "NotFound")
      const { moved, total } = yield* one.on(Snapshot.push("app", reference, { s3 }))
      assert.isBelow(moved, 0.7 * total)

      let received = 0
      const isBlobAsked = isBlob("GET")
      // The description and the index come first.
      let asked = 0
      yield* killed(two.home, "pull", (request) => isBlobAsked(request) && ++asked > 2)
      assert.deepStrictEqual(yield* two.on(Snapshot.list({ layers: true })), [])
      const onProgress = (progress: Snapshot.TransferProgress) =>
        Effect.sync(() => {
          received = progress.moved
        })
      yield* two.on(Snapshot.pull("app", reference, { s3, onProgress }))
      assert.isBelow(received, 0.7 * total)
      assert.strictEqual(yield* two.on(Support.readIn("app", "/version")), "1\n")
    })
  )
})
