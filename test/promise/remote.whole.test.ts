/** What programs with promises do, on another machine. */
// @effect-diagnostics asyncFunction:off
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import * as Redacted from "effect/Redacted"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { afterAll, beforeAll } from "vitest"
import * as Lightbox from "../../src/promise.ts"
import * as Support from "../MicrosandboxRemote/support.ts"
import * as FakeRegistry from "../Snapshot/FakeRegistry.ts"

const image = "busybox"

const rejection = async (promise: Promise<unknown>): Promise<Lightbox.LightboxError> => {
  const error = await promise.then(
    () => undefined,
    (error: unknown) => error
  )
  if (!(error instanceof Lightbox.LightboxError)) throw new Error("expected a LightboxError", { cause: error })
  return error
}

describe("a program that is configured for another host", () => {
  const scope = Scope.makeUnsafe()
  let control: typeof Support.Host.Service.control
  let folder = ""

  beforeAll(async () => {
    const started = Effect.gen(function* () {
      const home = yield* Support.folder("p")
      return { home, host: yield* Support.host({ images: { [image]: { isCached: true } } }) }
    })
    const { home, host } = await Effect.runPromise(Scope.provide(started, scope))
    folder = home
    control = host.control
    Lightbox.configure({ home, host: { url: host.url, token: Redacted.value(Support.token) } })
  })
  afterAll(() => Effect.runPromise(Scope.close(scope, Exit.void)))

  it("builds, launches, and uses files and commands there", async () => {
    assert.throws(() => Lightbox.Sandbox.builder("one"), /this driver does not use the SDK/)
    await Lightbox.ensureRuntime()
    await Lightbox.buildSnapshot({ name: "app", image, setup: ["echo built > /built"] })
    await using sandbox = await Lightbox.launchSandbox({ snapshot: "app", name: "far" })
    const { sandboxes } = await Effect.runPromise(control.inventory)
    assert.deepStrictEqual(
      sandboxes.map(({ name }) => name),
      ["far"]
    )
    assert.strictEqual((await sandbox.exec("cat", ["/built"])).stdout(), "built\n")
    assert.strictEqual((await sandbox.exec("sh", ["-c", "exit 3"])).code, 3)
    await sandbox.fs().write("/note", "a note")
    assert.strictEqual(await sandbox.fs().readToString("/note"), "a note")
    const source = Path.join(folder, "source")
    Fs.writeFileSync(source, "from here")
    await sandbox.fs().copyFromHost(source, "/copied")
    assert.strictEqual(await sandbox.fs().readToString("/copied"), "from here")
    const again = await Lightbox.connectToSandbox("far")
    assert.strictEqual((await again.exec("cat", ["/note"])).stdout(), "a note")
  })

  it("keeps volumes and images there, and moves snapshots", async () => {
    await Lightbox.ensureVolume("data")
    assert.deepStrictEqual((await Effect.runPromise(control.inventory)).volumes, ["data"])
    assert.deepStrictEqual(
      (await Lightbox.listImages()).map(({ reference }) => reference),
      [image]
    )
    const archive = Path.join(folder, "app.tar")
    await Lightbox.saveSnapshot("app", archive)
    await Lightbox.loadSnapshot(archive, { name: "loaded" })
    const registry = await FakeRegistry.start()
    try {
      const reference = `${registry.host}/team/app:1`
      const heard: Array<Lightbox.TransferProgress> = []
      const pushed = await Lightbox.pushSnapshot("app", reference, { onProgress: (progress) => heard.push(progress) })
      assert.strictEqual(heard.at(-1)?.moved, pushed.moved)
      await Lightbox.pullSnapshot("pulled", reference)
    } finally {
      registry.stop()
    }
    const names = (await Lightbox.listSnapshots()).map(({ name }) => name)
    assert.deepStrictEqual(names, ["app", "loaded", "pulled"])
  })

  it("fails with the errors of the host", async () => {
    const missing = await rejection(Lightbox.launchSandbox({ snapshot: "none" }))
    assert.strictEqual(missing.reason._tag, "NotFound")
    const mounted = await rejection(Lightbox.launchSandbox({ image, mounts: { "/work": { bind: folder } } }))
    assert.deepInclude(mounted.reason, { _tag: "InvalidConfig", field: "mounts./work" })
    const aborting = new AbortController()
    const waiting = Lightbox.runInSandbox({ image }, async (sandbox) => {
      const running = sandbox.exec("sleep", ["1000"], { signal: aborting.signal })
      aborting.abort(new Error("enough"))
      await running
    })
    const reason = await waiting.catch((error: unknown) => error)
    assert.strictEqual(reason instanceof Error ? reason.message : "", "enough")
    assert.deepStrictEqual((await Effect.runPromise(control.inventory)).sandboxes, [])
  })
})
