/** A fleet whose hosts are processes of their own, of which one is killed. */
import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, layer } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schedule from "effect/Schedule"
import * as Microsandbox from "../../src/Microsandbox.ts"
import * as Sandbox from "../../src/Sandbox.ts"
import * as Cases from "../internal/directory/cases.ts"
import * as Support from "./support.ts"

layer(NodeServices.layer, { excludeTestServices: true })("hosts that are killed", (it) => {
  it.effect("lose their sandboxes with a typed error, which are launched elsewhere, and come back", () =>
    Effect.gen(function* () {
      const url = yield* Support.directory
      const homes = new Map<string, string>()
      const hosts = yield* Effect.forEach([1, 2], () =>
        Effect.gen(function* () {
          const home = yield* Support.folder("h")
          const host = yield* Support.process("host", home, url)
          homes.set(host.id, home)
          return host
        })
      )
      const { services } = yield* Support.program(url)
      const directory = yield* Cases.open(url)
      const launch = (name: string) =>
        Effect.provideContext(Sandbox.launch({ image: "busybox", name, resources: { memory: "256M" } }), services)
      const sandbox = yield* launch("worker")
      const before = yield* directory.find("worker")
      const command = yield* Effect.forkScoped(
        Effect.flip(sandbox.shell("echo begun > /begun; sleep 1000; echo again >> /begun"))
      )
      yield* sandbox.shell("until [ -e /begun ]; do sleep 0.1; done")

      const host = hosts.find(({ id }) => id === before?.host)
      yield* host?.end("SIGKILL") ?? Effect.die("it is on no host")
      const lost = yield* Fiber.join(command)
      assert.deepStrictEqual([lost.reason._tag, lost.outcome], ["GuestLost", "unknown"])
      const driver = Context.get(services, Microsandbox.Microsandbox)
      const away = yield* Effect.flip(driver.getSandbox("worker"))
      assert.deepInclude(away.reason, { _tag: "HostUnavailable", kind: "Unreachable" })
      assert.strictEqual(away.outcome, "failed")

      // Another name at once: the directory does not know yet that its host is gone.
      const other = yield* launch("worker-2")
      assert.strictEqual((yield* other.exec("true")).exitCode, 0)
      const after = yield* directory.find("worker-2")
      assert.isTrue(after !== undefined && after.host !== before?.host)

      // The same host is back, as another incarnation, and says that it does not have the first one.
      const again = yield* Support.process("host", homes.get(before?.host ?? "") ?? "", url)
      assert.strictEqual(again.id, before?.host)
      assert.deepInclude(yield* directory.find("worker"), {
        state: "lost",
        reason: `its host ${again.id} was restarted without it`
      })
      const replaced = yield* launch("worker")
      assert.strictEqual((yield* replaced.exec("true")).exitCode, 0)
      assert.notStrictEqual(replaced.id, sandbox.id)
      yield* Effect.retry(
        Effect.filterOrFail(directory.find("worker"), (row) => row?.state === "running"),
        Schedule.spaced("100 millis").pipe(Schedule.upTo({ times: 100 }))
      )
    })
  )
})
