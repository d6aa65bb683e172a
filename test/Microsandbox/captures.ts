/** Disks of sandboxes that become snapshots, are compared, and are copied. */
import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Microsandbox from "../../src/Microsandbox.ts"
import * as Sandbox from "../../src/Sandbox.ts"
import * as Snapshot from "../../src/Snapshot.ts"
import * as Bench from "./Bench.ts"
import type { Group } from "./contract.ts"

const resources = { memory: "256M" } as const

/** A whole disk is read for a capture. */
const small = { ...resources, disk: "256M" } as const

/** The name of a snapshot that is removed with the test. */
const freshSnapshot = Effect.acquireRelease(
  Effect.sync(() => Bench.freshName("captured")),
  (name) => Effect.ignore(Snapshot.remove(name))
)

export const captures: Group = (test) => {
  test("captures a running sandbox, which goes on, also when its root disk is an overlay", function* () {
    const driver = yield* Microsandbox.Microsandbox
    const { image } = yield* Bench.Bench
    const name = yield* freshSnapshot
    const first = yield* Sandbox.launch({ image, name, resources: small })
    yield* first.shell("echo one > /root/kept; echo lost > /tmp/lost", { check: true })
    const job = yield* first.start("sleep", ["1000"])
    const running = yield* Bench.background(first.exec("sleep", ["999"]))
    yield* Bench.eventually(Bench.commandLines(first), (lines) => lines.includes("sleep 999"))
    const one = yield* Snapshot.capture(first, { name, labels: { by: "hand" } })
    assert.deepStrictEqual([one.generation, one.labels, one.key], [1, { by: "hand" }, undefined])
    yield* running.failure("GuestLost")
    assert.strictEqual((yield* job.status)._tag, "Lost")
    assert.deepStrictEqual(yield* driver.getSandboxLifecycle(first), { isAttached: true, isEphemeral: false })
    const { stdout } = yield* first.shell("cat /root/kept; test -e /tmp/lost || echo gone")
    assert.strictEqual(stdout, "one\ngone\n")
    yield* first.kill

    // By name, its services are started again, too.
    const services = { idle: { command: "exec sleep 1000" } }
    const second = yield* Sandbox.launch({ snapshot: one, rootDisk: "overlay", resources, services })
    yield* second.shell("echo two >> /root/kept", { check: true })
    const two = yield* Snapshot.capture(second.name, { name })
    assert.strictEqual(two.generation, 2)
    const again = yield* Sandbox.connect(second.name)
    assert.strictEqual(yield* again.readFileString("/root/kept"), "one\ntwo\n")
    assert.deepStrictEqual(yield* (yield* again.job("idle")).status, { _tag: "Running" })
    yield* again.kill
    const copied = yield* Sandbox.run({ snapshot: name, resources }, (third) => third.readFileString("/root/kept"))
    assert.strictEqual(copied, "one\ntwo\n")
    const left = (yield* driver.listSnapshots()).filter((snapshot) => snapshot.name.startsWith(name))
    assert.strictEqual(left.length, 2)
  })

  test("captures a member of a group, which still reaches the others by name", function* () {
    const { image } = yield* Bench.Bench
    const name = yield* freshSnapshot
    const command = "while true; do nc -l -p 7301 -e /bin/cat; done"
    const { web } = yield* Sandbox.group({
      db: { image, resources, network: "none", services: { echo: { command, ready: { port: 7301 } } } },
      web: { image, resources: small, network: "none", dependsOn: { db: "ready" } }
    })
    yield* Snapshot.capture(web, { name })
    assert.strictEqual((yield* web.shell("echo hello | nc db 7301")).stdout, "hello\n")
  })

  test("compares what a sandbox has become with what it was, and copies it", function* () {
    const { image } = yield* Bench.Bench
    const name = yield* freshSnapshot
    const original = yield* Sandbox.launch({ image, name, resources: small, env: { COLOR: "green" } })
    yield* original.shell("echo one > /root/kept; echo old > /root/gone", { check: true })
    yield* Snapshot.capture(original, { name })
    yield* original.shell("echo two >> /root/kept; rm /root/gone; mkdir /root/new; ln -s kept /root/link", {
      check: true
    })
    const { differences, isComplete } = yield* Snapshot.diff(name, original)
    assert.isTrue(isComplete)
    assert.deepStrictEqual(
      differences.map(({ changes, kind, path, size, type }) => [kind, path, type, size, ...changes]),
      [
        ["removed", "/root/gone", "File", 4],
        ["changed", "/root/kept", "File", 8, "size"],
        ["added", "/root/link", "SymbolicLink", 0],
        ["added", "/root/new", "Directory", 0]
      ]
    )
    const [copy] = yield* Sandbox.fork(original)
    const { stdout } = yield* (
      copy?.shell("echo $COLOR; cat /root/link; echo mine > /root/kept") ?? Effect.die(new Error("there is no copy"))
    )
    assert.strictEqual(stdout, "green\none\ntwo\n")
    assert.strictEqual(yield* original.readFileString("/root/kept"), "one\ntwo\n")
  })
}
