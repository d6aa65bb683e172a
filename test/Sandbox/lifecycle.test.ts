/**
 * What stays and what is removed: detached sandboxes, and sandboxes by name.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/testing/TestClock"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Microsandbox from "../../src/Microsandbox.ts"
import * as MicrosandboxMemory from "../../src/MicrosandboxMemory.ts"
import * as Ownership from "../../src/Ownership.ts"
import * as Reaper from "../../src/Reaper.ts"
import * as Sandbox from "../../src/Sandbox.ts"

const image = "alpine"

const layer = MicrosandboxMemory.layer({ images: { [image]: {} } })

describe("a sandbox", () => {
  it.effect("outlives its scope when launched with detached", () =>
    Effect.gen(function* () {
      yield* Sandbox.run({ image, name: "left", detached: true }, (sandbox) => sandbox.writeFileString("/note", "here"))
      assert.strictEqual((yield* Sandbox.get("left")).status, "running")
      const text = yield* Effect.scoped(
        Effect.flatMap(Sandbox.connect("left"), (sandbox) => sandbox.readFileString("/note"))
      )
      assert.strictEqual(text, "here")
      yield* Sandbox.remove("left", { force: true })
    }).pipe(Effect.provide(layer))
  )

  it.effect("can be given a lease after a detached launch", () =>
    Effect.gen(function* () {
      yield* Sandbox.run({ image, name: "for-now", detached: true }, (sandbox) => sandbox.detachFor("1 hour"))
      assert.strictEqual((yield* Sandbox.get("for-now")).status, "running")
    }).pipe(Effect.provide(layer))
  )

  it.effect("is stopped and killed by name, and keeps its disk", () =>
    Effect.gen(function* () {
      yield* Sandbox.run({ image, name: "box", detached: true }, () => Effect.void)
      yield* Sandbox.stop("box")
      assert.strictEqual((yield* Sandbox.get("box")).status, "stopped")
      yield* Effect.scoped(Sandbox.start("box", { detached: true }))
      yield* Sandbox.kill("box")
      assert.strictEqual((yield* Sandbox.get("box")).status, "stopped")
      for (const missing of [Sandbox.stop("none"), Sandbox.kill("none")]) {
        assert.strictEqual((yield* Effect.flip(missing)).reason._tag, "NotFound")
      }
    }).pipe(Effect.provide(layer))
  )

  it.effect("is launched from the configuration", () =>
    Effect.gen(function* () {
      const live = Sandbox.layerConfig({ image: Config.succeed(image), name: Config.succeed("configured") })
      assert.strictEqual(
        yield* Effect.provide(
          Sandbox.Sandbox.useSync(({ name }) => name),
          live
        ),
        "configured"
      )
    }).pipe(Effect.provide(layer))
  )

  it.effect("is recognized by isSandbox", () =>
    Effect.gen(function* () {
      const sandbox = yield* Sandbox.launch({ image })
      assert.isTrue(Sandbox.isSandbox(sandbox))
      assert.isFalse(Sandbox.isSandbox({ name: sandbox.name }))
    }).pipe(Effect.scoped, Effect.provide(layer))
  )
})

describe("getOrCreate", () => {
  it.effect("fails for a sandbox that a living scope will remove, and takes over one of a dead process", () =>
    Effect.gen(function* () {
      const get = Sandbox.getOrCreate("owned", { image })
      yield* Effect.scoped(
        Effect.gen(function* () {
          const owned = yield* Sandbox.launch({ image, name: "owned" })
          const { reason } = yield* Effect.flip(Effect.scoped(get))
          const usedBy = [`process ${process.pid}`]
          assert.deepInclude(reason, { _tag: "InUse", resource: "sandbox", name: "owned", usedBy })
          yield* owned.stop()
          assert.strictEqual((yield* Effect.flip(Effect.scoped(get))).reason._tag, "InUse")
          yield* owned.detach
        })
      )
      yield* Effect.scoped(get)
      assert.deepInclude(yield* Sandbox.get("owned"), { status: "running" })
      yield* Sandbox.remove("owned", { force: true })
      // As a killed process leaves it.
      const { home, ...driver } = yield* Microsandbox.Microsandbox
      const ownership = yield* Ownership.Ownership
      const owners = Path.join(home, "lightbox", "owners")
      const dead = Path.join(owners, "dead")
      Fs.mkdirSync(dead)
      Fs.copyFileSync(Path.join(owners, yield* ownership.id, "owner.json"), Path.join(dead, "owner.json"))
      Fs.symlinkSync("owned", Path.join(dead, "sandbox.token"))
      const config = { name: "owned" }
      const labels = { "lightbox.owner": "dead", "lightbox.instance": "token", "lightbox.role": "scoped" }
      const source = { _tag: "Image", reference: image } as const
      yield* driver.createSandbox({ name: "owned", source, config, labels, onConflict: "fail", detached: true })
      yield* Effect.scoped(get)
      yield* Reaper.sweep()
      assert.deepInclude(yield* Sandbox.get("owned"), { status: "running" })
      yield* Sandbox.remove("owned", { force: true })
    }).pipe(Effect.provide(layer))
  )

  type Given = Omit<Sandbox.GetOrCreateOptions, "image" | "snapshot"> & { readonly image?: string }

  const get = ({ image: reference = image, ...options }: Given = {}) =>
    Sandbox.getOrCreate("kept", { image: reference, env: { A: "1" }, ports: { 0: 80 }, ...options })

  const mark = (sandbox: Sandbox.Sandbox) => sandbox.shell("echo seen >> /root/marks; sync; cat /root/marks")

  it.effect("launches, connects to what runs, and starts what is stopped or was killed", () =>
    Effect.gen(function* () {
      const seen = Effect.scoped(Effect.map(Effect.flatMap(get(), mark), ({ stdout }) => stdout.split("\n").length - 1))
      assert.strictEqual(yield* seen, 1)
      const { id } = yield* Sandbox.get("kept")
      assert.strictEqual(yield* seen, 2)
      yield* Sandbox.stop("kept")
      assert.strictEqual(yield* seen, 3)
      yield* Sandbox.kill("kept")
      assert.strictEqual(yield* seen, 4)
      assert.deepInclude(yield* Sandbox.get("kept"), { id, status: "running" })
      yield* Sandbox.remove("kept", { force: true })
    }).pipe(Effect.provide(layer))
  )

  it.effect("fails for other options, and names the one that differs", () =>
    Effect.gen(function* () {
      yield* Effect.scoped(get())
      const differing = (options: Given) =>
        Effect.map(Effect.flip(Effect.scoped(get(options))), ({ reason }) =>
          reason._tag === "Drift" ? [reason.resource, reason.field, reason.message] : [reason._tag]
        )
      const message = (field: string) => `Sandbox "kept" exists with a different ${field}`
      assert.deepStrictEqual(yield* differing({ env: { A: "2" } }), ["sandbox", "env", message("env")])
      assert.deepStrictEqual(yield* differing({ network: "none", ports: {} }), ["sandbox", "ports", message("ports")])
      assert.deepStrictEqual(yield* differing({ user: "app" }), ["sandbox", "user", message("user")])
      assert.deepStrictEqual(yield* differing({ image: "other" }), ["sandbox", "image", message("image")])
      // The same in other words, what is empty, and what is no property of the sandbox.
      yield* Effect.scoped(get({ resources: { cpus: undefined }, mounts: {}, labels: {}, rootDisk: "copy" }))
      yield* Effect.scoped(get({ ports: [{ host: 0, guest: 80, protocol: "tcp" }], pullPolicy: "never" }))
      yield* Effect.scoped(get({ resources: { cpus: 1, memory: "512M" }, network: "public", shell: "/bin/sh" }))
      yield* Sandbox.remove("kept", { force: true })
    }).pipe(Effect.provide(layer))
  )

  it.effect("compares folders, not the words for them, and bytes by their digest", () =>
    Effect.gen(function* () {
      const patch = (content: Uint8Array) => ({ patches: [{ _tag: "Write", path: "/data", content }] }) as const
      const large = new Uint8Array(4 * 1024 * 1024)
      yield* Effect.scoped(get({ mounts: { "/work": "." }, ...patch(large) }))
      yield* Effect.scoped(get({ mounts: { "/work": { bind: process.cwd() } }, ...patch(Buffer.from(large)) }))
      for (const [field, options] of [
        ["mounts", { mounts: { "/work": "./test" }, ...patch(large) }],
        ["patches", { mounts: { "/work": "." }, ...patch(large.with(7, 1)) }]
      ] as const) {
        const { reason } = yield* Effect.flip(Effect.scoped(get(options)))
        assert.deepInclude(reason, { _tag: "Drift", field })
      }
      yield* Sandbox.remove("kept", { force: true })
    }).pipe(Effect.provide(layer))
  )

  it.effect("records no values of options", () =>
    Effect.gen(function* () {
      yield* Effect.scoped(get({ env: { TOKEN: "hunter2" } }))
      assert.notInclude(JSON.stringify(yield* Sandbox.get("kept")), "hunter2")
      yield* Sandbox.remove("kept", { force: true })
    }).pipe(Effect.provide(layer))
  )

  it.live("launches one sandbox for all callers", () =>
    Effect.gen(function* () {
      const ids = yield* Effect.forEach(
        Array.from({ length: 5 }),
        () => Effect.scoped(Effect.map(get(), ({ id }) => id)),
        { concurrency: "unbounded" }
      )
      assert.deepStrictEqual([...new Set(ids)], [(yield* Sandbox.get("kept")).id])
      yield* Sandbox.remove("kept", { force: true })
    }).pipe(Effect.provide(layer))
  )

  it.effect("accepts a sandbox of another tool as it is", () =>
    Effect.gen(function* () {
      yield* Sandbox.run({ image, name: "kept", detached: true }, () => Effect.void)
      assert.strictEqual((yield* Effect.flip(Effect.scoped(get()))).reason._tag, "Drift")
      yield* Sandbox.remove("kept", { force: true })
      const driver = yield* Microsandbox.Microsandbox
      yield* driver.createSandbox({
        name: "kept",
        source: { _tag: "Image", reference: image },
        config: {},
        detached: true
      })
      assert.strictEqual((yield* Effect.scoped(get())).name, "kept")
      yield* Sandbox.remove("kept", { force: true })
    }).pipe(Effect.provide(layer))
  )

  it.effect("fails after its time limit if the sandbox does not start", () =>
    Effect.gen(function* () {
      const control = yield* MicrosandboxMemory.Control
      yield* Effect.scoped(get())
      yield* Sandbox.stop("kept")
      yield* control.inject(MicrosandboxMemory.hangAt("startSandbox"))
      const late = yield* Effect.forkChild(Effect.flip(Effect.scoped(get({ timeout: "5 seconds" }))), {
        startImmediately: true
      })
      yield* TestClock.adjust("5 seconds")
      assert.strictEqual((yield* Fiber.join(late)).reason._tag, "TimedOut")
      yield* Sandbox.remove("kept", { force: true })
    }).pipe(Effect.provide(layer))
  )
})
