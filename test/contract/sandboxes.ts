/**
 * Sandboxes, snapshots, volumes and images: their lives, and what is refused.
 */
import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import * as Fs from "node:fs"
import * as Net from "node:net"
import * as Path from "node:path"
import * as Microsandbox from "../../src/Microsandbox.ts"
import * as Sandbox from "../../src/Sandbox.ts"
import * as Bench from "./Bench.ts"
import type { Group } from "./contract.ts"

/** A port of this host that somebody listens on. */
const usedPort = Effect.acquireRelease(
  Effect.callback<Net.Server>((resume) => {
    const server = Net.createServer()
    server.listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
  }),
  (server) => Effect.sync(() => server.close())
)

const statusOf = (name: string) => Effect.map(Sandbox.get(name), ({ status }) => status)

export const sandboxes: Group = (test) => {
  // ---------------------------------------------------------------------------
  // Refusals, before anything boots
  // ---------------------------------------------------------------------------

  test("names that no sandbox can have", function* () {
    const driver = yield* Microsandbox.Microsandbox
    for (const name of ["", "-dash", ".dot", "with space", "a/b", "größe", "文件", "x".repeat(129)]) {
      yield* Bench.failsWith("InvalidConfig", driver.createSandbox(yield* Bench.request({}, name)))
    }
    assert.deepStrictEqual(yield* driver.listSandboxes(), [])
  })

  test("what can not be booted from", function* () {
    const driver = yield* Microsandbox.Microsandbox
    const asked = yield* Bench.request()
    const source = { _tag: "Image", reference: "lightbox.test/not-there:1" } as const
    const image = yield* Bench.failsWith(
      "ImageUnavailable",
      driver.createSandbox({ ...asked, source, config: { pullPolicy: "never" } })
    )
    assert.strictEqual(image.reference, source.reference)
    const snapshot = { _tag: "Snapshot", name: "not-there" } as const
    const missing = yield* Bench.failsWith("NotFound", driver.createSandbox({ ...asked, source: snapshot }))
    assert.deepInclude(missing, { resource: "snapshot", name: "not-there" })
    const patched = yield* Bench.failsWith(
      "InvalidConfig",
      driver.createSandbox({
        ...asked,
        source: snapshot,
        config: { patches: [{ _tag: "Remove", path: "/etc/hosts" }] }
      })
    )
    assert.strictEqual(patched.field, "patches")
    const onImage = yield* Bench.failsWith(
      "InvalidConfig",
      driver.createSandbox({ ...asked, config: { rootDisk: "overlay" } })
    )
    const onEphemeral = yield* Bench.failsWith(
      "InvalidConfig",
      driver.createSandbox({ ...asked, source: snapshot, config: { rootDisk: "overlay", ephemeral: true } })
    )
    assert.deepStrictEqual([onImage.field, onEphemeral.field], ["rootDisk", "rootDisk"])
    assert.deepStrictEqual(yield* driver.listSandboxes(), [])
  })

  test("what the host does not have", function* () {
    const driver = yield* Microsandbox.Microsandbox
    const folder = yield* Bench.failsWith(
      "InvalidConfig",
      Effect.flatMap(Bench.request({ mounts: { "/x": "/not/there" } }), driver.createSandbox)
    )
    assert.strictEqual(folder.field, "mounts./x")
    const address = (yield* usedPort).address()
    const port = typeof address === "object" ? (address?.port ?? 0) : 0
    const taken = yield* Bench.failsWith(
      "InvalidConfig",
      Effect.flatMap(Bench.request({ ports: { [port]: 80 } }), driver.createSandbox)
    )
    assert.strictEqual(taken.field, `ports.${port}`)
    const volume = yield* Bench.failsWith(
      "NotFound",
      Effect.flatMap(
        Bench.request({ mounts: { "/x": { _tag: "Volume", name: "not-there", create: false } } }),
        driver.createSandbox
      )
    )
    assert.deepInclude(volume, { resource: "volume", name: "not-there" })
    assert.deepStrictEqual(yield* driver.listSandboxes(), [])
  })

  test("what is not there", function* () {
    const driver = yield* Microsandbox.Microsandbox
    const nobody = { name: "nobody", id: "nobody" }
    for (const effect of [
      driver.getSandbox("nobody"),
      driver.startSandbox(nobody),
      driver.stopSandbox(nobody),
      driver.killSandbox(nobody),
      Effect.scoped(driver.connect(nobody)),
      driver.readLogs(nobody),
      driver.readMetrics(nobody),
      driver.modifySandbox(nobody, { labels: { a: "b" } }),
      driver.captureSnapshot({ sandbox: "nobody", name: "never" })
    ]) {
      const reason = yield* Bench.failsWith("NotFound", effect)
      assert.deepInclude(reason, { resource: "sandbox", name: "nobody" })
    }
    yield* driver.removeSandbox(nobody)
    assert.strictEqual((yield* Bench.failsWith("NotFound", driver.openSnapshot("nothing"))).resource, "snapshot")
    assert.strictEqual((yield* Bench.failsWith("NotFound", driver.verifySnapshot("nothing"))).resource, "snapshot")
    yield* driver.removeSnapshot("nothing")
    assert.strictEqual((yield* Bench.failsWith("NotFound", driver.getVolume("nothing"))).resource, "volume")
    yield* driver.removeVolume("nothing")
    const image = yield* Bench.failsWith("NotFound", driver.inspectImage("lightbox.test/not-there:1"))
    assert.strictEqual(image.resource, "image")
  })

  // ---------------------------------------------------------------------------
  // Volumes
  // ---------------------------------------------------------------------------

  test("a volume is made once, and listed until it is removed", function* () {
    const driver = yield* Microsandbox.Microsandbox
    const labels = { team: "platform" }
    const made = yield* driver.createVolume({ name: "shelf", kind: "directory", quota: 64, labels })
    assert.deepInclude(made, { name: "shelf", kind: "directory", quota: 64, labels })
    const again = yield* Bench.failsWith("AlreadyExists", driver.createVolume({ name: "shelf", kind: "directory" }))
    assert.deepInclude(again, { resource: "volume", name: "shelf" })
    assert.deepInclude(yield* driver.getVolume("shelf"), { name: "shelf", kind: "directory", quota: 64, labels })
    assert.deepStrictEqual(
      (yield* driver.listVolumes).map(({ name }) => name),
      ["shelf"]
    )
    yield* driver.removeVolume("shelf")
    assert.deepStrictEqual(yield* driver.listVolumes, [])
  })

  // ---------------------------------------------------------------------------
  // Images
  // ---------------------------------------------------------------------------

  test("an image tells its configuration", function* () {
    const driver = yield* Microsandbox.Microsandbox
    const { image } = yield* Bench.Bench
    const detail = yield* driver.inspectImage(image)
    assert.strictEqual(detail.reference, image)
    assert.match(detail.digest ?? "", /^sha256:[0-9a-f]{64}$/)
    const listed = (yield* driver.listImages).find(({ reference }) => reference === image)
    assert.strictEqual(listed?.digest, detail.digest)
  })

  // ---------------------------------------------------------------------------
  // A life
  // ---------------------------------------------------------------------------

  test("a sandbox runs, stops, starts, is captured, killed and removed", function* () {
    const driver = yield* Microsandbox.Microsandbox
    const name = "x".repeat(128)
    const asked = yield* Bench.request({ labels: { team: "platform" }, env: { KEPT: "kept" } }, name)
    const info = yield* Bench.boot(asked)
    assert.deepInclude(info, { name, status: "running", memory: 256, cpus: 1 })
    assert.strictEqual(info.labels["team"], "platform")
    assert.deepStrictEqual(
      (yield* driver.listSandboxes({ labels: { team: "platform" } })).map(({ id }) => id),
      [info.id]
    )
    assert.deepStrictEqual(yield* driver.listSandboxes({ labels: { team: "other" } }), [])

    // While it runs.
    const exists = yield* Bench.failsWith("AlreadyExists", driver.createSandbox(asked))
    assert.deepInclude(exists, { resource: "sandbox", name })
    yield* Bench.failsWith("StillRunning", driver.removeSandbox(info))
    yield* Bench.failsWith("StillRunning", driver.startSandbox(info))
    yield* Bench.failsWith("StillRunning", Effect.scoped(Sandbox.start(name)))
    assert.strictEqual(yield* statusOf(name), "running")
    yield* Bench.failsWith("StillRunning", driver.captureSnapshot({ sandbox: name, name: "too-early" }))
    yield* Bench.failsWith("Replaced", driver.stopSandbox({ name, id: "another" }))
    const metrics = yield* Bench.eventually(Effect.option(driver.readMetrics(info)), (found) => found._tag === "Some")
    assert.isTrue(metrics._tag === "Some" && metrics.value.memoryLimit > 0)

    // What commands wrote is logged.
    const sandbox = yield* Sandbox.connect(name)
    yield* sandbox.shell("echo to the log; echo to the other >&2; echo kept > /root/kept; echo lost > /tmp/lost")
    const logged = Effect.map(driver.readLogs(info), (entries) =>
      entries.map(({ bytes, source }) => `${source}: ${Bench.decode(bytes).trimEnd()}`)
    )
    const lines = yield* Bench.eventually(logged, (lines) => lines.includes("stderr: to the other"))
    assert.include(lines, "stdout: to the log")
    const [first, ...rest] = yield* driver.readLogs(info)
    assert.deepStrictEqual(
      (yield* driver.readLogs(info, { after: first?.cursor ?? "" })).map(({ cursor }) => cursor),
      rest.map(({ cursor }) => cursor)
    )
    assert.strictEqual((yield* driver.readLogs(info, { tail: 1 })).length, 1)
    assert.isAbove((yield* driver.readLogs(info, { sources: ["system"] })).length, 0)

    // Stopped: what was written is there, although nobody flushed it.
    const hanging = yield* Bench.background(sandbox.exec("sleep", ["1000"]))
    yield* Bench.eventually(Bench.commandLines(sandbox), (lines) => lines.includes("sleep 1000"))
    yield* driver.stopSandbox(info)
    yield* hanging.failure("GuestLost")
    assert.strictEqual((yield* sandbox.guest.lost).reason._tag, "GuestLost")
    yield* Bench.failsWith("GuestLost", sandbox.exec("true"))
    yield* Bench.failsWith("GuestLost", sandbox.readFile("/root/kept"))
    yield* Bench.eventually(statusOf(name), (status) => status === "stopped")
    yield* driver.stopSandbox(info)
    yield* driver.killSandbox(info)
    yield* Bench.failsWith("NotRunning", Effect.scoped(driver.connect(info)))
    yield* Bench.failsWith("NotRunning", driver.readMetrics(info))
    assert.isAbove((yield* driver.readLogs(info)).length, 0)
    assert.deepStrictEqual(
      yield* driver.searchSandbox(info, [Bench.encode("kept\n"), Bench.encode("nowhere on this disk")]),
      [true, false]
    )

    // Captured, and started again.
    const captured = yield* Effect.acquireRelease(
      driver.captureSnapshot({ sandbox: name, name: "life", labels: { of: "a life" }, integrity: true }),
      () => Effect.orDie(driver.removeSnapshot("life"))
    )
    assert.deepInclude(captured, { name: "life", labels: { of: "a life" }, sourceSandbox: name })
    const twice = yield* Bench.failsWith("AlreadyExists", driver.captureSnapshot({ sandbox: name, name: "life" }))
    assert.deepInclude(twice, { resource: "snapshot", name: "life" })
    const started = yield* driver.startSandbox(info)
    assert.deepInclude(started, { name, id: info.id, status: "running" })
    const second = yield* Sandbox.connect(name)
    const found = yield* second.shell("cat /root/kept; ls /tmp; echo $KEPT")
    assert.strictEqual(found.stdout, "kept\nkept\n")

    // Killed, and removed.
    yield* driver.killSandbox(info)
    yield* Bench.failsWith("GuestLost", second.exec("true"))
    yield* Bench.eventually(statusOf(name), (status) => status === "stopped" || status === "crashed")
    yield* driver.removeSandbox(info)
    yield* driver.removeSandbox(info)
    yield* Bench.failsWith("NotFound", driver.getSandbox(name))
  })

  test("a snapshot is named, moved, saved, loaded, booted, and lost", function* () {
    const driver = yield* Microsandbox.Microsandbox
    const { files, image } = yield* Bench.Bench
    const builder = yield* Bench.boot(yield* Bench.request())
    const guest = yield* Sandbox.connect(builder.name)
    yield* guest.shell("echo baked > /root/baked; rm /etc/hosts; sync")
    yield* driver.stopSandbox(builder)
    yield* Bench.eventually(statusOf(builder.name), (status) => status === "stopped")
    const captured = yield* driver.captureSnapshot({ sandbox: builder.name, name: "baked", integrity: true })
    assert.deepInclude(captured, { name: "baked", image })
    assert.isTrue(yield* driver.verifySnapshot("baked"))
    yield* driver.removeSandbox(builder)

    // Names.
    yield* driver.linkSnapshot("latest", "baked")
    assert.deepStrictEqual(yield* driver.listSnapshotLinks, { latest: "baked" })
    assert.strictEqual(yield* driver.readSnapshotLink("latest"), "baked")
    for (const other of ["baked", "nothing", "constructor", "", ".", "..", "../snapshots/latest"]) {
      assert.isUndefined(yield* driver.readSnapshotLink(other), other)
    }
    assert.strictEqual((yield* driver.openSnapshot("latest")).digest, captured.digest)
    assert.deepStrictEqual(
      (yield* driver.listSnapshots).map(({ name }) => name),
      ["baked"]
    )
    yield* driver.unlinkSnapshot("latest")
    assert.deepStrictEqual(yield* driver.listSnapshotLinks, {})
    yield* driver.renameSnapshot("baked", "renamed")
    yield* Bench.failsWith("NotFound", driver.openSnapshot("baked"))

    // To a file and back.
    const path = Path.join(files, "saved.snapshot")
    yield* driver.saveSnapshot("renamed", path, { withImage: false })
    yield* driver.removeSnapshot("renamed")
    assert.deepStrictEqual(yield* driver.listSnapshots, [])
    assert.strictEqual((yield* driver.loadSnapshot(path, "loaded")).name, "loaded")
    Fs.rmSync(path)

    // Booted with a disk that holds only the difference, and with a volume.
    yield* driver.createVolume({ name: "data", kind: "directory" })
    const info = yield* Bench.boot({
      name: Bench.freshName("from-snapshot"),
      source: { _tag: "Snapshot", name: "loaded" },
      config: {
        resources: { memory: 256 },
        rootDisk: "overlay",
        mounts: { "/data": { _tag: "Volume", name: "data" } }
      }
    })
    assert.deepStrictEqual(info.volumes, ["data"])
    const sandbox = yield* Sandbox.connect(info.name)
    const { stdout } = yield* sandbox.shell("cat /root/baked; echo in the volume > /data/file; cat /data/file")
    assert.strictEqual(stdout, "baked\nin the volume\n")
    const inUse = yield* Bench.failsWith("InUse", driver.removeVolume("data"))
    assert.deepStrictEqual(inUse.usedBy, [info.name])
    const refused = yield* Bench.failsWith(
      "Unsupported",
      driver.captureSnapshot({ sandbox: info.name, name: "refused" })
    )
    assert.strictEqual(refused.feature, "captureSnapshot")
    yield* Bench.failsWith("Unsupported", driver.searchSandbox(info, [Bench.encode("baked")]))
    yield* Bench.failsWith("Unsupported", driver.modifySandbox(info, { disk: 8192 }))
    // It goes on when the snapshot is gone.
    yield* driver.removeSnapshot("loaded")
    yield* driver.stopSandbox(info)
    yield* driver.startSandbox(info)
    const again = yield* Sandbox.connect(info.name)
    assert.strictEqual((yield* again.shell("cat /root/baked /data/file")).stdout, "baked\nin the volume\n")

    // Nobody asked it to end. (A `poweroff` would only halt its kernel: the virtual machine goes on, and never answers.)
    const lines = yield* Bench.background(Stream.runDrain(again.stream("sleep", ["1000"])))
    yield* Bench.background(again.exec("reboot", ["-f"]))
    yield* lines.failure("GuestLost")
    yield* Bench.eventually(statusOf(info.name), (status) => status !== "running")
    yield* driver.removeSandbox(info)
    yield* driver.removeVolume("data")
  })
}
