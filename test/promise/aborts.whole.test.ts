import { assert, describe, it } from "@effect/vitest"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { afterAll, beforeAll } from "vitest"
import * as MicrosandboxMemory from "../../src/MicrosandboxMemory.ts"
import * as Lightbox from "../../src/promise.ts"
import { reasonOf, twin } from "./support.ts"

const memory = twin()

let folder = ""

beforeAll(() => {
  folder = Fs.mkdtempSync(Path.join(Os.tmpdir(), "aborts"))
})

afterAll(() => Fs.rmSync(folder, { recursive: true }))

const base = { name: "base", image: "debian:12" }

/** One of everything that a call needs. */
const makeWorld = async () => {
  await Lightbox.buildSnapshot(base)
  const sb = await Lightbox.launchSandbox({ snapshot: "base", name: "running" })
  const stopped = await Lightbox.launchSandbox({ snapshot: "base", name: "stopped" })
  await stopped.stop()
  await sb.fs().write("/root/f", "content")
  return {
    sb,
    files: sb.fs(),
    sleeping: await sb.execStream("sleep", ["1000"], { pipeStdin: true, terminal: { rows: 10, columns: 10 } }),
    file: await sb.fs().readStream("/root/f"),
    sink: await sb.fs().writeStream("/root/sink"),
    running: await Lightbox.Sandbox.get("running"),
    stopped: await Lightbox.Sandbox.get("stopped"),
    snapshot: await Lightbox.Snapshot.get("base"),
    volume: await Lightbox.Volume.builder("volume").create(),
    close: () => Promise.all([sb[Symbol.asyncDispose](), stopped[Symbol.asyncDispose]()])
  }
}

type World = Awaited<ReturnType<typeof makeWorld>>

type Call = (world: World, options: { signal: AbortSignal }) => Promise<unknown>

/** Every function and method that takes a signal, with a driver operation to abort it in, if there is one. */
const calls: ReadonlyArray<readonly [name: string, at: MicrosandboxMemory.Operation | undefined, call: Call]> = [
  ["ensureRuntime", undefined, (_, options) => Lightbox.ensureRuntime(options)],
  ["buildSnapshot", "createSandbox", (_, options) => Lightbox.buildSnapshot({ ...base, setup: ["true"] }, options)],
  ["listSnapshots", "listSnapshotLinks", (_, options) => Lightbox.listSnapshots(options)],
  ["snapshotExists", "listSnapshotLinks", (_, options) => Lightbox.snapshotExists("base", options)],
  ["removeSnapshot", "readSnapshotLink", (_, options) => Lightbox.removeSnapshot("base", options)],
  [
    "launchSandbox",
    "createSandbox",
    (_, options) => Lightbox.launchSandbox({ snapshot: "base", name: "s", ...options })
  ],
  [
    "runInSandbox",
    "createSandbox",
    (_, options) => Lightbox.runInSandbox({ snapshot: "base", name: "s", ...options }, (sb) => sb.exec("true"))
  ],
  ["connectToSandbox", "connect", (_, options) => Lightbox.connectToSandbox("running", options)],
  ["removeSandbox", "getSandbox", (_, options) => Lightbox.removeSandbox("stopped", options)],
  ["ensureVolume", "getVolume", (_, options) => Lightbox.ensureVolume("volume", options)],
  ["listVolumes", "listVolumes", (_, options) => Lightbox.listVolumes(options)],
  ["volumeExists", "getVolume", (_, options) => Lightbox.volumeExists("volume", options)],
  ["removeVolume", "removeVolume", (_, options) => Lightbox.removeVolume("volume", options)],

  ["Sandbox.get", "getSandbox", (_, options) => Lightbox.Sandbox.get("running", options)],
  ["Sandbox.list", "listSandboxes", (_, options) => Lightbox.Sandbox.list(options)],
  ["Sandbox.remove", "getSandbox", (_, options) => Lightbox.Sandbox.remove("stopped", options)],
  ["Sandbox.exec", "guest.spawn", ({ sb }, options) => sb.exec("true", [], options)],
  ["Sandbox.shell", "guest.spawn", ({ sb }, options) => sb.shell("true", options)],
  ["Sandbox.execStream", "guest.spawn", ({ sb }, options) => sb.execStream("true", [], options)],
  ["Sandbox.shellStream", "guest.spawn", ({ sb }, options) => sb.shellStream("true", options)],
  ["Sandbox.attach", "guest.spawn", ({ sb }, options) => sb.attach("true", [], options)],
  ["Sandbox.attachShell", "guest.spawn", ({ sb }, options) => sb.attachShell(options)],
  ["Sandbox.stop", "stopSandbox", ({ sb }, options) => sb.stop(options)],
  ["Sandbox.stopAndWait", "stopSandbox", ({ sb }, options) => sb.stopAndWait(options)],
  ["Sandbox.kill", "killSandbox", ({ sb }, options) => sb.kill(options)],
  ["Sandbox.detach", undefined, ({ sb }, options) => sb.detach(options)],
  ["Sandbox.raw", "getSandbox", ({ sb }, options) => sb.raw(options)],

  ["SandboxHandle.connect", "connect", ({ running }, options) => running.connect(options)],
  ["SandboxHandle.start", "startSandbox", ({ stopped }, options) => stopped.start(options)],
  ["SandboxHandle.startDetached", "startSandbox", ({ stopped }, options) => stopped.startDetached(options)],
  ["SandboxHandle.stop", "stopSandbox", ({ running }, options) => running.stop(options)],
  ["SandboxHandle.kill", "killSandbox", ({ running }, options) => running.kill(options)],
  ["SandboxHandle.remove", "removeSandbox", ({ stopped }, options) => stopped.remove(options)],
  ["SandboxHandle.refresh", "getSandbox", ({ running }, options) => running.refresh(options)],

  ["ExecHandle.recv", undefined, ({ sleeping }, options) => sleeping.recv(options)],
  ["ExecHandle.wait", undefined, ({ sleeping }, options) => sleeping.wait(options)],
  ["ExecHandle.collect", undefined, ({ sleeping }, options) => sleeping.collect(options)],
  ["ExecHandle.signal", "process.signal", ({ sleeping }, options) => sleeping.signal(10, options)],
  ["ExecHandle.kill", "process.signal", ({ sleeping }, options) => sleeping.kill(options)],
  ["ExecHandle.resize", "process.resize", ({ sleeping }, options) => sleeping.resize(20, 20, options)],
  ["ExecSink.write", undefined, async ({ sleeping }, options) => (await sleeping.takeStdin())?.write("x", options)],
  ["ExecSink.close", undefined, async ({ sleeping }, options) => (await sleeping.takeStdin())?.close(options)],

  ["SandboxFs.read", "file.stream", ({ files }, options) => files.read("/root/f", options)],
  ["SandboxFs.readToString", "file.stream", ({ files }, options) => files.readToString("/root/f", options)],
  ["SandboxFs.readStream", "guest.open", ({ files }, options) => files.readStream("/root/f", options)],
  ["SandboxFs.write", "file.sink", ({ files }, options) => files.write("/root/f", "x", options)],
  ["SandboxFs.writeStream", "guest.open", ({ files }, options) => files.writeStream("/root/g", options)],
  ["SandboxFs.list", "guest.readDirectoryEntries", ({ files }, options) => files.list("/root", options)],
  ["SandboxFs.mkdir", "guest.makeDirectory", ({ files }, options) => files.mkdir("/root/d", options)],
  ["SandboxFs.removeDir", "guest.removeDirectory", ({ files }, options) => files.removeDir("/root", options)],
  ["SandboxFs.remove", "guest.removeFile", ({ files }, options) => files.remove("/root/f", options)],
  ["SandboxFs.copy", "guest.copyFile", ({ files }, options) => files.copy("/root/f", "/root/g", options)],
  ["SandboxFs.rename", "guest.rename", ({ files }, options) => files.rename("/root/f", "/root/g", options)],
  ["SandboxFs.stat", "guest.stat", ({ files }, options) => files.stat("/root/f", options)],
  ["SandboxFs.exists", "guest.stat", ({ files }, options) => files.exists("/root/f", options)],
  [
    "SandboxFs.copyFromHost",
    "file.sink",
    ({ files }, options) => files.copyFromHost("package.json", "/root/g", options)
  ],
  [
    "SandboxFs.copyToHost",
    "file.stream",
    ({ files }, options) => files.copyToHost("/root/f", Path.join(folder, "f"), options)
  ],
  ["FsReadStream.recv", "file.stream", ({ file }, options) => file.recv(options)],
  ["FsReadStream.collect", "file.stream", ({ file }, options) => file.collect(options)],
  ["FsWriteSink.write", "file.sink", ({ sink }, options) => sink.write("x", options)],

  ["Snapshot.get", "getSnapshot", (_, options) => Lightbox.Snapshot.get("base", options)],
  ["Snapshot.open", "getSnapshot", ({ snapshot }, options) => snapshot.open(options)],
  ["Snapshot.list", "listSnapshotLinks", (_, options) => Lightbox.Snapshot.list(options)],
  ["Snapshot.remove", "readSnapshotLink", ({ snapshot }, options) => snapshot.remove(options)],
  ["Snapshot.verify", "verifySnapshot", ({ snapshot }, options) => snapshot.verify(options)],
  [
    "Snapshot.export",
    "saveSnapshot",
    (_, options) => Lightbox.Snapshot.export("base", Path.join(folder, "exported"), options)
  ],
  ["Snapshot.import", "loadSnapshot", (_, options) => Lightbox.Snapshot.import("package.json", "loaded", options)],
  [
    "SnapshotBuilder.create",
    "captureSnapshot",
    (_, options) => Lightbox.Snapshot.builder("captured").fromSandbox("stopped").create(options)
  ],

  ["Volume.get", "getVolume", (_, options) => Lightbox.Volume.get("volume", options)],
  ["Volume.list", "listVolumes", (_, options) => Lightbox.Volume.list(options)],
  ["Volume.remove", "removeVolume", ({ volume }, options) => volume.remove(options)],
  ["VolumeBuilder.create", "createVolume", (_, options) => Lightbox.Volume.builder("other").create(options)]
]

describe("an aborted signal", () => {
  it.each(calls)("stops %s", async (_, at, call) => {
    const world = await makeWorld()
    const reason = new Error("enough")
    const before = (await memory.calls()).length
    assert.strictEqual(await reasonOf(call(world, { signal: AbortSignal.abort(reason) })), reason)
    assert.strictEqual((await memory.calls()).length, before)

    if (at !== undefined) {
      await memory.inject(MicrosandboxMemory.hangAt(at))
      const times = (await memory.count(at)) + 1
      const controller = new AbortController()
      const stopped = reasonOf(call(world, { signal: controller.signal }))
      await memory.until(at, times)
      controller.abort(reason)
      assert.strictEqual(await stopped, reason)
    }
    await world.close()
  })
})
