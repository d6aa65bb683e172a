/**
 * Works with the real SDK, without a microVM, in a home that it has prepared: `sdk.ts prepare HOME FILES`,
 * `sdk.ts PART HOME FILES`, and `sdk.ts audit HOME FILES PART`, which sweeps, looks at everything, and works once more.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Sdk from "microsandbox"
import * as assert from "node:assert/strict"
import * as ChildProcess from "node:child_process"
import * as Fs from "node:fs"
import * as Path from "node:path"
import type { Services } from "../../../src/Driver.ts"
import { generate, instanceLabel, ownerLabel } from "../../../src/internal/ownership/labels.ts"
import * as Commits from "../../../src/internal/store/commits.ts"
import { artifactName, captureLock, keyLabel, make as makeStore } from "../../../src/internal/store/store.ts"
import type { LightboxError } from "../../../src/LightboxError.ts"
import * as Microsandbox from "../../../src/Microsandbox.ts"
import * as MicrosandboxLocal from "../../../src/MicrosandboxLocal.ts"
import * as Ownership from "../../../src/Ownership.ts"
import * as Reaper from "../../../src/Reaper.ts"
import * as Snapshot from "../../../src/Snapshot.ts"
import * as Volume from "../../../src/Volume.ts"

const [part = "", home = "", files = "", again = ""] = process.argv.slice(2)

const insert = `
const { DatabaseSync } = require("node:sqlite")
const database = new DatabaseSync(process.argv[1])
const now = new Date().toISOString().replace("T", " ").replace("Z", "")
for (const [name, config] of JSON.parse(process.argv[2])) {
  database
    .prepare("INSERT INTO sandbox(name, config, status, created_at, updated_at, ephemeral) VALUES(?, ?, 'Stopped', ?, ?, 0)")
    .run(name, config, now, now)
}
database.close()
`

/** Puts stopped sandboxes with disks into the runtime's database, in another process: two SQLite libraries do not go together. */
const insertStopped = async (labels: { readonly [sandbox: string]: { readonly [label: string]: string } }) => {
  const rows: Array<readonly [string, string]> = []
  for (const [name, all] of Object.entries(labels)) {
    const builder = new Sdk.SandboxBuilder(name).image("base")
    for (const [label, value] of Object.entries(all)) builder.label(label, value)
    const built: unknown = await builder.build()
    const config: unknown = typeof built === "string" ? JSON.parse(built) : built
    const described = { ...(typeof config === "object" ? config : {}), manifest_digest: `sha256:${"a".repeat(64)}` }
    rows.push([name, JSON.stringify(described)])
    const folder = Path.join(home, "sandboxes", name)
    Fs.mkdirSync(folder, { recursive: true })
    Fs.writeFileSync(Path.join(folder, "upper.ext4"), Buffer.alloc(256 * 1024, 7))
  }
  ChildProcess.execFileSync(process.execPath, ["--eval", insert, Path.join(home, "db/msb.db"), JSON.stringify(rows)], {
    stdio: ["ignore", "ignore", "inherit"]
  })
}

/** Makes a result of the stopped sandbox, as a build does, and points a name to it. */
const build = Effect.fnUntraced(function* (name: string, key: string, keep: number) {
  const driver = yield* Microsandbox.Microsandbox
  const ownership = yield* Ownership.Ownership
  const store = makeStore(driver, ownership)
  const artifact = artifactName(key)
  const note: Ownership.Note = { kind: "capture", token: yield* generate, name: artifact }
  const capture = driver.captureSnapshot({
    sandbox: "source",
    name: artifact,
    labels: { [keyLabel]: key },
    integrity: true
  })
  const result = yield* Effect.acquireUseRelease(
    ownership.note(note),
    () => Effect.scoped(Effect.andThen(store.lock(captureLock(artifact)), capture)),
    () => ownership.forget(note)
  ).pipe(Effect.catchReason("LightboxError", "AlreadyExists", () => driver.getSnapshot(artifact)))
  const lastBuild = { builderVersion: "2", image: "base", imageDigest: result.imageDigest, steps: [] }
  return yield* Commits.commit(driver, store, {
    name,
    result,
    key,
    labels: {},
    lastBuild,
    replaceForeign: true,
    overwrite: true,
    method: "Snapshot.build",
    keep
  })
})

const keyOf = (digit: number): string => String(digit).repeat(64)

const parts: { readonly [part: string]: Effect.Effect<unknown, LightboxError, Services | Scope.Scope> } = {
  load: Effect.gen(function* () {
    yield* Snapshot.load(`${files}/foreign`, { name: "foreign", overwrite: true })
    yield* Snapshot.load(`${files}/foreign`, { name: "other", overwrite: true })
    yield* Snapshot.load(`${files}/saved`, { name: "moved", overwrite: true })
    yield* Snapshot.load(`${files}/saved`, { trusted: true, overwrite: true })
    yield* Snapshot.remove("moved")
  }),
  commit: Effect.gen(function* () {
    yield* build("tool", keyOf(3), 1)
    yield* build("main", keyOf(4), 1)
    yield* Snapshot.save("main", `${files}/saved`, { withImage: false })
    yield* build("main", keyOf(5), 3)
    yield* Snapshot.rollback("main")
    yield* Snapshot.prune({ keep: 1 })
  }),
  volumes: Effect.gen(function* () {
    yield* Volume.prime("volume", () => Effect.void)
    yield* Volume.ensure("volume", { labels: { changed: "yes" }, onDrift: "recreate" })
    yield* Volume.ensure("disk", { kind: "disk", quota: "100M" })
    yield* Volume.remove("disk")
    yield* Volume.remove("volume")
  }),
  sweep: Reaper.sweep()
}

const prepare = Effect.gen(function* () {
  const driver = yield* Microsandbox.Microsandbox
  yield* driver.listSandboxes()
  const dead = { [ownerLabel]: "00000000dead", [instanceLabel]: "one" }
  yield* Effect.promise(() => insertStopped({ source: {}, "lightbox-m0000000-1-1": dead }))
  for (const folder of ["lightbox/disks/one", "lightbox/disks/two", "sandboxes/lightbox-m0000000-1-2"]) {
    Fs.mkdirSync(Path.join(home, folder), { recursive: true })
    Fs.writeFileSync(Path.join(home, folder, "disk"), "1")
  }
  for (const name of ["tool", "other"]) yield* driver.captureSnapshot({ sandbox: "source", name, integrity: true })
  yield* driver.saveSnapshot("tool", `${files}/foreign`)
  yield* build("main", keyOf(1), 3)
  yield* build("main", keyOf(2), 3)
  yield* Snapshot.save("main", `${files}/saved`, { withImage: false })
  yield* Volume.ensure("shared")
})

/** Fails unless a home holds what it may hold, and all of that is whole. */
const audit = Effect.gen(function* () {
  const driver = yield* Microsandbox.Microsandbox
  const own = yield* (yield* Ownership.Ownership).id
  // Also for what has no owner, and is given an hour.
  const now = Date.now
  Date.now = () => now() + 2 * 60 * 60_000
  const sweep = (...bad: ReadonlyArray<string>) =>
    Effect.map(Reaper.sweep(), ({ isComplete, verdicts }) => {
      assert.ok(isComplete)
      assert.deepEqual(
        verdicts.filter(({ verdict }) => bad.includes(verdict)),
        []
      )
    })
  const look = Effect.gen(function* () {
    const all = yield* driver.listSnapshots()
    for (const { name } of all) assert.equal(yield* driver.verifySnapshot(name), true)
    const names = Object.keys(yield* driver.listSnapshotLinks())
    for (const name of [...names, "main", "tool", "other"]) yield* Snapshot.get(name)
    assert.deepEqual(
      Fs.readdirSync(`${home}/snapshots`).toSorted(),
      [...all.map(({ name }) => name), ...names].toSorted()
    )
    assert.deepEqual(
      (yield* driver.listSandboxes()).map(({ name }) => name),
      ["source"]
    )
    const volumes = (yield* Volume.list()).map(({ name }) => name).toSorted()
    // Folders in which there is to be nothing of any process but this.
    const left = /^(sandboxes|volumes|cache\/tmp|lightbox\/(disks|owners|locks|detached)|run\/\w+)\/[^/]*$/
    assert.deepEqual(
      Fs.readdirSync(home, { recursive: true, encoding: "utf8" })
        .filter((path) => left.test(path) && !path.includes(own))
        .filter((path) => path !== "volumes/.locks")
        .toSorted(),
      ["sandboxes/source", ...volumes.map((name) => `volumes/${name}`)]
    )
    assert.deepEqual(Fs.readdirSync(files).toSorted(), ["foreign", "saved"])
    assert.deepEqual(
      volumes.filter((name) => name !== "volume" && name !== "disk"),
      ["shared"]
    )
  })
  yield* sweep("failed")
  yield* sweep("failed", "removed")
  yield* look
  // What was cut short can be done, and leaves nothing either.
  yield* Effect.scoped(parts[again] ?? Effect.void)
  yield* sweep("failed", "removed")
  yield* look
})

Fs.mkdirSync(files, { recursive: true })
Effect.scoped({ ...parts, prepare, audit }[part] ?? Effect.die(new Error(`there is no part ${part}`)))
  .pipe(Effect.provide(MicrosandboxLocal.layer({ home, sweep: false })), Effect.runPromise)
  .catch((error: unknown) => {
    console.error(error)
    process.exit(1)
  })
