/** Snapshots of the real SDK, in a home of their own and without a microVM. */
import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as ChildProcess from "effect/process/ChildProcess"
import { fileURLToPath } from "node:url"
import * as Microsandbox from "../../src/Microsandbox.ts"
import * as MicrosandboxLocal from "../../src/MicrosandboxLocal.ts"
import * as MicrosandboxMemory from "../../src/MicrosandboxMemory.ts"
import * as Reaper from "../../src/Reaper.ts"
import * as Snapshot from "../../src/Snapshot.ts"
import * as FakeRegistry from "../Snapshot/FakeRegistry.ts"
import { temporary } from "../support.ts"

const program = fileURLToPath(new URL("programs/archive.ts", import.meta.url))

/** A home, and a file that another tool saved. */
const prepare = Effect.gen(function* () {
  const root = yield* temporary
  const home = `${root}/home`
  const file = `${root}/saved.msb`
  const child = yield* ChildProcess.make(process.execPath, [program, home, file], { stderr: "inherit" })
  assert.strictEqual(Number(yield* child.exitCode), 0)
  return { home, file }
})

layer(NodeServices.layer, { excludeTestServices: true })("a pushed snapshot", (it) => {
  it.effect(
    "is pulled whole, and no file of it may be outside of its folder",
    () =>
      Effect.gen(function* () {
        const fs = yield* FileSystem.FileSystem
        const { file, home } = yield* prepare
        const { blobs, host } = yield* FakeRegistry.make
        const reference = `${host}/tests/one:1`
        yield* Effect.gen(function* () {
          const driver = yield* Microsandbox.Microsandbox
          const { digest, path } = yield* Snapshot.load(file, { name: "one" })
          const pushed = yield* Snapshot.push("one", reference)
          const pulled = yield* Snapshot.pull("two", `${host}/tests/one@${pushed.digest}`)
          assert.strictEqual(pulled.digest, digest)
          for (const name of ["snapshot.json", "upper.ext4"]) {
            assert.deepStrictEqual(
              yield* fs.readFile(`${pulled.path}/${name}`),
              yield* fs.readFile(`${path}/${name}`),
              name
            )
          }
          assert.isTrue(yield* driver.verifySnapshot(pulled.path))
          yield* Snapshot.remove("two")

          // The digest is right, as its author pushed this.
          const text = yield* fs.readFileString(`${path}/snapshot.json`)
          yield* fs.writeFileString(`${path}/snapshot.json`, text.replace("upper.ext4", "../../../etc/hostname"))
          blobs.clear()
          const failure = yield* Effect.flip(Snapshot.push("one", reference))
          assert.strictEqual(failure.reason._tag, "SnapshotDamaged")
          yield* fs.copy(path, `${home}/copied`)
          assert.strictEqual(
            (yield* Effect.flip(driver.importSnapshot(`${home}/copied`, "three"))).reason._tag,
            "SnapshotDamaged"
          )
          assert.isFalse(yield* fs.exists(`${home}/snapshots/three`))
        }).pipe(Effect.provide(MicrosandboxLocal.layer({ home })))
      }),
    60_000
  )
})

layer(NodeServices.layer, { excludeTestServices: true })("a loaded snapshot", (it) => {
  it.effect(
    "loads again, even after another tool loaded the same file, and leaves nothing else",
    () =>
      Effect.gen(function* () {
        const fs = yield* FileSystem.FileSystem
        const { file, home } = yield* prepare
        // In an empty home.
        const first = yield* Snapshot.load(file, { name: "one" }).pipe(
          Effect.provide(MicrosandboxLocal.layer({ home: `${home}-new` }))
        )
        assert.strictEqual(first.name, "one")
        yield* Effect.gen(function* () {
          const driver = yield* Microsandbox.Microsandbox
          yield* Snapshot.load(file, { name: "one" })
          yield* Snapshot.load(file, { name: "two" })
          yield* Snapshot.load(file, { name: "one", overwrite: true })
          const all = yield* driver.listSnapshots()
          assert.strictEqual(all.length, 3)
          for (const { name } of all) assert.isTrue(yield* driver.verifySnapshot(name))
          assert.deepStrictEqual(
            (yield* fs.readDirectory(`${home}/snapshots`)).toSorted(),
            [...all.map(({ name }) => name), "one", "two"].toSorted()
          )
          const owners = yield* fs.readDirectory(`${home}/lightbox/owners`, { recursive: true })
          assert.deepStrictEqual(
            owners.filter((path) => path.includes("staged")),
            []
          )
          yield* Snapshot.remove("one")
          yield* Snapshot.remove("two")

          // A descriptor that a power cut tore, and two halves of a removal.
          for (const [damage, isTorn] of [
            ["upper.ext4", true],
            ["snapshot.json", true],
            ["upper.ext4", false],
            ["snapshot.json", false]
          ] as const) {
            const { name } = yield* driver.loadSnapshot(file, `lb-${"0".repeat(40)}`)
            const path = `${home}/snapshots/${name}/${damage}`
            yield* isTorn ? fs.writeFileString(path, "") : fs.remove(path)
            assert.strictEqual((yield* Effect.flip(driver.getSnapshot(name))).reason._tag, "SnapshotDamaged")
            assert.deepStrictEqual(yield* driver.listDamagedSnapshots(), [name])
            const { verdicts } = yield* Reaper.sweep()
            assert.deepInclude(verdicts, {
              resource: "snapshot",
              name,
              verdict: "removed",
              reason: "it is damaged, and no name points to it"
            })
          }
          assert.deepStrictEqual(yield* fs.readDirectory(`${home}/snapshots`), [])
        }).pipe(Effect.provide(MicrosandboxLocal.layer({ home })))
      }),
    60_000
  )

  it.effect(
    "is removed by a sweep if the loading process is killed",
    () =>
      Effect.gen(function* () {
        const fs = yield* FileSystem.FileSystem
        const { file, home } = yield* prepare
        const killed = fileURLToPath(new URL("programs/loadKilled.ts", import.meta.url))
        const child = yield* ChildProcess.make(process.execPath, [killed, home, file], { stderr: "inherit" })
        yield* Effect.exit(child.exitCode)
        assert.isAbove((yield* fs.readDirectory(`${home}/lightbox/owners`)).length, 0)
        yield* Effect.gen(function* () {
          assert.deepStrictEqual(yield* fs.readDirectory(`${home}/lightbox/owners`), [])
          assert.deepStrictEqual(yield* fs.readDirectory(`${home}/snapshots`), [])
          yield* Snapshot.load(file, { name: "copy" })
        }).pipe(Effect.provide(MicrosandboxLocal.layer({ home })))
      }),
    60_000
  )
})

layer(NodeServices.layer, { excludeTestServices: true })("a name that is a path", (it) => {
  it.effect.each([
    { where: "in memory", layer: (home: string) => MicrosandboxMemory.layer({ home }) },
    { where: "on this machine", layer: (home: string) => MicrosandboxLocal.layer({ home }) }
  ])(
    "is refused, and touches nothing $where",
    ({ layer }) =>
      Effect.gen(function* () {
        const fs = yield* FileSystem.FileSystem
        const home = `${yield* temporary}/home`
        const kept = ["snapshots/a/inner", "snapshots/b", "sandboxes/a/b", "volumes/a", "lightbox/owners"]
        for (const folder of kept) yield* fs.makeDirectory(`${home}/${folder}`, { recursive: true })
        const left = Effect.filter(kept, (folder) => fs.exists(`${home}/${folder}`))
        yield* Effect.gen(function* () {
          const driver = yield* Microsandbox.Microsandbox
          for (const name of ["", ".", "..", "a/b", "a/../b", `${home}/snapshots/b`]) {
            yield* Effect.ignore(driver.getSnapshot(name))
            for (const [field, change] of [
              ["name", driver.removeSnapshot(name)],
              ["name", driver.renameSnapshot(name, "c")],
              ["to", driver.renameSnapshot("b", name)],
              ["name", driver.captureSnapshot({ sandbox: "a", name })],
              ["name", driver.loadSnapshot(program, name)],
              ["link", driver.linkSnapshot(name, "b")],
              ["name", driver.linkSnapshot("c", name)],
              ["name", driver.createSandbox({ name, source: { _tag: "Image", reference: "any" }, config: {} })]
            ] as const) {
              const { reason } = yield* Effect.flip(change)
              assert.deepInclude(reason, { _tag: "InvalidConfig", field, problem: "expected a name, not a path" })
            }
            yield* Effect.ignore(driver.removeGhost(name))
            assert.deepStrictEqual(yield* left, kept)
          }
        }).pipe(Effect.provide(layer(home)))
      }),
    60_000
  )
})
