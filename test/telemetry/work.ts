/**
 * Work on the twin that emits every public span but those in {@link elsewhere}, with all their attributes.
 */
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Services } from "../../src/Driver.ts"
import * as Fleet from "../../src/Fleet.ts"
import * as Gateway from "../../src/Gateway.ts"
import * as Interpreter from "../../src/Interpreter.ts"
import * as Page from "../../src/Page.ts"
import * as Lightbox from "../../src/Lightbox.ts"
import * as Microsandbox from "../../src/Microsandbox.ts"
import * as MicrosandboxMemory from "../../src/MicrosandboxMemory.ts"
import * as Reaper from "../../src/Reaper.ts"
import * as Sandbox from "../../src/Sandbox.ts"
import * as SandboxPool from "../../src/SandboxPool.ts"
import * as SandboxProxy from "../../src/SandboxProxy.ts"
import * as Snapshot from "../../src/Snapshot.ts"
import { calls } from "../package/calls.ts"

/** These need an interpreter in the guest, which the twin does not have. */
export const elsewhere = ["run", "runStream", "interrupt", "restart"].map((name) => `Interpreter.${name}`)

/** A secret that the work is given in every way there is. */
export const secret = "hunter2-s3cret-value"

const redacted = Redacted.make(secret)

/** A step has the secret, prints it, and names it in its description; a later one fails after printing it. */
const definition = Snapshot.make("telemetry", "plain").pipe(
  Snapshot.builder({ registry: { username: "me", password: redacted } }),
  Snapshot.shell(`echo "$TOKEN"`, { secrets: { TOKEN: redacted }, description: `log in with ${secret}` })
)

const failing = definition.pipe(
  // It does not have the secret itself.
  Snapshot.shell("true", { description: `go on with ${secret}` }),
  Snapshot.shell(`echo "$TOKEN" >&2; exit 3`, { secrets: { TOKEN: redacted }, description: `fail with ${secret}` })
)

const attempt = Effect.exit

const useSandbox = (sandbox: Sandbox.Sandbox) =>
  Effect.gen(function* () {
    yield* attempt(sandbox.exec("sh", ["-c", "cat >&2; exit 4", redacted], { check: true, stdin: "in" }))
    yield* sandbox.exec("sh", ["-c", "exit 0"], { env: { TOKEN: redacted } })
    yield* attempt(Stream.runDrain(sandbox.execStream("absent", [redacted], { check: true })))
    yield* attempt(Effect.scoped(sandbox.spawn("sh", ["-c", "exit 0", redacted])))
    yield* attempt(sandbox.attach("absent"))
    yield* attempt(sandbox.jobs)
    yield* attempt(sandbox.waitUntil({ file: "/absent", timeout: "1 millis" }))
    yield* attempt(Effect.scoped(sandbox.forward(1)))
    yield* attempt(sandbox.copyIn("/absent", "/in"))
    yield* attempt(sandbox.copyOut("/absent", "/absent/out"))
    yield* attempt(sandbox.info)
    yield* attempt(sandbox.metrics)
    yield* attempt(sandbox.modify({}))
    yield* attempt(sandbox.growRootDisk("1G"))
    yield* attempt(sandbox.pause)
    yield* attempt(sandbox.resume)
    yield* attempt(sandbox.ping)
    yield* attempt(sandbox.touch)
    for (const file of [
      sandbox.makeDirectory("/folder"),
      sandbox.writeFile("/file", new Uint8Array([1])),
      sandbox.writeFileString("/file", "text"),
      sandbox.readFile("/file"),
      sandbox.readFileString("/file"),
      Stream.runDrain(sandbox.stream("/file")),
      sandbox.readDirectory("/"),
      sandbox.readDirectoryEntries("/"),
      sandbox.exists("/file"),
      sandbox.stat("/file"),
      sandbox.copyFile("/file", "/copy"),
      sandbox.rename("/copy", "/moved"),
      sandbox.realPath("/moved"),
      sandbox.symlink("/file", "/link"),
      sandbox.readLink("/link")
    ]) {
      yield* attempt(file)
    }
    const job = yield* sandbox.start("sleep", ["1000"], { id: "job", stdin: "open" })
    yield* attempt(sandbox.job("job"))
    for (const call of [
      job.info,
      job.status,
      Stream.runDrain(job.logs({ follow: false })),
      job.write("text"),
      job.endInput,
      job.resize({ rows: 10, columns: 10 }),
      job.attach,
      job.signal("SIGKILL"),
      job.wait,
      job.remove()
    ]) {
      yield* attempt(call)
    }
    yield* attempt(Interpreter.make(sandbox, { language: "python" }))
    yield* attempt(sandbox.detachFor("1 hour"))
    yield* attempt(sandbox.detach)
    yield* attempt(sandbox.stop())
    yield* attempt(sandbox.kill)
  })

/** All of it. */
export const work: Effect.Effect<void, unknown, Services | Scope.Scope> = Effect.gen(function* () {
  yield* Snapshot.build(definition)
  yield* attempt(Snapshot.build(failing))
  yield* Effect.forEach(
    Object.values(calls).flatMap((operations) => Object.values(operations)),
    (call) => attempt(Effect.scoped(call))
  )
  yield* Effect.scoped(
    Effect.flatMap(
      Sandbox.launch({
        image: "plain",
        name: "one",
        secrets: { TOKEN: { value: redacted, hosts: ["api.example.com"] } }
      }),
      useSandbox
    )
  )
  yield* attempt(Sandbox.remove("one", { force: true }))
  yield* Snapshot.build(Snapshot.make("warm", "plain"), { warm: true })
  yield* Effect.scoped(
    Effect.andThen(Sandbox.launch({ snapshot: "warm" }), Sandbox.launch({ snapshot: "warm", resources: { cpus: 2 } }))
  )
  yield* Effect.scoped(
    Effect.gen(function* () {
      const pool = yield* SandboxPool.make({ image: "plain", max: 2 })
      yield* pool.use(() => Effect.void)
    })
  )
  yield* Reaper.sweep()
  yield* attempt(Lightbox.doctor())
  yield* Effect.scoped(attempt(SandboxProxy.make({ port: 0 })))
  yield* Effect.scoped(attempt(Gateway.serve({ tokens: [] })))
  yield* Effect.scoped(attempt(Page.serve({ port: -1 })))
  const { home } = yield* Microsandbox.Microsandbox
  yield* Effect.andThen(
    attempt(Fleet.jobs()),
    attempt(Fleet.run({ id: "job", image: "plain", command: "true" }, { timeout: -1 }))
  ).pipe(Effect.provide(Fleet.layer({ directory: `${home}/fleet.db` })))
})

/** The twin, with the image that the work uses. */
export const twin = MicrosandboxMemory.layer({ images: { plain: {} }, memorySnapshots: true })
