import { assert, layer } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FileSystem from "effect/FileSystem"
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Layer from "effect/Layer"
import * as ChildProcess from "effect/process/ChildProcess"
import * as ChildProcessSpawner from "effect/process/ChildProcessSpawner"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import { fileURLToPath } from "node:url"
import type { Services } from "../../src/Driver.ts"
import * as Microsandbox from "../../src/Microsandbox.ts"
import * as MicrosandboxCloud from "../../src/MicrosandboxCloud.ts"
import * as MicrosandboxLocal from "../../src/MicrosandboxLocal.ts"
import * as Sandbox from "../../src/Sandbox.ts"
import type { SandboxConfig } from "../../src/SandboxConfig.ts"
import * as Fake from "./FakeCloud.ts"

const program = fileURLToPath(new URL("programs/dying.ts", import.meta.url))

class FakeCloud extends Context.Service<FakeCloud, Fake.FakeCloud>()(
  "effect-lightbox/test/MicrosandboxCloud/cloud.test/FakeCloud"
) {
  static readonly layer = Layer.effect(FakeCloud, Fake.make)
}

const apiKey = "msb_test_0123456789"

const cloud = Layer.unwrap(
  Effect.gen(function* () {
    const { url } = yield* FakeCloud
    const fs = yield* FileSystem.FileSystem
    const home = yield* fs.makeTempDirectoryScoped({ prefix: "c" })
    return MicrosandboxCloud.layer({ apiKey: Redacted.make(apiKey), url: `${url}/`, home, memory: "256M" })
  })
)

const test = cloud.pipe(Layer.provideMerge(FakeCloud.layer), Layer.provideMerge(NodeServices.layer))

/** What was asked of the service meanwhile, as methods and paths. */
const asked = Effect.fnUntraced(function* <A, E, R>(effect: Effect.Effect<A, E, R>) {
  const { requests } = yield* FakeCloud
  const before = requests.length
  const result = yield* effect
  return { result, requests: requests.slice(before) }
})

const until = (isSo: () => boolean) =>
  Effect.sync(isSo).pipe(Effect.repeat({ until: (now) => now, schedule: Schedule.spaced("5 millis") }))

layer(test, { excludeTestServices: true })("the hosted service", (it) => {
  it.effect("creates, uses and removes a sandbox, with the key on every request", () =>
    Effect.gen(function* () {
      const fake = yield* FakeCloud
      const { requests, result } = yield* asked(
        Sandbox.run({ image: "alpine", name: "worker", labels: { team_name: "a" }, env: { A: "1" } }, (sandbox) =>
          Effect.andThen(
            Effect.sync(() => assert.deepStrictEqual(fake.sandboxes(), ["worker"])),
            sandbox.exec("echo", ["hello", "cloud"])
          )
        )
      )
      assert.strictEqual(result.stdout, "hello cloud\n")
      assert.strictEqual(result.exitCode, 0)
      assert.deepStrictEqual(fake.sandboxes(), [])

      assert.deepStrictEqual([...new Set(requests.map(({ authorization }) => authorization))], [`Bearer ${apiKey}`])
      const lines = requests.map(({ method, path }) => `${method} ${path}`)
      assert.deepStrictEqual(lines[0], "POST /v1/sandboxes")
      assert.includeMembers(lines, [
        "GET /v1/sandboxes/id-of-worker/agent",
        "POST /v1/sandboxes/id-of-worker/stop",
        "DELETE /v1/sandboxes/id-of-worker"
      ])
      const body: { readonly labels: { readonly [key: string]: string }; readonly [key: string]: unknown } = JSON.parse(
        requests[0]?.body ?? ""
      )
      assert.deepInclude(body, { name: "worker", image: { type: "oci", reference: "alpine" } })
      assert.deepStrictEqual(body["resources"], { vcpus: 1, memory_mib: 256 })
      assert.deepStrictEqual(body["env"], [{ key: "A", value: "1" }])
      // Only this machine knows who owns it.
      assert.deepStrictEqual(Object.keys(body.labels).toSorted(), [
        "lightbox.instance",
        "lightbox.options",
        "lightbox.role",
        "team_name"
      ])
    })
  )

  it.effect("reports what it knows about sandboxes", () =>
    Effect.gen(function* () {
      const driver = yield* Microsandbox.Microsandbox
      const created = yield* driver.createSandbox({
        name: "known",
        source: { _tag: "Image", reference: "alpine:3" },
        config: { resources: { cpus: 2, memory: 1024 ** 3 }, labels: { team: "a" } }
      })
      assert.strictEqual(created.id, "cloud:id-of-known")
      assert.deepInclude(created, { name: "known", status: "running", image: "alpine:3", cpus: 2, memory: 1024 ** 3 })
      assert.deepInclude(created.labels, { team: "a" })
      const named = (labels: { readonly [key: string]: string }) =>
        Effect.map(driver.listSandboxes({ labels }), (all) => all.map(({ name }) => name))
      assert.deepStrictEqual(yield* named({ team: "a" }), ["known"])
      assert.deepStrictEqual(yield* named({ team: "b" }), [])

      yield* driver.stopSandbox(created)
      assert.strictEqual((yield* driver.getSandbox("known")).status, "stopped")
      assert.strictEqual((yield* driver.startSandbox(created)).status, "running")
      const replaced = yield* Effect.flip(driver.stopSandbox({ name: "known", id: "cloud:another" }))
      assert.strictEqual(replaced.reason._tag, "Replaced")
      yield* driver.removeSandbox(created, { force: true })
      yield* driver.removeSandbox(created, { force: true })
    })
  )

  it.effect("transfers megabytes both ways", () =>
    Effect.gen(function* () {
      const size = 5 * 1024 * 1024 + 1
      const input = Uint8Array.from({ length: size }, (_, index) => index % 251)
      const result = yield* Sandbox.run({ image: "alpine" }, (sandbox) =>
        sandbox.exec("cat", [], { stdin: input, maxOutput: size })
      )
      assert.strictEqual(Buffer.compare(result.stdoutBytes, input), 0)
    })
  )

  it.effect("kills commands with their scope", () =>
    Effect.gen(function* () {
      const fake = yield* FakeCloud
      yield* Sandbox.run({ image: "alpine" }, (sandbox) =>
        Effect.gen(function* () {
          const started = Stream.runDrain(Stream.take(sandbox.execStream("sleep", ["100"]), 1))
          yield* started
          yield* until(() => fake.messages.includes('core.exec.signal {"signal":9}'))
        })
      )
    })
  )

  it.effect("reports a missing program, a missing file and a lost guest", () =>
    Effect.gen(function* () {
      const fake = yield* FakeCloud
      yield* Sandbox.run({ image: "alpine" }, (sandbox) =>
        Effect.gen(function* () {
          const missing = yield* Effect.flip(sandbox.exec("missing"))
          assert.deepInclude(missing.reason, { _tag: "CommandNotStarted", kind: "ProgramNotFound" })
          const file = yield* Effect.flip(sandbox.readFile("/nothing"))
          assert.deepInclude(file.reason, { _tag: "FileError", code: "ENOENT" })
          const sleeping = yield* Effect.forkChild(Effect.flip(sandbox.exec("sleep")), { startImmediately: true })
          yield* until(() => fake.messages.some((line) => line.includes('"cmd":"sleep"')))
          fake.disconnect()
          assert.strictEqual((yield* Fiber.join(sleeping)).reason._tag, "GuestLost")
        })
      )
    })
  )

  it.effect.each([
    { status: 404, code: "sandbox_not_found", tag: "NotFound" },
    { status: 409, code: "name_already_exists", tag: "AlreadyExists" },
    { status: 401, code: "unauthorized", tag: "InvalidConfig" },
    { status: 403, code: "forbidden", tag: "InvalidConfig" },
    { status: 422, code: "invalid_request", tag: "InvalidConfig" },
    { status: 429, code: "too_many_requests", tag: "NoCapacity" },
    { status: 500, code: "internal", tag: "Unknown" }
  ])("maps status $status to $tag, without the key", ({ code, status, tag }) =>
    Effect.gen(function* () {
      const fake = yield* FakeCloud
      const driver = yield* Microsandbox.Microsandbox
      fake.failNext(status, code)
      const error = yield* Effect.flip(driver.getSandbox("any"))
      assert.strictEqual(error.reason._tag, tag)
      assert.include(error.message, tag === "NotFound" || tag === "AlreadyExists" ? "any" : code)
      assert.notInclude(JSON.stringify(error), apiKey)
    })
  )

  it.effect("removes the sandbox of an interrupted creation", () =>
    Effect.gen(function* () {
      const fake = yield* FakeCloud
      const { promise, resolve } = Promise.withResolvers<void>()
      fake.holdUp = promise
      const before = fake.requests.length
      const running = yield* Effect.forkChild(
        Sandbox.run({ image: "alpine", name: "late" }, () => Effect.never),
        { startImmediately: true }
      )
      yield* until(() => fake.requests.slice(before).some(({ method }) => method === "POST"))
      const interrupted = yield* Effect.forkChild(Fiber.interrupt(running), { startImmediately: true })
      resolve()
      yield* Fiber.join(interrupted)
      assert.isTrue(fake.requests.slice(before).some(({ method }) => method === "DELETE"))
      assert.deepStrictEqual(fake.sandboxes(), [])
    })
  )

  const refused: ReadonlyArray<readonly [feature: string, config: SandboxConfig]> = [
    ["bind mount", { mounts: { "/work": { bind: "." } } }],
    ["disk mount", { mounts: { "/work": { disk: "./disk.raw" } } }],
    ["making the volume", { mounts: { "/work": { volume: "cache" } } }],
    ["published ports", { ports: { 8080: 80 } }],
    ["patches", { patches: [{ _tag: "Mkdir", path: "/x" }] }],
    ["deployment", { deployment: "multi-tenant" }],
    ["hostname", { hostname: "worker" }],
    ["max_cpus", { resources: { cpus: 1, maxCpus: 4 } }]
  ]

  it.effect.each(refused)("rejects %s before sending any request", ([feature, config]) =>
    Effect.gen(function* () {
      const driver = yield* Microsandbox.Microsandbox
      const request: Microsandbox.CreateSandbox = {
        name: "any",
        source: { _tag: "Image", reference: "alpine" },
        config
      }
      const { requests, result } = yield* asked(Effect.flip(driver.createSandbox(request)))
      assert.strictEqual(result.reason._tag, "Unsupported")
      assert.include(result.message, feature)
      assert.deepStrictEqual(
        requests.filter(({ method }) => method !== "GET"),
        []
      )
    })
  )

  it.effect("rejects missing files on this host before sending any request", () =>
    Effect.gen(function* () {
      const driver = yield* Microsandbox.Microsandbox
      const creation = driver.createSandbox({
        name: "any",
        source: { _tag: "Image", reference: "alpine" },
        config: { registry: { caCerts: "./not-there.pem" } }
      })
      const { requests, result } = yield* asked(Effect.flip(creation))
      assert.deepInclude(result.reason, { _tag: "InvalidConfig", field: "registry.caCerts" })
      assert.deepStrictEqual(requests, [])
    })
  )

  it.effect("removes a sandbox whose details it cannot read", () =>
    Effect.gen(function* () {
      const fake = yield* FakeCloud
      const driver = yield* Microsandbox.Microsandbox
      const { promise, resolve } = Promise.withResolvers<void>()
      fake.holdUp = promise
      const before = fake.requests.length
      const creation = yield* Effect.forkChild(
        Effect.flip(
          driver.createSandbox({ name: "untold", source: { _tag: "Image", reference: "alpine" }, config: {} })
        ),
        { startImmediately: true }
      )
      yield* until(() => fake.requests.slice(before).some(({ method }) => method === "POST"))
      fake.failNext(500, "internal")
      resolve()
      assert.strictEqual((yield* Fiber.join(creation)).reason._tag, "Unknown")
      assert.deepStrictEqual(fake.sandboxes(), [])
    })
  )

  it.effect("rejects unsupported operations before sending any request, and lists no capabilities", () =>
    Effect.gen(function* () {
      const driver = yield* Microsandbox.Microsandbox
      assert.strictEqual(driver.backend, "cloud")
      assert.isTrue(Object.values(driver.capabilities).every((can) => !can))
      const sandbox = { name: "any", id: "cloud:any" }
      const { requests, result } = yield* asked(
        Effect.forEach(
          [
            driver.createSandbox({ name: "any", source: { _tag: "Snapshot", name: "tools" }, config: {} }),
            driver.listSnapshots(),
            driver.getSnapshot("tools"),
            driver.captureSnapshot({ sandbox: "any", name: "tools" }),
            driver.listImages(),
            driver.getImage("alpine"),
            driver.listVolumes(),
            driver.createVolume({ name: "cache", kind: "directory" }),
            driver.killSandbox(sandbox),
            driver.modifySandbox(sandbox, { memory: 1024 ** 3 }),
            driver.readMetrics(sandbox),
            driver.readLogs(sandbox)
          ],
          (operation) => Effect.map(Effect.flip(operation), (error) => error.reason._tag)
        )
      )
      assert.deepStrictEqual([...new Set(result)], ["Unsupported"])
      assert.deepStrictEqual(requests, [])
    })
  )

  it.effect("replaces a sandbox only with overwrite", () =>
    Effect.gen(function* () {
      const fake = yield* FakeCloud
      const old = yield* Sandbox.launch({ image: "alpine", name: "taken" })
      yield* old.detach
      const refused = yield* Effect.flip(Sandbox.launch({ image: "alpine", name: "taken" }))
      assert.deepInclude(refused.reason, { _tag: "AlreadyExists", name: "taken" })
      assert.deepStrictEqual(fake.sandboxes(), ["taken"])
      const { requests, result } = yield* asked(Sandbox.launch({ image: "alpine:3", name: "taken", overwrite: true }))
      assert.strictEqual((yield* result.info).image, "alpine:3")
      const removed = requests.findIndex(({ method }) => method === "DELETE")
      const created = requests.findIndex(({ method, path }) => method === "POST" && path === "/v1/sandboxes")
      assert.isTrue(removed >= 0 && removed < created)
      assert.deepStrictEqual(fake.sandboxes(), ["taken"])
    }).pipe(Effect.scoped)
  )

  it.effect("removes what a dead process on this machine left, when the next one starts", () =>
    Effect.gen(function* () {
      const fake = yield* FakeCloud
      const fs = yield* FileSystem.FileSystem
      const spawner = yield* ChildProcessSpawner.ChildProcessSpawner
      const home = yield* fs.makeTempDirectoryScoped({ prefix: "c" })
      yield* Sandbox.launch({ image: "alpine", name: "neighbour" })
      const dying = yield* spawner.spawn(ChildProcess.make(process.execPath, [program, fake.url, apiKey, home]))
      assert.isTrue(Exit.isFailure(yield* Effect.exit(dying.exitCode)))
      assert.sameMembers([...fake.sandboxes()], ["neighbour", "orphan"])
      yield* Layer.build(Layer.fresh(MicrosandboxCloud.layer({ apiKey: Redacted.make(apiKey), url: fake.url, home })))
      assert.deepStrictEqual(fake.sandboxes(), ["neighbour"])
    }).pipe(Effect.scoped)
  )

  it.effect("is the only backend of its process", () =>
    Effect.gen(function* () {
      const { url } = yield* FakeCloud
      const problem = <E extends { readonly message: string; readonly reason: { readonly _tag: string } }>(
        layer: Layer.Layer<Services, E>
      ) => Effect.flip(Effect.scoped(Layer.build(layer)))
      const another = yield* problem(MicrosandboxCloud.layer({ apiKey: Redacted.make("another"), url }))
      assert.strictEqual(another.reason._tag, "Unsupported")
      assert.include(another.message, "another key")
      const local = yield* problem(MicrosandboxLocal.layer())
      assert.strictEqual(local.reason._tag, "Unsupported")
      assert.include(local.message, url)
      const elsewhere = yield* problem(
        MicrosandboxCloud.layer({ apiKey: Redacted.make(apiKey), url: "https://sandboxes.example.com" })
      )
      assert.strictEqual(elsewhere.reason._tag, "Unsupported")
    })
  )

  it.effect.each([
    { options: { apiKey: Redacted.make(" ") }, field: "apiKey" },
    { options: { apiKey: Redacted.make(apiKey), url: "sandboxes.example.com" }, field: "url" },
    { options: { apiKey: Redacted.make(apiKey), memory: "1M" as const }, field: "memory" }
  ])("names the invalid option $field", ({ field, options }) =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(Effect.scoped(Layer.build(MicrosandboxCloud.layer(options))))
      assert.deepInclude(error.reason, { _tag: "InvalidConfig", field })
      assert.notInclude(error.message, apiKey)
    })
  )
})
