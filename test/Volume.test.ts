/**
 * Volumes, on the driver in memory.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import { TestClock } from "effect/testing"
import * as Fs from "node:fs"
import * as Path from "node:path"
import type { LightboxError } from "../src/LightboxError.ts"
import * as MicrosandboxMemory from "../src/MicrosandboxMemory.ts"
import * as Sandbox from "../src/Sandbox.ts"
import * as Volume from "../src/Volume.ts"

const withTwin = Effect.provide(MicrosandboxMemory.layer(), { local: true })

const reasonOf = <A, R>(effect: Effect.Effect<A, LightboxError, R>) =>
  Effect.map(Effect.flip(effect), ({ reason }) => reason)

const mounting = (name: string) => ({ image: "busybox", mounts: { "/data": { volume: name } } })

describe("Volume", () => {
  it.effect("is created once, and reports drift only in what was requested", () =>
    Effect.gen(function* () {
      const made = yield* Volume.ensure("cache", { quota: "1G", labels: { tier: "ci" } })
      assert.deepInclude(made, { name: "cache", kind: "directory", quota: 1024 ** 3, labels: { tier: "ci" } })
      assert.deepStrictEqual(yield* Volume.ensure("cache"), made)
      assert.deepStrictEqual(yield* Volume.ensure("cache", { quota: 1024 ** 3 }), made)
      const drifts: ReadonlyArray<readonly [Volume.EnsureOptions, object]> = [
        [{ quota: "2G" }, { _tag: "Drift", field: "quota", was: "1024 MiB", now: "2048 MiB" }],
        [{ labels: {} }, { _tag: "Drift", field: "labels", was: '{"tier":"ci"}', now: "{}" }],
        [
          { kind: "disk", quota: "1G" },
          { _tag: "Drift", field: "kind", was: "directory", now: "disk" }
        ]
      ]
      for (const [options, drift] of drifts) {
        assert.deepInclude(yield* reasonOf(Volume.ensure("cache", options)), drift)
        assert.deepStrictEqual(yield* Volume.ensure("cache", { ...options, onDrift: "adopt" }), made)
      }
    }).pipe(withTwin)
  )

  it.effect('is recreated empty with onDrift "recreate", but not while it is mounted', () =>
    Effect.gen(function* () {
      yield* Volume.ensure("cache", { quota: "1G" })
      yield* (yield* Volume.files("cache")).writeFileString("old", "")
      const recreate = Volume.ensure("cache", { quota: "2G", onDrift: "recreate" })
      yield* Sandbox.run({ ...mounting("cache"), name: "user" }, () =>
        Effect.map(reasonOf(recreate), (reason) =>
          assert.deepInclude(reason, { _tag: "InUse", resource: "volume", usedBy: ["user"] })
        )
      )
      assert.strictEqual((yield* recreate).quota, 2 * 1024 ** 3)
      assert.deepStrictEqual(yield* (yield* Volume.files("cache")).readDirectory("/"), [])
    }).pipe(withTwin)
  )

  it.effect("lives as long as its scope, and cannot be acquired twice", () =>
    Effect.gen(function* () {
      yield* Effect.scoped(
        Effect.gen(function* () {
          const { name } = yield* Volume.scoped("scratch", { quota: "10M" })
          yield* Sandbox.run(mounting(name), (sandbox) => sandbox.writeFileString("/data/a", "kept"))
          assert.strictEqual(yield* Sandbox.run(mounting(name), (sandbox) => sandbox.readFileString("/data/a")), "kept")
          assert.deepInclude(yield* reasonOf(Effect.scoped(Volume.scoped(name))), { _tag: "AlreadyExists" })
          assert.isTrue(yield* Volume.exists(name))
        })
      )
      assert.isFalse(yield* Volume.exists("scratch"))
    }).pipe(withTwin)
  )

  it.live("is primed by the first caller while the others wait", () =>
    Effect.gen(function* () {
      let fills = 0
      const filling = yield* Deferred.make<void>()
      const filled = yield* Deferred.make<void>()
      const fill = () =>
        Effect.sync(() => ++fills).pipe(
          Effect.andThen(Deferred.succeed(filling, undefined)),
          Effect.andThen(Deferred.await(filled))
        )
      const first = yield* Effect.forkChild(Volume.prime("deps", fill))
      yield* Deferred.await(filling)
      const others = yield* Effect.forkChild(
        Effect.all([Volume.prime("deps", fill), Volume.prime("deps", fill)], { concurrency: "unbounded" })
      )
      yield* Deferred.succeed(filled, undefined)
      yield* Fiber.join(first)
      yield* Fiber.join(others)
      assert.strictEqual(fills, 1)
      yield* Volume.prime("deps", fill)
      assert.strictEqual(fills, 1)
      yield* Volume.prime("deps", fill, { key: "another lock file" })
      assert.strictEqual(fills, 2)
      yield* Volume.remove("deps")
      yield* Volume.prime("deps", fill, { key: "another lock file" })
      assert.strictEqual(fills, 3)
    }).pipe(withTwin)
  )

  it.live("is primed by the next caller when the first fails or is interrupted", () =>
    Effect.gen(function* () {
      assert.strictEqual(yield* Effect.flip(Volume.prime("deps", () => Effect.fail("offline"))), "offline")
      const filling = yield* Deferred.make<void>()
      const fiber = yield* Effect.forkChild(
        Volume.prime("deps", () => Effect.andThen(Deferred.succeed(filling, undefined), Effect.never))
      )
      yield* Deferred.await(filling)
      yield* Fiber.interrupt(fiber)
      let isFilled = false
      yield* Volume.prime("deps", () => Effect.sync(() => (isFilled = true)))
      assert.isTrue(isFilled)
    }).pipe(withTwin)
  )

  it.live("can be held exclusively by one at a time", () =>
    Effect.gen(function* () {
      yield* Volume.ensure("database")
      const order: Array<string> = []
      const use = (who: string) =>
        Effect.scoped(
          Effect.andThen(
            Volume.exclusive("database"),
            Effect.sync(() => order.push(`${who} begins`)).pipe(
              Effect.andThen(Effect.yieldNow),
              Effect.andThen(Effect.sync(() => order.push(`${who} ends`)))
            )
          )
        )
      yield* Effect.all([use("a"), use("b"), use("c")], { concurrency: "unbounded" })
      for (let index = 0; index < order.length; index += 2) {
        assert.strictEqual(order[index]?.replace("begins", "ends"), order[index + 1])
      }
      assert.strictEqual(order.length, 6)
    }).pipe(withTwin)
  )

  it.effect("reports its usage", () =>
    Effect.gen(function* () {
      yield* Volume.ensure("cache", { quota: "1M" })
      const before = yield* Volume.usage("cache")
      yield* (yield* Volume.files("cache")).writeFile("a/b", new Uint8Array(100_000))
      const after = yield* Volume.usage("cache")
      assert.isAtLeast(after.used - before.used, 100_000)
      assert.isBelow(after.used - before.used, 200_000)
      assert.strictEqual(after.quota, 1024 ** 2)
    }).pipe(withTwin)
  )

  it.effect("lets the host read and write the files that sandboxes see", () =>
    Effect.gen(function* () {
      yield* Volume.ensure("shared")
      const files = yield* Volume.files("shared")
      yield* files.writeFileString("in/put.txt", "from the host")
      yield* Sandbox.run(mounting("shared"), (sandbox) =>
        Effect.gen(function* () {
          assert.strictEqual(yield* sandbox.readFileString("/data/in/put.txt"), "from the host")
          yield* sandbox.writeFileString("/data/out", "from the guest")
        })
      )
      assert.strictEqual(new TextDecoder().decode(yield* files.readFile("/out")), "from the guest")
      assert.deepStrictEqual(yield* files.readDirectory(""), ["in", "out"])
      assert.isTrue(yield* files.exists("in/put.txt"))
      assert.isFalse(yield* files.exists("in/put.txt/deeper"))
      yield* files.remove("in/put.txt")
      yield* files.remove("in")
      assert.deepStrictEqual(yield* files.readDirectory(""), ["out"])
      const large = files.readFileString("out", { maxBytes: 13 })
      assert.deepInclude(yield* reasonOf(large), { _tag: "FileError", code: "EFBIG" })
      assert.strictEqual(yield* files.readFileString("out", { maxBytes: 14 }), "from the guest")
      assert.deepInclude(yield* reasonOf(files.readFile("gone")), { _tag: "FileError", code: "ENOENT" })
    }).pipe(withTwin)
  )

  it.effect("gives the host access to nothing outside, whatever links a guest made", () =>
    Effect.gen(function* () {
      const { path } = yield* Volume.ensure("hostile")
      const outside = Path.join(path, "..", "outside")
      Fs.mkdirSync(outside)
      Fs.writeFileSync(Path.join(outside, "secret"), "secret")
      Fs.symlinkSync(outside, Path.join(path, "folder"))
      Fs.symlinkSync(Path.join(outside, "secret"), Path.join(path, "file"))
      const files = yield* Volume.files("hostile")
      for (const attempt of [
        files.readFile("file"),
        files.readFile("folder/secret"),
        files.writeFileString("file", "changed"),
        files.writeFileString("folder/new", "made"),
        files.readDirectory("folder"),
        files.remove("folder/secret"),
        files.readFile("."),
        files.remove(".")
      ]) {
        assert.strictEqual((yield* reasonOf<unknown, never>(attempt))._tag, "FileError")
      }
      for (const wrong of ["..", "a/../../outside/secret", "a\nb"]) {
        assert.deepInclude(yield* reasonOf(files.readFile(wrong)), { _tag: "InvalidConfig", field: "path" })
      }
      assert.deepStrictEqual(Fs.readdirSync(outside), ["secret"])
      assert.strictEqual(Fs.readFileSync(Path.join(outside, "secret"), "utf8"), "secret")
      // The link itself can go.
      yield* files.remove("folder")
      assert.isFalse(yield* files.exists("folder"))
      assert.isTrue(Fs.existsSync(outside))
    }).pipe(withTwin)
  )

  it.effect("gives the host no files when it is a disk", () =>
    Effect.gen(function* () {
      yield* Volume.ensure("disk", { kind: "disk", quota: "128M" })
      assert.deepInclude(yield* reasonOf(Volume.files("disk")), { _tag: "Unsupported" })
    }).pipe(withTwin)
  )

  it.effect("is pruned by label and age, unless it is in use", () =>
    Effect.gen(function* () {
      const ci = { labels: { tier: "ci" } }
      yield* Volume.ensure("old", ci)
      yield* Volume.ensure("used", ci)
      yield* Volume.ensure("other")
      yield* TestClock.adjust(Duration.days(40))
      yield* Volume.ensure("new", ci)
      yield* Effect.scoped(
        Effect.gen(function* () {
          yield* Sandbox.launch({ ...mounting("used"), name: "worker" })
          const options = { ...ci, olderThan: "30 days" } as const
          const verdicts = (dryRun: boolean) =>
            Effect.map(Volume.prune({ ...options, dryRun }), ({ verdicts }) =>
              verdicts
                .map(({ name, reason, verdict }) => [name, verdict, reason])
                .toSorted(([a = ""], [b = ""]) => (a < b ? -1 : 1))
            )
          const kept = [
            ["new", "kept", "made 0 ago"],
            ["used", "kept", "in use by worker"]
          ]
          assert.deepStrictEqual(yield* verdicts(true), [kept[0], ["old", "removable", "made 40d ago"], kept[1]])
          assert.isTrue(yield* Volume.exists("old"))
          assert.deepStrictEqual(yield* verdicts(false), [kept[0], ["old", "removed", "made 40d ago"], kept[1]])
          assert.deepStrictEqual(yield* verdicts(false), kept)
        })
      )
      assert.deepStrictEqual(
        (yield* Volume.list()).map(({ name }) => name).toSorted((a, b) => (a < b ? -1 : 1)),
        ["new", "other", "used"]
      )
    }).pipe(withTwin)
  )

  it.effect("is created from the configuration", () =>
    Effect.gen(function* () {
      const live = Volume.layerConfig("configured", { quota: Config.succeed(1024 ** 3) })
      const { name, quota } = yield* Effect.provide(
        Volume.Volume.useSync((volume) => volume),
        live
      )
      assert.deepStrictEqual([name, quota], ["configured", 1024 ** 3])
    }).pipe(withTwin)
  )

  it.effect("is not pruned without a filter, and names invalid options", () =>
    Effect.gen(function* () {
      assert.deepInclude(yield* reasonOf(Volume.prune({})), { field: "labels" })
      assert.deepInclude(yield* reasonOf(Volume.prune({ labels: {} })), { field: "labels" })
      assert.deepInclude(yield* reasonOf(Volume.prune({ olderThan: "-1 day" })), { field: "olderThan" })
      assert.deepInclude(yield* reasonOf(Volume.ensure("a/b")), { field: "name" })
      // @ts-expect-error: no size
      assert.deepInclude(yield* reasonOf(Volume.ensure("a", { quota: "many" })), { field: "quota" })
      assert.deepInclude(yield* reasonOf(Effect.scoped(Volume.scoped(""))), { field: "name" })
      assert.isTrue(Exit.isFailure(yield* Effect.exit(Volume.usage("missing"))))
      assert.deepStrictEqual(yield* Volume.list(), [])
    }).pipe(withTwin)
  )
})
