/** The contract on the in-memory twin, and whether it has a case for every operation of a driver. */
import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import type * as Guest from "../../src/Guest.ts"
import type * as Microsandbox from "../../src/Microsandbox.ts"
import * as MicrosandboxMemory from "../../src/MicrosandboxMemory.ts"
import * as Bench from "./Bench.ts"
import { contract } from "./contract.ts"

const image = "lightbox.test/busybox:1"

const files = Effect.acquireRelease(
  Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "contract-"))),
  (folder) => Effect.sync(() => Fs.rmSync(folder, { recursive: true, force: true }))
)

const calls: Array<MicrosandboxMemory.Call> = []

/** Keeps what was asked of the twin. */
const recording = Layer.effectDiscard(
  Effect.flatMap(MicrosandboxMemory.Control, (control) =>
    Effect.addFinalizer(() => Effect.map(control.calls, (all) => calls.push(...all)))
  )
)

const images = { [image]: { isCached: true }, [Bench.alias.whole]: { isCached: true } }

contract("memory", {
  layer: Layer.merge(Bench.layer({ image, files }), recording).pipe(
    Layer.provide(MicrosandboxMemory.layer({ images, memorySnapshots: true }))
  ),
  timeout: 30_000
})

type Driver = Microsandbox.Microsandbox["Service"]

/** The operations of a driver and its guests. */
type Members =
  | keyof Microsandbox.MemoryOperations
  | Exclude<
      keyof Driver,
      "backend" | "capabilities" | "home" | "version" | "remoteHome" | "openAgent" | "hosts" | "memory"
    >
  | `guest.${Exclude<keyof Guest.Guest, "bootMillis" | "lost">}`
  | `file.${keyof Guest.File}`
  | `process.${Exclude<keyof Guest.Process, "pid" | "output" | "exitCode" | "endedBy">}`

/** All operations: a new one is missing here, and then has no case. */
const operations: { readonly [operation in MicrosandboxMemory.Operation | Members]: true } = {
  loadImage: true,
  saveImages: true,
  listImages: true,
  getImage: true,
  resolveImage: true,
  removeImage: true,
  pruneImages: true,
  createSandbox: true,
  getSandbox: true,
  listSandboxes: true,
  startSandbox: true,
  stopSandbox: true,
  killSandbox: true,
  detachSandbox: true,
  getSandboxLifecycle: true,
  removeSandbox: true,
  modifySandbox: true,
  connect: true,
  readLogs: true,
  readMetrics: true,
  searchSandbox: true,
  listGhosts: true,
  removeGhost: true,
  // Only real virtual machines leave folders: what the twin finds is nothing.
  removeRemains: true,
  captureSnapshot: true,
  getSnapshot: true,
  listSnapshots: true,
  listDamagedSnapshots: true,
  removeSnapshot: true,
  verifySnapshot: true,
  saveSnapshot: true,
  loadSnapshot: true,
  importSnapshot: true,
  renameSnapshot: true,
  removeStaging: true,
  listSnapshotLinks: true,
  readSnapshotLink: true,
  linkSnapshot: true,
  unlinkSnapshot: true,
  createVolume: true,
  getVolume: true,
  listVolumes: true,
  removeVolume: true,
  captureMemory: true,
  searchMemory: true,
  forkSandbox: true,
  pauseSandbox: true,
  resumeSandbox: true,
  growRootDisk: true,
  "guest.spawn": true,
  "guest.stat": true,
  "guest.readDirectoryEntries": true,
  "guest.realPath": true,
  "guest.readLink": true,
  "guest.symlink": true,
  "guest.makeDirectory": true,
  "guest.removeFile": true,
  "guest.removeDirectory": true,
  "guest.rename": true,
  "guest.copyFile": true,
  "guest.setAttributes": true,
  "guest.open": true,
  "guest.connect": true,
  "guest.ping": true,
  "guest.touch": true,
  "file.stream": true,
  "file.sink": true,
  "file.stat": true,
  "file.setAttributes": true,
  "process.stdin": true,
  "process.signal": true,
  "process.resize": true
}

it("the contract covers the success of every operation", () => {
  const succeeded = new Set(
    calls.flatMap(({ operation, outcome }) => (outcome._tag === "Succeeded" ? [operation] : []))
  )
  assert.deepStrictEqual([...succeeded].toSorted(), Object.keys(operations).toSorted())
})
