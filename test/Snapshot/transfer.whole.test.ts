/** Snapshots that travel through a registry, on the twin. */
import { assert, describe } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import * as Crypto from "node:crypto"
import * as Fs from "node:fs"
import type * as Http from "node:http"
import * as Path from "node:path"
import { TestClock } from "effect/testing"
import * as Client from "../../src/internal/registry/client.ts"
import type { LightboxError } from "../../src/LightboxError.ts"
import * as Microsandbox from "../../src/Microsandbox.ts"
import * as MicrosandboxMemory from "../../src/MicrosandboxMemory.ts"
import * as Reaper from "../../src/Reaper.ts"
import * as Snapshot from "../../src/Snapshot.ts"
import * as Ballast from "./ballast.ts"
import * as FakeRegistry from "./FakeRegistry.ts"
import * as Support from "./support.ts"

const { image } = Support

/** Trying again at once. */
const test = <E>(name: string, effect: Effect.Effect<void, E, Support.Twin | Scope.Scope>) =>
  Support.test(name, Effect.provideService(effect, Client.Pause, 0))

/** The disk needs two packs. */
const ballastBytes = 10 * 1024 * 1024

const plain = Ballast.make(image, ballastBytes)

const app = (version: number, size?: number) =>
  plain(version, size).pipe(Snapshot.defaults({ env: { VERSION: `${version}` }, ports: [{ guest: 80, host: 18_080 }] }))

const small = (version: number) => app(version, 1000)

const reasonOf = <A, R>(effect: Effect.Effect<A, LightboxError, R>) =>
  Effect.map(Effect.flip(effect), ({ reason }) => reason)

const kindOf = <A, R>(effect: Effect.Effect<A, LightboxError, R>) =>
  Effect.map(reasonOf(effect), (reason) => (reason._tag === "TransferFailed" ? reason.kind : reason._tag))

const versionOf = (name: string) => Support.readIn(name, "/version")

/** What travels. */
const described = ({ createdAt, defaults, digest, generation, image, imageDigest, key, labels }: Snapshot.Snapshot) => [
  createdAt,
  defaults,
  digest,
  generation,
  image,
  imageDigest,
  key,
  labels
]

/** Removes a name and everything that builds could use. */
const forget = Effect.andThen(Snapshot.remove("app"), Snapshot.prune())

/** A registry with a snapshot that is not here. */
const withPushed = Effect.fnUntraced(function* (definition: Snapshot.Definition = app(1)) {
  const registry = yield* FakeRegistry.make
  const reference = `${registry.host}/team/app:main`
  yield* Snapshot.build(definition)
  const pushed = yield* Snapshot.push("app", reference)
  yield* forget
  registry.asked.length = 0
  return { registry, reference, pushed }
})

const manifestOf = (registry: FakeRegistry.FakeRegistry) =>
  JSON.parse(registry.manifests.get("team/app:main")?.toString("utf8") ?? "")

/** Replaces what the tag stands for. */
const replaceManifest = (registry: FakeRegistry.FakeRegistry, manifest: object) =>
  registry.manifests.set("team/app:main", Buffer.from(JSON.stringify(manifest)))

/** Replaces a part, with a digest that is right. */
const put = (registry: FakeRegistry.FakeRegistry, content: Buffer) => {
  const digest = FakeRegistry.digestOf(content)
  registry.blobs.set(digest, content)
  return { digest, size: content.length }
}

const blobsAsked = ({ asked }: FakeRegistry.FakeRegistry, method: string) =>
  asked.filter((request) => request.method === method && /\/blobs\/(uploads|sha256)/.test(request.path))

/** Pulls while the last pack is refused, once the first has been received. */
const pullAllButLast = Effect.fnUntraced(function* (
  registry: FakeRegistry.FakeRegistry,
  reference: string,
  status: number
) {
  const { digest } = manifestOf(registry).layers.at(-1)
  const waiting: Array<Http.ServerResponse> = []
  let isReceived = false
  const refuse = () => {
    for (const response of waiting.splice(0)) response.writeHead(status).end()
  }
  registry.intercept = ({ method, path }, response) => {
    if (method !== "GET" || !path.endsWith(digest)) return false
    waiting.push(response)
    if (isReceived) refuse()
    return true
  }
  const onProgress = ({ done }: Snapshot.TransferProgress) =>
    Effect.sync(() => {
      isReceived ||= done > 0.5 * ballastBytes
      if (isReceived) refuse()
    })
  const error = yield* Effect.flip(Snapshot.pull("app", reference, { onProgress }))
  registry.intercept = () => false
  registry.asked.length = 0
  return error
})

/** Folders with what was received of snapshots. */
const partsIn = Effect.map(Microsandbox.Microsandbox, ({ home }) => {
  const folder = Path.join(home, "lightbox", "pulls")
  return Fs.existsSync(folder) ? Fs.readdirSync(folder) : []
})

const isNothingLeft = Effect.gen(function* () {
  const { snapshots } = yield* Effect.flatMap(MicrosandboxMemory.Control, ({ inventory }) => inventory)
  assert.deepStrictEqual([snapshots, yield* Snapshot.list({ layers: true }), yield* partsIn], [[], [], []])
})

describe("a snapshot that was pushed and pulled", () => {
  test(
    "is a generation with its record, and a build of its definition runs nothing",
    Effect.gen(function* () {
      const registry = yield* FakeRegistry.make
      const reference = `${registry.host}/team/app:main`
      const built = yield* Snapshot.build(app(1))
      const disk = yield* Support.disk("app")
      const heard: Array<Snapshot.TransferProgress> = []
      const onProgress = (progress: Snapshot.TransferProgress) => Effect.sync(() => void heard.push(progress))
      const pushed = yield* Snapshot.push("app", reference, { onProgress })
      const received = registry.asked.reduce((sum, request) => sum + request.received, 0)
      assert.deepStrictEqual([pushed.reference, pushed.moved], [reference, received])
      assert.deepStrictEqual(heard[0], { reference, done: 0, total: pushed.total, moved: 0 })
      assert.deepStrictEqual(heard.at(-1), { reference, done: pushed.total, total: pushed.total, moved: pushed.moved })
      yield* forget
      yield* isNothingLeft

      const pulled = yield* Snapshot.pull("app", reference)
      assert.deepStrictEqual(described(pulled), described(built))
      assert.strictEqual(yield* versionOf("app"), "1\n")
      assert.deepStrictEqual(yield* Support.disk("app"), disk)
      assert.deepStrictEqual((yield* Snapshot.generations("app"))[0]?.build?.steps.length, 2)
      const again = yield* Support.buildCounting(app(1))
      assert.deepStrictEqual([again.boots, again.steps, again.built.digest], [0, [], built.digest])
      assert.isTrue((yield* Snapshot.plan(app(1))).isCached)
      // The record of the build explains what changed since.
      const verdicts = Support.verdicts(yield* Snapshot.plan(app(2)))
      assert.strictEqual(verdicts.at(-1), "ArgumentsChanged", verdicts.join())
      assert.deepStrictEqual(yield* partsIn, [])
    })
  )

  test(
    "needs no image in the cache for that",
    Effect.gen(function* () {
      const { reference } = yield* withPushed(small(1))
      const driver = yield* Microsandbox.Microsandbox
      yield* Snapshot.pull("app", reference)
      yield* driver.removeImage(image, { force: true })
      assert.deepStrictEqual(yield* driver.listImages(), [])
      const { boots, steps } = yield* Support.buildCounting(small(1))
      assert.deepStrictEqual([boots, steps], [0, []])
      assert.isTrue((yield* Snapshot.plan(small(1))).isCached)
    })
  )

  test(
    "serves only its name if it is not trusted",
    Effect.gen(function* () {
      const { reference } = yield* withPushed(small(1))
      const pulled = yield* Snapshot.pull("app", reference, { trusted: false })
      assert.isUndefined(pulled.key)
      assert.deepStrictEqual(pulled.defaults?.ports, [{ guest: 80, host: 0, protocol: "tcp", bind: "127.0.0.1" }])
      assert.deepStrictEqual([yield* versionOf("app"), pulled.labels], ["1\n", { version: "1" }])
      const digests = [pulled.digest, (yield* Snapshot.pull("app", reference, { trusted: false })).digest]
      assert.deepStrictEqual(new Set(digests).size, 1)
      assert.deepStrictEqual((yield* Snapshot.generations("app")).length, 1)
      const { boots } = yield* Support.buildCounting(small(1))
      assert.strictEqual(boots, 1)
    })
  )

  test(
    "becomes a generation of the name it is pulled as, and earlier ones stay",
    Effect.gen(function* () {
      const { pushed, reference, registry } = yield* withPushed(small(1))
      yield* Snapshot.build(small(2))
      assert.strictEqual((yield* Snapshot.pull("app", reference)).generation, 2)
      assert.strictEqual(yield* versionOf("app"), "1\n")
      yield* Snapshot.rollback("app")
      assert.strictEqual(yield* versionOf("app"), "2\n")
      // It is here: nothing is received again, by digest either.
      registry.asked.length = 0
      const byDigest = `${registry.host}/team/app@${pushed.digest}`
      assert.strictEqual((yield* Snapshot.pull("other", byDigest, { keep: 1 })).generation, 1)
      assert.strictEqual(yield* versionOf("other"), "1\n")
      assert.strictEqual(blobsAsked(registry, "GET").length, 1)
      assert.strictEqual(
        (yield* reasonOf(Snapshot.pull("other", reference, { overwrite: false })))._tag,
        "AlreadyExists"
      )
      // An earlier generation can be pushed, without the record of the last build.
      yield* Snapshot.build(small(3))
      yield* Snapshot.push("app@1", `${registry.host}/team/app:old`)
      assert.strictEqual((yield* Snapshot.pull("old", `${registry.host}/team/app:old`)).labels["version"], "2")
    })
  )

  test(
    "moves only what changed",
    Effect.gen(function* () {
      const { pushed, reference, registry } = yield* withPushed()
      yield* Snapshot.build(app(2))
      // To another tag, too.
      const next = yield* Snapshot.push("app", `${registry.host}/team/app:next`)
      assert.isBelow(next.moved, 0.03 * next.total)
      assert.isAbove(pushed.moved, 0.9 * pushed.total)
      const again = yield* Snapshot.push("app", `${registry.host}/team/app:next`)
      assert.deepStrictEqual([again.digest, blobsAsked(registry, "PUT").length], [next.digest, 3])
      yield* forget
      yield* Snapshot.pull("app", reference)
      registry.asked.length = 0
      yield* Snapshot.pull("app", `${registry.host}/team/app:next`)
      assert.isBelow(
        registry.asked.reduce((sum, { sent }) => sum + sent, 0),
        0.03 * next.total
      )
      assert.strictEqual(yield* versionOf("app"), "2\n")
    })
  )
})

describe("a transfer", () => {
  test(
    "goes on when a registry fails and connections break",
    Effect.gen(function* () {
      const registry = yield* FakeRegistry.make
      const reference = `${registry.host}/team/app:main`
      yield* Snapshot.build(app(1))
      const seen = new Set<string>()
      // The first request of each kind gets half an answer, or an error.
      registry.intercept = ({ method, path }, response) => {
        const subject = `${method} ${path.replace(/\?.*/, "")}`
        if (seen.has(subject)) return false
        seen.add(subject)
        if (method === "HEAD") response.writeHead(503).end()
        else if (seen.size % 2 === 0) response.writeHead(429).end()
        else {
          response.writeHead(200, { "content-length": 1000 }).write("half")
          setImmediate(() => response.destroy())
        }
        return true
      }
      const { digest } = yield* Snapshot.push("app", reference)
      yield* forget
      seen.clear()
      yield* Snapshot.pull("app", `${registry.host}/team/app@${digest}`)
      assert.strictEqual(seen.size, 5)
      assert.strictEqual(yield* versionOf("app"), "1\n")
    })
  )

  test(
    "that fails is continued by the next one",
    Effect.gen(function* () {
      const registry = yield* FakeRegistry.make
      const reference = `${registry.host}/team/app:main`
      yield* Snapshot.build(app(1))
      let uploads = 0
      registry.intercept = ({ method, path }, response) => {
        if (method !== "PUT" || !path.includes("uploads") || ++uploads === 1) return false
        response.writeHead(413).end()
        return true
      }
      assert.strictEqual(yield* kindOf(Snapshot.push("app", reference)), "Refused")
      assert.deepStrictEqual([registry.blobs.size, registry.manifests.size], [1, 0])
      registry.intercept = () => false
      const { moved, total } = yield* Snapshot.push("app", reference)
      assert.isBelow(moved, 0.3 * total)
      yield* forget

      const packs = manifestOf(registry).layers.slice(1)
      const failed = yield* pullAllButLast(registry, reference, 502)
      assert.deepInclude(failed.reason, { _tag: "TransferFailed", reference })
      assert.deepStrictEqual([failed.isRetryable, failed.method], [true, "Snapshot.pull"])
      assert.deepStrictEqual([yield* Snapshot.list({ layers: true }), (yield* partsIn).length], [[], 1])
      yield* Snapshot.pull("app", reference)
      const asked = blobsAsked(registry, "GET").filter(({ path }) =>
        packs.some(({ digest }: { readonly digest: string }) => path.endsWith(digest))
      )
      assert.deepStrictEqual(
        asked.map(({ path }) => path.slice(-64)),
        [packs.at(-1).digest.slice(-64)]
      )
      assert.deepStrictEqual([yield* versionOf("app"), yield* partsIn], ["1\n", []])
    })
  )

  test(
    "that is interrupted leaves the name as it was, and what it received for a day",
    Effect.gen(function* () {
      const { reference, registry } = yield* withPushed()
      yield* Snapshot.build(small(2))
      const packs = manifestOf(registry).layers.slice(1)
      const isAsked = yield* Deferred.make<void>()
      registry.intercept = ({ path }) => {
        if (!path.endsWith(packs.at(-1).digest)) return false
        Deferred.doneUnsafe(isAsked, Effect.void)
        return true
      }
      const pulling = yield* Effect.forkChild(Snapshot.pull("app", reference))
      yield* Deferred.await(isAsked)
      yield* Fiber.interrupt(pulling)
      assert.strictEqual(yield* versionOf("app"), "2\n")
      assert.strictEqual(
        (yield* Snapshot.list({ layers: true })).filter(({ labels }) => labels["version"] === "1").length,
        0
      )
      const sweep = Effect.map(Reaper.sweep(), ({ verdicts }) =>
        verdicts.flatMap(({ reason, verdict }) => (reason === "a pull was not continued" ? [verdict] : []))
      )
      // Files are of the time of this machine.
      yield* TestClock.setTime(Date.now() + 23 * 3_600_000)
      assert.deepStrictEqual([yield* sweep, (yield* partsIn).length], [[], 1])
      yield* TestClock.adjust("2 hours")
      assert.deepStrictEqual([yield* sweep, yield* partsIn], [["removed"], []])
    })
  )

  test(
    "believes nothing of what an interrupted one has left",
    Effect.gen(function* () {
      const { reference, registry } = yield* withPushed()
      const { home } = yield* Microsandbox.Microsandbox
      const { reason } = yield* pullAllButLast(registry, reference, 403)
      assert.deepInclude(reason, { _tag: "TransferFailed", kind: "Unauthorized" })
      const [part = ""] = yield* partsIn
      const disk = Path.join(home, "lightbox", "pulls", part, "files", "upper.disk")
      const bytes = Fs.readFileSync(disk)
      bytes.fill(7, 100_000, 300_000)
      Fs.writeFileSync(disk, bytes)
      yield* Snapshot.pull("app", reference)
      assert.strictEqual(yield* versionOf("app"), "1\n")
    })
  )

  test(
    "runs once for all who want the same",
    Effect.gen(function* () {
      const { reference, registry } = yield* withPushed()
      const names = ["a", "b", "c"]
      yield* Effect.forEach(names, (name) => Snapshot.pull(name, reference), { concurrency: "unbounded" })
      const packs = manifestOf(registry).layers.slice(1)
      const times = packs.map(
        ({ digest }: { readonly digest: string }) =>
          blobsAsked(registry, "GET").filter(({ path }) => path.endsWith(digest)).length
      )
      assert.deepStrictEqual(times, [1, 1])
      for (const name of names) assert.strictEqual(yield* versionOf(name), "1\n")
      registry.blobs.clear()
      registry.manifests.clear()
      registry.asked.length = 0
      yield* Effect.forEach(names, (name) => Snapshot.push(name, reference), { concurrency: "unbounded" })
      assert.isBelow(
        registry.asked.reduce((sum, { received }) => sum + received, 0),
        1.1 * ballastBytes
      )
    })
  )

  test(
    "does without ranges, and follows redirects",
    Effect.gen(function* () {
      const { reference, registry } = yield* withPushed()
      yield* Snapshot.build(app(2))
      yield* Snapshot.push("app", `${registry.host}/team/app:next`)
      yield* forget
      yield* Snapshot.pull("app", reference)
      registry.hasRanges = false
      registry.intercept = ({ method, path }, response) => {
        if (method !== "GET" || !path.includes("/blobs/") || path.includes("?moved")) return false
        response.writeHead(307, { location: `/v2/${path}?moved` }).end()
        return true
      }
      yield* Snapshot.pull("app", `${registry.host}/team/app:next`)
      assert.strictEqual(yield* versionOf("app"), "2\n")
    })
  )
})

describe("what a registry says", () => {
  test(
    "is checked: nothing that does not match gets a name, and nothing stays",
    Effect.gen(function* () {
      const { reference, registry } = yield* withPushed()
      const manifest = manifestOf(registry)
      const [index, pack] = manifest.layers
      const config = JSON.parse(registry.blobs.get(manifest.config.digest)?.toString("utf8") ?? "")
      const described = (change: object) => ({
        ...manifest,
        config: { ...manifest.config, ...put(registry, Buffer.from(JSON.stringify({ ...config, ...change }))) }
      })
      const noise = Crypto.randomBytes(pack.size)
      const [first, second] = config.files
      const wrong: ReadonlyArray<readonly [name: string, manifest: object, problem: RegExp]> = [
        [
          "index",
          { ...manifest, layers: [{ ...index, ...put(registry, Buffer.from("no index")) }, pack] },
          /index|zstd|frame/i
        ],
        [
          "pack",
          { ...manifest, layers: [index, { ...pack, ...put(registry, noise) }, ...manifest.layers.slice(2)] },
          /./
        ],
        ["fewer packs", { ...manifest, layers: [index, pack] }, /contradicts/],
        ["huge pack", { ...manifest, layers: [index, { ...pack, size: 2 ** 40 }] }, /too large/],
        ["huge index", { ...manifest, layers: [{ ...index, size: 2 ** 40 }, pack] }, /too large/],
        ["path", described({ files: [first, { ...second, name: "../../escaped" }] }), /description cannot be read/],
        ["same file", described({ files: [first, first] }), /description cannot be read/],
        ["size", described({ files: [{ ...first, size: 1 }, second] }), /contradicts|digest/],
        ["key", described({ generation: { ...config.generation, key: "../x" } }), /no proper key/],
        [
          "other key",
          described({ generation: { ...config.generation, key: "0".repeat(64) } }),
          /does not match its desc/
        ],
        ["format", described({ format: 2 }), /description cannot be read/]
      ]
      for (const [name, changed, problem] of wrong) {
        replaceManifest(registry, changed)
        const reason = yield* reasonOf(Snapshot.pull("app", reference))
        assert.strictEqual(reason._tag, "SnapshotDamaged", name)
        assert.match(reason.message, problem, name)
        assert.include(reason.message, reference)
        yield* isNothingLeft
      }
      // The digest in a reference is that of the manifest.
      const digest = `sha256:${"0".repeat(64)}`
      registry.manifests.set(`team/app:${digest}`, Buffer.from(JSON.stringify(manifest)))
      assert.strictEqual(
        (yield* reasonOf(Snapshot.pull("app", `${registry.host}/team/app@${digest}`)))._tag,
        "SnapshotDamaged"
      )
      replaceManifest(registry, described({ architecture: "vax" }))
      assert.strictEqual((yield* reasonOf(Snapshot.pull("app", reference)))._tag, "Unsupported")
      yield* isNothingLeft
    })
  )

  test(
    "that a part is corrupt, gone, or not a snapshot, is said",
    Effect.gen(function* () {
      const { reference, registry } = yield* withPushed()
      const manifest = manifestOf(registry)
      const { digest } = manifest.layers.at(-1)
      const content = registry.blobs.get(digest) ?? Buffer.alloc(0)
      registry.blobs.set(digest, Buffer.from(content).fill(7, 1000, 1100))
      assert.strictEqual((yield* reasonOf(Snapshot.pull("app", reference)))._tag, "SnapshotDamaged")
      yield* isNothingLeft
      registry.blobs.delete(digest)
      const gone = yield* reasonOf(Snapshot.pull("app", reference))
      assert.deepInclude(gone, { _tag: "TransferFailed", kind: "NotFound" })
      assert.include(gone.message, digest)
      assert.strictEqual(yield* kindOf(Snapshot.pull("app", `${registry.host}/team/none:main`)), "NotFound")
      for (const other of [
        { ...manifest, artifactType: "application/x" },
        { schemaVersion: 2, manifests: [] }
      ]) {
        replaceManifest(registry, other)
        assert.strictEqual(yield* kindOf(Snapshot.pull("app", reference)), "NotASnapshot")
      }
      assert.strictEqual(yield* kindOf(Snapshot.pull("app", "localhost:1/team/app")), "Unreachable")
      assert.strictEqual(yield* kindOf(Snapshot.push("app", "localhost:1/team/app")), "NotFound")
    })
  )

  test(
    "about parts that it does not have is not relied on by a push",
    Effect.gen(function* () {
      const { reference, registry } = yield* withPushed()
      yield* Snapshot.build(app(1))
      for (const { digest } of manifestOf(registry).layers.slice(1)) registry.blobs.delete(digest)
      yield* Snapshot.push("app", reference)
      yield* Snapshot.pull("app", reference)
      replaceManifest(registry, { layers: "nonsense" })
      yield* Snapshot.push("app", reference)
      yield* forget
      yield* Snapshot.pull("app", reference)
      assert.strictEqual(yield* versionOf("app"), "1\n")
    })
  )

  test(
    "about logins is obeyed",
    Effect.gen(function* () {
      const registry = yield* FakeRegistry.make
      const reference = `${registry.host}/team/app:main`
      yield* Snapshot.build(small(1))
      const basic = `Basic ${Buffer.from("ci:pass:word 1").toString("base64")}`
      const login = { username: "ci", password: Redacted.make("pass:word 1") }
      let scheme: "basic" | "bearer" = "basic"
      const tokens: Array<string> = []
      let uses = 0
      registry.intercept = ({ authorization, path }, response) => {
        if (path.startsWith("/token")) {
          if (authorization !== basic) response.writeHead(401).end()
          else {
            tokens.push(new URL(`http://x${path}`).searchParams.get("scope") ?? "")
            uses = 0
            response.writeHead(200).end(JSON.stringify({ token: `t${tokens.length}` }))
          }
          return true
        }
        // A token is good for three requests.
        const isGood =
          scheme === "basic" ? authorization === basic : authorization === `Bearer t${tokens.length}` && ++uses <= 3
        if (isGood) return false
        const realm = `Bearer realm="http://${registry.host}/token",service="tests",scope="repository:team/app:pull"`
        response.writeHead(401, { "www-authenticate": scheme === "basic" ? 'Basic realm="x"' : realm }).end()
        return true
      }
      for (const next of ["basic", "bearer"] as const) {
        scheme = next
        assert.strictEqual(yield* kindOf(Snapshot.push("app", reference)), "Unauthorized")
        const bad = { username: "ci", password: Redacted.make("secret-guess") }
        const refused = yield* Effect.flip(Snapshot.push("app", reference, { registry: bad }))
        assert.deepInclude(refused.reason, { kind: "Unauthorized" })
        assert.notInclude(JSON.stringify(refused), "secret-guess")
        yield* Snapshot.push("app", reference, { registry: login })
        yield* Snapshot.pull("copy", reference, { registry: login })
      }
      assert.isAbove(tokens.length, 2)
      assert.deepStrictEqual([...new Set(tokens)], ["repository:team/app:pull,push", "repository:team/app:pull"])
    })
  )
})
