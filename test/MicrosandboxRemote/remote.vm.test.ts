/** Real microVMs through a gateway: its guests are reached through the relay of the runtime. */
import { assert, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Gateway from "../../src/Gateway.ts"
import type * as MicrosandboxRemote from "../../src/MicrosandboxRemote.ts"
import * as Sandbox from "../../src/Sandbox.ts"
import * as Snapshot from "../../src/Snapshot.ts"
import * as Support from "../microvm/support.ts"
import * as Remote from "./support.ts"

const limit = 900_000

/** Runs a program of another machine, as far as the host knows. */
const remotely = Effect.fnUntraced(function* <A, E>(
  program: Effect.Effect<A, E, Layer.Success<ReturnType<typeof MicrosandboxRemote.layer>>>
) {
  const { url } = yield* Gateway.serve({ tokens: [{ token: Remote.token }], port: 0 })
  return yield* program.pipe(Effect.provide(yield* Remote.client(url)))
}, Effect.scoped)

layer(Support.layer, { excludeTestServices: true })("a microVM of another machine", (it) => {
  it.effect(
    "is launched, runs commands, moves files, serves ports, is built from steps, and leaves nothing",
    () =>
      Effect.gen(function* () {
        const { files } = yield* Support.Home
        const folder = Path.join(files, "sent")
        Fs.mkdirSync(folder)
        Fs.writeFileSync(Path.join(folder, "greeting"), "sent with the definition\n")
        const definition = Snapshot.make("remote", Support.image).pipe(
          Snapshot.copy(folder, "/root/sent"),
          Snapshot.shell("echo built > /root/built")
        )
        yield* remotely(
          Effect.gen(function* () {
            const built = yield* Snapshot.build(definition)
            assert.strictEqual(built.stepsRun, 2)
            assert.strictEqual((yield* Snapshot.build(definition)).stepsRun, 0)
            yield* Sandbox.run({ snapshot: built, name: "far" }, (sandbox) =>
              Effect.gen(function* () {
                const { stdout } = yield* sandbox.shell("cat /root/sent/greeting /root/built", { check: true })
                assert.strictEqual(stdout, "sent with the definition\nbuilt\n")
                const large = new Uint8Array(8 * 1024 * 1024).map((_, index) => index % 251)
                yield* sandbox.writeFile("/root/large", large)
                assert.deepStrictEqual(yield* sandbox.readFile("/root/large"), large)
                const failed = yield* Effect.flip(sandbox.readFile("/root/none"))
                assert.strictEqual(failed.reason._tag === "FileError" ? failed.reason.code : undefined, "ENOENT")
                yield* sandbox.shell("mkdir /www && echo served > /www/index.html", { check: true })
                yield* sandbox.spawn("httpd", ["-f", "-p", "8080", "-h", "/www"])
                yield* sandbox.waitUntil({ http: 8080 })
                const { url } = yield* sandbox.forward(8080)
                const page = Effect.tryPromise(async () => (await fetch(url)).text())
                assert.strictEqual(yield* page, "served\n")
                assert.strictEqual((yield* Sandbox.list()).length, 1)
              }).pipe(Effect.scoped)
            )
            const detached = yield* Effect.scoped(Sandbox.launch({ snapshot: "remote", name: "kept", detached: true }))
            assert.strictEqual((yield* Sandbox.get(detached.name)).status, "running")
          })
        )
        // The program has ended: only what it detached is there, also for another one.
        const again = yield* remotely(
          Effect.gen(function* () {
            assert.deepStrictEqual(
              (yield* Sandbox.list()).map(({ name }) => name),
              ["kept"]
            )
            const kept = yield* Sandbox.connect("kept")
            const { stdout } = yield* kept.shell("cat /root/built")
            yield* Sandbox.remove("kept", { force: true })
            yield* Snapshot.remove("remote")
            yield* Snapshot.prune()
            return stdout
          }).pipe(Effect.scoped)
        )
        assert.strictEqual(again, "built\n")
        yield* Support.assertNothingLeft({ snapshots: [] })
      }),
    limit
  )
})
