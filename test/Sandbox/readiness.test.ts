/** Probes and services: their times, and what they do with other features. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import { TestClock } from "effect/testing"
import * as Microsandbox from "../../src/Microsandbox.ts"
import * as MicrosandboxMemory from "../../src/MicrosandboxMemory.ts"
import * as Probe from "../../src/Probe.ts"
import * as Sandbox from "../../src/Sandbox.ts"
import type * as SandboxConfig from "../../src/SandboxConfig.ts"
import * as SandboxPool from "../../src/SandboxPool.ts"

const image = "alpine"
const layer = MicrosandboxMemory.layer({ images: { [image]: {} } })

const count = (operation: MicrosandboxMemory.Operation) =>
  Effect.flatMap(MicrosandboxMemory.Control, ({ calls }) =>
    Effect.map(calls, (all) => all.filter((call) => call.operation === operation).length)
  )

const sleeping: SandboxConfig.Service = {
  command: "touch /run/up; exec sleep 1000",
  ready: { file: "/run/up" }
}

describe("waitUntil", () => {
  it.effect.each<readonly [probe: Probe.ProbeInput, limitMillis: number, attempts: number]>([
    [{ file: "/a", interval: "5 seconds" }, 60_000, 12],
    [{ file: "/a", timeout: "2 seconds" }, 2000, 20],
    [{ file: "/a", interval: "1 second", timeout: "10 seconds" }, 10_000, 10],
    [{ all: [{ file: "/a" }], interval: "1 second", timeout: "10 seconds" }, 10_000, 10],
    [{ any: [{ file: "/a", timeout: "5 seconds" }], interval: "1 second", timeout: "10 seconds" }, 5000, 5]
  ])("tries %j until its time is over", ([probe, limitMillis, attempts]) =>
    Effect.gen(function* () {
      const sandbox = yield* Sandbox.launch({ image })
      const before = yield* count("guest.stat")
      const waiting = yield* Effect.forkChild(Effect.flip(sandbox.waitUntil(probe)), { startImmediately: true })
      yield* TestClock.adjust(limitMillis - 1)
      assert.isUndefined(waiting.pollUnsafe())
      yield* TestClock.adjust(1)
      const { method, reason } = yield* Fiber.join(waiting)
      assert.deepInclude(reason, { _tag: "NotReady", observation: "/a does not exist", limitMillis, lastLines: [] })
      assert.strictEqual(method, "Sandbox.waitUntil")
      assert.approximately((yield* count("guest.stat")) - before, attempts, 1)
    }).pipe(Effect.scoped, Effect.provide(layer))
  )

  it.effect("gives up an attempt that is not answered, and tries again", () =>
    Effect.gen(function* () {
      const control = yield* MicrosandboxMemory.Control
      const sandbox = yield* Sandbox.launch({ image })
      yield* control.inject(MicrosandboxMemory.hangAt("guest.connect"))
      const probe: Probe.ProbeInput = { http: 80, timeout: "8 seconds" }
      const waiting = yield* Effect.forkChild(Effect.flip(sandbox.waitUntil(probe)), { startImmediately: true })
      yield* TestClock.adjust("4 seconds")
      assert.strictEqual(yield* count("guest.connect"), 1)
      yield* TestClock.adjust("2 seconds")
      assert.isAbove(yield* count("guest.connect"), 1)
      yield* TestClock.adjust("2 seconds")
      const { reason } = yield* Fiber.join(waiting)
      assert.match(reason.message, /^Not ready after 8000 ms: GET http:\/\/127\.0\.0\.1:80\/ was not answered: /)
    }).pipe(Effect.scoped, Effect.provide(layer))
  )

  it.live("fails when the guest is lost", () =>
    Effect.gen(function* () {
      const sandbox = yield* Sandbox.launch({ image })
      const waiting = yield* Effect.forkChild(Effect.flip(sandbox.waitUntil({ any: [{ file: "/a" }, { port: 1 }] })), {
        startImmediately: true
      })
      yield* sandbox.kill
      const { method, reason } = yield* Fiber.join(waiting)
      assert.deepStrictEqual([method, reason._tag], ["Sandbox.waitUntil", "GuestLost"])
    }).pipe(Effect.scoped, Effect.provide(layer))
  )

  it.live("ends the command of a probe that takes too long", () =>
    Effect.gen(function* () {
      const sandbox = yield* Sandbox.launch({ image })
      const { reason } = yield* Effect.flip(sandbox.waitUntil({ command: ["sleep", "1000"], timeout: "50 millis" }))
      assert.strictEqual(reason.message, "Not ready after 50 ms: sleep 1000 has not exited")
      const { inventory } = yield* MicrosandboxMemory.Control
      assert.deepStrictEqual((yield* inventory).processes, [])
    }).pipe(Effect.scoped, Effect.provide(layer))
  )

  it.live("shows no secret of a job that it waits for", () =>
    Effect.gen(function* () {
      const sandbox = yield* Sandbox.launch({ image })
      const env = { TOKEN: Redacted.make("sesame") }
      const job = yield* sandbox.start("sh", ["-c", "echo $TOKEN | tee /log; exec sleep 1000"], { env })
      yield* sandbox.waitUntil({ log: "sesame" }, { job: job.id })
      const probe: Probe.ProbeInput = { command: "cat /log; exit 1", timeout: "50 millis" }
      const { reason } = yield* Effect.flip(sandbox.waitUntil(probe, { job: job.id }))
      assert.deepInclude(reason, { _tag: "NotReady", lastLines: ["<redacted>"] })
      assert.notInclude(JSON.stringify(reason), "sesame")
    }).pipe(Effect.scoped, Effect.provide(layer))
  )

  it.live("counts what has succeeded once, also when the job ends", () =>
    Effect.gen(function* () {
      const sandbox = yield* Sandbox.launch({ image })
      yield* sandbox.writeFileString("/lock", "")
      const job = yield* sandbox.start("sh", ["-c", "read -r go; rm /lock; echo done"], { stdin: "open" })
      const probe: Probe.ProbeInput = {
        all: [{ file: "/lock" }, { log: "done", interval: "1 hour", timeout: "2 hours" }]
      }
      const looks = count("guest.readDirectoryEntries")
      const before = yield* looks
      const waiting = yield* Effect.forkChild(sandbox.waitUntil(probe, { job: job.id }))
      // Both probes were tried once: from then on, only the job is looked at.
      yield* Effect.repeat(looks, { until: (times) => times > before + 12, schedule: Schedule.spaced("10 millis") })
      yield* job.write("go\n")
      yield* Fiber.join(waiting)
    }).pipe(Effect.scoped, Effect.provide(layer))
  )

  it.effect("takes probes that were written as JSON", () =>
    Effect.gen(function* () {
      const text = '{"any":[{"http":80,"timeout":"5 seconds"},{"all":[{"file":"/a"},{"command":["true"]}]}]}'
      const decoded = yield* Schema.decodeEffect(Schema.fromJsonString(Probe.Probe))(text)
      assert.deepStrictEqual("any" in decoded && decoded.any[1], { all: [{ file: "/a" }, { command: ["true"] }] })
    })
  )
})

describe("services", () => {
  it.live("are started again with a stopped sandbox, and by who finds them ended", () =>
    Effect.gen(function* () {
      const get = (service: SandboxConfig.Service = sleeping) =>
        Sandbox.getOrCreate("kept", { image, services: { one: service } })
      const pid = Effect.scoped(
        Effect.gen(function* () {
          const sandbox = yield* get()
          assert.isTrue(yield* sandbox.exists("/run/up"))
          const job = yield* sandbox.job("one")
          assert.deepStrictEqual(yield* job.status, { _tag: "Running" })
          return { pid: (yield* job.info).pid, end: Effect.andThen(job.signal("SIGKILL"), job.wait) }
        })
      )
      const first = (yield* pid).pid
      assert.strictEqual((yield* pid).pid, first)
      yield* Sandbox.stop("kept")
      yield* pid
      yield* Effect.scoped(
        Effect.gen(function* () {
          const job = yield* Effect.flatMap(Sandbox.connect("kept"), (sandbox) => sandbox.job("one"))
          yield* job.signal("SIGKILL")
          yield* job.wait
        })
      )
      yield* pid
      const { reason } = yield* Effect.flip(Effect.scoped(get({ ...sleeping, restart: "always" })))
      assert.deepInclude(reason, { _tag: "Drift", field: "services" })
      yield* Sandbox.remove("kept", { force: true })
    }).pipe(Effect.provide(layer))
  )

  it.live("are started again by start and restart, without those that need a secret", () =>
    Effect.gen(function* () {
      const secret = Redacted.make("s3cret-value")
      const services = {
        one: sleeping,
        two: { command: "exec sleep 1000", dependsOn: ["one"] },
        secret: { command: "exec sleep 1000", env: { TOKEN: secret } },
        argument: { command: ["sleep", Redacted.make("1000")] },
        three: { command: "exec sleep 1000", dependsOn: ["secret"] }
      } as const
      const running = (sandbox: Sandbox.Sandbox) =>
        Effect.map(sandbox.jobs, (jobs) =>
          jobs.flatMap(({ id, status }) => (status._tag === "Running" ? [id] : [])).toSorted()
        )
      const path = "/var/lib/lightbox/services.json"
      const get = Effect.scoped(
        Effect.flatMap(Sandbox.getOrCreate("again", { image, services }), (sandbox) =>
          Effect.gen(function* () {
            assert.notInclude(yield* sandbox.readFileString(path), "s3cret")
            assert.strictEqual((yield* sandbox.stat(path)).mode, 0o600)
            return yield* running(sandbox)
          })
        )
      )
      assert.deepStrictEqual(yield* get, Object.keys(services).toSorted())
      yield* Sandbox.stop("again")
      assert.deepStrictEqual(yield* Effect.scoped(Effect.flatMap(Sandbox.start("again"), running)), ["one", "two"])
      const restarted = Effect.flatMap(Sandbox.restart("again"), running)
      assert.deepStrictEqual(yield* Effect.scoped(restarted), ["one", "two"])
      assert.deepStrictEqual(yield* get, Object.keys(services).toSorted())
      // What a guest has made of the file, or a snapshot has brought along, is not believed.
      const change = (text: string) =>
        Effect.scoped(
          Effect.flatMap(Sandbox.connect("again"), (sandbox) =>
            Effect.andThen(sandbox.remove(path), sandbox.writeFileString(path, text))
          )
        )
      for (const text of ["", "{", '{"sandbox":"other","services":{"one":{"command":"exec sleep 1000"}}}']) {
        yield* change(text)
        assert.deepStrictEqual(yield* Effect.scoped(restarted), [])
        yield* Effect.scoped(Sandbox.start("again", { detached: true }))
      }
      const { id } = yield* Sandbox.get("again")
      yield* change(JSON.stringify({ sandbox: id, services: { bad: { command: "exit 1", ready: { port: 1 } } } }))
      yield* Sandbox.stop("again")
      const { reason } = yield* Effect.flip(Effect.scoped(Sandbox.start("again")))
      assert.deepInclude(reason, { _tag: "NotReady", job: "bad" })
      assert.strictEqual((yield* Sandbox.get("again")).status, "stopped")
      yield* Effect.flip(Effect.scoped(Sandbox.start("again", { detached: true })))
      assert.strictEqual((yield* Sandbox.get("again")).status, "running")
      yield* Sandbox.remove("again", { force: true })
    }).pipe(Effect.provide(layer))
  )

  it.live("start in a sandbox that was lost during an attempt, whose connection is closed at once", () => {
    let connections = 0
    const counting = Layer.effect(
      Microsandbox.Microsandbox,
      Effect.map(Microsandbox.Microsandbox, (driver) => ({
        ...driver,
        connect: (info) =>
          Effect.andThen(
            Effect.acquireRelease(
              Effect.sync(() => connections++),
              () => Effect.sync(() => connections--)
            ),
            driver.connect(info)
          )
      }))
    )
    return Effect.gen(function* () {
      const get = Sandbox.getOrCreate("lost", { image, services: { one: sleeping } })
      yield* Effect.scoped(get)
      const before = yield* count("connect")
      const control = yield* MicrosandboxMemory.Control
      yield* control.inject(MicrosandboxMemory.killGuestAt("guest.spawn"))
      yield* Effect.scoped(
        Effect.gen(function* () {
          const job = yield* Effect.flatMap(get, (sandbox) => sandbox.job("one"))
          assert.deepStrictEqual(yield* job.status, { _tag: "Running" })
          assert.deepStrictEqual([(yield* count("connect")) - before, connections], [2, 1])
        })
      )
      assert.strictEqual(connections, 0)
      yield* Sandbox.remove("lost", { force: true })
    }).pipe(Effect.provide(Layer.provideMerge(counting, layer)))
  })

  it.live("start where a power cut has left the folder of one without its record", () =>
    Effect.gen(function* () {
      const get = Effect.scoped(
        Effect.flatMap(Sandbox.getOrCreate("cut", { image, services: { one: sleeping } }), (sandbox) =>
          Effect.gen(function* () {
            const job = yield* sandbox.job("one")
            assert.deepStrictEqual(yield* job.status, { _tag: "Running" })
            return job.id
          })
        )
      )
      yield* get
      yield* Effect.scoped(
        Effect.gen(function* () {
          const sandbox = yield* Sandbox.connect("cut")
          const job = yield* sandbox.job("one")
          yield* job.signal("SIGKILL")
          yield* job.wait
          yield* sandbox.writeFileString("/var/lib/lightbox/jobs/one/job", "")
        })
      )
      assert.strictEqual(yield* get, "one")
      yield* Sandbox.remove("cut", { force: true })
    }).pipe(Effect.provide(layer))
  )

  it.live("are ready although a running one has dropped the line that said so", () =>
    Effect.gen(function* () {
      const services = { one: { command: "echo listening; exec sleep 1000", ready: { log: "listening" } } }
      const get = Sandbox.getOrCreate("old", { image, services })
      yield* Effect.scoped(
        Effect.gen(function* () {
          const sandbox = yield* get
          const log = "/var/lib/lightbox/jobs/one/log"
          yield* sandbox.shell(`rm ${log}.0 && echo later > ${log}.4194304`, { check: true })
        })
      )
      yield* Effect.scoped(get)
      yield* Sandbox.remove("old", { force: true })
    }).pipe(Effect.provide(layer))
  )

  it.live("are ready in every sandbox of a pool", () =>
    Effect.gen(function* () {
      const pool = yield* SandboxPool.make({ image, min: 1, max: 2, services: { one: sleeping } })
      const check = pool.use((sandbox) => sandbox.exists("/run/up"))
      assert.deepStrictEqual(yield* Effect.all([check, check, check], { concurrency: 3 }), [true, true, true])
      const failing = yield* SandboxPool.make({
        image,
        max: 1,
        services: { one: { command: "exit 1", ready: { port: 1 } } }
      })
      const { reason } = yield* Effect.flip(Effect.scoped(failing.acquire()))
      assert.deepInclude(reason, { _tag: "NotReady", job: "one" })
    }).pipe(Effect.scoped, Effect.provide(layer))
  )

  it.live("are released with a launch that is interrupted while it waits for them", () =>
    Effect.gen(function* () {
      const services = { one: { command: "exec sleep 1000", ready: { file: "/never" } } }
      const launching = yield* Effect.forkChild(Effect.scoped(Sandbox.launch({ image, services, detached: true })))
      yield* Effect.repeat(count("guest.stat"), { until: (times) => times > 0 })
      yield* Fiber.interrupt(launching)
      const { inventory } = yield* MicrosandboxMemory.Control
      const { processes, sandboxes } = yield* inventory
      assert.deepStrictEqual({ processes, sandboxes }, { processes: [], sandboxes: [] })
    }).pipe(Effect.provide(layer))
  )
})
