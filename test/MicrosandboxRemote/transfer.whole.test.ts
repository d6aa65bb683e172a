/** Snapshots that move through a host, and from one host to another. */
import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import * as Fs from "node:fs"
import * as Http from "node:http"
import * as Path from "node:path"
import type { Services } from "../../src/Driver.ts"
import * as Client from "../../src/internal/registry/client.ts"
import type { LightboxError } from "../../src/LightboxError.ts"
import * as Microsandbox from "../../src/Microsandbox.ts"
import * as Reaper from "../../src/Reaper.ts"
import * as Sandbox from "../../src/Sandbox.ts"
import * as Snapshot from "../../src/Snapshot.ts"
import { failsWith } from "../Microsandbox/Bench.ts"
import * as Ballast from "../Snapshot/ballast.ts"
import * as FakeRegistry from "../Snapshot/FakeRegistry.ts"
import * as Relay from "../Relay.ts"
import * as Support from "./support.ts"

const image = "busybox"

/** Trying again at once. */
const test = <E>(name: string, effect: Effect.Effect<void, E, Scope.Scope>) =>
  it.effect(name, () => Effect.provideService(effect, Client.Pause, 0))

const app = Ballast.make(image, 10 * 1024 * 1024)

const small = (version: number) => app(version, 1000)

/** A program on a host of its own. */
const program = Effect.gen(function* () {
  const host = yield* Support.host({ images: { [image]: { isCached: true } } })
  const services = yield* Layer.build(yield* Support.client(host.url))
  const on = <A, E>(effect: Effect.Effect<A, E, Services>) => Effect.provideContext(effect, services)
  return { ...host, services, on }
})

const versionOf = (name: string) => Sandbox.run({ snapshot: name }, (sandbox) => sandbox.readFileString("/version"))

const reasonOf = <A, R>(effect: Effect.Effect<A, LightboxError, R>) =>
  Effect.map(Effect.flip(effect), ({ reason }) => reason)

const packsAsked = (asked: ReadonlyArray<Relay.Asked>) => asked.filter(({ path }) => path.includes("/blobs/"))

describe("a push through a host", () => {
  test(
    "is done by the host, with the login of the call, and can be pulled through another",
    Effect.gen(function* () {
      const registry = yield* FakeRegistry.make
      const login = `Basic ${Buffer.from("ci:password").toString("base64")}`
      registry.intercept = ({ authorization }, response) => {
        if (authorization === login) return false
        response.writeHead(401, { "www-authenticate": 'Basic realm="r"' }).end()
        return true
      }
      const reference = `${registry.host}/team/app:main`
      const one = yield* program
      const two = yield* program
      const built = yield* one.on(Snapshot.build(app(1)))
      const options = { registry: { username: "ci", password: Redacted.make("password") } }
      const heard: Array<Snapshot.TransferProgress> = []
      const onProgress = (progress: Snapshot.TransferProgress) => Effect.sync(() => void heard.push(progress))
      const pushed = yield* one.on(Snapshot.push("app", reference, { ...options, onProgress }))
      assert.deepStrictEqual(heard[0], { reference, done: 0, total: pushed.total, moved: 0 })
      assert.deepStrictEqual(heard.at(-1), { reference, done: pushed.total, total: pushed.total, moved: pushed.moved })
      const received = registry.asked.reduce((sum, request) => sum + request.received, 0)
      assert.strictEqual(pushed.moved, received)

      heard.length = 0
      const pulled = yield* two.on(Snapshot.pull("app", reference, { ...options, onProgress }))
      assert.deepStrictEqual([pulled.key, pulled.labels, pulled.digest], [built.key, { version: "1" }, built.digest])
      assert.strictEqual(heard.at(-1)?.done, pushed.total)
      assert.strictEqual(yield* two.on(versionOf("app")), "1\n")
      assert.strictEqual((yield* two.on(Snapshot.build(app(1)))).stepsRun, 0)

      // The login was for those calls only.
      const refused = yield* reasonOf(one.on(Snapshot.push("app", `${registry.host}/team/app:next`)))
      assert.deepInclude(refused, { _tag: "TransferFailed", kind: "Unauthorized" })
    })
  )

  test(
    "fails as it does on this machine",
    Effect.gen(function* () {
      const registry = yield* FakeRegistry.make
      const { here, on } = yield* program
      yield* on(Snapshot.build(small(1)))
      const reference = `${registry.host}/team/app:main`
      const wrong: ReadonlyArray<Effect.Effect<unknown, LightboxError, Services>> = [
        Snapshot.push("none", reference),
        Snapshot.push("app", "not a reference"),
        Snapshot.push("app", `${reference}@sha256:${"0".repeat(64)}`),
        Snapshot.push("app", reference, { registry: { username: "one" } }),
        Snapshot.pull("other", reference),
        Snapshot.pull("other", { host: "ftp://x", token: Support.token }),
        Snapshot.pull("app", reference, { overwrite: false }),
        Snapshot.pull("app", reference, { keep: 0 })
      ]
      for (const effect of wrong) {
        const there = yield* Effect.flip(on(effect))
        const local = yield* Effect.flip(Effect.provideContext(effect, here))
        assert.deepStrictEqual([there.message, there.method], [local.message, local.method])
      }
      // A certificate is a file of the host.
      const authority = on(Snapshot.push("app", reference, { registry: { caCerts: "/etc/hostname" } }))
      assert.strictEqual((yield* failsWith("InvalidConfig", authority)).field, "registry.caCerts")
    })
  )

  test(
    "ends at the host when it is interrupted",
    Effect.gen(function* () {
      const registry = yield* FakeRegistry.make
      const { on } = yield* program
      yield* on(Snapshot.build(small(1)))
      const isAsked = yield* Deferred.make<void>()
      const isGone = yield* Deferred.make<void>()
      registry.intercept = ({ method }, response) => {
        if (method !== "POST") return false
        Deferred.doneUnsafe(isAsked, Effect.void)
        response.on("close", () => Deferred.doneUnsafe(isGone, Effect.void))
        return true
      }
      const pushing = yield* Effect.forkChild(on(Snapshot.push("app", `${registry.host}/team/app:main`)))
      yield* Deferred.await(isAsked)
      yield* Fiber.interrupt(pushing)
      yield* Deferred.await(isGone)
      assert.strictEqual(registry.manifests.size, 0)
    })
  )
})

describe("a pull from another host", () => {
  test(
    "brings a snapshot with its record, by name, by generation and under another name",
    Effect.gen(function* () {
      const one = yield* program
      const two = yield* program
      const first = yield* one.on(Snapshot.build(small(1)))
      yield* one.on(Snapshot.build(small(2)))
      const from = { host: `${one.url}/`, token: Support.token }
      const pulled = yield* two.on(Snapshot.pull("app", from))
      assert.deepStrictEqual([pulled.generation, pulled.labels], [1, { version: "2" }])
      assert.strictEqual((yield* two.on(Snapshot.build(small(2)))).stepsRun, 0)
      const old = yield* two.on(Snapshot.pull("old", { ...from, snapshot: "app@1" }))
      assert.deepStrictEqual([old.key, old.digest], [first.key, first.digest])
      assert.strictEqual(yield* two.on(versionOf("old")), "1\n")
      const unsure = yield* two.on(Snapshot.pull("unsure", { ...from, snapshot: "app" }, { trusted: false }))
      assert.isUndefined(unsure.key)
      assert.strictEqual(yield* two.on(versionOf("unsure")), "2\n")
    })
  )

  test(
    "moves the result of a key once for all who want it, and only what changed since the last",
    Effect.gen(function* () {
      const one = yield* program
      const two = yield* program
      const relay = yield* Relay.make(one.url)
      const from = { host: relay.url, token: Support.token }
      const { remoteHome } = Context.get(two.services, Microsandbox.Microsandbox)
      const fetch = (key: string | undefined, onProgress?: Snapshot.PullOptions["onProgress"]) =>
        remoteHome?.pullResult({ key: key ?? "", from, onProgress }) ?? Effect.die("there is no host")
      const first = yield* one.on(Snapshot.build(app(1)))
      const both = yield* Effect.all([fetch(first.key), fetch(first.key)], { concurrency: "unbounded" })
      assert.deepStrictEqual(
        both.map(({ digest }) => digest),
        [first.digest, first.digest]
      )
      const asked = packsAsked(relay.asked).map(({ path }) => path)
      const packs = asked.filter((path) => asked.indexOf(path) === asked.lastIndexOf(path))
      // The index and the packs are asked for by one of them, the description by both.
      assert.strictEqual(asked.length - packs.length, 2)
      assert.deepStrictEqual(yield* two.on(Snapshot.list()), [])
      assert.strictEqual((yield* two.on(Snapshot.build(app(1)))).stepsRun, 0)

      const second = yield* one.on(Snapshot.build(app(2)))
      let moved = 0
      let total = 0
      yield* fetch(second.key, (progress) =>
        Effect.sync(() => {
          moved = progress.moved
          total = progress.total
        })
      )
      assert.isAbove(moved, 0)
      assert.isBelow(moved, 0.03 * total)
      assert.strictEqual((yield* two.on(Snapshot.build(app(2)))).stepsRun, 0)
      relay.asked.length = 0
      yield* fetch(second.key)
      assert.strictEqual(relay.asked.length, 0)
      const missing = yield* reasonOf(fetch("0".repeat(64)))
      assert.deepInclude(missing, { _tag: "TransferFailed", kind: "NotFound" })
      assert.strictEqual((yield* failsWith("InvalidConfig", fetch("short"))).field, "key")
    })
  )

  test(
    "goes on where a broken one stopped, and believes nothing",
    Effect.gen(function* () {
      const one = yield* program
      const two = yield* program
      const relay = yield* Relay.make(one.url)
      const from = { host: relay.url, token: Support.token }
      yield* one.on(Snapshot.build(app(1)))
      const seen = new Set<string>()
      let isReceived = false
      const waiting: Array<Http.ServerResponse> = []
      const refuse = () => {
        for (const response of waiting.splice(0)) response.writeHead(502).end()
      }
      relay.intercept = ({ path }, response) => {
        // Description, index and one pack.
        if (!path.includes("/blobs/") || seen.size < 3 || seen.has(path)) {
          if (path.includes("/blobs/")) seen.add(path)
          return false
        }
        waiting.push(response)
        if (isReceived) refuse()
        return true
      }
      const onProgress = ({ moved }: Snapshot.TransferProgress) =>
        Effect.sync(() => {
          isReceived ||= moved > 1_000_000
          if (isReceived) refuse()
        })
      const broken = yield* reasonOf(two.on(Snapshot.pull("app", from, { onProgress })))
      assert.strictEqual(broken._tag, "TransferFailed")
      relay.intercept = () => false
      relay.asked.length = 0
      yield* two.on(Snapshot.pull("app", from))
      assert.strictEqual(packsAsked(relay.asked).length, 3)
      assert.strictEqual(yield* two.on(versionOf("app")), "1\n")

      // What the source keeps for others is checked by them.
      const three = yield* program
      const folder = Path.join(one.home, "lightbox", "exports", "blobs")
      const [largest = ""] = Fs.readdirSync(folder)
        .map((name) => Path.join(folder, name))
        .toSorted((a, b) => Fs.statSync(b).size - Fs.statSync(a).size)
      const bytes = Fs.readFileSync(largest)
      bytes.writeUInt8(bytes.readUInt8(1000) ^ 1, 1000)
      Fs.writeFileSync(largest, bytes)
      const damaged = yield* failsWith("SnapshotDamaged", three.on(Snapshot.pull("app", from)))
      assert.strictEqual(damaged.name, `${from.host}/app`)
      assert.deepStrictEqual(yield* three.on(Snapshot.list({ layers: true })), [])
    })
  )

  test(
    "needs a token that reads, and is told what is wrong",
    Effect.gen(function* () {
      const reader = Redacted.make("a-token-that-only-reads")
      const one = yield* Support.host(
        { images: { [image]: { isCached: true } } },
        { tokens: [{ token: Support.token }, { name: "reader", token: reader, scopes: ["read"] }] }
      )
      const builder = yield* Layer.build(yield* Support.client(one.url))
      yield* Effect.provideContext(Snapshot.build(small(1)), builder)
      const two = yield* program
      yield* two.on(Snapshot.pull("app", { host: one.url, token: reader }))
      const kindOf = (from: Snapshot.HostReference) =>
        Effect.map(failsWith("TransferFailed", two.on(Snapshot.pull("other", from))), ({ kind }) => kind)
      assert.strictEqual(yield* kindOf({ host: one.url, token: Redacted.make("another-token-of-1") }), "Unauthorized")
      assert.strictEqual(yield* kindOf({ host: one.url, token: reader }), "NotFound")
      assert.strictEqual(yield* kindOf({ host: one.url, token: reader, snapshot: "app@7" }), "NotFound")
      assert.strictEqual(yield* kindOf({ host: "http://127.0.0.1:1", token: reader, snapshot: "app" }), "Unreachable")
      const plain = Http.createServer((_, response) => response.end("hello"))
      yield* Effect.acquireRelease(
        Effect.callback<void>((resume) => {
          plain.listen(0, "127.0.0.1", () => resume(Effect.void))
        }),
        () => Effect.sync(() => plain.close())
      )
      const elsewhere = `http://127.0.0.1:${Object(plain.address()).port}`
      assert.strictEqual(yield* kindOf({ host: elsewhere, token: reader, snapshot: "app" }), "NotASnapshot")
      // Nothing can be put there, and nothing else is served.
      const status = (path: string, method = "GET") =>
        Effect.promise(() =>
          fetch(`${one.url}${path}`, { method, headers: { authorization: `Bearer ${Redacted.value(reader)}` } }).then(
            (answer) => answer.status
          )
        )
      const tags = yield* Effect.promise(() =>
        fetch(`${one.url}/v2/snapshots/app/tags/list`, {
          headers: { authorization: `Bearer ${Redacted.value(reader)}` }
        }).then((answer) => answer.json())
      )
      assert.deepStrictEqual(tags, { name: "snapshots/app", tags: ["1", "latest"] })
      assert.deepStrictEqual(
        [
          yield* status("/v2/"),
          yield* status("/v2/snapshots/app/tags/list"),
          yield* status("/v2/snapshots/app/manifests/latest", "PUT"),
          yield* status("/v2/snapshots/app/blobs/..%2f..%2fnames"),
          yield* status("/v2/snapshots/..%2fapp/manifests/latest"),
          yield* status("/v2/other")
        ],
        [200, 200, 405, 404, 400, 404]
      )
    })
  )

  test(
    "leaves at the source only what others have asked for within a day",
    Effect.gen(function* () {
      const one = yield* program
      const two = yield* program
      yield* one.on(Snapshot.build(small(1)))
      yield* two.on(Snapshot.pull("app", { host: one.url, token: Support.token }))
      const folder = Path.join(one.home, "lightbox", "exports")
      const files = () => ["blobs", "tags"].flatMap((part) => Fs.readdirSync(Path.join(folder, part)))
      assert.strictEqual(files().length, 5)
      // Files have the time of the real world.
      const sweep = TestClock.withLive(Effect.provideContext(Reaper.sweep(), one.here))
      yield* sweep
      assert.strictEqual(files().length, 5)
      for (const part of ["blobs", "tags"]) {
        for (const name of Fs.readdirSync(Path.join(folder, part))) Fs.utimesSync(Path.join(folder, part, name), 0, 0)
      }
      const swept = yield* sweep
      assert.strictEqual(swept.verdicts.filter(({ resource }) => resource === "staging").length, 5)
      assert.deepStrictEqual(files(), [])
    })
  )
})
