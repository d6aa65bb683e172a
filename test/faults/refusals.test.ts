/** Invalid input is rejected by name before the driver is called. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { Services } from "../../src/Driver.ts"
import type { LightboxError } from "../../src/LightboxError.ts"
import * as MicrosandboxMemory from "../../src/MicrosandboxMemory.ts"
import * as Sandbox from "../../src/Sandbox.ts"
import * as Snapshot from "../../src/Snapshot.ts"
import * as Volume from "../../src/Volume.ts"
import { image } from "./matrix.ts"

type Refused = readonly [
  operation: string,
  field: string,
  run: Effect.Effect<unknown, LightboxError, Services | Scope.Scope>
]

const plain = Snapshot.make("tools", image)

const operations: ReadonlyArray<Refused> = [
  ["Sandbox.launch", "name", Sandbox.launch({ image, name: "größe" })],
  ["Sandbox.launch", "image", Sandbox.launch({ image: " " })],
  ["Sandbox.launch", "snapshot", Sandbox.launch({ snapshot: "a\0" })],
  ["Sandbox.launch", "resources.cpus", Sandbox.launch({ image, resources: { cpus: 256 } })],
  ["Sandbox.launch", "resources.memory", Sandbox.launch({ image, resources: { memory: -1 } })],
  ["Sandbox.launch", "resources.memory", Sandbox.launch({ image, resources: { memory: Number.NaN } })],
  ["Sandbox.launch", "cwd", Sandbox.launch({ image, cwd: "not/absolute" })],
  ["Sandbox.launch", "ports.70000", Sandbox.launch({ image, ports: { 70000: 80 } })],
  ["Sandbox.launch", "rootDisk", Sandbox.launch({ image, rootDisk: JSON.parse('"qcow2"') })],
  ["Sandbox.launch", "mounts.not/absolute", Sandbox.launch({ image, mounts: { "not/absolute": "/tmp" } })],
  ["Sandbox.launch", "mounts./data.volume", Sandbox.launch({ image, mounts: { "/data": { volume: "a/b" } } })],
  ["Sandbox.run", "name", Sandbox.run({ image, name: "-" }, () => Effect.void)],
  ["Sandbox.connect", "name", Sandbox.connect("")],
  ["Sandbox.start", "name", Sandbox.start("with space")],
  ["Sandbox.remove", "name", Sandbox.remove("x".repeat(129))],
  ["Sandbox.launch", "detached", Sandbox.launch({ image, detached: JSON.parse('"yes"') })],
  ["Sandbox.get", "name", Sandbox.get("a/b")],
  ["Sandbox.restart", "name", Sandbox.restart("..")],
  ["Sandbox.waitFor", "name", Sandbox.waitFor("a b", "running")],
  ["Sandbox.waitFor", "timeout", Sandbox.waitFor("a", "running", { timeout: JSON.parse('"soon"') })],
  ["Volume.exclusive", "name", Volume.exclusive("..")],
  ["Volume.get", "name", Volume.usage("../a")],
  ["Volume.get", "name", Volume.files("")],
  ["Volume.remove", "name", Volume.remove(".")],
  ["Volume.scoped", "name", Volume.scoped("a/b")],
  ["Volume.prune", "labels", Volume.prune({})],
  ["Snapshot.build", "name", Snapshot.build(Snapshot.make("a/b", image))],
  ["Snapshot.build", "image", Snapshot.build(Snapshot.make("tools", ""))],
  ["Snapshot.build", "keep", Snapshot.build(plain, { keep: 0 })],
  ["Snapshot.build", "checkpointFactor", Snapshot.build(plain, { checkpointFactor: -1 })],
  ["Snapshot.build", "force", Snapshot.build(plain, { force: 0 })],
  ["Volume.ensure", "name", Volume.ensure("größe")],
  ["Volume.ensure", "quota", Volume.ensure("cache", { quota: 0.5 })],
  ["Volume.ensure", "quota", Volume.ensure("cache", { kind: "disk" })]
]

describe("operations that reject their input before they call the driver", () => {
  it.effect.each(operations)("%s: %s", ([operation, field, run]) =>
    Effect.gen(function* () {
      const control = yield* MicrosandboxMemory.Control
      const error = yield* Effect.flip(Effect.scoped(run))
      assert.deepInclude(error.reason, { _tag: "InvalidConfig", field })
      assert.include(error.method, operation === "Sandbox.run" ? "Sandbox.launch" : operation)
      assert.deepStrictEqual(yield* control.calls, [])
    }).pipe(Effect.provide(MicrosandboxMemory.layer()))
  )
})
