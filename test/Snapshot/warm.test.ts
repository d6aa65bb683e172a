/** Snapshots with memory: built with their services running, and resumed. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import type { BuildEvent } from "../../src/BuildEvent.ts"
import { BootFailed, Unknown } from "../../src/LightboxError.ts"
import * as Microsandbox from "../../src/Microsandbox.ts"
import * as MicrosandboxMemory from "../../src/MicrosandboxMemory.ts"
import * as Reaper from "../../src/Reaper.ts"
import * as Sandbox from "../../src/Sandbox.ts"
import * as Snapshot from "../../src/Snapshot.ts"

/** Counts how often it was started, and not resumed, in a file of the disk. */
const serve: MicrosandboxMemory.Command = ({ files, isResumed, listen }) =>
  Effect.gen(function* () {
    if (!isResumed) {
      const before = (yield* files.exists("/root/starts")) ? yield* files.readFileString("/root/starts") : ""
      yield* files.writeFile("/root/starts", `${before}x`)
    }
    return yield* listen(8080, ({ write }) => write("hello\n"))
  })

const twin = (options: MicrosandboxMemory.Options = {}) =>
  Layer.fresh(MicrosandboxMemory.layer({ memorySnapshots: true, sweep: false, commands: { serve }, ...options }))

const definition = Snapshot.make("web", "plain").pipe(
  Snapshot.shell("echo built > /root/built"),
  Snapshot.defaults({ services: { web: { command: "exec serve", ready: { port: 8080 } } } })
)

const operations = (from = 0) =>
  Effect.gen(function* () {
    const control = yield* MicrosandboxMemory.Control
    return (yield* control.calls).slice(from).map(({ operation }) => operation)
  })

const callCount = Effect.map(operations(), ({ length }) => length)

describe("a warm build", () => {
  it.live("captures the machine once its services are ready, and launches resume it", () =>
    Effect.gen(function* () {
      const built = yield* Snapshot.build(definition, { warm: true })
      assert.isAbove(built.memory ?? 0, 0)
      assert.deepStrictEqual([built.stepsRun, built.generation], [1, 1])
      const sandbox = yield* Sandbox.launch({ snapshot: "web" })
      assert.strictEqual(sandbox.resumed, "memory")
      assert.strictEqual((yield* (yield* sandbox.job("web")).status)._tag, "Running")
      assert.strictEqual(
        (yield* sandbox.shell("cat /root/built /root/starts; nc localhost 8080")).stdout,
        "built\nxhello\n"
      )
      // It has the memory of the machine, not that of the layer.
      assert.strictEqual((yield* sandbox.info).memory, 512 * 1024 ** 2)
    }).pipe(Effect.provide(twin()))
  )

  it.live("is found again, and told apart from the cold result of the same definition", () =>
    Effect.gen(function* () {
      const cold = yield* Snapshot.build(definition)
      assert.isUndefined(cold.memory)
      const warm = yield* Snapshot.build(definition, { warm: true })
      assert.notStrictEqual(warm.key, cold.key)
      assert.deepStrictEqual([warm.generation, warm.stepsRun], [2, 0])
      const before = yield* callCount
      const again = yield* Snapshot.build(definition, { warm: true })
      assert.deepStrictEqual([again.path, again.generation], [warm.path, 2])
      assert.notInclude(yield* operations(before), "createSandbox")
      const back = yield* Snapshot.rollback("web")
      assert.deepStrictEqual([back.key, back.memory], [cold.key, undefined])
      const sandbox = yield* Sandbox.launch({ snapshot: "web" })
      assert.isUndefined(sandbox.resumed)
    }).pipe(Effect.provide(twin()))
  )

  it.live("is made again for other services, other resources, and with force", () =>
    Effect.gen(function* () {
      const first = yield* Snapshot.build(definition, { warm: true })
      const other = definition.pipe(Snapshot.defaults({ env: { COLOR: "green" } }))
      const second = yield* Snapshot.build(other, { warm: true })
      const third = yield* Snapshot.build(Snapshot.resources(definition, { memory: "256M", cpus: 2 }), { warm: true })
      const fourth = yield* Snapshot.build(definition, { warm: true, force: true })
      const keys = [first, second, third, fourth].map(({ key }) => key)
      assert.strictEqual(new Set(keys).size, 4)
      const sandbox = yield* Sandbox.launch({ snapshot: third })
      const { cpus, memory } = yield* sandbox.info
      assert.deepStrictEqual([sandbox.resumed, cpus, memory], ["memory", 2, 256 * 1024 ** 2])
    }).pipe(Effect.provide(twin()))
  )

  it.live("runs once for concurrent builds", () =>
    Effect.gen(function* () {
      const [one, two] = yield* Effect.all(
        [Snapshot.build(definition, { warm: true }), Snapshot.build(definition, { warm: true })],
        { concurrency: "unbounded" }
      )
      assert.strictEqual(one.path, two.path)
      const captures = (yield* operations()).filter((operation) => operation === "captureMemory")
      assert.strictEqual(captures.length, 1)
    }).pipe(Effect.provide(twin()))
  )

  it.live("verifies the machine that launches resume", () =>
    Effect.gen(function* () {
      const seen: Array<string | undefined> = []
      yield* Snapshot.build(
        definition.pipe(
          Snapshot.verify((sandbox) =>
            Effect.andThen(
              Effect.sync(() => seen.push(sandbox.resumed)),
              sandbox.exec("test", ["-s", "/root/starts"], { check: true })
            )
          )
        ),
        { warm: true }
      )
      assert.deepStrictEqual(seen, ["memory"])
    }).pipe(Effect.provide(twin()))
  )

  it.live("tells what it does", () =>
    Effect.gen(function* () {
      const events: Array<BuildEvent["_tag"]> = []
      yield* Snapshot.build(definition, {
        warm: true,
        onEvent: ({ _tag }) => Effect.sync(() => void events.push(_tag))
      })
      assert.deepStrictEqual(
        events.filter((tag) => tag !== "Pulling" && tag !== "StepOutput"),
        [
          "Booting",
          "Booted",
          "Planned",
          "StepStarted",
          "StepFinished",
          "Checkpointing",
          "Checkpointed",
          "Booting",
          "Booted",
          "Checkpointing",
          "Checkpointed",
          "Committed",
          "Finished"
        ]
      )
    }).pipe(Effect.provide(twin()))
  )

  it.live("leaves nothing if a service is not ready, and the name where it was", () =>
    Effect.gen(function* () {
      const control = yield* MicrosandboxMemory.Control
      const cold = yield* Snapshot.build(definition)
      const broken = definition.pipe(
        Snapshot.defaults({ services: { web: { command: "exit 3", ready: { port: 8080 } } } })
      )
      const { reason } = yield* Effect.flip(Snapshot.build(broken, { warm: true }))
      assert.strictEqual(reason._tag, "NotReady")
      assert.strictEqual((yield* Snapshot.get("web")).path, cold.path)
      const { sandboxes, snapshots } = yield* control.inventory
      assert.deepStrictEqual([sandboxes, snapshots.length], [[], 1])
    }).pipe(Effect.provide(twin()))
  )

  it.live("finds a secret in the memory, although it is not on the disk", () =>
    Effect.gen(function* () {
      const control = yield* MicrosandboxMemory.Control
      const secret = "hunter2-s3cret-value"
      const leaking = Snapshot.make("leaking", "plain").pipe(
        // Nothing that the step starts is there later. A service has it by another way.
        Snapshot.shell("true", { secrets: { TOKEN: Redacted.make(secret) } }),
        Snapshot.defaults({ services: { web: { command: "exec serve", ready: { port: 8080 }, env: { T: secret } } } })
      )
      const { reason } = yield* Effect.flip(Snapshot.build(leaking, { warm: true }))
      assert.deepInclude(reason, { _tag: "SecretLeaked", secret: "TOKEN", place: "memory" })
      assert.include(reason.message, "in the memory")
      const { sandboxes, snapshotLinks, snapshots } = yield* control.inventory
      assert.deepStrictEqual([sandboxes, snapshotLinks, snapshots.length], [[], [], 1])
    }).pipe(Effect.provide(twin()))
  )

  it.live("needs a driver that captures memory, which is said before anything boots", () =>
    Effect.gen(function* () {
      const { reason } = yield* Effect.flip(Snapshot.build(definition, { warm: true }))
      assert.deepInclude(reason, { _tag: "Unsupported", feature: "warm" })
      assert.deepStrictEqual(yield* operations(), [])
    }).pipe(Effect.provide(twin({ memorySnapshots: false })))
  )

  it.live("is removed by a prune once no name needs it", () =>
    Effect.gen(function* () {
      const control = yield* MicrosandboxMemory.Control
      yield* Snapshot.build(definition, { warm: true })
      const report = yield* Snapshot.prune()
      assert.strictEqual(report.verdicts.filter(({ verdict }) => verdict === "removed").length, 1)
      yield* Snapshot.remove("web")
      yield* Snapshot.prune()
      yield* Reaper.sweep()
      assert.deepStrictEqual((yield* control.inventory).snapshots, [])
    }).pipe(Effect.provide(twin()))
  )

  it.live("is compared by its disk", () =>
    Effect.gen(function* () {
      const control = yield* MicrosandboxMemory.Control
      const { path } = yield* Snapshot.build(definition, { warm: true })
      const { differences } = yield* Snapshot.diff("web", { path })
      assert.deepStrictEqual(differences, [])
      const resumed = (yield* control.calls).filter(({ detail }) => detail["resume"] !== undefined)
      assert.deepStrictEqual(resumed, [])
    }).pipe(Effect.provide(twin()))
  )

  it.live("is saved and loaded with its memory", () =>
    Effect.gen(function* () {
      const { home } = yield* Microsandbox.Microsandbox
      yield* Snapshot.build(definition, { warm: true })
      yield* Snapshot.save("web", `${home}/web.tar`)
      yield* Snapshot.remove("web")
      yield* Snapshot.prune()
      yield* Snapshot.load(`${home}/web.tar`)
      const sandbox = yield* Sandbox.launch({ snapshot: "web" })
      assert.strictEqual(sandbox.resumed, "memory")
    }).pipe(Effect.provide(twin()))
  )
})

describe("a launch of a snapshot with memory", () => {
  const injected = new BootFailed({ name: "x", problem: "restored workload thaw timed out", lastLines: [] })

  const resumes = ({ operation, detail }: MicrosandboxMemory.Call) =>
    operation === "createSandbox" && detail["resume"] === "memory"

  const failing = MicrosandboxMemory.failAt("createSandbox", injected, { matching: resumes, times: 2 })

  it.live("boots the disk if it cannot resume, once, and leaves no second sandbox", () =>
    Effect.gen(function* () {
      const control = yield* MicrosandboxMemory.Control
      yield* Snapshot.build(definition, { warm: true })
      for (const fault of [
        failing,
        MicrosandboxMemory.loseAnswerAt("createSandbox", { matching: resumes }),
        MicrosandboxMemory.failAt("connect", new Unknown({ problem: "no relay" })),
        MicrosandboxMemory.failAt("guest.spawn", new Unknown({ problem: "no agent" })),
        MicrosandboxMemory.killGuestAt("guest.spawn")
      ]) {
        yield* control.inject(fault)
        yield* Effect.scoped(
          Effect.gen(function* () {
            const sandbox = yield* Sandbox.launch({ snapshot: "web", name: "box" })
            assert.isUndefined(sandbox.resumed)
            assert.strictEqual((yield* sandbox.shell("cat /root/starts")).stdout, "xx")
            assert.deepStrictEqual((yield* control.inventory).sandboxes, [{ name: "box", status: "running" }])
          })
        )
        yield* control.clearFaults
      }
    }).pipe(Effect.provide(twin()))
  )

  it.live("does not boot instead if resuming is required, or if the options are wrong", () =>
    Effect.gen(function* () {
      const control = yield* MicrosandboxMemory.Control
      yield* Snapshot.build(definition, { warm: true })
      yield* control.inject(failing)
      const required = yield* Effect.flip(Sandbox.launch({ snapshot: "web", resume: "required" }))
      assert.strictEqual(required.reason._tag, "BootFailed")
      yield* control.clearFaults
      const other = yield* Effect.flip(
        Sandbox.launch({ snapshot: "web", resume: "required", resources: { memory: "1G" } })
      )
      assert.deepInclude(other.reason, { _tag: "Unsupported", feature: "resources.memory" })
      const image = yield* Effect.flip(Sandbox.launch({ image: "plain", resume: "required" }))
      assert.deepInclude(image.reason, { _tag: "Unsupported", feature: "resume" })
      assert.deepStrictEqual((yield* control.inventory).sandboxes, [])
    }).pipe(Effect.provide(twin()))
  )

  it.live("boots the disk if it is told to, or for other resources", () =>
    Effect.gen(function* () {
      yield* Snapshot.build(definition, { warm: true })
      const cold = yield* Sandbox.launch({ snapshot: "web", resume: false })
      assert.isUndefined(cold.resumed)
      assert.strictEqual((yield* cold.shell("cat /root/starts")).stdout, "xx")
      const larger = yield* Sandbox.launch({ snapshot: "web", resources: { memory: "1G" } })
      assert.deepStrictEqual([larger.resumed, (yield* larger.info).memory], [undefined, 1024 ** 3])
    }).pipe(Effect.provide(twin()))
  )

  it.live("boots the disk if the memory is damaged", () =>
    Effect.gen(function* () {
      const control = yield* MicrosandboxMemory.Control
      const { path } = yield* Snapshot.build(definition, { warm: true })
      yield* control.damageSnapshot(path, "memory")
      const sandbox = yield* Sandbox.launch({ snapshot: "web" })
      assert.isUndefined(sandbox.resumed)
    }).pipe(Effect.provide(twin()))
  )
})
