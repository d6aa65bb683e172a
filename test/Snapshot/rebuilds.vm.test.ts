/** What builds on real microVMs leave when killed, interrupted or rejected, and what they leave alone. */
import { assert, layer } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Path from "effect/Path"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import type { ChildProcessHandle } from "effect/process/ChildProcessSpawner"
import * as Sdk from "microsandbox"
import * as Microsandbox from "../../src/Microsandbox.ts"
import * as Reaper from "../../src/Reaper.ts"
import * as Sandbox from "../../src/Sandbox.ts"
import * as Snapshot from "../../src/Snapshot.ts"
import { run } from "../host/Subprocess.ts"
import * as Support from "../microvm/support.ts"

const linesOf = (child: ChildProcessHandle) => Stream.splitLines(Stream.decodeText(child.stdout))

/** Waits until a program has printed a word. */
const said = (child: ChildProcessHandle, word: string) =>
  linesOf(child).pipe(
    Stream.takeUntil((line) => line === word),
    Stream.runDrain
  )

const versionOf = (snapshot: string) => Sandbox.run({ snapshot }, (sandbox) => sandbox.readFileString("/root/version"))

/** A test boots up to ten virtual machines, on processors that it shares with others. */
const limit = 900_000

layer(Support.layer, { excludeTestServices: true })("builds", (it) => {
  it.effect(
    "keep the old result when killed, can roll back, and load in another home",
    () =>
      Effect.gen(function* () {
        const path = yield* Path.Path
        const home = yield* Support.Home
        const driver = yield* Microsandbox.Microsandbox
        const name = "killed"
        const old = yield* Snapshot.build(
          Snapshot.make(name, Support.image).pipe(Snapshot.shell("echo this process > /root/version"))
        )
        const rebuild = Support.program("build", name, Support.image)
        const killAt = Effect.fnUntraced(function* (word: string) {
          const child = yield* rebuild
          yield* said(child, word)
          yield* child.kill({ killSignal: "SIGKILL" })
          return yield* Snapshot.get(name)
        }, Effect.scoped)

        // At the start of the boot, in the first step, in the capture.
        for (const word of ["boot", "step 1", "capture"]) {
          assert.strictEqual((yield* killAt(word)).path, old.path, `killed at ${word}`)
        }
        assert.strictEqual(yield* versionOf(name), "this process\n")
        // For the runtime's tool as well.
        const other = Support.msb("run", "--memory", "256M", "--from-snapshot", name, "--", "cat", "/root/version")
        assert.deepStrictEqual(yield* Support.outcome(other), { exitCode: 0, stdout: "this process\n" })
        // The old or the new one, and complete.
        const found = yield* killAt("link")
        assert.isTrue(yield* driver.verifySnapshot(path.basename(found.path)))
        const { isComplete } = yield* Reaper.sweep()
        assert.isTrue(isComplete)
        yield* Support.assertNothingLeft({ snapshots: [name] })

        const { exitCode, stdout } = yield* Support.outcome(rebuild)
        // What the killed build had captured is reused.
        assert.deepStrictEqual([exitCode, stdout.includes("boot")], [0, false])
        // The killed one may have taken a number, though no name led there.
        assert.isAbove((yield* Snapshot.get(name)).generation ?? 0, 1)
        assert.strictEqual(yield* versionOf(name), "another process\n")
        yield* Snapshot.rollback(name)
        assert.strictEqual(yield* versionOf(name), "this process\n")

        const file = path.join(home.files, "saved")
        yield* Snapshot.save(name, file)
        const elsewhere = yield* Support.outcome(Support.program("load", path.join(home.files, "o"), file))
        assert.deepStrictEqual(elsewhere, { exitCode: 0, stdout: "killed, generation 1 of 2: this process\n" })
        yield* Snapshot.remove(name)
        yield* Support.assertNothingLeft({ snapshots: [] })
      }),
    limit
  )

  it.effect(
    "run as one in several processes, and another takes over when the building one is killed",
    () =>
      Effect.gen(function* () {
        const holder = yield* Support.program("build", "shared", Support.image, "hang")
        yield* said(holder, "step 2")
        const waiter = Effect.gen(function* () {
          const child = yield* Support.program("build", "shared", Support.image)
          const lines: Array<readonly [line: string, at: number]> = []
          const done = yield* Effect.forkScoped(
            Stream.runForEach(linesOf(child), (line) =>
              Effect.map(Clock.currentTimeMillis, (at) => lines.push([line, at] as const))
            )
          )
          yield* Effect.sync(() => lines.some(([line]) => line === "Waiting")).pipe(
            Effect.repeat({ until: (isWaiting) => isWaiting, schedule: Schedule.spaced("50 millis") })
          )
          return { child, done, lines }
        })
        const waiters = yield* Effect.all([waiter, waiter], { concurrency: 2 })
        const killedAt = yield* Clock.currentTimeMillis
        yield* holder.kill({ killSignal: "SIGKILL" })
        for (const { child, done } of waiters) {
          yield* Fiber.join(done)
          assert.strictEqual(Number(yield* child.exitCode), 0)
        }
        const boots = waiters.flatMap(({ lines }) => lines.filter(([line]) => line === "boot"))
        assert.strictEqual(boots.length, 1)
        yield* Console.log(
          `another process took over ${(boots[0]?.[1] ?? 0) - killedAt} ms after the holder was killed`
        )
        // The waiting builds receive the events.
        for (const { lines } of waiters)
          assert.include(
            lines.map(([line]) => line),
            "step 3"
          )
        assert.strictEqual((yield* Snapshot.generations("shared")).length, 1)
        yield* Reaper.sweep()
        yield* Snapshot.remove("shared")
        yield* Support.assertNothingLeft({ snapshots: [] })
      }).pipe(Effect.scoped),
    limit
  )

  it.effect(
    "leave only results when interrupted in a boot, a capture or the cleanup",
    () =>
      Effect.gen(function* () {
        const observer = yield* Support.Observer
        const definition = Snapshot.make("interrupted", Support.image).pipe(
          Snapshot.shell("echo whole > /root/version")
        )
        for (const phase of ["boot", "capture", "remove"] as const) {
          yield* Support.interruptAt(Snapshot.build(definition), observer.next(phase))
          yield* Support.assertNothingLeft({ snapshots: [] })
        }
        // The last one had done everything but move the name.
        const before = observer.count("boot")
        yield* Snapshot.build(definition)
        assert.strictEqual(observer.count("boot"), before)
        yield* Snapshot.remove("interrupted")
        yield* Support.assertNothingLeft({ snapshots: [] })
      }),
    limit
  )

  it.effect(
    "keep a secret off the disk, or fail if a step left it there",
    () =>
      Effect.gen(function* () {
        const home = yield* Support.Home
        const value = "k7Qp-not-to-be-found-9sXz"
        const secrets = { TOKEN: Redacted.make(value), FILE: { value: Redacted.make(value), as: "file" } as const }
        const uses = Snapshot.make("secret", Support.image).pipe(
          // So that all of it can be searched.
          Snapshot.resources({ disk: "128M" }),
          Snapshot.shell('test "$TOKEN" = "$(cat /run/secrets/FILE)" && echo "it is $TOKEN" | tee /tmp/kept', {
            secrets
          })
        )
        const { events, onEvent } = Support.recorder()
        yield* Snapshot.build(uses, { onEvent })
        assert.include(JSON.stringify(events), "it is <redacted>")
        assert.notInclude(JSON.stringify(events), value)
        // Everywhere in the home: the disk, the records, the logs.
        const places = yield* run("sh", ["-c", 'grep -rlaF -e "$1" "$2" || true', "sh", value, home.path])
        assert.strictEqual(places, "")

        // Removed again, but by then it was written.
        const leaks = Snapshot.from("leak", uses).pipe(
          Snapshot.shell("echo $TOKEN > /root/token; sync; rm /root/token", { secrets: { TOKEN: secrets.TOKEN } })
        )
        const error = yield* Effect.flip(Snapshot.build(leaks))
        assert.deepInclude(error.reason, { _tag: "SecretLeaked", secret: "TOKEN" })
        assert.notInclude(error.message, value)
        yield* Support.assertNothingLeft({ snapshots: ["secret"] })
        yield* Snapshot.remove("secret")
        yield* Support.assertNothingLeft({ snapshots: [] })
      }),
    limit
  )

  it.effect(
    "leave snapshots made by other tools alone",
    () =>
      Effect.gen(function* () {
        yield* Sandbox.run({ name: "source", image: Support.image }, (sandbox) =>
          Effect.gen(function* () {
            yield* sandbox.shell("echo by the SDK > /root/version", { check: true })
            yield* sandbox.stop()
            yield* Effect.promise(() => Sdk.Snapshot.builder("foreign").fromSandbox("source").create())
          })
        )
        const { generation, key } = yield* Snapshot.get("foreign")
        assert.deepStrictEqual([generation, key], [undefined, undefined])
        assert.isTrue(yield* Snapshot.exists("foreign"))
        const { verdicts } = yield* Snapshot.prune({ keep: 1, maxBytes: 0 })
        assert.deepInclude(
          verdicts.map(({ name, verdict }) => [name, verdict]),
          ["foreign", "kept"]
        )
        assert.strictEqual(yield* versionOf("foreign"), "by the SDK\n")
        yield* Snapshot.remove("foreign")
        yield* Support.assertNothingLeft({ snapshots: [] })
      }),
    limit
  )
})
