/** Disks of sandboxes that become snapshots. */
import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Redacted from "effect/Redacted"
import { SnapshotDamaged } from "../../src/LightboxError.ts"
import * as Microsandbox from "../../src/Microsandbox.ts"
import * as MicrosandboxMemory from "../../src/MicrosandboxMemory.ts"
import * as Sandbox from "../../src/Sandbox.ts"
import * as Snapshot from "../../src/Snapshot.ts"
import { turn } from "../support.ts"
import * as Support from "./support.ts"

const { image, test } = Support

const definition = Snapshot.make("app", image).pipe(Snapshot.shell("echo built > /root/version"))

const generations = (name: string) =>
  Effect.map(Snapshot.generations(name), (all) => all.map(({ generation, key }) => [generation, key !== ""]))

const left = Effect.map(
  Effect.flatMap(MicrosandboxMemory.Control, ({ inventory }) => inventory),
  ({ snapshotLinks, snapshots }) => ({ snapshotLinks, snapshots })
)

describe("a captured sandbox", () => {
  test(
    "goes on with the same handle, whose commands have ended and whose jobs are lost",
    Effect.gen(function* () {
      const sandbox = yield* Sandbox.launch({ image, name: "box" })
      yield* sandbox.shell("echo kept > /root/kept; echo lost > /tmp/lost", { check: true })
      const job = yield* sandbox.start("sleep", ["1000"], { id: "sleeper" })
      const running = yield* Effect.forkChild(Effect.exit(sandbox.exec("sleep", ["1000"])), { startImmediately: true })
      const isLost = yield* Effect.forkChild(sandbox.guest.lost, { startImmediately: true })
      const snapshot = yield* Snapshot.capture(sandbox, { name: "app", labels: { by: "hand" } })
      assert.deepInclude(snapshot, { name: "app", generation: 1, labels: { by: "hand" }, image })
      assert.isUndefined(snapshot.key)
      assert.isTrue(Exit.isFailure(yield* Fiber.join(running)))
      assert.strictEqual((yield* job.status)._tag, "Lost")
      assert.strictEqual(
        (yield* sandbox.shell("cat /root/kept; test -e /tmp/lost || echo gone")).stdout,
        "kept\ngone\n"
      )
      assert.deepInclude(yield* sandbox.info, { id: sandbox.id, status: "running" })
      assert.isUndefined(isLost.pollUnsafe())
      assert.strictEqual(yield* Support.readIn("app", "/root/kept"), "kept\n")
      // Again, and again by name.
      yield* sandbox.writeFileString("/root/kept", "two")
      yield* Snapshot.capture(sandbox, { name: "app" })
      yield* sandbox.writeFileString("/root/kept", "three")
      assert.strictEqual((yield* Snapshot.capture("box", { name: "app", keep: 3 })).generation, 3)
      assert.strictEqual(yield* Support.readIn("app", "/root/kept"), "three")
      assert.strictEqual((yield* Snapshot.rollback("app")).generation, 2)
      assert.strictEqual(yield* Support.readIn("app", "/root/kept"), "two")
      // A capture by name leaves this handle behind.
      assert.isTrue(Exit.isFailure(yield* Effect.exit(sandbox.exec("true"))))
      assert.deepInclude(yield* sandbox.info, { status: "running" })
      yield* Snapshot.remove("app")
      assert.deepStrictEqual(yield* left, { snapshotLinks: [], snapshots: [] })
    })
  )

  test(
    "keeps its way of ending, and is captured as it is when it is stopped or has an overlay",
    Effect.gen(function* () {
      const driver = yield* Microsandbox.Microsandbox
      yield* Snapshot.build(definition)
      for (const rootDisk of ["overlay", "copy"] as const) {
        const sandbox = yield* Sandbox.launch({ snapshot: "app", rootDisk, name: rootDisk })
        yield* sandbox.shell(`cat /root/version > /root/copy; echo ${rootDisk} >> /root/copy`)
        yield* Snapshot.capture(sandbox, { name: `of-${rootDisk}` })
        assert.deepStrictEqual(yield* driver.getSandboxLifecycle(sandbox), { isAttached: true, isEphemeral: false })
        yield* sandbox.stop()
        const starts = yield* Support.boots
        yield* Snapshot.capture(sandbox, { name: `of-${rootDisk}` })
        assert.strictEqual(yield* Support.boots, starts)
        assert.deepInclude(yield* sandbox.info, { status: "stopped" })
        assert.strictEqual(yield* Support.readIn(`of-${rootDisk}`, "/root/copy"), `built\n${rootDisk}\n`)
      }
      yield* Effect.scoped(Sandbox.launch({ image, name: "detached", detached: true }))
      yield* Snapshot.capture("detached", { name: "of-detached" })
      assert.deepInclude(yield* Sandbox.get("detached"), { status: "running" })
      assert.isFalse((yield* driver.getSandboxLifecycle(yield* Sandbox.get("detached"))).isAttached)
      yield* Sandbox.remove("detached", { force: true })
    })
  )

  test(
    "starts its services again, through whichever handle, or by name",
    Effect.gen(function* () {
      const services = { web: { command: "exec sleep 1000" } }
      const states = Effect.gen(function* () {
        const sandbox = yield* Sandbox.connect("box")
        return (yield* sandbox.jobs).map(({ id, status }) => [id, status._tag])
      }).pipe(Effect.scoped)
      const runs = [["web", "Running"]]
      yield* Effect.scoped(Sandbox.launch({ image, name: "box", detached: true, services }))
      yield* Snapshot.capture("box", { name: "app" })
      assert.deepStrictEqual(yield* states, runs, "by name")
      const connected = yield* Sandbox.connect("box")
      yield* Snapshot.capture(connected, { name: "app" })
      assert.deepStrictEqual(yield* states, runs, "connect")
      yield* Snapshot.capture(yield* Sandbox.getOrCreate("box", { image, services }), { name: "app" })
      assert.deepStrictEqual(yield* states, runs, "getOrCreate")
      yield* Sandbox.stop("box")
      yield* Snapshot.capture(yield* Sandbox.start("box", { detached: true }), { name: "app" })
      assert.deepStrictEqual(yield* states, runs, "start")
      yield* Sandbox.remove("box", { force: true })
    })
  )

  test(
    "is captured by one at a time",
    Effect.gen(function* () {
      const { calls } = yield* MicrosandboxMemory.Control
      const sandbox = yield* Sandbox.launch({ image, name: "box" })
      const { closed } = yield* sandbox.forward(3000)
      const isClosed = yield* Effect.forkChild(closed, { startImmediately: true })
      const { length } = yield* calls
      const captured = yield* Effect.forEach(["a", "b"], (name) => Snapshot.capture(sandbox, { name }), {
        concurrency: "unbounded"
      })
      assert.deepStrictEqual(
        captured.map(({ generation, name }) => [name, generation]),
        [
          ["a", 1],
          ["b", 1]
        ]
      )
      const order = (yield* calls)
        .slice(length)
        .flatMap(({ operation }) => /^(stop|capture|start)/.exec(operation)?.[1] ?? [])
      assert.deepStrictEqual(order, ["stop", "capture", "start", "stop", "capture", "start"])
      assert.isUndefined(isClosed.pollUnsafe())
    })
  )

  test(
    "makes generations that no build takes for its result",
    Effect.gen(function* () {
      const built = yield* Snapshot.build(definition)
      yield* Sandbox.run({ snapshot: "app" }, (sandbox) =>
        Effect.andThen(sandbox.writeFileString("/root/version", "changed"), Snapshot.capture(sandbox, { name: "app" }))
      )
      assert.deepStrictEqual(yield* generations("app"), [
        [1, true],
        [2, false]
      ])
      assert.strictEqual((yield* Snapshot.plan(definition)).isCached, true)
      const again = yield* Snapshot.build(definition, { keep: 3 })
      assert.deepStrictEqual([again.generation, again.stepsRun, again.key], [3, 0, built.key])
      assert.strictEqual(yield* Support.readIn("app", "/root/version"), "built\n")
      // What no name keeps is removed.
      yield* Snapshot.build(definition.pipe(Snapshot.shell("true")), { keep: 1 })
      assert.deepStrictEqual(
        (yield* left).snapshots.filter((name) => name.includes("captured")),
        []
      )
    })
  )

  test(
    "has no secret that is known",
    Effect.gen(function* () {
      const sandbox = yield* Sandbox.launch({ image, name: "box" })
      const refused = (options?: Partial<Snapshot.CaptureOptions>, of = sandbox) =>
        Effect.map(
          Effect.flip(Snapshot.capture(of, { name: "app", ...options })),
          ({ method, reason }) => [method, reason._tag === "SecretLeaked" ? reason.secret : reason._tag] as const
        )
      yield* sandbox.shell("echo $TOKEN > /root/token", { env: { TOKEN: Redacted.make("of-a-command") } })
      assert.deepStrictEqual(yield* refused(), ["Snapshot.capture", "of a command or an option"])
      // Its handle goes on, but nothing is erased from a disk.
      yield* sandbox.remove("/root/token")
      assert.deepStrictEqual(yield* refused(), ["Snapshot.capture", "of a command or an option"])
      const options = {
        image,
        services: {
          s: { command: "echo $KEY > /root/key; exec sleep 1000", env: { KEY: Redacted.make("of-a-service") } }
        }
      }
      for (const was of ["missing", "running", "stopped"]) {
        const workspace = yield* Sandbox.getOrCreate("workspace", options)
        yield* workspace.waitUntil({ file: "/root/key" })
        assert.deepStrictEqual(yield* refused({}, workspace), ["Snapshot.capture", "of a command or an option"])
        assert.strictEqual((yield* (yield* workspace.job("s")).status)._tag, "Running")
        if (was === "running") yield* Sandbox.stop("workspace")
      }
      yield* Sandbox.remove("workspace", { force: true })
      const other = yield* Sandbox.launch({ image, env: { CONFIGURED: "public" } })
      yield* other.writeFileString("/root/key", "from elsewhere")
      assert.deepStrictEqual(yield* refused({ secrets: { KEY: Redacted.make("from elsewhere") } }, other), [
        "Snapshot.capture",
        "KEY"
      ])
      assert.deepStrictEqual(yield* left, { snapshotLinks: [], snapshots: [] })
      yield* Snapshot.capture(other, { name: "app" })
      // Of the secrets of commands, the last 1,000 are known.
      const env = Array.from({ length: 1001 }, (_, index) => [`S${index}`, Redacted.make(`secret-${index}-`)] as const)
      yield* other.shell("echo $S0 > /root/first", { env: Object.fromEntries(env) })
      yield* Snapshot.capture(other, { name: "app" })
      yield* other.writeFileString("/root/second", "secret-1-")
      assert.deepStrictEqual(yield* refused({}, other), ["Snapshot.capture", "of a command or an option"])
    })
  )

  test(
    "is refused before it is stopped if it is ephemeral, a builder, another sandbox, or the name is taken",
    Effect.gen(function* () {
      const ephemeral = yield* Sandbox.launch({ image, name: "ephemeral", ephemeral: true })
      const tagOf = (sandbox: Sandbox.Sandbox | string, options?: Partial<Snapshot.CaptureOptions>) =>
        Effect.map(Effect.flip(Snapshot.capture(sandbox, { name: "app", ...options })), ({ reason }) => reason._tag)
      assert.strictEqual(yield* tagOf(ephemeral), "Unsupported")
      assert.strictEqual(yield* tagOf("missing"), "NotFound")
      const step = definition.pipe(Snapshot.step("capture", (sandbox) => Snapshot.capture(sandbox, { name: "inner" })))
      assert.strictEqual((yield* Effect.flip(Snapshot.build(step))).reason._tag, "Unsupported")
      yield* Snapshot.build(definition)
      assert.strictEqual(yield* tagOf(ephemeral, { overwrite: false }), "AlreadyExists")
      yield* ephemeral.exec("true", [], { check: true })
      const first = yield* Sandbox.launch({ image, name: "box" })
      yield* Sandbox.launch({ image, name: "box", overwrite: true })
      assert.strictEqual(yield* tagOf(first), "Replaced")
    })
  )

  test(
    "runs again and leaves nothing when the capture fails or is interrupted",
    Effect.gen(function* () {
      const control = yield* MicrosandboxMemory.Control
      const sandbox = yield* Sandbox.launch({ image, name: "box" })
      yield* sandbox.writeFileString("/root/kept", "kept")
      const reason = new SnapshotDamaged({ name: "it", problem: "as the test wants it" })
      for (const operation of ["stopSandbox", "captureSnapshot", "startSandbox", "linkSnapshot"] as const) {
        yield* control.inject(MicrosandboxMemory.failAt(operation, reason))
        yield* Effect.flip(Snapshot.capture(sandbox, { name: "app" }))
        assert.strictEqual(yield* sandbox.readFileString("/root/kept"), "kept", operation)
        assert.deepStrictEqual(yield* left, { snapshotLinks: [], snapshots: [] }, operation)
        // The name moves in one step.
        if (operation === "linkSnapshot") continue
        yield* control.inject(MicrosandboxMemory.hangAt(operation))
        const { length } = yield* control.calls
        const fiber = yield* Effect.forkChild(Snapshot.capture(sandbox, { name: "app" }))
        yield* turn.pipe(
          Effect.andThen(control.calls),
          Effect.repeat({ until: (calls) => calls.slice(length).some((call) => call.operation === operation) })
        )
        yield* Fiber.interrupt(fiber)
        assert.strictEqual(yield* sandbox.readFileString("/root/kept"), "kept", operation)
        assert.deepStrictEqual(yield* left, { snapshotLinks: [], snapshots: [] }, operation)
      }
    })
  )
})
