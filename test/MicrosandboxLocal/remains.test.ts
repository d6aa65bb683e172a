/** What the runtime leaves behind and never removes itself. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as ChildProcess from "node:child_process"
import * as Crypto from "node:crypto"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { DatabaseSync } from "node:sqlite"
import { vi } from "vitest"
import * as InstallLease from "../../src/internal/driver/sdk/workaroundInstallLease.ts"
import { generate, isGenerated } from "../../src/internal/ownership/labels.ts"
import * as NameLocks from "../../src/internal/driver/local/workaroundNameLocks.ts"
import * as VolumeStaging from "../../src/internal/driver/local/workaroundVolumeStaging.ts"
import * as VmProcess from "../../src/internal/driver/local/workaroundVmProcess.ts"
import { fromSdk } from "../../src/internal/driver/sdk/errors.ts"
import { temporary } from "../support.ts"

describe("the folder of a volume that was not completed", () => {
  it.effect("is removed when it is old, and no other folder is", () =>
    Effect.gen(function* () {
      const home = yield* temporary
      assert.deepStrictEqual(yield* collect(home, false), [])
      for (const name of [".cache.aB3xYz", ".locks", "cache", ".cache.toolong"]) {
        Fs.mkdirSync(Path.join(home, "volumes", name), { recursive: true })
      }
      Fs.writeFileSync(Path.join(home, "volumes/.cache.aB3xYz/disk.raw"), "half")
      assert.deepStrictEqual(yield* collect(home, false), [])
      const now = Date.now()
      vi.spyOn(Date, "now").mockImplementation(() => now + 2 * 60 * 60_000)
      yield* Effect.addFinalizer(() => Effect.sync(() => vi.restoreAllMocks()))
      const path = Path.join(home, "volumes/.cache.aB3xYz")
      assert.deepStrictEqual([yield* collect(home, true), yield* collect(home, false)], [[path], [path]])
      assert.deepStrictEqual(Fs.readdirSync(Path.join(home, "volumes")).toSorted(), [
        ".cache.toolong",
        ".locks",
        "cache"
      ])
    }).pipe(Effect.scoped)
  )

  const collect = (home: string, dryRun: boolean) => Effect.promise(() => VolumeStaging.collect(home, { dryRun }))
})

describe("the lease of a process killed while opening the database", () => {
  const text =
    "[Runtime] runtime error: microsandbox install operation in progress until 2999-01-01 00:00:00; retry after it completes"

  /** A home whose database says who holds the lease. */
  const homeOf = Effect.fnUntraced(function* (holder: number) {
    const home = yield* temporary
    Fs.mkdirSync(Path.join(home, "db"))
    const database = new DatabaseSync(Path.join(home, "db", "msb.db"))
    database.exec("CREATE TABLE maintenance_lease (name TEXT, holder_pid INTEGER, lease_expires_at TEXT)")
    const insert = database.prepare("INSERT INTO maintenance_lease VALUES (?, ?, '2999-01-01 00:00:00')")
    insert.run("install_exclusive", holder)
    insert.run("another", holder)
    database.close()
    const leases = () => {
      const database = new DatabaseSync(Path.join(home, "db", "msb.db"))
      const rows = database.prepare("SELECT name, holder_pid AS holder FROM maintenance_lease ORDER BY name").all()
      database.close()
      return rows.map(({ holder, name }) => [name, holder])
    }
    return { home, leases }
  })

  it.effect("is released, and no other lease", () =>
    Effect.gen(function* () {
      const { pid } = ChildProcess.spawnSync(process.execPath, ["--version"])
      const { home, leases } = yield* homeOf(pid)
      yield* InstallLease.release(home)
      assert.deepStrictEqual(leases(), [
        ["another", pid],
        ["install_exclusive", null]
      ])
    }).pipe(Effect.scoped)
  )

  it.effect("stays while its holder lives", () =>
    Effect.gen(function* () {
      const { home, leases } = yield* homeOf(process.pid)
      yield* InstallLease.release(home)
      assert.deepInclude(leases(), ["install_exclusive", process.pid])
    }).pipe(Effect.scoped)
  )

  it.effect("is ignored when there is no database, without creating one", () =>
    Effect.gen(function* () {
      const home = yield* temporary
      yield* InstallLease.release(home)
      assert.deepStrictEqual(Fs.readdirSync(home), [])
    }).pipe(Effect.scoped)
  )

  it("is what the runtime's error means", () => {
    const error = fromSdk("test", {}, new Error(text))
    assert.strictEqual(error.reason._tag, "StoreBusy")
    assert.isTrue(InstallLease.isCause(error))
  })
})

describe("folders that microVMs booted from", () => {
  const entries = [".msb", "dev", "newroot", "proc", "sys"]

  const make = (folder: string, more: ReadonlyArray<string> = []): void => {
    for (const entry of [...entries, ...more]) Fs.mkdirSync(Path.join(folder, entry), { recursive: true })
  }

  it.effect("are removed only if they hold nothing else", () =>
    Effect.gen(function* () {
      const folder = yield* temporary
      vi.stubEnv("TMPDIR", folder)
      yield* Effect.addFinalizer(() => Effect.sync(() => vi.unstubAllEnvs()))
      const left = Path.join(folder, ".tmpAbC123")
      make(left)
      make(Path.join(folder, ".tmpOther1"), ["mine"])
      make(Path.join(folder, "tmpAbC124"))
      Fs.mkdirSync(Path.join(folder, ".tmpEmpty1"))
      const holding = Path.join(folder, ".tmpFull01")
      make(holding)
      Fs.writeFileSync(Path.join(holding, "dev", "null"), "")
      const before = Fs.readdirSync(folder).toSorted()

      assert.deepStrictEqual([...VmProcess.collectRemains({ dryRun: true })].toSorted(), [left, holding].toSorted())
      assert.deepStrictEqual(Fs.readdirSync(folder).toSorted(), before)
      // A folder that holds something is not removed, and not reported.
      assert.deepStrictEqual(VmProcess.collectRemains({ dryRun: false }), [left])
      assert.deepStrictEqual(
        Fs.readdirSync(folder).toSorted(),
        before.filter((name) => name !== ".tmpAbC123")
      )
      assert.deepStrictEqual(Fs.readdirSync(Path.join(holding, "dev")), ["null"])
    }).pipe(Effect.scoped)
  )
})

describe("name locks", () => {
  it.live("are removed for generated names, and kept for chosen names", () =>
    Effect.gen(function* () {
      const home = yield* temporary
      const id = yield* generate
      const file = (name: string) => `${Crypto.hash("sha256", name).slice(0, 32)}.lock`
      const generated = [`lightbox-${id}`, `lightbox-builder-${id}`]
      const chosen = ["worker", "lightbox", "lightbox-", "lightbox-app", "lightbox-my-own-app", `my-lightbox-${id}`]
      for (const folder of ["locks", "creation-locks"]) {
        Fs.mkdirSync(Path.join(home, "run", folder), { recursive: true })
        for (const name of [...generated, ...chosen]) Fs.writeFileSync(Path.join(home, "run", folder, file(name)), "")
      }
      for (const name of [...generated, ...chosen]) yield* Effect.promise(() => NameLocks.remove(home, name))
      // An unknown name is not an error.
      yield* Effect.promise(() => NameLocks.remove(home, `lightbox-${id}`))
      for (const folder of ["locks", "creation-locks"]) {
        assert.deepStrictEqual(
          Fs.readdirSync(Path.join(home, "run", folder)).toSorted(),
          chosen.map(file).toSorted(),
          folder
        )
      }
      assert.isTrue(generated.every(isGenerated))
    }).pipe(Effect.scoped)
  )
})
