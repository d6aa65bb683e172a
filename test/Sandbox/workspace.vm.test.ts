/** A sandbox that somebody works in, on a real microVM: from its first hour to a snapshot. */
import { assert, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Http from "node:http"
import * as Sandbox from "../../src/Sandbox.ts"
import * as SandboxProxy from "../../src/SandboxProxy.ts"
import * as Snapshot from "../../src/Snapshot.ts"
import * as Support from "../microvm/support.ts"

const web = Snapshot.make("web", Support.image).pipe(
  Snapshot.resources({ disk: "256M" }),
  Snapshot.shell("mkdir /www; echo first > /www/index.html"),
  Snapshot.defaults({
    env: { WHO: "defaults" },
    services: {
      web: { command: "exec httpd -f -p 127.0.0.1:8000 -h /www", ready: { http: 8000 } }
    }
  })
)

/** Gets a page from the proxy, as a browser does that resolves the name. */
const get = (port: number, host: string) =>
  Effect.promise(
    () =>
      new Promise<string>((resolve, reject) => {
        Http.get({ host: "127.0.0.1", port, headers: { host } }, (response) => {
          let text = ""
          response.setEncoding("utf8").on("data", (piece) => (text += piece))
          response.once("end", () => resolve(`${response.statusCode} ${text}`))
        }).once("error", reject)
      })
  )

const options = { snapshot: "web", network: "none" } as const

const open = Sandbox.getOrCreate("work", options)

layer(Support.layer, { excludeTestServices: true })("a sandbox that somebody works in", (it) => {
  it.effect("is found again, serves through the proxy, and becomes a snapshot", () =>
    Effect.gen(function* () {
      yield* Snapshot.build(web)
      yield* Effect.scoped(
        Effect.gen(function* () {
          const sandbox = yield* open
          assert.strictEqual((yield* sandbox.shell("echo $WHO")).stdout, "defaults\n")
          yield* sandbox.writeFileString("/www/index.html", "second\n")
          const proxy = yield* SandboxProxy.make({ port: 0 })
          const { host } = new URL(proxy.urlOf(8000, "work"))
          assert.strictEqual(yield* get(proxy.port, host), "200 second\n")
        })
      )
      const other = yield* Effect.flip(Sandbox.getOrCreate("work", { ...options, env: { WHO: "me" } }))
      assert.strictEqual(other.reason._tag, "Drift")

      const captured = yield* Snapshot.capture("work", { name: "edited" })
      assert.strictEqual(captured.generation, 1)
      const { differences } = yield* Snapshot.diff("web", "edited")
      assert.deepStrictEqual(
        differences.map(({ kind, path }) => `${kind} ${path}`),
        ["added /var/lib", "changed /www/index.html"]
      )

      yield* Sandbox.stop("work")
      // It starts again, and its services with it.
      const again = yield* open
      const { host } = yield* again.forward(8000)
      assert.strictEqual(yield* get(host, "localhost"), "200 second\n")
      yield* Sandbox.remove("work", { force: true })
      yield* Support.assertNothingLeft({ snapshots: ["edited", "web"] })
    }).pipe(Effect.scoped)
  )
})
