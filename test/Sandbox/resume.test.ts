/** What a machine that resumes is told, so that it is not the captured one. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Microsandbox from "../../src/Microsandbox.ts"
import * as MicrosandboxMemory from "../../src/MicrosandboxMemory.ts"
import * as Sandbox from "../../src/Sandbox.ts"

const image = "plain"

const twin = (options: MicrosandboxMemory.Options = {}) =>
  Layer.fresh(MicrosandboxMemory.layer({ memorySnapshots: true, sweep: false, ...options }))

/** Captures a sandbox that a script has prepared, as the snapshot `warm`. */
const captured = Effect.fnUntraced(function* (script: string) {
  const { memory } = yield* Microsandbox.Microsandbox
  const original = yield* Sandbox.launch({ image, name: "original" })
  yield* original.shell(script, { check: true })
  yield* Effect.orDie(Effect.fromNullishOr(memory)).pipe(
    Effect.flatMap(({ captureMemory }) => captureMemory({ sandbox: "original", name: "warm" }))
  )
  return original
})

const textOf = (sandbox: Sandbox.Sandbox, script: string) =>
  Effect.map(sandbox.shell(script, { check: true }), ({ stdout }) => stdout.trim())

describe("a sandbox that resumes", () => {
  it.live("has random numbers, a host name and ids of its own, and the right time", () =>
    Effect.gen(function* () {
      const original = yield* captured(
        "echo 0123456789abcdef0123456789abcdef > /etc/machine-id; date -s @1000 > /dev/null"
      )
      const boxes = [
        original,
        yield* Sandbox.launch({ snapshot: "warm", name: "one" }),
        yield* Sandbox.launch({ snapshot: "warm", name: "two", hostname: "other" })
      ] as const
      const all = (script: string) => Effect.forEach(boxes, (box) => textOf(box, script))
      assert.deepStrictEqual(
        boxes.map(({ resumed }) => resumed),
        [undefined, "memory", "memory"]
      )
      assert.deepStrictEqual(yield* all("hostname; cat /etc/hostname"), [
        "original\noriginal",
        "one\none",
        "other\nother"
      ])
      for (const script of ["cat /etc/machine-id", "head -c 16 /dev/urandom | sha256sum | cut -c 1-64"]) {
        const values = yield* all(script)
        assert.strictEqual(new Set(values).size, 3, script)
        assert.match(values.join(" "), /^[0-9a-f\s]+$/)
      }
      const [, one, two] = boxes
      const instances = [
        yield* textOf(one, "cat /var/lib/lightbox/instance-id"),
        yield* textOf(two, "cat /var/lib/lightbox/instance-id")
      ]
      assert.strictEqual(new Set(instances).size, 2)
      const [before, ...after] = (yield* all("date +%s")).map(Number)
      assert.isBelow(before ?? 0, 2000)
      for (const seconds of after) assert.isBelow(Math.abs(seconds - Date.now() / 1000), 60)
      assert.include(yield* textOf(one, "cat /etc/hosts"), "127.0.0.1\tone\n")
    }).pipe(Effect.provide(twin()))
  )

  it.live("makes no ids that were not there", () =>
    Effect.gen(function* () {
      yield* captured("rm -f /etc/machine-id")
      const sandbox = yield* Sandbox.launch({ snapshot: "warm" })
      assert.isFalse(yield* sandbox.exists("/etc/machine-id"))
      assert.isFalse(yield* sandbox.exists("/var/lib/cloud"))
    }).pipe(Effect.provide(twin()))
  )

  it.live("has run the hook before the launch returns, and before its services are waited for", () =>
    Effect.gen(function* () {
      yield* captured("true")
      const onResume = 'echo "$LIGHTBOX_SANDBOX $LIGHTBOX_INSTANCE $(cat /var/lib/lightbox/instance-id)" > /root/hook'
      const sandbox = yield* Sandbox.launch({
        snapshot: "warm",
        name: "hooked",
        onResume,
        services: { late: { command: "exec sleep 1000", ready: { file: "/root/hook" } } }
      })
      const [name, instance, file] = (yield* textOf(sandbox, "cat /root/hook")).split(" ")
      assert.strictEqual(name, "hooked")
      assert.isNotEmpty(instance ?? "")
      assert.strictEqual(instance, file)
      // It is for those that resume only.
      const cold = yield* Sandbox.launch({ snapshot: "warm", resume: false, onResume })
      assert.isFalse(yield* cold.exists("/root/hook"))
    }).pipe(Effect.provide(twin()))
  )

  it.live("is removed if the hook fails, and no other is booted", () =>
    Effect.gen(function* () {
      const control = yield* MicrosandboxMemory.Control
      yield* captured("true")
      const { method, reason } = yield* Effect.flip(
        Sandbox.launch({ snapshot: "warm", name: "box", onResume: ["sh", "-c", "echo no >&2; exit 3"] })
      )
      assert.strictEqual(method, "Sandbox.launch")
      assert.deepInclude(reason, { _tag: "CommandFailed", exitCode: 3, stderr: "no\n" })
      const { sandboxes } = yield* control.inventory
      assert.deepStrictEqual(
        sandboxes.map(({ name }) => name),
        ["original"]
      )
    }).pipe(Effect.provide(twin()))
  )

  it.live("boots instead if the guest cannot be told apart, such as without a clock", () =>
    Effect.gen(function* () {
      yield* captured("rm /bin/date")
      const sandbox = yield* Sandbox.launch({ snapshot: "warm" })
      assert.isUndefined(sandbox.resumed)
    }).pipe(Effect.provide(twin()))
  )
})
