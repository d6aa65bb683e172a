/** What jobs cost, and what a command can do to the record of its own. */
import { assert, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import * as Jobs from "../../src/internal/sandbox/jobs.ts"
import type { LightboxError } from "../../src/LightboxError.ts"
import * as MicrosandboxMemory from "../../src/MicrosandboxMemory.ts"
import * as Sandbox from "../../src/Sandbox.ts"

it.live("a job takes few processes and messages", () =>
  Effect.gen(function* () {
    const sandbox = yield* Sandbox.launch({ image: "alpine" })
    const { calls } = yield* MicrosandboxMemory.Control
    yield* Effect.flatMap(sandbox.start("true"), (job) => job.wait)
    const pid = Effect.map(sandbox.shell("echo $$"), ({ stdout }) => Number(stdout))
    const before = yield* pid
    const asked = (yield* calls).length
    const job = yield* sandbox.start("true")
    // One round trip.
    assert.deepStrictEqual(
      (yield* calls).slice(asked).map(({ operation }) => operation),
      ["guest.spawn"]
    )
    yield* job.wait
    // The two that ask, the folder and pipes, the command, the writer and its `dd`, two that limit it, and the end.
    assert.isAtMost((yield* pid) - before - 1, 10)
  }).pipe(Effect.scoped, Effect.provide(MicrosandboxMemory.layer({ images: { alpine: {} } })))
)

it.live("a job whose command has changed its process id fails at once, and can be removed", () =>
  Effect.gen(function* () {
    const sandbox = yield* Sandbox.launch({ image: "alpine" })
    const reasonOf = (effect: Effect.Effect<void, LightboxError>) =>
      Effect.map(Effect.flip(effect), ({ method, reason }) => [method, reason._tag])
    for (const pid of ["x", "-1", "1", ""]) {
      const script = `printf '%s\\n' '${pid}' > /var/lib/lightbox/jobs/own/pid; echo ready; setsid sleep 4321 & exec sleep 4321`
      const job = yield* sandbox.start("sh", ["-c", script], { id: "own", stdin: "open" })
      yield* Stream.runDrain(Stream.take(job.logs({ follow: true }), 1))
      assert.deepStrictEqual(yield* job.status, { _tag: "Running" })
      assert.isUndefined((yield* job.info).pid)
      assert.deepStrictEqual(yield* reasonOf(job.signal("SIGKILL")), ["Job.signal", "FileError"])
      assert.deepStrictEqual(yield* reasonOf(job.write("x")), ["Job.write", "FileError"])
      assert.deepStrictEqual(yield* reasonOf(job.endInput), ["Job.endInput", "FileError"])
      assert.deepStrictEqual(yield* reasonOf(job.remove()), ["Job.remove", "StillRunning"])
      yield* job.remove({ force: true })
      assert.deepStrictEqual(yield* reasonOf(Effect.asVoid(job.info)), ["Job.info", "NotFound"])
      const { stdout } = yield* sandbox.shell("ps -o args | grep -c '^sleep 4321'")
      assert.strictEqual(stdout, "0\n")
    }
    // One that claims not to have begun is removed, too.
    const job = yield* sandbox.start("sh", ["-c", "echo 0 > /var/lib/lightbox/jobs/own/pid; exec sleep 4321"], {
      id: "own"
    })
    yield* job.remove({ force: true })
    assert.deepStrictEqual(yield* sandbox.jobs, [])
  }).pipe(Effect.scoped, Effect.provide(MicrosandboxMemory.layer({ images: { alpine: {} } })))
)

it.live("a start that is interrupted leaves no job and no process, even if the guest has not answered yet", () =>
  Effect.gen(function* () {
    const { guest, jobs, shell } = yield* Sandbox.launch({ image: "alpine" })
    const answer = yield* Deferred.make<void>()
    const late: typeof guest = {
      ...guest,
      spawn: (command, policy) =>
        Effect.map(guest.spawn(command, policy), (process) => ({
          ...process,
          output: Stream.unwrap(Effect.as(Deferred.await(answer), process.output))
        }))
    }
    yield* Effect.flatMap(Jobs.start(guest, { argv: ["true"] }), (job) => Effect.andThen(job.wait, job.remove()))
    const starting = yield* Effect.forkChild(Jobs.start(late, { argv: ["sleep", "4321"] }))
    yield* Effect.repeat(jobs, { until: ([job]) => job?.pid !== undefined, schedule: Schedule.spaced("10 millis") })
    const interrupting = yield* Effect.forkChild(Fiber.interrupt(starting), { startImmediately: true })
    yield* Deferred.succeed(answer, undefined)
    yield* Fiber.join(interrupting)
    assert.deepStrictEqual(yield* jobs, [])
    assert.strictEqual((yield* shell("ps -o args | grep -c '^sleep 4321'")).stdout, "0\n")
  }).pipe(Effect.scoped, Effect.provide(MicrosandboxMemory.layer({ images: { alpine: {} } })))
)
