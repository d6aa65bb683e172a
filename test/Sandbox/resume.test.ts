/** What a machine that resumes is told, so that it is not the captured one. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import { Unknown } from "../../src/LightboxError.ts"
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

describe("a fork with memory", () => {
  const services = { idle: { command: "exec sleep 1000" } }

  const names = Effect.flatMap(MicrosandboxMemory.Control, ({ inventory }) =>
    Effect.map(inventory, ({ sandboxes }) => sandboxes.map(({ name }) => name).toSorted())
  )

  it.live("goes on where the original is, and is another", () =>
    Effect.gen(function* () {
      const original = yield* Sandbox.launch({
        image,
        name: "original",
        services,
        labels: { team: "platform" },
        ports: { 0: 80 },
        onResume: 'echo "$LIGHTBOX_SANDBOX" > /root/hook'
      })
      yield* original.shell("echo memory > /tmp/file; echo disk > /root/file", { check: true })
      const { length } = original.ports
      assert.strictEqual(length, 1)
      const copies = yield* Sandbox.fork(original, { memory: true, count: 3, name: "copy" })
      assert.deepStrictEqual(
        copies.map(({ name, ports, resumed }) => [name, ports, resumed]),
        ["copy-1", "copy-2", "copy-3"].map((name) => [name, [], "memory"])
      )
      for (const copy of copies) {
        assert.strictEqual(
          yield* textOf(copy, "cat /tmp/file /root/file; hostname; cat /root/hook"),
          `memory\ndisk\n${copy.name}\n${copy.name}`
        )
        assert.strictEqual((yield* (yield* copy.job("idle")).status)._tag, "Running")
        assert.strictEqual((yield* copy.info).labels["team"], "platform")
      }
      const randoms = yield* Effect.forEach([original, ...copies], (box) =>
        textOf(box, "head -c 16 /dev/urandom | sha256sum")
      )
      assert.strictEqual(new Set(randoms).size, 4)
      // The original was not restarted.
      assert.strictEqual(yield* textOf(original, "cat /tmp/file"), "memory")
      assert.isFalse(yield* original.exists("/root/hook"))
      // Its services start again with it, as those of a launch.
      const [first] = copies
      yield* Effect.orDie(Effect.fromNullishOr(first)).pipe(Effect.flatMap(({ name }) => Sandbox.restart(name)))
    }).pipe(Effect.scoped, Effect.provide(twin()))
  )

  it.live("ends with its scope, unless it is detached", () =>
    Effect.gen(function* () {
      const original = yield* Sandbox.launch({ image, name: "original" })
      yield* Effect.scoped(
        Effect.gen(function* () {
          const [first] = yield* Sandbox.fork(original, { memory: true, count: 2, name: "copy" })
          assert.deepStrictEqual(yield* names, ["copy-1", "copy-2", "original"])
          yield* first?.detach ?? Effect.die("no copy")
        })
      )
      assert.deepStrictEqual(yield* names, ["copy-1", "original"])
    }).pipe(Effect.scoped, Effect.provide(twin()))
  )

  it.live("leaves none if one fails, also of those whose creation was not answered", () =>
    Effect.gen(function* () {
      const control = yield* MicrosandboxMemory.Control
      const original = yield* Sandbox.launch({ image, name: "original" })
      for (const fault of [
        MicrosandboxMemory.failAt("forkSandbox", new Unknown({ problem: "no memory" })),
        MicrosandboxMemory.loseAnswerAt("forkSandbox"),
        MicrosandboxMemory.failAt("connect", new Unknown({ problem: "no relay" }), { nth: 2 }),
        MicrosandboxMemory.failAt("guest.spawn", new Unknown({ problem: "no agent" }), { nth: 2 })
      ]) {
        yield* control.inject(fault)
        const { reason } = yield* Effect.flip(Sandbox.fork(original, { memory: true, count: 2 }))
        assert.strictEqual(reason._tag, "Unknown")
        yield* control.clearFaults
        assert.deepStrictEqual(yield* names, ["original"])
      }
      yield* Sandbox.launch({ image, name: "copy-2" })
      const taken = yield* Effect.flip(Sandbox.fork(original, { memory: true, count: 2, name: "copy" }))
      assert.deepInclude(taken.reason, { _tag: "AlreadyExists", name: "copy-2" })
      assert.deepStrictEqual(yield* names, ["copy-2", "original"])
    }).pipe(Effect.scoped, Effect.provide(twin()))
  )

  it.live("has no options of its own, needs room for all, and a driver that can do so", () =>
    Effect.gen(function* () {
      const original = yield* Sandbox.launch({ image })
      const { reason } = yield* Effect.flip(Sandbox.fork(original, { memory: true, options: { cwd: "/" } }))
      assert.deepInclude(reason, { _tag: "InvalidConfig", field: "options" })
      const full = yield* Effect.flip(Sandbox.fork(original, { memory: true, count: 4 }))
      assert.strictEqual(full.reason._tag, "NoCapacity")
    }).pipe(
      Effect.scoped,
      Effect.provide(twin({ budget: { memory: "2G" } })),
      Effect.andThen(
        Effect.gen(function* () {
          const original = yield* Sandbox.launch({ image })
          const { reason } = yield* Effect.flip(Sandbox.fork(original, { memory: true }))
          assert.deepInclude(reason, { _tag: "Unsupported", feature: "memory" })
        }).pipe(Effect.scoped, Effect.provide(twin({ memorySnapshots: false })))
      )
    )
  )
})

describe("a pause", () => {
  it.live("halts a sandbox until it resumes, by its handle or its name", () =>
    Effect.gen(function* () {
      const sandbox = yield* Sandbox.launch({ image, name: "box" })
      yield* sandbox.pause
      assert.strictEqual((yield* sandbox.info).status, "paused")
      const running = yield* Effect.forkChild(sandbox.shell("echo hello"), { startImmediately: true })
      for (let turn = 0; turn < 100; turn++) yield* Effect.yieldNow
      assert.isUndefined(running.pollUnsafe())
      yield* sandbox.resume
      assert.strictEqual((yield* Fiber.join(running)).stdout, "hello\n")
      yield* sandbox.shell("date -s @1000", { check: true })
      yield* Sandbox.pause("box")
      yield* Sandbox.resume("box")
      assert.isAbove(Number(yield* textOf(sandbox, "date +%s")), 100_000)
      // Once more does nothing.
      yield* sandbox.resume
    }).pipe(Effect.scoped, Effect.provide(twin()))
  )

  it.live("does not keep a sandbox from being removed", () =>
    Effect.gen(function* () {
      const control = yield* MicrosandboxMemory.Control
      yield* Effect.scoped(Effect.flatMap(Sandbox.launch({ image }), ({ pause }) => pause))
      assert.deepStrictEqual((yield* control.inventory).sandboxes, [])
    }).pipe(Effect.provide(twin()))
  )

  it.live("needs a driver that can do so", () =>
    Effect.gen(function* () {
      const sandbox = yield* Sandbox.launch({ image, name: "box" })
      for (const [feature, effect] of [
        ["pause", sandbox.pause],
        ["resume", sandbox.resume],
        ["pause", Sandbox.pause("box")],
        ["resume", Sandbox.resume("box")],
        ["growRootDisk", sandbox.growRootDisk("8G")]
      ] as const) {
        const { method, reason } = yield* Effect.flip(effect)
        assert.strictEqual(method, `Sandbox.${feature}`)
        assert.deepInclude(reason, { _tag: "Unsupported", feature })
      }
    }).pipe(Effect.scoped, Effect.provide(twin({ memorySnapshots: false })))
  )
})

it.live("a root disk grows while the sandbox runs", () =>
  Effect.gen(function* () {
    const control = yield* MicrosandboxMemory.Control
    const sandbox = yield* Sandbox.launch({ image, name: "box" })
    yield* control.fillDisk("box")
    const write = sandbox.writeFileString("/root/file", "text")
    assert.strictEqual((yield* Effect.flip(write)).reason._tag, "FileError")
    yield* sandbox.growRootDisk("8G")
    yield* write
  }).pipe(Effect.scoped, Effect.provide(twin()))
)
