/** Builds that fail, are interrupted or are watched: what they report, what they leave, and what they keep secret. */
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FileSystem from "effect/FileSystem"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as TestClock from "effect/testing/TestClock"
import { LightboxError, NoSpace } from "../../src/LightboxError.ts"
import * as Microsandbox from "../../src/Microsandbox.ts"
import type * as Mount from "../../src/Mount.ts"
import * as MicrosandboxMemory from "../../src/MicrosandboxMemory.ts"
import * as Sandbox from "../../src/Sandbox.ts"
import * as Snapshot from "../../src/Snapshot.ts"
import { turn } from "../support.ts"
import * as Support from "./support.ts"

const { test } = Support

describe("the error for an invalid host path", () => {
  const invalid = Effect.fnUntraced(function* (effect: Effect.Effect<unknown, LightboxError, Support.Twin>) {
    const { reason } = yield* Effect.flip(effect)
    if (reason._tag !== "InvalidConfig") return assert.fail(reason._tag)
    return [reason.field, reason.problem.replace(/failures\.test\.ts:\d+/, "LINE")]
  })
  const at = "(declared at test/Snapshot/LINE)"

  test(
    "names the field and the line of a copied path, of a base as well, before anything boots",
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const file = yield* fs.makeTempFileScoped()
      const missing = ["/nowhere/at/all", `${file}/below`]
      for (const from of missing) {
        const definition = Snapshot.make("wrong", "not-pulled").pipe(
          Snapshot.shell("true"),
          Snapshot.copy(from, "/srv")
        )
        const expected = ["steps.1.from", `${from} does not exist on this host ${at}`]
        assert.deepStrictEqual(yield* invalid(Snapshot.build(definition)), expected)
        assert.deepStrictEqual(yield* invalid(Snapshot.plan(definition)), expected)
        assert.deepStrictEqual(yield* invalid(Snapshot.build(Snapshot.from("other", definition))), expected)
      }
      const device = Snapshot.make("wrong", Support.image).pipe(Snapshot.copy("/dev/null", "/srv"))
      assert.deepStrictEqual(yield* invalid(Snapshot.build(device)), [
        "steps.0.from",
        `/dev/null is neither a file nor a folder ${at}`
      ])
      assert.strictEqual(yield* Support.boots, 0)
    })
  )

  test(
    "names the field of a mount of the builder and the line of its definition",
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const folder = yield* fs.makeTempDirectoryScoped()
      const build = (mount: Mount.MountInput) =>
        Snapshot.make("wrong", Support.image).pipe(
          Snapshot.builder({ mounts: { "/m": mount } }),
          Snapshot.shell("true"),
          Snapshot.build
        )
      const missing = `/nowhere/at/all does not exist on this host ${at}`
      assert.deepStrictEqual(yield* invalid(build("/nowhere/at/all")), ["mounts./m", missing])
      assert.deepStrictEqual(yield* invalid(build({ disk: "/nowhere/at/all" })), ["mounts./m.disk", missing])
      yield* fs.makeDirectory(`${folder}/c,d`)
      assert.deepStrictEqual(yield* invalid(build(`${folder}/c,d`)), [
        "mounts./m",
        `the runtime cannot mount a host path with a comma, : or ; ${at}`
      ])
      assert.deepStrictEqual(yield* invalid(build({ disk: folder })), [
        "mounts./m.disk",
        `${folder} is not a file ${at}`
      ])
    })
  )

  test(
    "shortens a long script",
    Effect.gen(function* () {
      const long = Snapshot.make("long", Support.image).pipe(Snapshot.shell(`exit 3 #${"y".repeat(100_000)}`))
      assert.isBelow((yield* Effect.flip(Snapshot.build(long))).message.length, 2000)
    })
  )

  test(
    "names the line of what is wrong in a definition",
    Effect.gen(function* () {
      const step = Snapshot.make("wrong", Support.image).pipe(Snapshot.shell("true"), Snapshot.shell(""))
      assert.deepStrictEqual(yield* invalid(Snapshot.build(step)), ["steps.1.script", `expected a script ${at}`])
      assert.deepStrictEqual(yield* invalid(Snapshot.build(Snapshot.make("wrong", ""))), [
        "image",
        `expected an image reference such as "node:22" ${at}`
      ])
    })
  )
})

describe("the error of a step", () => {
  test(
    "names the step, its definition and line, the command, and how it ended",
    Effect.gen(function* () {
      const definition = Snapshot.make("failing", Support.image).pipe(
        Snapshot.shell("echo fine"),
        Snapshot.exec("sh", ["-c", "seq 200; seq 300 >&2; exit 7"], {
          description: "the bad one",
          retry: Schedule.recurs(2)
        })
      )
      const error = yield* Effect.flip(Snapshot.build(definition))
      assert.deepInclude(error.reason, {
        _tag: "CommandFailed",
        argv: ["sh", "-c", "seq 200; seq 300 >&2; exit 7"],
        exitCode: 7
      })
      if (error.reason._tag !== "CommandFailed") return
      const last = (from: number) => Array.from({ length: 50 }, (_, line) => `${from + line}`)
      assert.deepStrictEqual(error.reason.stdout.trim().split("\n"), last(151))
      assert.deepStrictEqual(error.reason.stderr.trim().split("\n"), last(251))
      const { declaredAt, durationMillis, ...step } = error.step ?? assert.fail("no step")
      assert.deepStrictEqual(step, {
        definition: "failing",
        index: 2,
        description: "the bad one",
        command: "sh -c seq 200; seq 300 >&2; exit 7",
        attempt: 3
      })
      assert.match(declaredAt ?? "", /^test\/Snapshot\/failures\.test\.ts:\d+$/)
      assert.isAtLeast(durationMillis, 0)
      assert.deepStrictEqual([error.method, error.isRetryable, error.outcome], ["Snapshot.build", true, "failed"])
      assert.match(error.message, /"failing" failed at step 2, attempt 3, the bad one \(test\/Snapshot\/failures/)
      const codec = Schema.fromJsonString(Schema.toCodecJson(LightboxError))
      const decoded = yield* Schema.decodeEffect(codec)(yield* Schema.encodeEffect(codec)(error))
      assert.deepStrictEqual(decoded.step, error.step)
      assert.strictEqual(decoded.message, error.message)
    })
  )

  test(
    "is the step's own error if it has one",
    Effect.gen(function* () {
      class Refused extends Schema.TaggedError<Refused>()("Refused", { why: Schema.String }) {}
      const definition = Snapshot.make("own", Support.image).pipe(
        Snapshot.step("refuses", () => Effect.fail(new Refused({ why: "no" })))
      )
      const { events, onEvent } = Support.recorder()
      const error = yield* Effect.flip(Snapshot.build(definition, { onEvent }))
      assert.deepInclude(error, { _tag: "Refused", why: "no" })
      assert.deepStrictEqual(
        events.flatMap((event) => (event._tag === "StepAttemptFailed" ? [event.index] : [])),
        [1]
      )
    })
  )

  test(
    "is TimedOut when the step takes too long, and the command is killed",
    Effect.gen(function* () {
      const definition = Snapshot.make("slow", Support.image).pipe(
        Snapshot.shell("echo out; printf err >&2; sleep 1000", { timeout: "10 seconds", description: "too slow" })
      )
      const fiber = yield* Effect.forkChild(Effect.flip(Snapshot.build(definition)))
      const error = yield* Effect.flatten(Support.passUntilDone(fiber))
      assert.deepInclude(error.reason, { _tag: "TimedOut", limitMillis: 10_000, stdout: "out\n", stderr: "err" })
      assert.deepInclude(error.step, { index: 1, description: "too slow" })
    })
  )

  for (const program of ["kill", "sync"]) {
    test(
      `does not come from a guest whose ${program} never ends`,
      Effect.gen(function* () {
        const hang = `rm /bin/${program}; printf '#!/bin/sh\\nsleep 100000\\n' > /bin/${program}; chmod +x /bin/${program}`
        const definition = Snapshot.make("hangs", Support.image).pipe(
          Snapshot.shell(hang),
          Snapshot.shell("echo 1 > /root/one")
        )
        const { inventory } = yield* MicrosandboxMemory.Control
        const fiber = yield* Effect.forkChild(Snapshot.build(definition))
        // Time passes only while the program hangs.
        const pass = Effect.flatMap(inventory, ({ processes }) =>
          Effect.andThen(turn, processes.length > 0 ? TestClock.adjust("1 second") : Effect.void)
        )
        yield* Effect.repeat(pass, { until: () => fiber.pollUnsafe() !== undefined })
        assert.strictEqual((yield* Fiber.join(fiber)).stepsRun, 2)
      })
    )
  }

  test(
    "says that the guest was lost",
    Effect.gen(function* () {
      const error = yield* Effect.flip(Snapshot.build(Support.tenSteps("ten")))
      assert.strictEqual(error.reason._tag, "GuestLost")
      assert.deepInclude(error.step, { definition: "ten", index: 1, attempt: 1 })
      assert.isTrue(error.isRetryable)
    }),
    {
      faults: [
        MicrosandboxMemory.killGuestAt("guest.spawn", {
          matching: ({ detail }) => /echo 1 /.test(JSON.stringify(detail))
        })
      ]
    }
  )

  test(
    "names the kept builder, which has the step's disk until the next build",
    Effect.gen(function* () {
      const { inventory } = yield* MicrosandboxMemory.Control
      const definition = (script: string) =>
        Snapshot.make("kept", Support.image).pipe(Snapshot.shell("echo 1 > /root/one"), Snapshot.shell(script))
      const error = yield* Effect.flip(Snapshot.build(definition("echo 2 > /root/two; exit 3"), { keepBuilder: true }))
      assert.strictEqual(error.builder, "kept-builder")
      assert.include(error.message, 'connect to sandbox "kept-builder"')
      yield* Effect.scoped(
        Effect.gen(function* () {
          const sandbox = yield* Sandbox.connect("kept-builder")
          assert.strictEqual((yield* sandbox.shell("cat /root/one /root/two")).stdout, "1\n2\n")
        })
      )
      // It stays after a success, too, with what was built.
      yield* Snapshot.build(definition("echo 3 > /root/two"), { keepBuilder: true })
      yield* Effect.scoped(
        Effect.gen(function* () {
          const sandbox = yield* Sandbox.connect("kept-builder")
          assert.strictEqual((yield* sandbox.shell("cat /root/one /root/two")).stdout, "1\n3\n")
        })
      )
      assert.deepStrictEqual((yield* inventory).sandboxes, [{ name: "kept-builder", status: "running" }])
      yield* Sandbox.remove("kept-builder", { force: true })
    })
  )
})

describe("a failed build", () => {
  const old = Snapshot.make("app", Support.image).pipe(Snapshot.shell("echo old > /root/version"))

  const next = Snapshot.make("app", Support.image).pipe(
    Snapshot.shell("echo step"),
    Snapshot.checkpoint,
    Snapshot.write("/root/version", "new\n"),
    Snapshot.verify((sandbox) => sandbox.shell("test -s /root/version", { check: true }))
  )

  const isOldOrNew = Effect.map(Support.readIn("app", "/root/version"), (version) =>
    assert.include(["old\n", "new\n"], version)
  )

  /** Every driver call of a build: it can be interrupted at the start of each. */
  const moments = Effect.gen(function* () {
    const control = yield* MicrosandboxMemory.Control
    yield* Snapshot.build(old)
    const before = (yield* control.calls).length
    yield* Snapshot.build(next, { checkpoints: "marked" })
    const counts = new Map<MicrosandboxMemory.Operation, number>()
    return (yield* control.calls).slice(before).map(({ operation }) => {
      const nth = (counts.get(operation) ?? 0) + 1
      counts.set(operation, nth)
      return { operation, nth }
    })
  })

  it.effect(
    "keeps the old result or moves the name to the complete new one, wherever interrupted",
    () =>
      Effect.gen(function* () {
        const all = yield* Support.withTwin(moments)
        assert.isAbove(all.length, 30)
        yield* Effect.forEach(all, ({ nth, operation }) =>
          Support.withTwin(
            Effect.gen(function* () {
              const control = yield* MicrosandboxMemory.Control
              yield* Snapshot.build(old)
              const before = (yield* control.calls).length
              yield* control.inject(MicrosandboxMemory.delayAt(operation, "1 second", { nth }))
              const fiber = yield* Effect.forkChild(Snapshot.build(next, { checkpoints: "marked" }))
              yield* Support.until(
                Effect.map(control.calls, (calls) => {
                  const same = calls.slice(before).filter((call) => call.operation === operation)
                  return same[nth - 1]?.outcome._tag === "Pending"
                })
              )
              const interrupted = yield* Effect.forkChild(Fiber.interrupt(fiber))
              yield* Support.passUntilDone(interrupted)
              const exit = yield* Fiber.await(fiber)
              // The move of the name cannot be interrupted any more, and is completed.
              assert.isTrue(Exit.hasInterrupts(exit) || Exit.isSuccess(exit), `${operation} ${nth}`)
              yield* Support.assertNothingRuns
              yield* isOldOrNew
              yield* Snapshot.build(next)
              assert.strictEqual(yield* Support.readIn("app", "/root/version"), "new\n", `${operation} ${nth}`)
            })
          )
        )
      }),
    120_000
  )

  test(
    "can be interrupted while it keeps the disk before the failed step",
    Effect.gen(function* () {
      const control = yield* MicrosandboxMemory.Control
      const definition = Support.tenSteps("ten").pipe(Snapshot.shell("exit 7"))
      yield* control.inject(MicrosandboxMemory.hangAt("createSandbox", { nth: 2 }))
      const fiber = yield* Effect.forkChild(Snapshot.build(definition))
      yield* Support.until(Effect.map(Support.boots, (boots) => boots === 2))
      yield* Support.passUntilDone(yield* Effect.forkChild(Fiber.interrupt(fiber)))
      assert.isTrue(Exit.hasInterrupts(yield* Fiber.await(fiber)))
      assert.deepStrictEqual(yield* Snapshot.list({ layers: true }), [])
    })
  )

  test(
    "reports the step's error even if the disk before it cannot be kept",
    Effect.gen(function* () {
      const control = yield* MicrosandboxMemory.Control
      yield* control.inject(
        MicrosandboxMemory.failAt("captureSnapshot", new NoSpace({ problem: "full" }), { times: 9 })
      )
      const error = yield* Effect.flip(Snapshot.build(Support.tenSteps("ten").pipe(Snapshot.shell("exit 7"))))
      assert.deepInclude(error.reason, { _tag: "CommandFailed", exitCode: 7 })
    })
  )

  test(
    "reruns nothing for a result that no later build could start from",
    Effect.gen(function* () {
      const definition = Support.tenSteps("ten").pipe(
        Snapshot.shell("true", { cache: "never" }),
        Snapshot.shell("exit 7")
      )
      const { onEvent, stepsRun } = Support.recorder()
      yield* Effect.flip(Snapshot.build(definition, { onEvent }))
      assert.lengthOf(stepsRun(), 12)
      assert.strictEqual(yield* Support.boots, 1)
    })
  )

  test(
    "keeps the old result under its name when there is no room for the new one",
    Effect.gen(function* () {
      const control = yield* MicrosandboxMemory.Control
      yield* Snapshot.build(old)
      yield* control.inject(
        MicrosandboxMemory.failAt("captureSnapshot", new NoSpace({ problem: "No space left on device" }), { times: 9 })
      )
      const error = yield* Effect.flip(Snapshot.build(next))
      assert.strictEqual(error.reason._tag, "NoSpace")
      assert.strictEqual(yield* Support.readIn("app", "/root/version"), "old\n")
      assert.lengthOf(yield* Snapshot.generations("app"), 1)
    })
  )

  test(
    "points no name to a result that differs from what was captured",
    Effect.gen(function* () {
      const control = yield* MicrosandboxMemory.Control
      const driver = yield* Microsandbox.Microsandbox
      yield* Snapshot.build(old)
      // Like a disk that falsely reports a write.
      const spoiled = Snapshot.build(Support.tenSteps("app"), { checkpoints: "final" }).pipe(
        Effect.provideService(Microsandbox.Microsandbox, {
          ...driver,
          captureSnapshot: (request) =>
            Effect.tap(driver.captureSnapshot(request), () => control.damageSnapshot(request.name, "content"))
        })
      )
      const error = yield* Effect.flip(spoiled)
      assert.strictEqual(error.reason._tag, "SnapshotDamaged")
      assert.strictEqual(yield* Support.readIn("app", "/root/version"), "old\n")
      assert.lengthOf(yield* Snapshot.list({ layers: true }), 2)
    })
  )
})

describe("a build secret", () => {
  const value = "kept-to-itself-4711"

  /** Every file in the home that is not a disk. */
  const records = Effect.gen(function* () {
    const fs = yield* FileSystem.FileSystem
    const { home } = yield* Microsandbox.Microsandbox
    const files = yield* fs.readDirectory(home, { recursive: true })
    const contents = yield* Effect.forEach(files, (file) =>
      Effect.orElseSucceed(fs.readFileString(`${home}/${file}`), () => "")
    )
    return contents.join("\n")
  })

  test(
    "reaches its step as a variable and as a file, and nothing else",
    Effect.gen(function* () {
      const control = yield* MicrosandboxMemory.Control
      const definition = Snapshot.make("secret", Support.image).pipe(
        Snapshot.shell(
          'test "$TOKEN" = "$(cat /run/secrets/FILE)"; echo "it is $TOKEN" | tee /dev/stderr; false || true',
          {
            secrets: {
              TOKEN: Redacted.make(value),
              FILE: { value: Redacted.make(value), as: "file" }
            }
          }
        ),
        Snapshot.exec("echo", [Redacted.make(value)]),
        Snapshot.shell("{ env; ls -A /run /run/secrets; } > /root/after")
      )
      const { events, onEvent } = Support.recorder()
      yield* Snapshot.build(definition, { onEvent, checkpoints: "every-step" })
      const after = yield* Support.readIn("secret", "/root/after")
      assert.notInclude(after, "TOKEN")
      assert.notInclude(after, "FILE")
      const shown = JSON.stringify([events, yield* control.calls, yield* Snapshot.plan(definition)])
      assert.include(shown, "it is <redacted>")
      assert.notInclude(shown, value)
      assert.notInclude(yield* records, value)
    })
  )

  test(
    "does not appear in the step's error",
    Effect.gen(function* () {
      const definition = Snapshot.make("secret", Support.image).pipe(
        Snapshot.exec("sh", ["-c", 'echo "bad: $TOKEN"; echo "worse: $0" >&2; exit 1', Redacted.make(value)], {
          secrets: { TOKEN: Redacted.make(value) }
        })
      )
      const { events, onEvent } = Support.recorder()
      const error = yield* Effect.flip(Snapshot.build(definition, { onEvent }))
      assert.deepInclude(error.reason, {
        _tag: "CommandFailed",
        stdout: "bad: <redacted>\n",
        stderr: "worse: <redacted>\n"
      })
      assert.notInclude(JSON.stringify([error, error.message, events, String(error.stack)]), value)
    })
  )

  test(
    "is redacted even if it is written in pieces",
    Effect.gen(function* () {
      const definition = Snapshot.make("secret", Support.image).pipe(
        Snapshot.shell('printf "%s" "${TOKEN%4711}"; printf "4711\\n"; seq 5000; printf "%s" "$TOKEN"', {
          secrets: { TOKEN: Redacted.make(value) }
        })
      )
      const { onEvent, output } = Support.recorder()
      yield* Snapshot.build(definition, { onEvent })
      assert.match(output(), /^<redacted>\n1\n2\n[^]*5000\n<redacted>$/)
    })
  )

  test(
    "is redacted in an endless line, and in the error after it",
    Effect.gen(function* () {
      const definition = Snapshot.make("secret", Support.image).pipe(
        Snapshot.shell('seq -s - 3000; printf "%s" "$(seq -s - 3000)$TOKEN"; printf "/tail"; exit 1', {
          secrets: { TOKEN: Redacted.make(value) }
        })
      )
      const { onEvent, output } = Support.recorder()
      const error = yield* Effect.flip(Snapshot.build(definition, { onEvent }))
      assert.include(output(), "-3000<redacted>/tail")
      assert.deepInclude(error.reason, { _tag: "CommandFailed", exitCode: 1 })
      if (error.reason._tag !== "CommandFailed") return
      assert.match(error.reason.stdout, /-3000<redacted>\/tail$/)
    })
  )

  test(
    "fails the build if a step leaves it on the disk, and nothing is kept",
    Effect.gen(function* () {
      const leaking = (script: string) =>
        Snapshot.make("leak", Support.image).pipe(
          Snapshot.shell(script, { secrets: { TOKEN: Redacted.make(value) } }),
          Snapshot.shell("true")
        )
      for (const script of [
        "echo $TOKEN > /root/token",
        "echo before $TOKEN after > /etc/deep; mv /etc/deep /usr/deeper",
        // Removed, but still on the disk.
        "echo $TOKEN > /root/token; sync; rm /root/token"
      ]) {
        for (const checkpoints of ["final", "every-step"] as const) {
          const error = yield* Effect.flip(Snapshot.build(leaking(script), { checkpoints }))
          assert.deepInclude(error.reason, { _tag: "SecretLeaked", secret: "TOKEN" })
          assert.notInclude(JSON.stringify([error, error.message]), value)
          assert.deepStrictEqual(yield* Snapshot.list({ layers: true }), [])
        }
      }
      // What only the guest's memory held is not a leak.
      yield* Snapshot.build(leaking("echo $TOKEN > /tmp/token; echo $TOKEN > /dev/shm/token"))
    })
  )

  test(
    "does not rerun its step when it changes, unless it is part of the key",
    Effect.gen(function* () {
      const using = (token: string, inKey: boolean) =>
        Snapshot.make("secret", Support.image).pipe(
          Snapshot.shell("true", { secrets: { TOKEN: { value: Redacted.make(token), inKey } } })
        )
      const boots = (definition: Snapshot.Definition) =>
        Effect.map(Support.buildCounting(definition), ({ boots }) => boots)
      assert.deepStrictEqual([yield* boots(using("first", false)), yield* boots(using("second", false))], [1, 0])
      assert.deepStrictEqual([yield* boots(using("first", true)), yield* boots(using("second", true))], [1, 1])
    })
  )
})

describe("listeners of a build", () => {
  test(
    "receive all events in order, with their step and stream",
    Effect.gen(function* () {
      const definition = Snapshot.make("watched", Support.image).pipe(
        Snapshot.shell("echo one"),
        Snapshot.checkpoint,
        Snapshot.shell("echo two >&2")
      )
      const { events, onEvent } = Support.recorder()
      yield* Snapshot.build(definition, { checkpoints: "marked", onEvent })
      assert.deepStrictEqual(
        events.flatMap(({ _tag }) => (_tag === "Pulling" ? [] : [_tag])),
        [
          "Planned",
          "Booting",
          "Booted",
          "StepStarted",
          "StepOutput",
          "StepFinished",
          "Checkpointing",
          "Checkpointed",
          "Booting",
          "Booted",
          "StepStarted",
          "StepOutput",
          "StepFinished",
          "Checkpointing",
          "Checkpointed",
          "Committed",
          "Finished"
        ]
      )
      assert.deepStrictEqual(
        events.map(({ sequence }) => sequence),
        events.map((_, index) => index)
      )
      assert.strictEqual(new Set(events.map(({ buildId }) => buildId)).size, 1)
      const output = events.flatMap((event) =>
        event._tag === "StepOutput" ? [[event.index, event.stream, event.text]] : []
      )
      assert.deepStrictEqual(output, [
        [1, "stdout", "one\n"],
        [2, "stderr", "two\n"]
      ])
    })
  )

  test(
    "do not delay or break it, however slow or broken they are",
    Effect.gen(function* () {
      const seen: Array<string> = []
      const listeners: ReadonlyArray<Snapshot.BuildOptions["onEvent"]> = [
        () => Effect.never,
        () => Effect.die(new Error("a listener that breaks")),
        ({ _tag }) =>
          Effect.andThen(
            Effect.sleep("1 hour"),
            Effect.sync(() => seen.push(_tag))
          )
      ]
      for (const [index, onEvent] of listeners.entries()) {
        const fiber = yield* Effect.forkChild(
          Snapshot.build(Support.tenSteps(`ten-${index}`), { onEvent, force: true })
        )
        // The name exists although no time has passed.
        yield* Support.until(Snapshot.exists(`ten-${index}`))
        const exit = yield* Support.passUntilDone(fiber, "10 millis")
        assert.isTrue(Exit.isSuccess(exit))
      }
      assert.deepStrictEqual(seen, [])
    })
  )

  test(
    "are told about a failure and an interruption",
    Effect.gen(function* () {
      const failing = Support.recorder()
      yield* Effect.exit(
        Snapshot.build(Snapshot.make("failing", Support.image).pipe(Snapshot.shell("exit 1")), {
          onEvent: failing.onEvent
        })
      )
      assert.strictEqual(failing.events.at(-1)?._tag, "Failed")

      const interrupted = Support.recorder()
      const fiber = yield* Effect.forkChild(
        Snapshot.build(Snapshot.make("endless", Support.image).pipe(Snapshot.shell("echo begun; sleep 1000")), {
          onEvent: interrupted.onEvent
        })
      )
      yield* interrupted.until("StepOutput")
      yield* Fiber.interrupt(fiber)
      assert.deepInclude(interrupted.events.at(-1), { _tag: "Failed", problem: "interrupted" })
    })
  )
})

describe("concurrent builds", () => {
  const counted = (name: string, gate: Effect.Effect<void>) => {
    let runs = 0
    return {
      runs: () => runs,
      definition: Snapshot.make(name, Support.image).pipe(
        Snapshot.shell("echo shared"),
        Snapshot.step("counted", () =>
          Effect.suspend(() => {
            runs++
            return gate
          })
        ),
        Snapshot.shell("echo after")
      )
    }
  }

  test(
    "run as one if they are the same, and the waiting ones receive its events",
    Effect.gen(function* () {
      const gate = yield* Deferred.make<void>()
      const { definition, runs } = counted("same", Deferred.await(gate))
      const recorders = Array.from({ length: 3 }, () => Support.recorder())
      const fibers = yield* Effect.forEach(recorders, ({ onEvent }) =>
        Effect.forkChild(Snapshot.build(definition, { onEvent, checkpoints: "final" }))
      )
      const isWaiting = ({ events }: (typeof recorders)[number]) => events.some(({ _tag }) => _tag === "Waiting")
      yield* Support.until(Effect.sync(() => recorders.filter(isWaiting).length === 2 && runs() === 1))
      yield* Deferred.succeed(gate, undefined)
      const built = yield* Effect.forEach(fibers, Fiber.join)
      assert.strictEqual(runs(), 1)
      assert.strictEqual(yield* Support.boots, 1)
      assert.deepStrictEqual(
        built.map(({ stepsRun }) => stepsRun).toSorted((a, b) => a - b),
        [0, 0, 3]
      )
      assert.strictEqual(new Set(built.map(({ digest }) => digest)).size, 1)
      assert.lengthOf(yield* Snapshot.generations("same"), 1)
      for (const recorder of recorders.filter(isWaiting)) {
        // Of the build that runs, under its own id.
        assert.include(recorder.output(), "after\n")
        const own = recorder.events[0]?.buildId
        assert.isTrue(recorder.events.some((event) => event._tag === "StepOutput" && event.buildId !== own))
      }
    })
  )

  test(
    "take over when the running one is interrupted or fails",
    Effect.gen(function* () {
      for (const how of ["interrupted", "failed"] as const) {
        const gate = yield* Deferred.make<void, LightboxError>()
        let runs = 0
        const definition = Snapshot.make(how, Support.image).pipe(
          Snapshot.step(how, () => Effect.suspend(() => (++runs === 1 ? Deferred.await(gate) : Effect.void)))
        )
        const first = yield* Effect.forkChild(Effect.exit(Snapshot.build(definition)), { startImmediately: true })
        yield* Support.until(Effect.sync(() => runs === 1))
        const waiter = Support.recorder()
        const second = yield* Effect.forkChild(Snapshot.build(definition, { onEvent: waiter.onEvent }))
        yield* waiter.until("Waiting")
        yield* how === "interrupted"
          ? Fiber.interrupt(first)
          : Deferred.fail(gate, new LightboxError({ method: "test", reason: new NoSpace({ problem: "full" }) }))
        assert.strictEqual((yield* Fiber.join(second)).stepsRun, 1)
        assert.strictEqual(runs, 2)
      }
    })
  )

  test(
    "run common steps once, and the rest at the same time",
    Effect.gen(function* () {
      let common = 0
      const meeting = yield* Deferred.make<void>()
      let met = 0
      const meet = Effect.suspend(() => (++met === 3 ? Deferred.succeed(meeting, undefined) : Deferred.await(meeting)))
      const base = Snapshot.make("base", Support.image).pipe(
        Snapshot.step("common", (sandbox) =>
          Effect.andThen(
            Effect.sync(() => common++),
            sandbox.writeFileString("/root/common", "common\n")
          )
        )
      )
      const names = ["one", "two", "three"]
      yield* Effect.forEach(
        names,
        (name) =>
          Snapshot.build(
            Snapshot.from(name, base).pipe(
              Snapshot.step(name, (sandbox) => Effect.andThen(meet, sandbox.writeFileString("/root/own", name)))
            )
          ),
        { concurrency: "unbounded" }
      )
      assert.strictEqual(common, 1)
      for (const name of names) {
        assert.strictEqual(yield* Support.readIn(name, "/root/common"), "common\n")
        assert.strictEqual(yield* Support.readIn(name, "/root/own"), name)
      }
    })
  )

  test(
    "do not hold the capacity that the build they wait for needs",
    Effect.gen(function* () {
      // Booted to pull the image: the common step is cached, and needs another builder.
      const base = Snapshot.make("base", Support.image).pipe(
        Snapshot.builder({ pullPolicy: "always" }),
        Snapshot.shell("echo common > /root/common")
      )
      yield* Snapshot.build(base)
      const definition = Snapshot.from("both", base).pipe(
        Snapshot.builder({ pullPolicy: "always" }),
        Snapshot.shell("cat /root/common > /root/own")
      )
      const built = yield* Effect.all([Snapshot.build(definition), Snapshot.build(definition)], {
        concurrency: "unbounded"
      })
      assert.deepStrictEqual(
        built.reduce((steps, { stepsRun }) => steps + stepsRun, 0),
        1
      )
    }),
    { budget: { sandboxes: 1 } }
  )
})
