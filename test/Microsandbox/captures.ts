/** Disks of sandboxes that become snapshots, are compared, and are copied. */
import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Microsandbox from "../../src/Microsandbox.ts"
import * as Sandbox from "../../src/Sandbox.ts"
import * as Snapshot from "../../src/Snapshot.ts"
import * as Bench from "./Bench.ts"
import type { Group } from "./contract.ts"

const resources = { memory: "256M" } as const

const differences = (before: Snapshot.DiffSource, after: Snapshot.DiffSource) =>
  Effect.map(Snapshot.diff(before, after), ({ differences, isComplete }) => [
    isComplete,
    ...differences.map(({ changes, kind, path }) => [kind, path, ...changes].join(" "))
  ])

export const captures: Group = (test) => {
  test("captures a running sandbox, which goes on, and compares and copies what it has become", function* () {
    const driver = yield* Microsandbox.Microsandbox
    const { image } = yield* Bench.Bench
    const name = Bench.freshName("captured")
    yield* Effect.addFinalizer(() => Effect.orDie(Snapshot.remove(name)))

    const first = yield* Sandbox.launch({ image, name, resources })
    yield* first.shell("echo one > /root/kept; echo old > /root/gone; echo lost > /tmp/lost", { check: true })
    const job = yield* first.start("sleep", ["1000"])
    const running = yield* Bench.background(first.exec("sleep", ["1000"]))
    yield* Bench.eventually(
      Bench.commandLines(first),
      (lines) => lines.filter((line) => line === "sleep 1000").length > 1
    )
    const one = yield* Snapshot.capture(first, { name, labels: { by: "hand" } })
    assert.deepStrictEqual([one.generation, one.labels, one.key], [1, { by: "hand" }, undefined])
    yield* running.failure("GuestLost")
    assert.strictEqual((yield* job.status)._tag, "Lost")
    yield* job.remove()
    assert.deepStrictEqual(yield* driver.getSandboxLifecycle(first), { isAttached: true, isEphemeral: false })
    const { stdout } = yield* first.shell("cat /root/kept; test -e /tmp/lost || echo gone; echo after > /root/after")
    assert.strictEqual(stdout, "one\ngone\n")
    yield* first.kill

    // Its root disk is an overlay where a copy would cost more.
    const second = yield* Sandbox.launch({ snapshot: one, resources, env: { COLOR: "green" } })
    yield* second.shell("echo two >> /root/kept; rm /root/gone; mkdir /root/new; ln -s kept /root/link", {
      check: true
    })
    const expected = [true, "removed /root/gone", "changed /root/kept size", "added /root/link", "added /root/new"]
    assert.deepStrictEqual(yield* differences(name, second), expected)
    const two = yield* Snapshot.capture(second, { name })
    assert.strictEqual(two.generation, 2)
    assert.deepStrictEqual(yield* differences(`${name}@1`, two), expected)

    const copies = yield* Sandbox.fork(second, { count: 2 })
    const outputs = yield* Effect.forEach(
      copies,
      (copy) => copy.shell("echo $COLOR; cat /root/link; echo mine >> /root/kept"),
      { concurrency: 2 }
    )
    assert.deepStrictEqual(
      outputs.map(({ stdout }) => stdout),
      ["green\none\ntwo\n", "green\none\ntwo\n"]
    )
    assert.strictEqual(yield* second.readFileString("/root/kept"), "one\ntwo\n")
    const left = (yield* driver.listSnapshots()).flatMap(({ name: all }) => (all.startsWith(name) ? [all] : []))
    assert.strictEqual(left.length, 2, left.join())
  })
}
