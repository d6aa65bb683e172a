/**
 * Works with the real SDK, without a microVM, in a home that `prepare` makes: `sdk.ts prepare|audit|PART HOME FILES`.
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

const [part = "", home = "", files = ""] = process.argv.slice(2)

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
const build = Effect.fnUntraced(function* (name: string, key: string, options: { readonly keep: number }) {
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
    ...options
  })
})

const keyOf = (digit: number): string => String(digit).repeat(64)

/** What a dead owner of sandboxes left, when the home is prepared. */
const deadOwner = "00000000dead"
const stopped = "lightbox-m0000000-1-1"

const parts: { readonly [part: string]: Effect.Effect<unknown, LightboxError, Services | Scope.Scope> } = {
  prepare: Effect.gen(function* () {
    const driver = yield* Microsandbox.Microsandbox
    yield* driver.listSandboxes()
    yield* Effect.promise(() =>
      insertStopped({ source: {}, [stopped]: { [ownerLabel]: deadOwner, [instanceLabel]: "one" } })
    )
    for (const folder of ["lightbox/disks/one", "lightbox/disks/two", "sandboxes/lightbox-m0000000-1-2"]) {
      Fs.mkdirSync(Path.join(home, folder), { recursive: true })
      Fs.writeFileSync(Path.join(home, folder, "disk"), "1")
    }
    for (const name of ["tool", "other"]) yield* driver.captureSnapshot({ sandbox: "source", name, integrity: true })
    yield* driver.saveSnapshot("tool", `${files}/foreign`)
    yield* build("main", keyOf(1), { keep: 3 })
    yield* build("main", keyOf(2), { keep: 3 })
    yield* Snapshot.save("main", `${files}/saved`, { withImage: false })
    yield* Volume.ensure("shared")
  }),
  load: Effect.gen(function* () {
    yield* Snapshot.load(`${files}/foreign`, { name: "foreign" })
    yield* Snapshot.load(`${files}/foreign`, { name: "other", overwrite: true })
    yield* Snapshot.load(`${files}/saved`, { name: "moved" })
    yield* Snapshot.remove("main")
    yield* Snapshot.prune()
    yield* Snapshot.load(`${files}/saved`, { trusted: true })
  }),
  remove: Effect.gen(function* () {
    yield* build("tool", keyOf(3), { keep: 1 })
    yield* build("main", keyOf(4), { keep: 1 })
    yield* Snapshot.save("main", `${files}/saved`, { withImage: false })
    yield* Snapshot.remove("main")
    yield* Snapshot.prune({ keep: 1 })
    yield* build("main", keyOf(1), { keep: 3 })
    yield* build("main", keyOf(5), { keep: 3 })
    yield* Snapshot.rollback("main")
  }),
  volumes: Effect.gen(function* () {
    yield* Volume.prime("volume", () => Effect.void)
    yield* Volume.ensure("volume", { labels: { changed: "yes" }, onDrift: "recreate" })
    yield* Volume.ensure("disk", { kind: "disk", quota: "100M" })
    yield* Volume.remove("disk")
    yield* Volume.remove("volume")
  }),
  sweep: Reaper.sweep(),
  audit: Effect.gen(function* () {
    const driver = yield* Microsandbox.Microsandbox
    const own = yield* (yield* Ownership.Ownership).id
    const now = Date.now
    Date.now = () => now() + 60_000
    const report = yield* Reaper.sweep()
    const bad = (verdicts: ReadonlyArray<string>, { verdicts: all }: typeof report) =>
      all.filter(({ verdict }) => verdicts.includes(verdict))
    assert.ok(report.isComplete)
    assert.deepEqual(bad(["failed"], report), [])
    assert.deepEqual(bad(["failed", "removed"], yield* Reaper.sweep()), [], "second sweep")
    const all = yield* driver.listSnapshots()
    for (const { name } of all) assert.equal(yield* driver.verifySnapshot(name), true)
    const links = yield* driver.listSnapshotLinks()
    assert.deepEqual(
      Fs.readdirSync(`${home}/snapshots`).toSorted(),
      [...all.map(({ name }) => name), ...Object.keys(links)].toSorted()
    )
    for (const name of Object.keys(links)) yield* Snapshot.get(name)
    for (const name of ["tool", "other"]) yield* Snapshot.get(name)
    assert.deepEqual(
      (yield* driver.listSandboxes()).map(({ name }) => name),
      ["source"]
    )
    const unknown = Fs.readdirSync(home, { recursive: true, encoding: "utf8" }).filter(
      (path) =>
        !/^(db|snapshots|volumes)(\/|$)|^lightbox\/(names|used|evicted|aliases)(\/|$)|^sandboxes\/source/.test(path) &&
        !path.includes(own) &&
        !Fs.lstatSync(Path.join(home, path)).isDirectory()
    )
    assert.deepEqual(unknown, [], "files")
    const folders = Fs.readdirSync(home, { recursive: true, encoding: "utf8" }).filter(
      (path) =>
        /^(sandboxes|lightbox\/(disks|owners|locks|detached)|cache\/tmp)\/[^/]*$/.test(path) && !path.includes(own)
    )
    assert.deepEqual(folders, ["sandboxes/source"], "folders")
    assert.deepEqual(Fs.readdirSync(files).toSorted(), ["foreign", "saved"])
    const volumes = (yield* Volume.list()).map(({ name }) => name)
    assert.ok(volumes.includes("shared"))
    yield* Volume.remove("volume")
    yield* Volume.remove("disk")
    assert.deepEqual(Fs.readdirSync(`${home}/volumes`).toSorted(), [".locks", "shared"])
    yield* Effect.scoped(parts["volumes"] ?? Effect.void)
    if (!(yield* Snapshot.exists("main")))
      yield* Effect.catchReason(
        Snapshot.load(`${files}/saved`, { name: "main" }),
        "LightboxError",
        "AlreadyExists",
        () => Effect.void
      )
    if (yield* Snapshot.exists("foreign")) yield* Snapshot.remove("foreign")
    if (yield* Snapshot.exists("moved")) yield* Snapshot.remove("moved")
    yield* Effect.scoped(parts["load"] ?? Effect.void)
    yield* Effect.scoped(parts["remove"] ?? Effect.void)
    assert.deepEqual(bad(["failed", "removed"], yield* Reaper.sweep()), [], "last sweep")
  })
}

Fs.mkdirSync(files, { recursive: true })
Effect.scoped(parts[part] ?? Effect.die(new Error(`there is no part ${part}`)))
  .pipe(Effect.provide(MicrosandboxLocal.layer({ home, sweep: false })), Effect.runPromise)
  .catch((error: unknown) => {
    console.error(error)
    process.exit(1)
  })
