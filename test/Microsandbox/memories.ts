/** Running sandboxes that are captured with their memory, resumed, copied and paused, by drivers that can do so. */
import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Microsandbox from "../../src/Microsandbox.ts"
import * as Sandbox from "../../src/Sandbox.ts"
import * as Bench from "./Bench.ts"
import type { Group } from "./contract.ts"

const mebibyte = 1024 ** 2

const resources = { memory: "256M", disk: "256M" } as const

type Operations = NonNullable<Microsandbox.Microsandbox["Service"]["memory"]>

/** A running sandbox with something to remember: a file of its disk, one in memory, and a job. */
const remembering = Effect.gen(function* () {
  const { image } = yield* Bench.Bench
  const original = yield* Sandbox.launch({ image, name: Bench.freshName("original"), resources, rootDisk: "copy" })
  yield* original.shell("echo disk > /root/file; echo memory > /tmp/file", { check: true })
  yield* original.start("sleep", ["1000"], { id: "sleeper", env: { MARK: "remembered-by-the-job" } })
  yield* Bench.eventually(Bench.commandLines(original), (lines) => lines.includes("sleep 1000"))
  return original
})

const uptimeOf = (sandbox: Sandbox.Sandbox) =>
  Effect.map(sandbox.readFileString("/proc/uptime"), (text) => Number(text.split(" ")[0]))

const removed = (name: string) => Effect.addFinalizer(() => Effect.ignore(Sandbox.remove(name, { force: true })))

/** Captures a sandbox with its memory, until the scope closes. */
const captured = Effect.fnUntraced(function* (memory: Operations, sandbox: string) {
  const driver = yield* Microsandbox.Microsandbox
  const name = Bench.freshName("warm")
  yield* Effect.addFinalizer(() => Effect.ignore(driver.removeSnapshot(name)))
  return yield* memory.captureMemory({ sandbox, name, labels: { by: "hand" }, integrity: true })
})

const create = Effect.fnUntraced(function* (
  source: string,
  resume: "memory" | undefined,
  config: Microsandbox.CreateSandbox["config"] = {}
) {
  const driver = yield* Microsandbox.Microsandbox
  const name = Bench.freshName("copy")
  yield* removed(name)
  yield* driver.createSandbox({ name, source: { _tag: "Snapshot", name: source }, config, resume })
  return yield* Sandbox.connect(name)
})

export const memories: Group = (test) => {
  test("captures a running sandbox with its memory, and resumes copies beside each other", function* () {
    const driver = yield* Microsandbox.Microsandbox
    const { memory } = driver
    if (memory === undefined || !driver.capabilities.memorySnapshots) return
    const original = yield* remembering
    const before = yield* uptimeOf(original)
    const warm = yield* captured(memory, original.name)
    assert.isAbove(warm.memory ?? 0, 0)
    assert.deepStrictEqual(warm.labels, { by: "hand" })
    assert.deepStrictEqual(yield* driver.getSnapshot(warm.name), warm)
    assert.isTrue(yield* driver.verifySnapshot(warm.name))
    // It goes on.
    assert.strictEqual((yield* (yield* original.job("sleeper")).status)._tag, "Running")
    assert.strictEqual((yield* original.info).status, "running")
    yield* original.shell("echo later > /tmp/file", { check: true })

    const copies = [yield* create(warm.name, "memory"), yield* create(warm.name, "memory")] as const
    for (const copy of copies) {
      assert.strictEqual((yield* copy.shell("cat /root/file /tmp/file")).stdout, "disk\nmemory\n")
      assert.strictEqual((yield* (yield* copy.job("sleeper")).status)._tag, "Running")
      assert.include(yield* Bench.commandLines(copy), "sleep 1000")
      assert.isAtLeast(yield* uptimeOf(copy), before)
      assert.strictEqual((yield* copy.info).memory, 256 * mebibyte)
    }
    yield* copies[0].shell("echo own > /tmp/file; echo own > /root/file", { check: true })
    assert.strictEqual((yield* copies[1].shell("cat /root/file /tmp/file")).stdout, "disk\nmemory\n")
  })

  test("boots the disk of a snapshot with memory unless it is to be resumed", function* () {
    const { capabilities, memory } = yield* Microsandbox.Microsandbox
    if (memory === undefined || !capabilities.memorySnapshots) return
    const warm = yield* captured(memory, (yield* remembering).name)
    const cold = yield* create(warm.name, undefined)
    assert.strictEqual((yield* cold.shell("cat /root/file; test -e /tmp/file || echo gone")).stdout, "disk\ngone\n")
    assert.strictEqual((yield* (yield* cold.job("sleeper")).status)._tag, "Lost")
  })

  test("searches captured memory, and resumes no snapshot without it", function* () {
    const { capabilities, memory } = yield* Microsandbox.Microsandbox
    if (memory === undefined || !capabilities.memorySnapshots) return
    const warm = yield* captured(memory, (yield* remembering).name)
    const needles = ["remembered-by-the-job", "nobody-has-ever-written-this"].map(Bench.encode)
    assert.deepStrictEqual(yield* memory.searchMemory(warm.name, needles), [true, false])

    const driver = yield* Microsandbox.Microsandbox
    const cold = yield* create(warm.name, undefined, { rootDisk: "copy" })
    yield* cold.stop()
    const disk = Bench.freshName("cold")
    yield* Effect.addFinalizer(() => Effect.ignore(driver.removeSnapshot(disk)))
    const captive = yield* driver.captureSnapshot({ sandbox: cold.name, name: disk })
    assert.isUndefined(captive.memory)
    yield* Bench.failsWith("Unsupported", create(disk, "memory"))
    yield* Bench.failsWith("Unsupported", memory.searchMemory(disk, needles))
  })

  test("captures no memory of a stopped sandbox, nor under a name that is taken", function* () {
    const { capabilities, memory } = yield* Microsandbox.Microsandbox
    if (memory === undefined || !capabilities.memorySnapshots) return
    const original = yield* remembering
    const { name } = yield* captured(memory, original.name)
    yield* Bench.failsWith("AlreadyExists", memory.captureMemory({ sandbox: original.name, name }))
    yield* original.stop()
    yield* Bench.failsWith(
      "NotRunning",
      memory.captureMemory({ sandbox: original.name, name: Bench.freshName("never") })
    )
  })

  test("copies a running sandbox, all or none", function* () {
    const { capabilities, memory } = yield* Microsandbox.Microsandbox
    if (memory === undefined || !capabilities.fork) return
    const original = yield* remembering
    const [one, two] = [Bench.freshName("fork"), Bench.freshName("fork")]
    yield* Effect.andThen(removed(one), removed(two))
    const infos = yield* memory.forkSandbox(original, [{ name: one, labels: { nth: "one" } }, { name: two }])
    assert.deepStrictEqual(
      infos.map(({ name, status }) => ({ name, status })),
      [one, two].map((name) => ({ name, status: "running" }))
    )
    assert.strictEqual(infos[0]?.labels["nth"], "one")
    for (const name of [one, two]) {
      const copy = yield* Sandbox.connect(name)
      assert.strictEqual((yield* copy.shell("cat /root/file /tmp/file")).stdout, "disk\nmemory\n")
      assert.strictEqual((yield* (yield* copy.job("sleeper")).status)._tag, "Running")
      yield* copy.shell("rm /root/file", { check: true })
    }
    assert.strictEqual((yield* original.shell("cat /root/file")).stdout, "disk\n")

    const never = Bench.freshName("never")
    yield* Bench.failsWith("AlreadyExists", memory.forkSandbox(original, [{ name: never }, { name: one }]))
    assert.notInclude(
      (yield* Sandbox.list()).map(({ name }) => name),
      never
    )
  })

  test("pauses a sandbox and lets it go on, and removes a paused one", function* () {
    const { capabilities, memory } = yield* Microsandbox.Microsandbox
    if (memory === undefined || !capabilities.pause) return
    const original = yield* remembering
    yield* memory.pauseSandbox(original)
    yield* memory.pauseSandbox(original)
    assert.strictEqual((yield* original.info).status, "paused")
    yield* Bench.failsWith("NotRunning", Sandbox.connect(original.name))
    yield* memory.resumeSandbox(original)
    yield* memory.resumeSandbox(original)
    assert.strictEqual((yield* original.info).status, "running")
    assert.strictEqual((yield* original.shell("cat /tmp/file")).stdout, "memory\n")
    yield* memory.pauseSandbox(original)
    yield* Bench.failsWith("StillRunning", Sandbox.remove(original.name))
    yield* Sandbox.remove(original.name, { force: true })
    yield* Bench.failsWith("NotFound", Sandbox.get(original.name))
  })

  test("grows the root disk of a running sandbox", function* () {
    const { memory } = yield* Microsandbox.Microsandbox
    if (memory === undefined) return
    const original = yield* remembering
    const kilobytes = Effect.map(original.shell("df -k / | tail -n 1"), ({ stdout }) => Number(stdout.split(/\s+/)[1]))
    const before = yield* kilobytes
    yield* memory.growRootDisk(original, 512 * mebibyte)
    assert.isAbove(yield* kilobytes, 1.5 * before)
    assert.strictEqual((yield* original.shell("cat /root/file")).stdout, "disk\n")
    yield* Bench.failsWith("InvalidConfig", memory.growRootDisk(original, 128 * mebibyte))
  })
}
