/** What a host refuses, and what becomes of what belongs to programs that end. */
import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import * as Fs from "node:fs"
import * as Http from "node:http"
import * as Path from "node:path"
import type { Services } from "../../src/Driver.ts"
import * as Gateway from "../../src/Gateway.ts"
import * as Clients from "../../src/internal/driver/remote/client.ts"
import * as Protocol from "../../src/internal/driver/remote/protocol.ts"
import * as HomeFiles from "../../src/internal/ownership/files.ts"
import * as Image from "../../src/Image.ts"
import * as Microsandbox from "../../src/Microsandbox.ts"
import * as MicrosandboxMemory from "../../src/MicrosandboxMemory.ts"
import * as MicrosandboxRemote from "../../src/MicrosandboxRemote.ts"
import { Ownership } from "../../src/Ownership.ts"
import * as Reaper from "../../src/Reaper.ts"
import * as Sandbox from "../../src/Sandbox.ts"
import * as Snapshot from "../../src/Snapshot.ts"
import * as Volume from "../../src/Volume.ts"
import { failsWith } from "../Microsandbox/Bench.ts"
import * as Relay from "../Relay.ts"
import * as Support from "./support.ts"
import { meanwhile, until } from "./support.ts"

const image = "busybox"

const sandboxesOf = (control: MicrosandboxMemory.Control["Service"]) =>
  Effect.map(control.inventory, ({ sandboxes }) => sandboxes.map(({ name }) => name).toSorted())

/** Builds the layer of a program, and returns a scope that ends it. */
const program = Effect.fnUntraced(function* (url: string, token?: Redacted.Redacted<string>) {
  const layer = yield* Support.client(url, token)
  const scope = yield* Effect.flatMap(Effect.scope, Scope.fork)
  return { scope, services: yield* Layer.buildWithScope(layer, scope) }
})

interface Asked {
  readonly method?: string
  readonly path?: string
  readonly headers?: { readonly [name: string]: string }
  readonly body?: string | Uint8Array
}

/** Sends a request as it is. */
const ask = (url: string, { body, headers, method = "POST", path = Protocol.paths.rpc }: Asked) =>
  Effect.callback<{ readonly status: number | undefined; readonly text: string; readonly scheme: string | undefined }>(
    (resume) => {
      const request = Http.request(`${url}${path}`, { method, headers }, (response) => {
        let text = ""
        response.setEncoding("utf8").on("data", (piece: string) => {
          text += piece
        })
        const done = () =>
          resume(Effect.succeed({ status: response.statusCode, text, scheme: response.headers["www-authenticate"] }))
        response.on("end", done).on("error", done)
      })
      request.on("error", () => undefined)
      request.end(body)
    }
  )

const authorization = `Bearer ${Redacted.value(Support.token)}`
const generation = { [Protocol.headers.generation]: "1" }

/** A request to reach a guest, as it is sent. */
const upgradeOf = (
  headers: { readonly [name: string]: string },
  path = "/v1/sandboxes/one/agent?name=one",
  key = "AAAAAAAAAAAAAAAAAAAAAA=="
) => {
  const all = {
    host: "127.0.0.1",
    connection: "Upgrade",
    upgrade: "websocket",
    "sec-websocket-version": "13",
    "sec-websocket-key": key,
    ...headers
  }
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}`)
  return [`GET ${path} HTTP/1.1`, ...lines, "", ""].join("\r\n")
}

describe("a host", () => {
  it.effect("answers nobody without a token, other names for this machine, and pages of browsers", () =>
    Effect.gen(function* () {
      const { url } = yield* Support.host()
      for (const headers of [{}, { authorization: "Bearer a-token-of-the-test" }, { authorization: "Basic x" }]) {
        const answer = yield* ask(url, { headers: { ...generation, ...headers } })
        assert.deepStrictEqual([answer.status, answer.scheme], [401, "Bearer"])
      }
      const known = { ...generation, authorization }
      for (const headers of [
        { host: "rebound.example.com" },
        { origin: "https://page.example.com" },
        { origin: url.replace("http", "https") }
      ]) {
        assert.strictEqual((yield* ask(url, { headers: { ...known, ...headers } })).status, 403)
      }
      assert.strictEqual((yield* ask(url, { headers: known, path: "/v1/other" })).status, 404)
      assert.strictEqual((yield* ask(url, { headers: { authorization } })).status, 426)
      const upgrade = { connection: "Upgrade", upgrade: "websocket", "sec-websocket-version": "13" }
      const agent = { method: "GET", path: "/v1/sandboxes/one/agent?name=one" }
      for (const [headers, status] of [
        [generation, 401],
        [{ ...known, origin: "https://page.example.com" }, 403],
        [{ ...known, [Protocol.headers.session]: "none" }, 410]
      ] as const) {
        assert.strictEqual((yield* ask(url, { ...agent, headers: { ...headers, ...upgrade } })).status, status)
      }
    })
  )

  it.effect("closes the connections of those that it refuses, even if they do not", () =>
    Effect.gen(function* () {
      const { url } = yield* Support.host()
      const line = yield* Support.open(url)
      line.socket.write(upgradeOf(generation))
      yield* until(line.text, (text) => text.startsWith("HTTP/1.1 401"))
      // This side goes on writing, which only a connection that is gone refuses.
      yield* until(
        Effect.sync(() => line.socket.destroyed || line.socket.write("x")),
        () => line.socket.destroyed
      )
    })
  )

  it.effect("lets go of a guest whose connection cannot be upgraded", () =>
    Effect.gen(function* () {
      const context = yield* Layer.build(MicrosandboxMemory.layer({ home: yield* Support.folder("h") }))
      const driver = Context.get(context, Microsandbox.Microsandbox)
      const reached = { open: 0, count: 0 }
      const gates = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
      const counting: Microsandbox.Microsandbox["Service"] = {
        ...driver,
        connect: (sandbox) =>
          Effect.acquireRelease(
            Effect.sync(() => {
              reached.open++
              return gates[reached.count++]
            }),
            () => Effect.sync(() => reached.open--)
          ).pipe(
            Effect.flatMap((gate) => (gate === undefined ? Effect.void : Deferred.await(gate))),
            Effect.andThen(driver.connect(sandbox))
          )
      }
      const { url } = yield* Gateway.serve({ tokens: [{ token: Support.token }], port: 0 }).pipe(
        Effect.provideContext(Context.add(context, Microsandbox.Microsandbox, counting))
      )
      const client = yield* Clients.make({ method: "test", url, token: Support.token })
      const { id, name } = yield* driver.createSandbox({
        name: "one",
        source: { _tag: "Image", reference: image },
        config: {}
      })
      const headers = { ...generation, authorization, [Protocol.headers.session]: client.opened.session }
      const ask = Effect.fnUntraced(function* (key?: string) {
        const line = yield* Support.open(url)
        line.socket.write(upgradeOf(headers, `/v1/sandboxes/${id}/agent?name=${name}`, key))
        yield* until(
          Effect.sync(() => reached.open),
          (open) => open === 1
        )
        return line
      })
      const isLetGo = until(
        Effect.sync(() => reached.open),
        (open) => open === 0
      )
      const wrong = yield* ask("short")
      for (const gate of gates.slice(0, 1)) yield* Deferred.succeed(gate, undefined)
      yield* until(wrong.text, (text) => text.startsWith("HTTP/1.1 400"))
      yield* isLetGo
      const gone = yield* ask()
      gone.socket.resetAndDestroy()
      yield* isLetGo
      assert.strictEqual(reached.count, 2)
    })
  )

  it.effect("refuses requests and archives that are too large", () =>
    Effect.gen(function* () {
      const { url } = yield* Support.host({}, { maxUpload: "1M" })
      const headers = { ...generation, authorization }
      const body = new Uint8Array(Protocol.maxBodyBytes + 1)
      assert.strictEqual((yield* ask(url, { headers, body })).status, 413)
      const files = yield* Support.folder("f")
      const path = Path.join(files, "large")
      Fs.writeFileSync(path, new Uint8Array(2 * 1024 * 1024))
      const { services } = yield* program(url)
      const driver = Context.get(services, Microsandbox.Microsandbox)
      const refused = yield* failsWith("HostUnavailable", driver.loadImage(path))
      assert.deepInclude(refused, { kind: "Refused", host: url })
    })
  )

  it.effect("checks the name under which a guest is looked for", () =>
    Effect.gen(function* () {
      const { url } = yield* Support.host()
      const { services } = yield* program(url)
      const driver = Context.get(services, Microsandbox.Microsandbox)
      const { field } = yield* failsWith("InvalidConfig", driver.connect({ id: "none", name: "../escaped" }))
      assert.strictEqual(field, "name")
    })
  )

  it.effect("names wrong options, and wants to be encrypted where others reach it", () =>
    Effect.gen(function* () {
      const fieldOf = (options: Partial<Gateway.Options>) =>
        Gateway.serve({ tokens: [{ token: Support.token }], port: 0, ...options }).pipe(
          Effect.provide(MicrosandboxMemory.layer()),
          Effect.scoped,
          (serving) => failsWith("InvalidConfig", serving),
          Effect.map(({ field }) => field)
        )
      assert.strictEqual(yield* fieldOf({ bind: "0.0.0.0" }), "bind")
      assert.strictEqual(yield* fieldOf({ tokens: [] }), "tokens")
      assert.strictEqual(yield* fieldOf({ tokens: [{ token: Redacted.make("short") }] }), "tokens.0.token")
      assert.strictEqual(yield* fieldOf({ tls: { certificate: "/no/cert", key: "/no/key" } }), "tls.certificate")
      assert.strictEqual(yield* fieldOf({ allowMounts: ["/no/such/folder"] }), "allowMounts.0")
      assert.strictEqual(yield* fieldOf({ lease: "10 millis" }), "lease")
      const wrong = (options: Partial<MicrosandboxRemote.Options>) =>
        Effect.scoped(
          Layer.build(MicrosandboxRemote.layer({ url: "http://127.0.0.1:1", token: Support.token, ...options }))
        )
      assert.strictEqual((yield* failsWith("InvalidConfig", wrong({ url: "ftp://host" }))).field, "url")
      assert.strictEqual((yield* failsWith("InvalidConfig", wrong({ token: Redacted.make("") }))).field, "token")
    })
  )

  it.effect("tells a program why it does not serve it", () =>
    Effect.gen(function* () {
      const reader = Redacted.make("a-token-that-only-reads")
      const { control, url } = yield* Support.host(
        {},
        { tokens: [{ token: Support.token }, { name: "reader", token: reader, scopes: ["read"] }] }
      )
      const unknown = yield* failsWith("HostUnavailable", program(url, Redacted.make("an-unknown-token")))
      assert.deepInclude(unknown, { kind: "Unauthorized", host: url })

      const { services: writing } = yield* program(url)
      const sandbox = yield* Effect.provideContext(Sandbox.launch({ image, name: "seen" }), writing)
      const { services } = yield* program(url, reader)
      const driver = Context.get(services, Microsandbox.Microsandbox)
      assert.deepStrictEqual(
        (yield* driver.listSandboxes()).map(({ name }) => name),
        ["seen"]
      )
      const refused = [
        driver.killSandbox(sandbox),
        Effect.scoped(driver.connect(sandbox)),
        driver.removeVolume("none"),
        Effect.scoped(Effect.provideContext(Sandbox.launch({ image }), services))
      ]
      for (const effect of refused) {
        assert.strictEqual((yield* failsWith("HostUnavailable", Effect.asVoid(effect))).kind, "Forbidden")
      }
      assert.deepStrictEqual(yield* sandboxesOf(control), ["seen"])
    })
  )

  it.effect("asks no registry for a token that only reads", () =>
    Effect.gen(function* () {
      const reader = Redacted.make("a-token-that-only-reads")
      const { url } = yield* Support.host(
        { images: { cached: { isCached: true }, busybox: {} } },
        { tokens: [{ token: Support.token }, { name: "reader", token: reader, scopes: ["read"] }] }
      )
      const { services } = yield* program(url, reader)
      const driver = Context.get(services, Microsandbox.Microsandbox)
      const isCached = (reference: string) =>
        Effect.map(driver.resolveImage(reference), ({ digest, isCached }) => [digest !== undefined, isCached])
      assert.deepStrictEqual(yield* isCached("cached"), [true, true])
      assert.deepStrictEqual(yield* isCached("busybox"), [false, false])
      for (const effect of [
        driver.resolveImage("cached", { pullPolicy: "always" }),
        driver.resolveImage("busybox", { askIfMissing: true })
      ]) {
        assert.strictEqual((yield* failsWith("HostUnavailable", Effect.asVoid(effect))).kind, "Forbidden")
      }
      const { services: writing } = yield* program(url)
      const resolved = yield* Context.get(writing, Microsandbox.Microsandbox).resolveImage("busybox", {
        askIfMissing: true
      })
      assert.isDefined(resolved.digest)
    })
  )

  it.effect("shares only the folders that it is told to, whatever a path looks like", () =>
    Effect.gen(function* () {
      const shared = yield* Support.folder("s")
      const secret = yield* Support.folder("x")
      Fs.mkdirSync(Path.join(shared, "inner"))
      Fs.symlinkSync(secret, Path.join(shared, "link"))
      const { control, url } = yield* Support.host({}, { allowMounts: [shared] })
      const { services } = yield* program(url)
      const launch = (options: Omit<Sandbox.LaunchOptions, "image" | "snapshot">) =>
        Sandbox.run({ image, ...options }, (sandbox) => sandbox.exec("true")).pipe(Effect.provideContext(services))
      const allowed = yield* launch({ mounts: { "/work": { bind: Path.join(shared, "inner") } } })
      assert.strictEqual(allowed.exitCode, 0)
      const refusedPaths = [secret, `${shared}/../${Path.basename(secret)}`, Path.join(shared, "link"), "/", "relative"]
      for (const bind of refusedPaths) {
        const refused = yield* failsWith("InvalidConfig", launch({ mounts: { "/work": { bind } } }))
        assert.strictEqual(refused.field, "mounts./work", bind)
      }
      const patched = launch({ patches: [{ _tag: "CopyFolder", hostPath: secret, path: "/taken" }] })
      assert.strictEqual((yield* failsWith("InvalidConfig", patched)).field, "patches.0.hostPath")
      const authority = launch({ registry: { caCerts: "/etc/hostname" } })
      assert.strictEqual((yield* failsWith("InvalidConfig", authority)).field, "registry.caCerts")
      assert.strictEqual((yield* control.calls).filter(({ operation }) => operation === "createSandbox").length, 1)
    })
  )

  it.effect("knows the session of a program by its token only", () =>
    Effect.gen(function* () {
      const other = Redacted.make("another-token-of-the-tests")
      const { url } = yield* Support.host({}, { tokens: [{ token: Support.token }, { name: "other", token: other }] })
      const owner = yield* Clients.make({ method: "test", url, token: Support.token })
      const stranger = yield* Clients.make({ method: "test", url, token: other })
      const headers = { [Protocol.headers.session]: owner.opened.session }
      const stolen = stranger.write("test", (rpc) => rpc.close(undefined, { headers }))
      assert.strictEqual((yield* failsWith("HostUnavailable", stolen)).kind, "Ended")
      yield* owner.read("test", (rpc, call) => rpc.renew(undefined, call))
    })
  )

  it.effect("keeps a lock for a program that asks again because its connection was lost", () =>
    Effect.gen(function* () {
      const { url } = yield* Support.host()
      const client = yield* Clients.make({ method: "test", url, token: Support.token })
      const asked = (id: string) =>
        client
          .write("test", (rpc, call) => Stream.runHead(rpc.lock({ id, name: "one" }, call)))
          .pipe(Effect.map(Option.map(({ _tag }) => _tag)))
      assert.deepStrictEqual(yield* asked("a"), Option.some("Held"))
      assert.deepStrictEqual(yield* asked("a"), Option.some("Held"))
      assert.deepStrictEqual(yield* asked("b"), Option.some("Waiting"))
      yield* client.end("test", (rpc, call) => rpc.unlock({ id: "a" }, call))
      assert.deepStrictEqual(yield* asked("b"), Option.some("Held"))
      // What was asked for before it was given up may arrive after that.
      yield* client.end("test", (rpc, call) => rpc.unlock({ id: "b" }, call))
      yield* failsWith("InvalidConfig", asked("b"))
      assert.deepStrictEqual(yield* asked("c"), Option.some("Held"))
    })
  )

  it.effect("passes on what the holder of a lock prints in its order, many lines at once", () =>
    Effect.gen(function* () {
      const { here, url } = yield* Support.host()
      const relay = yield* Relay.make(url)
      const { services } = yield* program(relay.url)
      const tryLock = (services: Context.Context<Services>) =>
        HomeFiles.of(Context.get(services, Microsandbox.Microsandbox), Context.get(services, Ownership)).tryLock("one")
      const scope = yield* Effect.flatMap(Effect.scope, Scope.fork)
      const held = yield* Scope.provide(tryLock(services), scope)
      const waits = yield* tryLock(here)
      assert.isTrue("lock" in held && "waiting" in waits)
      if (!("lock" in held) || !("waiting" in waits)) return
      const before = relay.asked.length
      const lines = Array.from({ length: 1000 }, (_, index) => `line ${index}`)
      for (const line of lines) held.lock.send(line)
      // What was printed before a lock is released arrives.
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual(yield* Stream.runCollect(waits.waiting), lines)
      assert.isBelow(relay.asked.length - before, 10)
    })
  )

  it.effect("takes no path for a name, and no note of a file", () =>
    Effect.gen(function* () {
      const { home, url } = yield* Support.host()
      Fs.writeFileSync(Path.join(home, "precious"), "kept")
      const client = yield* Clients.make({ method: "test", url, token: Support.token })
      const note = (kind: "file" | "disk", name: string) =>
        client.write("test", (rpc, call) => rpc.note({ note: { kind, token: "one", name } }, call))
      const refused = [
        note("file", Path.join(home, "precious")),
        note("disk", "disk"),
        client.write("test", (rpc, call) => rpc.note({ note: { kind: "sandbox", token: "../../x", name: "a" } }, call)),
        client.write("test", (rpc, call) => rpc.removeRecord({ path: "names/../../precious" }, call)),
        client.write("test", (rpc, call) => rpc.removeRecord({ path: "../precious" }, call)),
        client.write("test", (rpc, call) => rpc.writeRecord({ path: "owners/x", content: "" }, call)),
        client.read("test", (rpc, call) => rpc.listRecords({ folder: ".." }, call)),
        client.read("test", (rpc, call) => rpc.findOwner({ id: "../x" }, call)),
        client.write("test", (rpc, call) => rpc.removeSnapshot({ name: "../precious" }, call)),
        client.read("test", (rpc, call) => rpc.getSnapshot({ name: "/etc" }, call)),
        client.write("test", (rpc, call) => rpc.removeVolume({ name: "../precious" }, call)),
        client.write("test", (rpc, call) => rpc.removeStaging({ of: { snapshot: "../x" } }, call))
      ]
      for (const effect of refused) yield* failsWith("InvalidConfig", Effect.asVoid(effect))
      assert.strictEqual(Fs.readFileSync(Path.join(home, "precious"), "utf8"), "kept")
    })
  )
})

describe("a program", () => {
  it.effect("that is silent for longer than its lease loses its sandboxes, except detached ones", () =>
    Effect.gen(function* () {
      const { control, url } = yield* Support.host()
      const { services: dead } = yield* program(url)
      const { services: other } = yield* program(url)
      const scoped = yield* Effect.provideContext(Sandbox.launch({ image, name: "scoped" }), dead)
      yield* Effect.provideContext(Sandbox.launch({ image, name: "detached", detached: true }), dead)
      yield* Effect.provideContext(Sandbox.launch({ image, name: "other" }), other)
      yield* Effect.provideContext(Volume.ensure("data"), other)
      const driver = Context.get(dead, Microsandbox.Microsandbox)
      yield* Effect.provideContext(Effect.scoped(Volume.exclusive("data")), dead)
      // Sandboxes of a program that lives stay, also when somebody sweeps.
      yield* TestClock.adjust("20 seconds")
      yield* driver.listSandboxes()
      yield* Effect.provideContext(Reaper.sweep(), other)
      yield* TestClock.adjust("20 seconds")
      assert.deepStrictEqual(yield* sandboxesOf(control), ["detached", "other", "scoped"])

      const otherDriver = Context.get(other, Microsandbox.Microsandbox)
      yield* otherDriver.listSandboxes()
      yield* TestClock.adjust("20 seconds")
      yield* until(sandboxesOf(control), (names) => !names.includes("scoped"))
      assert.deepStrictEqual(yield* sandboxesOf(control), ["detached", "other"])
      assert.strictEqual((yield* scoped.guest.lost).reason._tag, "GuestLost")
      const lost = yield* failsWith("HostUnavailable", driver.createVolume({ name: "late", kind: "directory" }))
      assert.strictEqual(lost.kind, "Ended")
      // It may go on as another program.
      assert.strictEqual((yield* Effect.provideContext(Sandbox.connect("detached"), dead)).name, "detached")
    })
  )

  it.effect("whose session has ended goes on in another, also to reach a guest and to send an archive", () =>
    Effect.gen(function* () {
      const { control, url } = yield* Support.host({ images: { [image]: { isCached: true } } })
      const { services } = yield* program(url)
      const driver = Context.get(services, Microsandbox.Microsandbox)
      const detached = yield* Effect.provideContext(
        Sandbox.launch({ image, name: "detached", detached: true }),
        services
      )
      const archive = Path.join(yield* Support.folder("f"), "archive")
      yield* driver.saveImages([image], archive)
      const { services: second } = yield* program(url)
      for (const [name, of] of [
        ["one", services],
        ["two", second]
      ] as const) {
        yield* Effect.provideContext(Sandbox.launch({ image, name }), of)
      }
      // Not longer than their lease: what removes their sandboxes then has a limit, too.
      yield* TestClock.adjust("38 seconds")
      yield* until(sandboxesOf(control), (names) => names.length === 1)
      yield* driver.connect(detached)
      assert.isNotEmpty(yield* Context.get(second, Microsandbox.Microsandbox).loadImage(archive))
    })
  )

  it.effect("that dies gives back its locks", () =>
    Effect.gen(function* () {
      const { url } = yield* Support.host()
      const { services: dead } = yield* program(url)
      const { services: other } = yield* program(url)
      yield* Effect.provideContext(Volume.ensure("data"), other)
      yield* Effect.provideContext(Volume.exclusive("data"), dead)
      const waiting = yield* Effect.forkScoped(Effect.provideContext(Volume.exclusive("data"), other))
      const otherDriver = Context.get(other, Microsandbox.Microsandbox)
      for (let step = 0; step < 4; step++) {
        yield* otherDriver.listVolumes()
        assert.isUndefined(waiting.pollUnsafe())
        yield* TestClock.adjust("10 seconds")
      }
      assert.strictEqual((yield* Fiber.join(waiting)).name, "data")
    })
  )

  it.effect("gives back everything when it ends", () =>
    Effect.gen(function* () {
      const { control, home, url } = yield* Support.host()
      const { scope, services } = yield* program(url)
      const driver = Context.get(services, Microsandbox.Microsandbox)
      yield* Effect.provideContext(Sandbox.launch({ image, name: "scoped" }), services)
      const { sandboxes: before } = yield* control.inventory
      assert.deepStrictEqual(before, [{ name: "scoped", status: "running" }])
      // Nobody has noted this one: as on one machine, it is only stopped.
      yield* driver.createSandbox({ name: "raw", source: { _tag: "Image", reference: image }, config: {} })
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual((yield* control.inventory).sandboxes, [{ name: "raw", status: "stopped" }])
      // The host is an owner only while it owns something.
      const owners = Fs.readdirSync(Path.join(home, "lightbox/owners")).filter((name) => !name.endsWith(".lease"))
      assert.isAtMost(owners.length, 1)
    })
  )

  it.effect("that gives up a launch leaves nothing at the host", () =>
    Effect.gen(function* () {
      const { control, url } = yield* Support.host({ faults: [MicrosandboxMemory.hangAt("createSandbox")] })
      const { services } = yield* program(url)
      const launching = yield* Effect.forkScoped(Effect.provideContext(Sandbox.launch({ image }), services))
      const creations = Effect.map(control.calls, (calls) =>
        calls.filter(({ operation }) => operation === "createSandbox").map(({ outcome }) => outcome._tag)
      )
      yield* until(creations, (all) => all.length === 1)
      yield* Fiber.interrupt(launching)
      assert.deepStrictEqual(yield* creations, ["Interrupted"])
      assert.deepStrictEqual(yield* sandboxesOf(control), [])
    })
  )

  for (const isFinished of [false, true]) {
    const title = isFinished ? "has ended" : "runs"
    it.effect(`that gives up a launch while its host is away cancels it later, when the creation ${title}`, () =>
      Effect.gen(function* () {
        const { control, home, url } = yield* Support.host({}, { lease: "1 hour" })
        const line = yield* Support.unreliable(url)
        const { services } = yield* program(line.url)
        yield* control.inject(
          isFinished
            ? MicrosandboxMemory.delayAt("createSandbox", "15 seconds")
            : MicrosandboxMemory.hangAt("createSandbox")
        )
        const launching = yield* Effect.forkScoped(Effect.provideContext(Sandbox.launch({ image }), services))
        const creations = Effect.map(control.calls, (calls) =>
          calls.filter(({ operation }) => operation === "createSandbox").map(({ outcome }) => outcome._tag)
        )
        yield* until(creations, (all) => all.length === 1)
        yield* line.break
        yield* meanwhile(Fiber.interrupt(launching))
        if (isFinished) yield* TestClock.adjust("15 seconds")
        yield* until(creations, ([outcome]) => outcome === (isFinished ? "Succeeded" : "Pending"))
        yield* line.mend
        yield* meanwhile(Context.get(services, Microsandbox.Microsandbox).listVolumes())
        yield* until(creations, ([outcome]) => isFinished || outcome === "Interrupted")
        yield* until(sandboxesOf(control), (names) => names.length === 0)
        const notes = Effect.sync(() =>
          Fs.readdirSync(Path.join(home, "lightbox/owners"), { recursive: true }).filter((name) =>
            String(name).includes("sandbox.")
          )
        )
        yield* until(notes, (notes) => notes.length === 0)
      })
    )
  }

  it.effect("whose answer is lost asks again, and boots once", () =>
    Effect.gen(function* () {
      const { control, url } = yield* Support.host()
      const line = yield* Support.unreliable(url)
      const { services } = yield* program(line.url)
      const driver = Context.get(services, Microsandbox.Microsandbox)
      yield* control.inject(MicrosandboxMemory.delayAt("createSandbox", "1 minute"))
      const creating = yield* Effect.forkScoped(
        driver.createSandbox({ name: "once", source: { _tag: "Image", reference: image }, config: {} })
      )
      const creations = Effect.map(control.calls, (calls) =>
        calls.filter(({ operation }) => operation === "createSandbox")
      )
      yield* until(creations, (all) => all.length === 1)
      yield* line.cut
      // It asks again after a moment, and renews its lease meanwhile.
      for (let second = 0; second < 70; second++) {
        yield* TestClock.adjust("1 second")
        yield* driver.listVolumes()
      }
      assert.strictEqual((yield* Fiber.join(creating)).name, "once")
      assert.strictEqual((yield* creations).length, 1)
    })
  )

  it.effect("fails within its limit when nobody answers, and says whether something may have happened", () =>
    Effect.gen(function* () {
      const { control, url } = yield* Support.host({ faults: [MicrosandboxMemory.hangAt("createVolume")] })
      const line = yield* Support.unreliable(url)
      const { services } = yield* program(line.url)
      const driver = Context.get(services, Microsandbox.Microsandbox)
      const creating = yield* Effect.forkScoped(driver.createVolume({ name: "maybe", kind: "directory" }))
      yield* until(control.calls, (calls) => calls.some(({ operation }) => operation === "createVolume"))
      yield* line.close
      const lost = yield* Effect.flip(meanwhile(Fiber.join(creating)))
      assert.deepInclude(lost.reason, { _tag: "HostUnavailable", kind: "Lost" })
      assert.deepStrictEqual([lost.outcome, lost.isRetryable], ["unknown", true])
      const unreachable = yield* Effect.flip(meanwhile(driver.listVolumes()))
      assert.deepInclude(unreachable.reason, { _tag: "HostUnavailable", kind: "Unreachable", host: line.url })
      assert.strictEqual(unreachable.outcome, "failed")
    })
  )

  it.effect("does not take an operation for one that failed because its session ended under way", () =>
    Effect.gen(function* () {
      const { control, url } = yield* Support.host({ faults: [MicrosandboxMemory.hangAt("createVolume")] })
      const line = yield* Support.unreliable(url)
      const ending = yield* Clients.make({ method: "test", url, token: Support.token })
      /** Ends the session of a program at the host, as a host does that is stopped. */
      const end = (client: Clients.Client) => {
        const headers = { [Protocol.headers.session]: client.opened.session }
        return ending.write("test", (rpc) => rpc.close(undefined, { headers }))
      }
      const begun = Effect.map(
        control.calls,
        (calls) => calls.filter(({ operation }) => operation === "createVolume").length
      )
      for (const isAnswerLost of [true, false]) {
        const client = yield* Clients.make({ method: "test", url: line.url, token: Support.token })
        const before = yield* begun
        const creating = yield* Effect.forkScoped(
          client.write("test", (rpc, call) => rpc.createVolume({ name: "maybe", kind: "directory" }, call))
        )
        yield* until(begun, (count) => count > before)
        if (isAnswerLost) yield* line.cut
        yield* end(client)
        const lost = yield* Effect.flip(meanwhile(Fiber.join(creating)))
        assert.deepInclude(lost.reason, { _tag: "HostUnavailable", kind: "Lost" })
        assert.strictEqual(lost.outcome, "unknown")
        // Nothing of what comes next is lost: it has a new session.
        yield* client
          .write("test", (rpc, call) => rpc.removeImage({ reference: "none", force: true }, call))
          .pipe(Effect.catchReason("LightboxError", "NotFound", () => Effect.void))
      }
    })
  )

  it.live("survives a restart of its host: typed errors, and detached sandboxes are there", () =>
    Effect.gen(function* () {
      const context = yield* Layer.build(MicrosandboxMemory.layer({ home: yield* Support.folder("h") }))
      const control = Context.get(context, MicrosandboxMemory.Control)
      const serve = Effect.fnUntraced(function* (port: number) {
        const scope = yield* Effect.flatMap(Effect.scope, Scope.fork)
        const serving = Gateway.serve({ tokens: [{ token: Support.token }], port })
        const { port: chosen, url } = yield* serving.pipe(Effect.provideContext(context), Scope.provide(scope))
        return { port: chosen, url, stop: Scope.close(scope, Exit.void) }
      })
      const first = yield* serve(0)
      const { scope, services } = yield* program(first.url)
      const scoped = yield* Sandbox.launch({ image, name: "scoped" }).pipe(
        Effect.provideContext(services),
        Scope.provide(scope)
      )
      yield* Sandbox.launch({ image, name: "detached", detached: true }).pipe(Effect.provideContext(services))
      const command = yield* Effect.forkScoped(Effect.flip(scoped.exec("sleep", ["1000"])))
      yield* until(control.inventory, ({ processes }) => processes.some(({ command }) => command.startsWith("sleep")))
      yield* first.stop
      const lost = yield* Fiber.join(command)
      assert.deepStrictEqual([lost.reason._tag, lost.outcome], ["GuestLost", "unknown"])
      assert.deepStrictEqual(yield* sandboxesOf(control), ["detached"])

      yield* serve(first.port)
      const launch = Sandbox.run({ image }, (sandbox) => sandbox.exec("true")).pipe(Effect.provideContext(services))
      const late = yield* Effect.flip(launch)
      assert.deepInclude(late.reason, { _tag: "HostUnavailable", kind: "Ended" })
      const found = yield* Sandbox.connect("detached").pipe(Effect.provideContext(services))
      assert.strictEqual((yield* found.exec("true")).exitCode, 0)
      assert.strictEqual((yield* launch).exitCode, 0)
      yield* Scope.close(scope, Exit.void)
    })
  )

  it.effect("finds a result on the host whose image is no longer cached there", () =>
    Effect.gen(function* () {
      const { url } = yield* Support.host({ images: { [image]: {} } })
      const { services } = yield* program(url)
      const definition = Snapshot.make("known", image).pipe(Snapshot.shell("true"))
      const plan = yield* Effect.gen(function* () {
        yield* Snapshot.build(definition)
        yield* Image.remove(image, { force: true })
        return yield* Snapshot.plan(definition)
      }).pipe(Effect.provideContext(services))
      assert.isTrue(plan.isCached)
    })
  )

  it.live(
    "boots the disk of a snapshot that the host has captured with its memory, and can do no more with memory",
    () =>
      Effect.gen(function* () {
        const { control, here, url } = yield* Support.host({ memorySnapshots: true })
        const definition = Snapshot.make("warm", image).pipe(Snapshot.shell("echo built > /root/built"))
        yield* Effect.provideContext(Snapshot.build(definition, { warm: true }), here)
        const { services } = yield* program(url)
        yield* Effect.gen(function* () {
          const { capabilities } = yield* Microsandbox.Microsandbox
          assert.deepInclude(capabilities, { memorySnapshots: false, fork: false, pause: false })
          const sandbox = yield* Sandbox.launch({ snapshot: "warm" })
          assert.isUndefined(sandbox.resumed)
          assert.strictEqual(yield* sandbox.readFileString("/root/built"), "built\n")
          const { reason } = yield* Effect.flip(Snapshot.build(definition, { warm: true }))
          assert.deepInclude(reason, { _tag: "Unsupported", feature: "warm" })
        }).pipe(Effect.provideContext(services))
        const resumed = (yield* control.calls).filter(({ detail }) => detail["resume"] !== undefined)
        assert.deepStrictEqual(resumed, [])
      })
  )

  it.effect("shares results and names of snapshots with the others", () =>
    Effect.gen(function* () {
      const { url } = yield* Support.host()
      const { services: one } = yield* program(url)
      const { services: two } = yield* program(url)
      const started = yield* Deferred.make<void>()
      const proceed = yield* Deferred.make<void>()
      const definition = Snapshot.make("shared", image).pipe(
        Snapshot.step("wait", () => Effect.andThen(Deferred.succeed(started, undefined), Deferred.await(proceed))),
        Snapshot.shell("echo built > /root/built")
      )
      const waits = yield* Deferred.make<void>()
      const first = yield* Effect.forkScoped(Effect.provideContext(Snapshot.build(definition), one))
      yield* Deferred.await(started)
      const second = yield* Effect.forkScoped(
        Effect.provideContext(
          Snapshot.build(definition, {
            onEvent: ({ _tag }) => (_tag === "Waiting" ? Deferred.succeed(waits, undefined) : Effect.void)
          }),
          two
        )
      )
      yield* Deferred.await(waits)
      yield* Deferred.succeed(proceed, undefined)
      assert.strictEqual((yield* Fiber.join(first)).stepsRun, 2)
      assert.strictEqual((yield* Fiber.join(second)).stepsRun, 0)
      const listed = yield* Effect.provideContext(Snapshot.get("shared"), two)
      assert.strictEqual(listed.generation, 1)
      const output = yield* Effect.provideContext(
        Sandbox.run({ snapshot: "shared" }, (sandbox) => sandbox.readFileString("/root/built")),
        two
      )
      assert.strictEqual(output, "built\n")
      const refused = Effect.provideContext(
        Effect.flatMap(Volume.ensure("data"), () => Volume.files("data")),
        two
      )
      assert.include((yield* failsWith("Unsupported", refused)).problem, "another machine")
      assert.strictEqual((yield* Effect.provideContext(Volume.usage("data"), two)).quota, undefined)
    })
  )
})
