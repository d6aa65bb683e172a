import { assert, describe, it } from "@effect/vitest"
import { Driver, type Guest, LightboxError, type Microsandbox, Ownership, Reaper, Sandbox } from "effect-lightbox"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Sink from "effect/Sink"
import * as Stream from "effect/Stream"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"

type Service = Microsandbox.Microsandbox["Service"]

const unsupported = (feature: string) => () =>
  Effect.fail(
    new LightboxError.LightboxError({
      method: feature,
      reason: new LightboxError.Unsupported({ feature, problem: "this driver keeps only sandboxes" })
    })
  )

/** A guest that answers every command with its words. */
const guest: Guest.Guest = {
  bootMillis: 1,
  spawn: ({ argv }) =>
    Effect.succeed({
      pid: 1,
      output: Stream.make({ _tag: "Stdout", bytes: new TextEncoder().encode(argv.map(String).join(" ")) }),
      exitCode: Effect.succeed(0),
      endedBy: Effect.undefined,
      stdin: Sink.drain,
      signal: () => Effect.void,
      resize: () => Effect.void
    }),
  stat: unsupported("files"),
  readDirectoryEntries: unsupported("files"),
  realPath: unsupported("files"),
  readLink: unsupported("files"),
  symlink: unsupported("files"),
  makeDirectory: unsupported("files"),
  removeFile: unsupported("files"),
  removeDirectory: unsupported("files"),
  rename: unsupported("files"),
  copyFile: unsupported("files"),
  setAttributes: unsupported("files"),
  open: unsupported("files"),
  connect: unsupported("connections"),
  ping: Effect.succeed(Duration.millis(1)),
  touch: Effect.void,
  lost: Effect.never
}

/** A third-party driver, written with the package's exports only. */
const makeDriver = (home: string, running: Map<string, Microsandbox.SandboxInfo>): Service => {
  const find = (name: string) => {
    const info = running.get(name)
    return info === undefined
      ? Effect.fail(
          new LightboxError.LightboxError({
            method: "Microsandbox.getSandbox",
            reason: new LightboxError.NotFound({ resource: "sandbox", name })
          })
        )
      : Effect.succeed(info)
  }
  const none = Effect.succeed([])
  return {
    backend: "memory",
    version: "1",
    home,
    capabilities: {
      snapshots: false,
      images: false,
      volumes: false,
      volumeFiles: false,
      bindMounts: false,
      diskMounts: false,
      patches: false,
      ports: false,
      kill: true,
      modify: false,
      logs: false,
      metrics: false,
      captureRunning: false,
      fork: false,
      memorySnapshots: false,
      liveNetwork: false,
      pause: false
    },
    createSandbox: ({ labels = {}, name }) =>
      Effect.sync(() => {
        const info: Microsandbox.SandboxInfo = {
          name,
          id: name,
          status: "running",
          labels,
          cpus: 1,
          memory: 64 * 1024 ** 2,
          ports: [],
          volumes: [],
          shell: "/bin/sh",
          createdAt: DateTime.makeUnsafe(0)
        }
        running.set(name, info)
        return info
      }),
    getSandbox: find,
    listSandboxes: (filter) =>
      Effect.sync(() =>
        [...running.values()].filter(({ labels }) =>
          Object.entries(filter?.labels ?? {}).every(([key, value]) => labels[key] === value)
        )
      ),
    killSandbox: ({ name }) => Effect.sync(() => void running.delete(name)),
    stopSandbox: ({ name }) => Effect.sync(() => void running.delete(name)),
    removeSandbox: ({ name }) => Effect.sync(() => void running.delete(name)),
    detachSandbox: () => Effect.void,
    getSandboxLifecycle: unsupported("lifecycles"),
    connect: () => Effect.succeed(guest),
    startSandbox: unsupported("start"),
    modifySandbox: unsupported("modify"),
    readLogs: unsupported("logs"),
    readMetrics: unsupported("metrics"),
    searchSandbox: unsupported("search"),
    listGhosts: () => none,
    removeGhost: () => Effect.succeed(false),
    removeRemains: () => none,
    loadImage: unsupported("images"),
    saveImages: unsupported("images"),
    listImages: () => none,
    getImage: unsupported("images"),
    resolveImage: unsupported("images"),
    removeImage: unsupported("images"),
    pruneImages: () => Effect.succeed({ images: 0, layers: 0, bytes: 0 }),
    captureSnapshot: unsupported("snapshots"),
    getSnapshot: unsupported("snapshots"),
    listSnapshots: () => none,
    listDamagedSnapshots: () => none,
    removeSnapshot: unsupported("snapshots"),
    verifySnapshot: unsupported("snapshots"),
    saveSnapshot: unsupported("snapshots"),
    removeStaging: () => none,
    renameSnapshot: unsupported("snapshots"),
    loadSnapshot: unsupported("snapshots"),
    importSnapshot: unsupported("snapshots"),
    listSnapshotLinks: () => Effect.succeed({}),
    readSnapshotLink: () => Effect.undefined,
    linkSnapshot: unsupported("snapshots"),
    unlinkSnapshot: unsupported("snapshots"),
    createVolume: unsupported("volumes"),
    getVolume: unsupported("volumes"),
    listVolumes: () => none,
    removeVolume: unsupported("volumes")
  }
}

const home = Effect.acquireRelease(
  Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "driver-"))),
  (folder) => Effect.sync(() => Fs.rmSync(folder, { recursive: true }))
)

describe("a third-party driver", () => {
  it.effect("runs commands, and releases its sandboxes with their scope", () =>
    Effect.gen(function* () {
      const running = new Map<string, Microsandbox.SandboxInfo>()
      const folder = yield* home
      const { stdout } = yield* Sandbox.run({ image: "anything", name: "mine" }, (sandbox) =>
        Effect.andThen(
          Effect.sync(() => assert.isTrue(running.has("mine"))),
          sandbox.exec("echo", ["hello"])
        )
      ).pipe(Effect.provide(Driver.layer({ home: folder, make: Effect.succeed(makeDriver(folder, running)) })))
      assert.strictEqual(stdout, "echo hello")
      assert.strictEqual(running.size, 0)
    })
  )

  it.effect("gets Ownership, and at its start removes what a dead process left", () =>
    Effect.gen(function* () {
      const folder = yield* home
      const running = new Map<string, Microsandbox.SandboxInfo>()
      const driver = makeDriver(folder, running)
      const layer = Driver.layer({
        home: folder,
        make: Effect.as(
          Ownership.Ownership.use(({ id }) => id),
          driver
        )
      })
      // What a killed process leaves: a note without a living owner.
      yield* driver.createSandbox({
        name: "left",
        source: { _tag: "Image", reference: "anything" },
        config: {},
        labels: { "lightbox.instance": "token" }
      })
      Fs.mkdirSync(Path.join(folder, "lightbox/owners/dead"), { recursive: true })
      Fs.writeFileSync(
        Path.join(folder, "lightbox/owners/dead/owner.json"),
        JSON.stringify({
          pid: 1,
          startedAt: 0,
          boot: Fs.readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim(),
          host: ""
        })
      )
      Fs.symlinkSync("left", Path.join(folder, "lightbox/owners/dead/sandbox.token"))
      yield* Effect.provide(
        Effect.sync(() => assert.strictEqual(running.size, 0)),
        layer
      )
    })
  )

  it.effect("is not made with invalid options", () =>
    Effect.gen(function* () {
      const made = yield* Reaper.sweep().pipe(
        Effect.provide(Driver.layer({ home: "", make: Effect.die("made") })),
        Effect.exit
      )
      const error = yield* Effect.flip(made)
      assert.isTrue(Exit.isFailure(made))
      assert.deepInclude(error.reason, { _tag: "InvalidConfig", field: "home" })
    })
  )
})
