/** Records of sandboxes that ended: why, when, and what they wrote last. */
import { assert, describe, it } from "@effect/vitest"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import * as Fs from "node:fs"
import * as Path from "node:path"
import type { Services } from "../../src/Driver.ts"
import * as Endings from "../../src/internal/store/endings.ts"
import { Unknown } from "../../src/LightboxError.ts"
import * as Microsandbox from "../../src/Microsandbox.ts"
import * as MicrosandboxMemory from "../../src/MicrosandboxMemory.ts"
import * as Sandbox from "../../src/Sandbox.ts"
import * as SandboxRecord from "../../src/SandboxRecord.ts"
import * as Snapshot from "../../src/Snapshot.ts"

const image = "debian:12"

const test = (
  name: string,
  effect: Effect.Effect<unknown, unknown, Services | MicrosandboxMemory.Control | Scope.Scope>,
  options: MicrosandboxMemory.Options = {}
): void =>
  it.effect(name, () => Effect.provide(effect, MicrosandboxMemory.layer({ images: { [image]: {} }, ...options })))

const last = Effect.gen(function* () {
  const [first] = yield* SandboxRecord.list()
  if (first === undefined) return assert.fail("nothing is recorded")
  return yield* SandboxRecord.get(first.id)
})

const causes = Effect.map(SandboxRecord.list(), (found) => found.map(({ cause, name }) => `${name} ${cause}`))

const launch = (name: string, options?: Pick<Sandbox.LaunchOptions, "detached" | "overwrite" | "services">) =>
  Sandbox.launch({ image, name, ...options })

describe("the record of a sandbox", () => {
  test(
    "has its source, its state, why and when it ended, and its last lines",
    Effect.gen(function* () {
      yield* Snapshot.build(Snapshot.make("tools", image).pipe(Snapshot.shell("true")))
      yield* Effect.scoped(
        Effect.gen(function* () {
          const sandbox = yield* Sandbox.launch({ snapshot: "tools", name: "web" })
          yield* sandbox.shell("seq 1 300; echo oops >&2")
          assert.deepStrictEqual(yield* SandboxRecord.list(), [])
        })
      )
      const record = yield* last
      assert.deepInclude(record, {
        name: "web",
        role: "scoped",
        snapshot: "tools",
        image,
        status: "running",
        cause: "released",
        reason: "the scope of its launch closed"
      })
      assert.strictEqual(record.by.pid, process.pid)
      assert.strictEqual(record.output.length, 100)
      assert.deepStrictEqual(record.output.slice(-2), ["300", "oops"])
      assert.match(record.system.join("\n"), /sandbox starting sandbox=web/)
      assert.isAtLeast(
        DateTime.toEpochMillis(record.endedAt),
        DateTime.toEpochMillis(record.createdAt ?? record.endedAt)
      )
    })
  )

  test(
    "says who ended it: its scope, its name's next owner, a removal, or the failure of its launch",
    Effect.gen(function* () {
      yield* Effect.scoped(launch("scoped"))
      yield* Effect.scoped(launch("detached", { detached: true }))
      assert.deepStrictEqual(yield* causes, ["scoped released"])
      yield* Effect.scoped(launch("detached", { overwrite: true }))
      yield* Effect.scoped(launch("removed", { detached: true }))
      yield* Sandbox.remove("removed", { force: true })
      yield* Effect.flip(
        Effect.scoped(
          launch("failed", {
            services: { web: { command: "echo no config; exit 1", restart: "no", ready: { file: "/never" } } }
          })
        )
      )
      assert.deepStrictEqual(yield* causes, [
        "failed failed",
        "removed removed",
        "detached released",
        "detached replaced",
        "scoped released"
      ])
    })
  )

  test(
    "has the end of both logs, however much one of them says, and characters that came in pieces",
    Effect.gen(function* () {
      yield* Effect.scoped(
        Effect.flatMap(launch("loud"), (sandbox) =>
          sandbox.shell("i=0; while [ $i -lt 500 ]; do echo $i; i=$((i+1)); done; printf '\\303'; printf '\\251\\n'")
        )
      )
      const { output, system } = yield* last
      assert.strictEqual(output.at(-1), "é")
      assert.match(system.join("\n"), /sandbox starting sandbox=loud/)
    })
  )

  test(
    "exists if a launch fails before it knows of its sandbox, or after it has replaced one",
    Effect.gen(function* () {
      const control = yield* MicrosandboxMemory.Control
      yield* control.inject(
        MicrosandboxMemory.loseAnswerAt("createSandbox", { reason: new Unknown({ problem: "injected" }) })
      )
      yield* Effect.flip(Effect.scoped(launch("unseen")))
      assert.deepStrictEqual(yield* causes, ["unseen failed"])
      yield* Effect.scoped(launch("taken", { detached: true }))
      yield* control.inject(
        MicrosandboxMemory.loseAnswerAt("createSandbox", { reason: new Unknown({ problem: "injected" }) })
      )
      yield* Effect.flip(Effect.scoped(launch("taken", { overwrite: true })))
      assert.include(yield* causes, "taken replaced")
    })
  )

  test(
    "tells one that had stopped by itself from one that was running",
    Effect.gen(function* () {
      const control = yield* MicrosandboxMemory.Control
      yield* Effect.scoped(
        Effect.gen(function* () {
          const { name } = yield* launch("crashed")
          yield* control.kill(name)
        })
      )
      assert.notStrictEqual((yield* last).status, "running")
    })
  )

  test(
    "hides the redacted variables of its commands",
    Effect.gen(function* () {
      const env = { TOKEN: Redacted.make("s3cret-value") }
      yield* Effect.scoped(
        Effect.flatMap(launch("agent"), (sandbox) => sandbox.shell('echo "token is $TOKEN"', { env }))
      )
      const { output } = yield* last
      assert.include(output.join("\n"), "token is")
      assert.notInclude(JSON.stringify(yield* last), "s3cret-value")
    })
  )

  test(
    "of a builder does not exist, because its build has one",
    Effect.gen(function* () {
      yield* Snapshot.build(Snapshot.make("tools", image).pipe(Snapshot.shell("echo built")))
      assert.deepStrictEqual(yield* SandboxRecord.list(), [])
    })
  )

  test(
    "is not needed to remove a sandbox",
    Effect.gen(function* () {
      const control = yield* MicrosandboxMemory.Control
      const driver = yield* Microsandbox.Microsandbox
      const folder = Endings.folderOf(driver.home)
      Fs.mkdirSync(Path.dirname(folder), { recursive: true })
      Fs.writeFileSync(folder, "in the way")
      yield* Effect.scoped(launch("first"))
      yield* control.inject(MicrosandboxMemory.failAt("readLogs", new Unknown({ problem: "injected" })))
      yield* Effect.scoped(launch("second"))
      assert.deepStrictEqual(yield* Sandbox.list(), [])
      Fs.rmSync(folder)
    })
  )

  test(
    "is kept only as one of so many, and is found by name",
    Effect.gen(function* () {
      const { home } = yield* Microsandbox.Microsandbox
      yield* Effect.scoped(launch("one"))
      yield* Effect.scoped(launch("two"))
      assert.deepStrictEqual(
        (yield* SandboxRecord.list({ name: "one" })).map(({ name }) => name),
        ["one"]
      )
      assert.strictEqual((yield* SandboxRecord.list({ limit: 1 })).length, 1)
      const folder = Endings.folderOf(home)
      const [file = ""] = Fs.readdirSync(folder)
      for (let index = 0; index < Endings.limits.count; index++) {
        Fs.copyFileSync(Path.join(folder, file), Path.join(folder, `0-0-${index}.json`))
      }
      yield* Effect.promise(() => Endings.prune(home))
      assert.strictEqual(Fs.readdirSync(folder).length, Endings.limits.count)
      Fs.writeFileSync(Path.join(folder, "0-0-1.json"), "{ torn")
      assert.strictEqual((yield* SandboxRecord.list()).length, Endings.limits.count - 1)
    })
  )

  test(
    "is not written with `records: false`",
    Effect.gen(function* () {
      yield* Effect.scoped(launch("one"))
      assert.deepStrictEqual(yield* SandboxRecord.list(), [])
    }),
    { records: false }
  )

  test(
    "that does not exist is not found, and wrong options are named",
    Effect.gen(function* () {
      const missing = yield* Effect.flip(SandboxRecord.get("a-b-c"))
      assert.deepInclude(missing.reason, { _tag: "NotFound", resource: "record", name: "a-b-c" })
      const wrong = yield* Effect.flip(SandboxRecord.get("../a"))
      assert.deepInclude(wrong.reason, { _tag: "InvalidConfig", field: "id" })
      const limit = yield* Effect.flip(SandboxRecord.list({ limit: 0 }))
      assert.deepInclude(limit.reason, { _tag: "InvalidConfig", field: "limit" })
    })
  )
})
