/** Copies of a sandbox. */
import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Redacted from "effect/Redacted"
import * as Scope from "effect/Scope"
import { BootFailed } from "../../src/LightboxError.ts"
import * as Microsandbox from "../../src/Microsandbox.ts"
import * as MicrosandboxMemory from "../../src/MicrosandboxMemory.ts"
import * as Sandbox from "../../src/Sandbox.ts"
import { image, test } from "../Snapshot/support.ts"

const inventory = Effect.flatMap(MicrosandboxMemory.Control, (control) => control.inventory)

const names = Effect.map(inventory, ({ sandboxes }) => sandboxes.map(({ name }) => name).toSorted())

describe("forks", () => {
  test(
    "have the files and the options of the original, and go with their scope",
    Effect.gen(function* () {
      const original = yield* Sandbox.launch({
        image,
        name: "original",
        resources: { cpus: 2, memory: "128M", disk: "1G" },
        env: { COLOR: "green" },
        cwd: "/srv",
        ports: { 0: 80 },
        labels: { team: "platform" },
        mounts: { "/data": { volume: "data" } },
        patches: [{ _tag: "Write", path: "/srv/patched", content: "once" }],
        services: { idle: { command: "exec sleep 1000" } },
        secrets: { KEY: { value: Redacted.make("of the network"), hosts: ["example.com"] } }
      })
      yield* original.shell("echo baked > /srv/file; rm /srv/patched; echo shared > /data/shared", { check: true })
      const scope = yield* Scope.make()
      const copies = yield* Scope.provide(Sandbox.fork(original, { count: 3, name: "copy" }), scope)
      assert.deepStrictEqual(
        copies.map(({ name }) => name),
        ["copy-1", "copy-2", "copy-3"]
      )
      const { snapshots } = yield* inventory
      assert.deepStrictEqual(snapshots, [])
      for (const copy of copies) {
        const { stdout } = yield* copy.shell("pwd; cat file; ls; cat /data/shared; echo $COLOR")
        assert.strictEqual(stdout, "/srv\nbaked\nfile\nshared\ngreen\n")
        const { cpus, labels, memory } = yield* copy.info
        assert.deepStrictEqual([cpus, memory, labels["team"]], [2, 128 * 1024 ** 2, "platform"])
        assert.strictEqual((yield* (yield* copy.job("idle")).status)._tag, "Running")
      }
      const hosts = [original, ...copies].map(({ ports }) => ports[0]?.host)
      assert.strictEqual(new Set(hosts).size, 4)
      // They do not share what they write, and the original goes on with its services.
      yield* Effect.forEach(copies, (copy) => copy.writeFileString("/srv/file", copy.name))
      assert.strictEqual(yield* original.readFileString("/srv/file"), "baked\n")
      assert.strictEqual((yield* (yield* original.job("idle")).status)._tag, "Running")
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual(yield* names, ["original"])
    })
  )

  test(
    "can have other options, and need them if those of the original are not known",
    Effect.gen(function* () {
      yield* Sandbox.launch({ image, name: "original", env: { COLOR: "green" }, cwd: "/root" })
      const connected = yield* Sandbox.connect("original")
      const { method, reason } = yield* Effect.flip(Sandbox.fork(connected))
      assert.deepStrictEqual([method, reason._tag], ["Sandbox.fork", "Unsupported"])
      const [copy] = yield* Sandbox.fork(connected, {
        options: { env: { COLOR: "red" }, resources: { memory: "64M" } }
      })
      assert.strictEqual((yield* copy?.shell("pwd; echo $COLOR") ?? Effect.void)?.stdout, "/\nred\n")
      // Whoever has connected goes on, too.
      assert.strictEqual((yield* connected.exec("true")).exitCode, 0)
    })
  )

  test(
    "are all removed if one does not boot",
    Effect.gen(function* () {
      const control = yield* MicrosandboxMemory.Control
      const original = yield* Sandbox.launch({ image, name: "original" })
      const reason = new BootFailed({ name: "copy-2", lastLines: [], problem: "as the test wants it" })
      yield* control.inject(MicrosandboxMemory.failAt("createSandbox", reason, { sandbox: "copy-2" }))
      const error = yield* Effect.flip(Sandbox.fork(original, { count: 3, name: "copy" }))
      assert.strictEqual(error.reason._tag, "BootFailed")
      assert.deepStrictEqual(yield* names, ["original"])
      assert.deepStrictEqual((yield* inventory).snapshots, [])
      assert.isTrue((yield* (yield* Microsandbox.Microsandbox).getSandboxLifecycle(original)).isAttached)
    })
  )
})
