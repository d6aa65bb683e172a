/** What is to be in a home in which a process was killed, when it has been swept: exactly that. */
import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Path from "effect/Path"
import * as Microsandbox from "../../src/Microsandbox.ts"
import * as Sandbox from "../../src/Sandbox.ts"
import * as Snapshot from "../../src/Snapshot.ts"
import * as Volume from "../../src/Volume.ts"
import { definition, readVersion } from "./work.ts"

/** Makes a home in which there is something to lose: names, two of them another tool's, and a volume with a file. */
export const prepare = Effect.fnUntraced(function* (name: string, image: string) {
  const driver = yield* Microsandbox.Microsandbox
  yield* Effect.scoped(
    Effect.gen(function* () {
      const sandbox = yield* Sandbox.launch({ image })
      yield* sandbox.shell("echo 1 > /etc/version; echo 1 > /root/complete", { check: true })
      yield* Sandbox.stop(sandbox.name)
      for (const tool of ["tool", "other"]) {
        yield* driver.captureSnapshot({ sandbox: sandbox.name, name: `${name}-${tool}`, integrity: true })
      }
    })
  )
  yield* Snapshot.build(definition(name, image, "1"))
  yield* Snapshot.build(definition(`${name}-moved`, image, "moved"))
  yield* Volume.ensure("shared")
  yield* Sandbox.run({ image, mounts: { "/shared": { volume: "shared" } } }, (sandbox) =>
    sandbox.shell("echo kept > /shared/kept", { check: true })
  )
})

/** Fails unless a home holds what it may hold, and all of that is whole. */
export const auditHome = Effect.fnUntraced(function* (place: string, name: string, files: string) {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const driver = yield* Microsandbox.Microsandbox
  const { home } = driver
  const entries = (...folder: ReadonlyArray<string>) =>
    Effect.orElseSucceed(fs.readDirectory(path.join(home, ...folder)), (): Array<string> => [])
  const nothing = (found: ReadonlyArray<string>, what: string) => assert.deepStrictEqual(found, [], `${what}: ${place}`)

  // What was detached stays.
  const sandboxes = (yield* driver.listSandboxes()).map((sandbox) => sandbox.name)
  nothing(
    sandboxes.filter((sandbox) => sandbox !== `${name}-detached`),
    "sandboxes"
  )
  assert.deepStrictEqual((yield* entries("sandboxes")).toSorted(), sandboxes.toSorted(), `folders: ${place}`)
  assert.strictEqual((yield* entries("lightbox", "detached")).length, sandboxes.length, `what was detached: ${place}`)
  nothing(yield* entries("lightbox", "owners"), "owners")
  nothing(yield* entries("lightbox", "locks"), "locks")
  nothing(
    (yield* fs.readDirectory(files)).filter((file) => file !== "saved" && file !== "foreign"),
    "files"
  )

  // Names lead to what is there and whole, and nothing else is there but results that a later build can use.
  const names = (yield* Snapshot.list()).map((snapshot) => snapshot.name)
  nothing(
    names.filter(
      (found) => ![name, ...["moved", "foreign", "tool", "other"].map((end) => `${name}-${end}`)].includes(found)
    ),
    "snapshots"
  )
  const all = yield* driver.listSnapshots()
  const links = yield* driver.listSnapshotLinks()
  assert.deepStrictEqual(
    (yield* entries("snapshots")).toSorted(),
    [...all.map((snapshot) => snapshot.name), ...Object.keys(links)].toSorted(),
    `folders of snapshots: ${place}`
  )
  yield* Effect.forEach(all, (snapshot) => driver.verifySnapshot(snapshot.name), { discard: true })
  for (const kept of [name, `${name}-tool`, `${name}-other`]) {
    const [first, second] = (yield* readVersion(kept)).split("\n").filter((line) => line !== "")
    assert.strictEqual(first, second, `what ${kept} holds: ${place}`)
    assert.include(["1", "2", "3"], first, `what ${kept} holds: ${place}`)
  }

  // No sweep knows volumes.
  const volumes = (yield* Volume.list()).map((volume) => volume.name)
  assert.include(volumes, "shared", place)
  nothing(
    volumes.filter((volume) => volume !== "shared" && volume !== `${name}-volume`),
    "volumes"
  )
  yield* Volume.remove(`${name}-volume`)
  yield* Sandbox.remove(`${name}-detached`, { force: true })
})
