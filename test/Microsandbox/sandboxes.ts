/**
 * Sandboxes, snapshots and volumes: their lifecycles, and what is rejected.
 */
import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import * as ChildProcess from "node:child_process"
import * as Fs from "node:fs"
import * as Net from "node:net"
import * as Path from "node:path"
import * as Microsandbox from "../../src/Microsandbox.ts"
import * as Sandbox from "../../src/Sandbox.ts"
import type * as SandboxConfig from "../../src/SandboxConfig.ts"
import * as Bench from "./Bench.ts"
import type { Group } from "./contract.ts"

const mib = 1024 ** 2

/** A port of this host that somebody listens on. */
const usedPort = Effect.acquireRelease(
  Effect.callback<Net.Server>((resume) => {
    const server = Net.createServer()
    server.listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
  }),
  (server) => Effect.sync(() => server.close())
)

const statusOf = (name: string) => Effect.map(Sandbox.get(name), ({ status }) => status)

/** A patch of each kind. */
const patches = Effect.gen(function* () {
  const folder = yield* Bench.hostFolder({ tool: "#!/bin/sh\necho tool\n" })
  const tool = Path.join(folder, "tool")
  Fs.chmodSync(tool, 0o755)
  Fs.symlinkSync("tool", Path.join(folder, "link"))
  const all: ReadonlyArray<SandboxConfig.Patch> = [
    { _tag: "Write", path: "/opt/deep/text", content: "größe", mode: 0o600 },
    { _tag: "Write", path: "/opt/bytes", content: new Uint8Array([0, 255]) },
    { _tag: "Write", path: "/home/app/file", content: "" },
    { _tag: "Write", path: "/etc/group", content: "root:x:0:\n", replace: true },
    { _tag: "Append", path: "/opt/bytes", content: "more" },
    { _tag: "Append", path: "/etc/passwd", content: "other:x:7:7::/:/bin/sh\n" },
    { _tag: "CopyFile", path: "/opt/copy", hostPath: tool },
    { _tag: "CopyFile", path: "/opt/plain", hostPath: tool, mode: 0o644 },
    { _tag: "CopyFolder", path: "/opt/folder", hostPath: folder },
    { _tag: "Symlink", path: "/opt/link", target: "folder/link" },
    { _tag: "Mkdir", path: "/opt/private", mode: 0o700 },
    { _tag: "Mkdir", path: "/root", mode: 0o755 },
    { _tag: "Mkdir", path: "/opt/gone/folder" },
    { _tag: "Remove", path: "/opt/gone" },
    { _tag: "Write", path: "/opt/gone/folder/file", content: "and back" },
    { _tag: "Remove", path: "/bin/yes" },
    { _tag: "Remove", path: "/not/there" }
  ]
  return all
})

/** The files of the image, with all patches. */
const isPatched = Effect.fnUntraced(function* (sandbox: Sandbox.Sandbox) {
  assert.strictEqual(yield* sandbox.readFileString("/opt/deep/text"), "größe")
  assert.deepStrictEqual([...(yield* sandbox.readFile("/opt/bytes"))], [0, 255, ...Bench.encode("more")])
  assert.strictEqual(
    (yield* sandbox.shell("/opt/copy; /opt/link; tail -n 1 /etc/passwd; cat /etc/group")).stdout,
    "tool\ntool\nother:x:7:7::/:/bin/sh\nroot:x:0:\n"
  )
  assert.strictEqual(yield* sandbox.readFileString("/opt/gone/folder/file"), "and back")
  assert.isFalse(yield* sandbox.exists("/bin/yes"))
  for (const [path, mode] of [
    ["/opt", 0o755],
    ["/opt/deep", 0o755],
    ["/opt/deep/text", 0o600],
    ["/opt/bytes", 0o644],
    ["/opt/copy", 0o755],
    ["/opt/plain", 0o644],
    ["/opt/folder/tool", 0o755],
    ["/opt/private", 0o700],
    ["/etc/passwd", 0o644],
    // As it was.
    ["/root", 0o700],
    // The folders on the way to a patch are root's then, whoever had them.
    ["/home/app", 0o755]
  ] as const) {
    assert.deepInclude(yield* sandbox.stat(path), { mode, uid: 0, gid: 0 }, path)
  }
})

/** Names of an image that a sandbox uses can be removed with force, except the last one. */
const needsItsImage = Effect.fnUntraced(function* (archive: string) {
  const driver = yield* Microsandbox.Microsandbox
  const { alias, image } = yield* Bench.Bench
  yield* Bench.failsWith("InUse", driver.removeImage(image))
  yield* driver.removeImage(alias.short, { force: true })
  yield* Bench.failsWith("NotFound", driver.getImage(alias.whole))
  const last = yield* Bench.failsWith("InUse", driver.removeImage(image, { force: true }))
  assert.deepInclude(last, { resource: "image", name: image, usedBy: [] })
  assert.deepStrictEqual(yield* driver.pruneImages(), { images: 0, layers: 0, bytes: undefined })
  yield* driver.getImage(image)
  yield* driver.loadImage(archive)
})

/** What can be changed while a sandbox runs, and has no room to grow into. */
const changesWhileItRuns = Effect.fnUntraced(function* (info: Microsandbox.SandboxInfo, sandbox: Sandbox.Sandbox) {
  const driver = yield* Microsandbox.Microsandbox
  for (const [change, field] of [
    [{ labels: { team: "kernel" } }, "labels"],
    [{ memory: 320 * mib }, "memory"],
    [{ memory: 192 * mib }, "memory"],
    [{ maxMemory: 128 * mib }, "maxMemory"],
    // A runtime that keeps memory grows the disk of a running sandbox.
    ...(driver.backend === "local" && driver.memory !== undefined ? [] : ([[{ disk: 512 * mib }, "disk"]] as const)),
    [{ disk: 128 * mib }, "disk"]
  ] as const) {
    const refused = yield* Bench.failsWith("InvalidConfig", driver.modifySandbox(info, change))
    assert.strictEqual(refused.field, field)
  }
  const wouldRestart = yield* driver.modifySandbox(info, {
    labels: { team: "kernel" },
    memory: 320 * mib,
    dryRun: true
  })
  assert.isFalse(wouldRestart.applied)
  assert.deepStrictEqual(
    new Set(wouldRestart.changes.map(({ disposition }) => disposition)),
    new Set(["requires restart"])
  )
  assert.deepStrictEqual(
    wouldRestart.warnings.map(({ field }) => field),
    ["memory"]
  )
  const later = yield* driver.modifySandbox(info, { env: { LATER: "later" }, apply: "next-start" })
  assert.deepStrictEqual(later.changes, [
    { field: "env", before: undefined, after: "LATER=later", disposition: "next start" }
  ])
  assert.deepStrictEqual(
    later.warnings.map(({ field }) => field),
    ["env"]
  )
  assert.strictEqual((yield* sandbox.shell("echo $LATER")).stdout, "\n")
})

/** A change of a stopped sandbox is planned, which changes nothing, and applied, except what cannot be. */
const changesWhileItIsStopped = Effect.fnUntraced(function* (info: Microsandbox.SandboxInfo) {
  const driver = yield* Microsandbox.Microsandbox
  const { name } = info
  const change = {
    labels: { team: "kernel", kind: undefined },
    env: { ADDED: "added", LOST: undefined },
    memory: 320 * mib,
    disk: 512 * mib,
    cwd: "/opt"
  }
  const changes: Microsandbox.ModificationPlan["changes"] = [
    { field: "memory", before: "256 MiB", after: "320 MiB", disposition: "next start" },
    { field: "maxMemory", before: "256 MiB", after: "320 MiB", disposition: "next start" },
    { field: "disk", before: "256 MiB", after: "512 MiB", disposition: "next start" },
    { field: "env", before: undefined, after: "ADDED=added", disposition: "next start" },
    { field: "env", before: "LOST=lost", after: undefined, disposition: "next start" },
    { field: "labels", before: "team=platform", after: "team=kernel", disposition: "next start" },
    { field: "labels", before: "kind=life", after: undefined, disposition: "next start" },
    { field: "cwd", before: undefined, after: "/opt", disposition: "next start" }
  ]
  const asIs = yield* driver.getSandbox(name)
  const planned = yield* driver.modifySandbox(info, { ...change, dryRun: true })
  assert.deepStrictEqual(planned, { applied: false, changes, conflicts: [], warnings: [] })
  assert.deepStrictEqual(yield* driver.getSandbox(name), asIs)
  const shrinking = yield* driver.modifySandbox(info, { disk: 128 * mib, dryRun: true })
  assert.deepStrictEqual([shrinking.changes, shrinking.conflicts.map(({ field }) => field)], [[], ["disk"]])
  assert.strictEqual(
    (yield* Bench.failsWith("InvalidConfig", driver.modifySandbox(info, { disk: 128 * mib }))).field,
    "disk"
  )
  assert.deepStrictEqual(yield* driver.modifySandbox(info, change), {
    applied: true,
    changes: planned.changes,
    conflicts: planned.conflicts,
    warnings: planned.warnings
  })
  const changed = yield* driver.getSandbox(name)
  assert.deepInclude(changed, { status: "stopped", memory: 320 * mib, cwd: "/opt" })
  assert.deepStrictEqual([changed.labels["team"], changed.labels["kind"]], ["kernel", undefined])
  assert.deepStrictEqual(
    (yield* driver.listSandboxes({ labels: { team: "kernel" } })).map(({ id }) => id),
    [info.id]
  )
})

/** From a folder with its files, if that is on the driver's machine. */
const imports = Effect.fnUntraced(function* (
  driver: Microsandbox.Microsandbox["Service"],
  same: Partial<Microsandbox.SnapshotInfo>
) {
  if (driver.remoteHome !== undefined) {
    yield* Bench.failsWith("Unsupported", driver.importSnapshot(driver.home, "loaded"))
    return
  }
  const given = yield* Effect.acquireRelease(
    Effect.sync(() => Path.join(driver.home, `copied-${process.pid}`)),
    (folder) => Effect.sync(() => Fs.rmSync(folder, { recursive: true, force: true }))
  )
  Fs.cpSync((yield* driver.getSnapshot("loaded")).path, given, { recursive: true })
  yield* Bench.failsWith("AlreadyExists", driver.importSnapshot(given, "loaded"))
  yield* Bench.failsWith("InvalidConfig", driver.importSnapshot(given, "../escaped"))
  yield* driver.removeSnapshot("loaded")
  assert.deepInclude(yield* driver.importSnapshot(given, "loaded"), { name: "loaded", ...same })
  assert.isTrue(yield* driver.verifySnapshot("loaded"))
  assert.isFalse(Fs.existsSync(given))
  Fs.mkdirSync(given)
  Fs.writeFileSync(Path.join(given, "snapshot.json"), "no description")
  yield* Bench.failsWith("SnapshotDamaged", driver.importSnapshot(given, "never"))
}, Effect.scoped)

/** With a restart, and then without one, as there is room to grow into. */
const changesAtOnce = Effect.fnUntraced(function* (info: Microsandbox.SandboxInfo, second: Sandbox.Sandbox) {
  const driver = yield* Microsandbox.Microsandbox
  const { name } = info
  const restart = { memory: 256 * mib, env: { ADDED: "again" }, apply: "restart" } as const
  const restarted = yield* driver.modifySandbox(info, restart)
  assert.deepStrictEqual(
    [restarted.applied, ...restarted.changes.map(({ disposition, field }) => `${field}: ${disposition}`)],
    [true, "memory: requires restart", "env: requires restart"]
  )
  yield* Bench.failsWith("GuestLost", second.exec("true"))
  assert.deepInclude(yield* driver.getSandbox(name), { id: info.id, status: "running", memory: 256 * mib })
  const third = yield* Sandbox.connect(name)
  assert.strictEqual((yield* third.shell("cat /root/kept; echo $ADDED")).stdout, "kept\nagain\n")
  // Nor is it restarted for what needs none when it may be.
  for (const [change, before, after] of [
    [{ memory: 288 * mib }, "256 MiB", "288 MiB"],
    [{ memory: 320 * mib, apply: "restart" }, "288 MiB", "320 MiB"]
  ] as const) {
    assert.deepStrictEqual(yield* driver.modifySandbox(info, change), {
      applied: true,
      changes: [{ field: "memory", before, after, disposition: "live" }],
      conflicts: [],
      warnings: []
    })
  }
  assert.strictEqual((yield* third.exec("true")).exitCode, 0)
  return third
})

export const sandboxes: Group = (test) => {
  // ---------------------------------------------------------------------------
  // Refusals, before anything boots
  // ---------------------------------------------------------------------------

  test("rejects invalid sandbox names", function* () {
    const driver = yield* Microsandbox.Microsandbox
    for (const name of ["", "-dash", ".dot", "with space", "a/b", "größe", "文件", "x".repeat(129)]) {
      yield* Bench.failsWith("InvalidConfig", driver.createSandbox(yield* Bench.request({}, name)))
    }
    assert.deepStrictEqual(yield* driver.listSandboxes(), [])
  })

  test("rejects a source that cannot be booted", function* () {
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

  test("rejects paths, ports and volumes that the host does not have", function* () {
    const driver = yield* Microsandbox.Microsandbox
    const folder = yield* Bench.failsWith(
      "InvalidConfig",
      Effect.flatMap(Bench.request({ mounts: { "/x": { bind: "/not/there" } } }), driver.createSandbox)
    )
    assert.strictEqual(folder.field, "mounts./x")
    const { files } = yield* Bench.Bench
    const file = Path.join(yield* Bench.hostFolder({ file: "" }), "file")
    for (const patch of [
      { _tag: "CopyFile", path: "/x", hostPath: "/not/there" },
      { _tag: "CopyFile", path: "/x", hostPath: files },
      { _tag: "CopyFolder", path: "/x", hostPath: file }
    ] as const) {
      const refused = yield* Bench.failsWith(
        "InvalidConfig",
        Effect.flatMap(Bench.request({ patches: [patch] }), driver.createSandbox)
      )
      assert.strictEqual(refused.field, "patches.0.hostPath")
    }
    const address = (yield* usedPort).address()
    const port = typeof address === "object" ? (address?.port ?? 0) : 0
    const taken = yield* Bench.failsWith(
      "InvalidConfig",
      Effect.flatMap(Bench.request({ ports: { [port]: 80 } }), driver.createSandbox)
    )
    assert.strictEqual(taken.field, `ports.${port}`)
    const volume = yield* Bench.failsWith(
      "NotFound",
      Effect.flatMap(Bench.request({ mounts: { "/x": { volume: "not-there", create: false } } }), driver.createSandbox)
    )
    assert.deepInclude(volume, { resource: "volume", name: "not-there" })
    assert.deepStrictEqual(yield* driver.listSandboxes(), [])
  })

  test("fails with NotFound for missing resources", function* () {
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
    assert.strictEqual((yield* Bench.failsWith("NotFound", driver.getSnapshot("nothing"))).resource, "snapshot")
    assert.strictEqual((yield* Bench.failsWith("NotFound", driver.verifySnapshot("nothing"))).resource, "snapshot")
    yield* driver.removeSnapshot("nothing")
    assert.strictEqual((yield* Bench.failsWith("NotFound", driver.getVolume("nothing"))).resource, "volume")
    yield* driver.removeVolume("nothing")
    const image = yield* Bench.failsWith("NotFound", driver.getImage("lightbox.test/not-there:1"))
    assert.strictEqual(image.resource, "image")
  })

  test("rejects patches that cannot be applied", function* () {
    const driver = yield* Microsandbox.Microsandbox
    const { files } = yield* Bench.Bench
    const withPipe = yield* Bench.hostFolder()
    ChildProcess.execFileSync("mkfifo", [Path.join(withPipe, "pipe")])
    const patches: ReadonlyArray<readonly [SandboxConfig.Patch, string]> = [
      [{ _tag: "Write", path: "/etc/passwd", content: "" }, "path exists in image layer: '/etc/passwd'"],
      [{ _tag: "Symlink", path: "/etc/passwd", target: "x" }, "path exists in image layer: '/etc/passwd'"],
      [{ _tag: "CopyFolder", path: "/etc", hostPath: files }, "path exists in image layer: '/etc'"],
      [
        { _tag: "CopyFolder", path: "/opt/folder", hostPath: withPipe },
        "CopyDir source contains an unsupported file type: '"
      ],
      [{ _tag: "Append", path: "/etc/new", content: "" }, "cannot append to '/etc/new': file not found"],
      [{ _tag: "Append", path: "/etc", content: "" }, "cannot append to '/etc'"],
      [{ _tag: "Mkdir", path: "/etc/passwd" }, "cannot create directory at '/etc/passwd'"],
      [{ _tag: "Write", path: "/etc/passwd/new", content: "" }, "patch path parent is not a directory: '/etc/passwd'"]
    ]
    for (const [patch, problem] of patches) {
      const refused = yield* Bench.failsWith(
        "InvalidConfig",
        Effect.flatMap(Bench.request({ patches: [patch] }), driver.createSandbox)
      )
      assert.strictEqual(refused.field, "patches")
      assert.include(refused.problem, problem)
    }
    assert.deepStrictEqual(yield* driver.listSandboxes(), [])
    assert.deepStrictEqual(yield* driver.listGhosts(), [])
  })

  // ---------------------------------------------------------------------------
  // What is left
  // ---------------------------------------------------------------------------

  test("lists and removes a name that is taken without a sandbox", function* () {
    const driver = yield* Microsandbox.Microsandbox
    Fs.mkdirSync(Path.join((yield* Bench.Bench).home, "sandboxes", "ghost"), { recursive: true })
    assert.deepStrictEqual(yield* driver.listGhosts(), ["ghost"])
    assert.deepStrictEqual(yield* driver.listSandboxes(), [])
    assert.isTrue(yield* driver.removeGhost("ghost"))
    assert.isFalse(yield* driver.removeGhost("ghost"))
    assert.deepStrictEqual(yield* driver.listGhosts(), [])
  })

  test("removes what an interrupted capture left", function* () {
    const driver = yield* Microsandbox.Microsandbox
    const staging = Path.join((yield* Bench.Bench).home, "snapshots", ".cut.staging")
    Fs.mkdirSync(staging, { recursive: true })
    const remove = (dryRun: boolean) => driver.removeStaging({ snapshot: "cut" }, { dryRun })
    assert.deepStrictEqual(yield* driver.removeStaging({ snapshot: "other" }), [])
    assert.deepStrictEqual(yield* driver.removeStaging({ loadsSince: 0 }), [])
    assert.deepStrictEqual(yield* remove(true), [staging])
    assert.isTrue(Fs.existsSync(staging))
    assert.deepStrictEqual(yield* remove(false), [staging])
    assert.isFalse(Fs.existsSync(staging))
    assert.deepStrictEqual(yield* remove(false), [])
  })

  // ---------------------------------------------------------------------------
  // Volumes
  // ---------------------------------------------------------------------------

  test("creates a volume once, and lists it until it is removed", function* () {
    const driver = yield* Microsandbox.Microsandbox
    const labels = { team: "platform" }
    const made = yield* driver.createVolume({ name: "shelf", kind: "directory", quota: 64 * mib, labels })
    assert.deepInclude(made, { name: "shelf", kind: "directory", quota: 64 * mib, labels })
    const again = yield* Bench.failsWith("AlreadyExists", driver.createVolume({ name: "shelf", kind: "directory" }))
    assert.deepInclude(again, { resource: "volume", name: "shelf" })
    assert.deepInclude(yield* driver.getVolume("shelf"), { name: "shelf", kind: "directory", quota: 64 * mib, labels })
    assert.deepStrictEqual(
      (yield* driver.listVolumes()).map(({ name }) => name),
      ["shelf"]
    )
    assert.isTrue(Fs.statSync(made.path).isDirectory())
    yield* driver.removeVolume("shelf")
    assert.isFalse(Fs.existsSync(made.path))
    assert.deepStrictEqual(yield* driver.listVolumes(), [])
  })

  test("requires a size for a disk volume", function* () {
    const driver = yield* Microsandbox.Microsandbox
    for (const quota of [undefined, 64]) {
      const refused = yield* Bench.failsWith(
        "InvalidConfig",
        driver.createVolume({ name: "disk", kind: "disk", quota })
      )
      assert.strictEqual(refused.field, "quota")
    }
    assert.deepStrictEqual(yield* driver.listVolumes(), [])
    const made = yield* driver.createVolume({ name: "disk", kind: "disk", quota: 128 * mib })
    assert.deepInclude(made, { name: "disk", kind: "disk", quota: 128 * mib, labels: {} })
    assert.deepInclude(yield* driver.getVolume("disk"), { kind: "disk", quota: 128 * mib, path: made.path })
    assert.strictEqual(Fs.statSync(made.path).size, 128 * 1024 * 1024)
    yield* driver.removeVolume("disk")
    assert.isFalse(Fs.existsSync(made.path))
  })

  // ---------------------------------------------------------------------------
  // A life
  // ---------------------------------------------------------------------------

  test("runs, stops, starts, captures, kills and removes a sandbox", function* () {
    const driver = yield* Microsandbox.Microsandbox
    const { image } = yield* Bench.Bench
    const archive = yield* Bench.archived
    const name = "x".repeat(128)
    const asked = yield* Bench.request(
      {
        labels: { team: "platform", kind: "life" },
        // The whole disk is read for captures and searches.
        resources: { disk: 256 * mib },
        env: { KEPT: "kept", LOST: "lost" },
        patches: yield* patches,
        ports: { 0: 80 }
      },
      name
    )
    const info = yield* Bench.boot(asked)
    assert.deepInclude(info, { name, status: "running", memory: 256 * mib, cpus: 1 })
    assert.strictEqual(info.labels["team"], "platform")
    // A free port, which it keeps.
    const [port] = info.ports
    assert.deepStrictEqual(info.ports, [{ host: port?.host ?? 0, guest: 80, protocol: "tcp", bind: "127.0.0.1" }])
    assert.isAbove(port?.host ?? 0, 0)
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

    const sandbox = yield* Sandbox.connect(name)
    assert.deepStrictEqual(sandbox.ports, info.ports)
    yield* isPatched(sandbox)

    yield* needsItsImage(archive)

    yield* changesWhileItRuns(info, sandbox)
    assert.isFalse(yield* driver.removeGhost(name))

    // What commands wrote is logged.
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
    const nowhere = yield* Bench.failsWith("InvalidConfig", driver.readLogs(info, { after: "nowhere" }))
    assert.strictEqual(nowhere.field, "after")

    // Stopped: what was written is kept, even without a flush.
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

    yield* changesWhileItIsStopped(info)

    // Captured, and started again.
    yield* Bench.failsWith("InUse", driver.removeImage(image))
    const captured = yield* Effect.acquireRelease(
      driver.captureSnapshot({ sandbox: name, name: "life", labels: { of: "a life" }, integrity: true }),
      () => Effect.orDie(driver.removeSnapshot("life"))
    )
    assert.deepInclude(captured, { name: "life", labels: { of: "a life" }, sourceSandbox: name })
    const twice = yield* Bench.failsWith("AlreadyExists", driver.captureSnapshot({ sandbox: name, name: "life" }))
    assert.deepInclude(twice, { resource: "snapshot", name: "life" })
    const started = yield* driver.startSandbox(info)
    assert.deepInclude(started, { name, id: info.id, status: "running", memory: 320 * mib })
    assert.deepStrictEqual(started.ports, info.ports)
    const second = yield* Sandbox.connect(name)
    const found = yield* second.shell(
      "pwd; cat /root/kept; ls /tmp; echo $KEPT $ADDED $LATER $LOST; df -m / | tail -n 1"
    )
    const [workdir, kept, variables, size = ""] = found.stdout.split("\n")
    assert.deepStrictEqual([workdir, kept, variables], ["/opt", "kept", "kept added later"])
    assert.isAbove(Number(size.split(/\s+/)[1]), 380)

    // Changed while it runs.
    const third = yield* changesAtOnce(info, second)

    // Let go, killed, and removed.
    yield* driver.detachSandbox(info)
    yield* driver.detachSandbox(info)
    assert.strictEqual((yield* third.exec("true")).exitCode, 0)
    yield* driver.killSandbox(info)
    yield* Bench.failsWith("GuestLost", third.exec("true"))
    yield* Bench.eventually(statusOf(name), (status) => status === "stopped")
    yield* driver.removeSandbox(info)
    yield* driver.removeSandbox(info)
    yield* Bench.failsWith("NotFound", driver.getSandbox(name))
    // Now only the snapshot uses the image: that keeps it from being pruned.
    const pruned = yield* driver.pruneImages()
    assert.strictEqual(pruned.images, 0)
    // In a fleet, a host that does not have the snapshot has no use for its copy of the layers.
    if (driver.backend !== "fleet") assert.deepStrictEqual(pruned, { images: 0, layers: 0, bytes: undefined })
  })

  test("names, moves, saves, loads, boots and loses a snapshot", function* () {
    const driver = yield* Microsandbox.Microsandbox
    const { alias, files, image } = yield* Bench.Bench
    const archive = yield* Bench.archived
    // The name that it is asked for by becomes one of the image.
    const source = { _tag: "Image", reference: alias.short } as const
    const builder = yield* Bench.boot({ ...(yield* Bench.request()), source })
    assert.strictEqual((yield* driver.getImage(alias.short)).reference, alias.short)
    const guest = yield* Sandbox.connect(builder.name)
    yield* guest.shell("echo baked > /root/baked; rm /etc/hosts; sync")
    yield* driver.stopSandbox(builder)
    yield* Bench.eventually(statusOf(builder.name), (status) => status === "stopped")
    const labels = { of: "a test" }
    const captured = yield* driver.captureSnapshot({ sandbox: builder.name, name: "baked", labels, integrity: true })
    const { createdAt, digest, imageDigest } = captured
    assert.deepInclude(captured, { name: "baked", image: alias.short, labels })
    assert.isTrue(yield* driver.verifySnapshot("baked"))
    yield* driver.removeSandbox(builder)

    // Names.
    yield* driver.linkSnapshot("latest", "baked")
    assert.deepStrictEqual(yield* driver.listSnapshotLinks(), { latest: "baked" })
    assert.strictEqual(yield* driver.readSnapshotLink("latest"), "baked")
    for (const other of ["baked", "nothing", "constructor", "", ".", "..", "../snapshots/latest"]) {
      assert.isUndefined(yield* driver.readSnapshotLink(other), other)
    }
    assert.strictEqual((yield* driver.getSnapshot("latest")).digest, captured.digest)
    assert.deepStrictEqual(
      (yield* driver.listSnapshots()).map(({ name }) => name),
      ["baked"]
    )
    yield* driver.unlinkSnapshot("latest")
    assert.deepStrictEqual(yield* driver.listSnapshotLinks(), {})
    yield* driver.renameSnapshot("baked", "renamed")
    yield* Bench.failsWith("NotFound", driver.getSnapshot("baked"))

    // To a file and back.
    const path = Path.join(files, "saved.snapshot")
    yield* driver.saveSnapshot("renamed", path, { withImage: false })
    yield* driver.removeSnapshot("renamed")
    assert.deepStrictEqual(yield* driver.listSnapshots(), [])
    const same = { digest, image: alias.short, imageDigest, labels, createdAt, sourceSandbox: builder.name }
    assert.deepInclude(yield* driver.loadSnapshot(path, "loaded"), { name: "loaded", ...same })
    assert.deepInclude(yield* driver.getSnapshot("loaded"), { name: "loaded", ...same })
    assert.isTrue(yield* driver.verifySnapshot("loaded"))
    const taken = yield* Bench.failsWith("AlreadyExists", driver.loadSnapshot(path, "loaded"))
    assert.deepInclude(taken, { resource: "snapshot", name: "loaded" })
    Fs.writeFileSync(path, "no archive")
    yield* Bench.failsWith("SnapshotDamaged", driver.loadSnapshot(path, "never"))

    yield* imports(driver, same)
    assert.deepStrictEqual(
      (yield* driver.listSnapshots()).map(({ name }) => name),
      ["loaded"]
    )

    // What a power cut or an interrupted removal leaves is not a snapshot, and can be removed.
    assert.deepStrictEqual(yield* driver.listDamagedSnapshots(), [])
    const loadedAt = (yield* driver.getSnapshot("loaded")).path
    const torn = Path.join(Path.dirname(loadedAt), "torn")
    Fs.cpSync(loadedAt, torn, { recursive: true })
    Fs.writeFileSync(Path.join(torn, "snapshot.json"), "")
    assert.deepStrictEqual(yield* driver.listDamagedSnapshots(), ["torn"])
    assert.deepStrictEqual(
      (yield* driver.listSnapshots()).map(({ name }) => name),
      ["loaded"]
    )
    yield* driver.removeSnapshot("torn")
    assert.deepStrictEqual(yield* driver.listDamagedSnapshots(), [])

    // It needs exactly the image that it is based on.
    yield* driver.pruneImages()
    assert.deepStrictEqual(Bench.referencesOf(yield* driver.listImages()), [alias.short, alias.whole, image].toSorted())
    for (const name of [alias.short, alias.whole, image]) yield* driver.removeImage(name)
    assert.deepStrictEqual(yield* driver.listImages(), [])
    const baseless = yield* Bench.failsWith(
      "SnapshotDamaged",
      Effect.flatMap(Bench.request({ pullPolicy: "never" }), (asked) =>
        driver.createSandbox({ ...asked, source: { _tag: "Snapshot", name: "loaded" } })
      )
    )
    assert.strictEqual(baseless.name, "loaded")
    yield* driver.loadImage(archive)

    // Booted with a disk that holds only the difference, and with volumes.
    yield* driver.createVolume({ name: "data", kind: "directory", quota: 8 * mib })
    yield* driver.createVolume({ name: "disk", kind: "disk", quota: 128 * mib })
    // And with a folder of the host on whose path there is a link.
    const folder = yield* Bench.hostFolder()
    const linked = `${folder}-link`
    Fs.mkdirSync(Path.join(folder, "sub"))
    Fs.writeFileSync(Path.join(folder, "sub/file"), "through a link\n")
    Fs.symlinkSync(folder, linked)
    const info = yield* Bench.boot({
      name: Bench.freshName("from-snapshot"),
      source: { _tag: "Snapshot", name: "loaded" },
      config: {
        pullPolicy: "never",
        resources: { memory: 256 * mib },
        rootDisk: "overlay",
        mounts: { "/data": { volume: "data" }, "/disk": { volume: "disk" }, "/linked": { bind: `${linked}/sub` } }
      }
    })
    assert.deepStrictEqual(info.volumes.toSorted(), ["data", "disk"])
    const sandbox = yield* Sandbox.connect(info.name)
    const { stdout } = yield* sandbox.shell(
      "cat /root/baked; echo in the volume > /data/file; echo on the disk > /disk/file; cat /data/file /disk/file /linked/file"
    )
    assert.strictEqual(stdout, "baked\nin the volume\non the disk\nthrough a link\n")
    const large = new Uint8Array(20 * 1024 * 1024)
    yield* Bench.failsWithCode("ENOSPC", sandbox.writeFile("/data/large", large))
    yield* sandbox.remove("/data/large")
    yield* sandbox.writeFile("/disk/large", large)
    for (const name of ["data", "disk"]) {
      const inUse = yield* Bench.failsWith("InUse", driver.removeVolume(name))
      assert.deepInclude(inUse, { resource: "volume", name, usedBy: [info.name] })
    }
    // Only one sandbox can mount the disk.
    const second = yield* Bench.failsWith(
      "InUse",
      Effect.flatMap(Bench.request({ mounts: { "/disk": { volume: "disk" } } }), driver.createSandbox)
    )
    assert.deepInclude(second, { resource: "volume", name: "disk", usedBy: [info.name] })
    assert.strictEqual((yield* driver.listSandboxes()).length, 1)
    yield* Bench.failsWith("StillRunning", driver.captureSnapshot({ sandbox: info.name, name: "early" }))
    yield* Bench.failsWith("Unsupported", driver.modifySandbox(info, { disk: 1024 * mib }))
    // It goes on when the snapshot is gone, and is not left stopped by who no longer waits for its restart.
    yield* driver.removeSnapshot("loaded")
    const ending = yield* Bench.background(sandbox.exec("sleep", ["1000"]))
    yield* Bench.eventually(Bench.commandLines(sandbox), (lines) => lines.includes("sleep 1000"))
    const restarting = yield* Effect.forkScoped(
      driver.modifySandbox(info, { env: { ADDED: "added" }, apply: "restart" }),
      { startImmediately: true }
    )
    yield* ending.failure("GuestLost")
    yield* Fiber.interrupt(restarting)
    const again = yield* Sandbox.connect(info.name)
    const read = yield* again.shell("cat /root/baked /data/file /disk/file; echo $ADDED")
    assert.strictEqual(read.stdout, "baked\nin the volume\non the disk\nadded\n")
    yield* again.writeFile("/root/zeros", new Uint8Array(3 * mib))
    yield* again.shell("echo in the overlay > /root/more; sync")

    // Nobody asked it to end. (A `poweroff` would only halt its kernel: the virtual machine goes on, and never answers.)
    const lines = yield* Bench.background(Stream.runDrain(again.execStream("sleep", ["1000"])))
    yield* Bench.background(again.exec("reboot", ["-f"]))
    yield* lines.failure("GuestLost")
    assert.strictEqual(yield* Bench.eventually(statusOf(info.name), (status) => status !== "running"), "stopped")
    const remains = yield* driver.removeRemains({ dryRun: true })
    assert.deepStrictEqual(yield* driver.removeRemains(), remains)
    assert.deepStrictEqual(yield* driver.removeRemains(), [])
    // It is searched and captured as the disk that its guest saw.
    assert.deepStrictEqual(
      yield* driver.searchSandbox(
        info,
        ["baked\n", "in the overlay\n", "on the disk\n"].map((text) => Bench.encode(text))
      ),
      [true, true, false]
    )
    assert.deepStrictEqual(yield* driver.getSandboxLifecycle(info), { isAttached: true, isEphemeral: false })
    const whole = yield* driver.captureSnapshot({
      sandbox: info.name,
      name: "of-overlay",
      labels: { a: "b" },
      integrity: true
    })
    assert.deepEqual([whole.name, whole.imageDigest, whole.sourceSandbox], ["of-overlay", info.imageDigest, info.name])
    assert.deepInclude(whole.labels, { a: "b" })
    assert.isTrue(yield* driver.verifySnapshot("of-overlay"))
    yield* Bench.failsWith("AlreadyExists", driver.captureSnapshot({ sandbox: info.name, name: "of-overlay" }))
    assert.deepStrictEqual(
      (yield* driver.listSandboxes()).map(({ name }) => name),
      [info.name]
    )
    yield* driver.removeSandbox(info)
    const copy = yield* Bench.boot({
      name: Bench.freshName("from-overlay"),
      source: { _tag: "Snapshot", name: "of-overlay" },
      config: { pullPolicy: "never", resources: { memory: 256 * mib } }
    })
    const { stdout: copied } = yield* (yield* Sandbox.connect(copy.name)).shell(
      "cat /root/baked /root/more; wc -c < /root/zeros"
    )
    assert.strictEqual(copied, "baked\nin the overlay\n3145728\n")
    yield* driver.removeSandbox(copy, { force: true })
    yield* driver.removeSnapshot("of-overlay")
    for (const name of ["data", "disk"]) yield* driver.removeVolume(name)
    assert.deepStrictEqual(yield* driver.listVolumes(), [])
  })
}
