/** The preview on real microVMs: the contract's cases about memory, forks side by side, and kills in the middle. */
import { assert, layer } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Console from "effect/Console"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import * as ChildProcess from "effect/process/ChildProcess"
import * as Fs from "node:fs"
import { fileURLToPath } from "node:url"
import * as Microsandbox from "../../src/Microsandbox.ts"
import * as Reaper from "../../src/Reaper.ts"
import * as Sandbox from "../../src/Sandbox.ts"
import * as Snapshot from "../../src/Snapshot.ts"
import * as Bench from "../Microsandbox/Bench.ts"
import { contract } from "../Microsandbox/contract.ts"
import * as Busybox from "../images/Busybox.ts"
import * as Support from "./support.ts"

contract("the preview", {
  groups: ["memories"],
  layer: Bench.layer({ image: Busybox.reference, files: Effect.map(Support.Home, ({ files }) => files) }).pipe(
    Layer.provide(Support.layer)
  ),
  timeout: 600_000
})

const resources = { memory: "256M", disk: "256M" } as const

const memoryOf = Effect.flatMap(Microsandbox.Microsandbox, ({ memory }) =>
  memory === undefined ? Effect.die(new Error("the driver has no memory")) : Effect.succeed(memory)
)

/** A machine with a service that answers on a port. */
const serving = Effect.gen(function* () {
  const name = Bench.freshName("serving")
  const sandbox = yield* Sandbox.launch({ image: Busybox.reference, name, resources })
  yield* sandbox.shell("mkdir /srv; echo hello > /srv/index.html; httpd -p 8080 -h /srv", { check: true })
  return sandbox
})

const answer = (sandbox: Sandbox.Sandbox) =>
  Effect.map(sandbox.shell("wget -q -O - http://127.0.0.1:8080/index.html"), ({ stdout }) => stdout)

/** Folders and files of a home that a sandbox, or a half-made snapshot, would leave. */
const leftovers = Effect.gen(function* () {
  const fs = yield* FileSystem.FileSystem
  const home = yield* Support.Home
  const entries = (folder: string) =>
    Effect.map(
      Effect.orElseSucceed(fs.readDirectory(`${home.path}/${folder}`), (): Array<string> => []),
      (names) => names.map((name) => `${folder}/${name}`)
    )
  const found = yield* Effect.forEach(
    ["sandboxes", "run/sandboxes", "run/agent", "lightbox/disks", "lightbox/machines"],
    entries
  )
  const staged = (yield* entries("snapshots")).filter((path) => path.endsWith(".staging"))
  const machines = Fs.readdirSync("/proc").flatMap((pid) => {
    if (!/^\d+$/.test(pid)) return []
    try {
      const line = Fs.readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ")
      return /^\S*msb sandbox /.test(line) && line.includes(home.path) ? [`${pid} ${line}`] : []
    } catch {
      // It has ended.
      return []
    }
  })
  return [...found.flat(), ...staged, ...machines]
})

layer(Support.layer, { excludeTestServices: true, timeout: 600_000 })("machines that go on", (it) => {
  it.effect(
    "serve at once, beside each other, with the right time, a host name and random numbers of their own, or boot",
    () =>
      Effect.gen(function* () {
        const definition = Snapshot.make("web", Busybox.reference).pipe(
          Snapshot.shell("mkdir /srv; echo hello > /srv/index.html"),
          Snapshot.resources(resources),
          Snapshot.defaults({
            services: { web: { command: "exec httpd -f -p 8080 -h /srv", ready: { port: 8080 } } }
          })
        )
        const web = yield* Snapshot.build(definition, { warm: true })
        yield* Effect.scoped(
          Effect.gen(function* () {
            const copies = yield* Effect.forEach([1, 2, 3, 4], (nth) =>
              Effect.gen(function* () {
                const [took, sandbox] = yield* Effect.timed(Sandbox.launch({ snapshot: web, name: `copy-${nth}` }))
                yield* Console.log(`resumed after ${Duration.format(took)}`)
                assert.strictEqual(sandbox.resumed, "memory")
                assert.strictEqual(yield* answer(sandbox), "hello\n")
                return sandbox
              })
            )
            const told = yield* Effect.forEach(copies, (sandbox) =>
              Effect.map(sandbox.shell("head -c 16 /dev/urandom | od -An -tx1; hostname"), ({ stdout }) =>
                stdout.trim().split("\n")
              )
            )
            assert.strictEqual(new Set(told.map(([random]) => random)).size, 4)
            assert.deepStrictEqual(
              told.map(([, name]) => name),
              ["copy-1", "copy-2", "copy-3", "copy-4"]
            )
            for (const copy of copies) {
              const [{ stdout }, now] = [yield* copy.shell("date +%s"), yield* Clock.currentTimeMillis]
              assert.isBelow(Math.abs(Number(stdout) - now / 1000), 30)
            }
          })
        )
        // What cannot be resumed boots from the same disk.
        Fs.rmSync(`${web.path}/checkpoint/objects`, { recursive: true })
        Fs.mkdirSync(`${web.path}/checkpoint/objects`)
        Fs.writeFileSync(`${web.path}/checkpoint/objects/damaged`, "")
        const [took, text] = yield* Effect.timed(
          Sandbox.run({ snapshot: web }, (sandbox) => {
            assert.isUndefined(sandbox.resumed)
            return answer(sandbox)
          })
        )
        yield* Console.log(`booted after ${Duration.format(took)}, with what was lost before`)
        assert.strictEqual(text, "hello\n")
        assert.deepStrictEqual(yield* leftovers, [])
      }),
    600_000
  )

  it.effect(
    "are removed by the next sweep if their process is killed in the middle",
    () =>
      Effect.gen(function* () {
        const driver = yield* Microsandbox.Microsandbox
        const memory = yield* memoryOf
        const { path: home } = yield* Support.Home
        const original = yield* serving
        const snapshot = Bench.freshName("warm")
        yield* memory.captureMemory({ sandbox: original.name, name: snapshot })
        const before = yield* leftovers
        for (const what of ["capture", "resume", "fork"]) {
          const script = fileURLToPath(new URL("programs/work.ts", import.meta.url))
          const child = yield* ChildProcess.make(process.execPath, [script, home, original.name, what, snapshot], {
            stdin: "ignore",
            stderr: "inherit",
            extendEnv: true,
            killSignal: "SIGKILL"
          })
          // Right in the middle: the runtime has begun to make something.
          yield* Stream.runDrain(
            Stream.takeUntil(Stream.splitLines(Stream.decodeText(child.stdout)), (line) => line === "begins")
          )
          yield* Effect.repeat(leftovers, {
            until: (found) => found.length > before.length,
            schedule: Schedule.spaced("20 millis")
          })
          yield* child.kill({ killSignal: "SIGKILL" })
          yield* Effect.ignore(child.exitCode)
          yield* Bench.eventually(Effect.andThen(Reaper.sweep(), leftovers), (found) => found.length <= before.length)
          assert.deepStrictEqual(
            (yield* driver.listSandboxes()).map(({ name }) => name),
            [original.name]
          )
          assert.strictEqual(yield* answer(original), "hello\n")
        }
        yield* driver.removeSandbox(original, { force: true })
        yield* driver.removeSnapshot(snapshot)
        assert.deepStrictEqual(yield* leftovers, [])
      }),
    600_000
  )
})
