/** Groups of sandboxes, on the twin. */
import { assert, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Net from "node:net"
import { Unknown } from "../../src/LightboxError.ts"
import * as Microsandbox from "../../src/Microsandbox.ts"
import * as MicrosandboxMemory from "../../src/MicrosandboxMemory.ts"
import * as Sandbox from "../../src/Sandbox.ts"
import * as Snapshot from "../../src/Snapshot.ts"

const image = "alpine"
const layer = () => MicrosandboxMemory.layer({ images: { [image]: {} } })

const echo = (port: number) => ({
  command: `while true; do nc -l -p ${port} -e /bin/cat; done`,
  ready: { port }
})

const ask = (sandbox: Sandbox.Sandbox, host: string, port: number) =>
  Effect.map(sandbox.shell(`echo hello | nc ${host} ${port}`), ({ stdout }) => stdout.trim())

const left = Effect.gen(function* () {
  const { inventory } = yield* MicrosandboxMemory.Control
  const { processes, sandboxes } = yield* inventory
  return { processes, sandboxes }
})

const nothing = { processes: [], sandboxes: [] }

const callsOf = (operation: MicrosandboxMemory.Operation) =>
  Effect.flatMap(MicrosandboxMemory.Control, ({ calls }) =>
    Effect.map(calls, (all) => all.filter((call) => call.operation === operation))
  )

it.live("boots members in their order, and removes them in the reverse", () =>
  Effect.gen(function* () {
    // Independent members boot at the same time: each waits for the other.
    const met = [yield* Deferred.make<void>(), yield* Deferred.make<void>()] as const
    const meeting = (own: 0 | 1) =>
      Effect.andThen(Deferred.succeed(met[own], undefined), Deferred.await(met[1 - own === 0 ? 0 : 1]))
    const snapshot = yield* Snapshot.build(Snapshot.make("base", image))
    yield* Effect.scoped(
      Effect.gen(function* () {
        const group = yield* Sandbox.group({
          c: { image, name: "c", dependsOn: { b: "ready", a: { ports: [9] } } },
          b: { image, name: "b", dependsOn: { a: "ready" }, services: { two: echo(7202) } },
          a: { snapshot: Effect.as(meeting(0), snapshot), name: "a", services: { one: echo(7201) } },
          d: { snapshot: Effect.as(meeting(1), snapshot), name: "d" }
        })
        assert.deepStrictEqual(Object.keys(group), ["c", "b", "a", "d"])
        assert.strictEqual(yield* ask(group.c, "b", 7202), "hello")
        assert.strictEqual(yield* ask(group.b, "a", 7201), "hello")
        // Declared, but not served; served, but not declared; not a dependency.
        assert.strictEqual(yield* ask(group.c, "a", 9), "")
        assert.strictEqual(yield* ask(group.c, "a", 7201), "")
        assert.strictEqual(yield* ask(group.d, "a", 7201), "")
      })
    )
    assert.deepStrictEqual(yield* left, nothing)
    const removed = (yield* callsOf("removeSandbox")).flatMap(({ sandbox }) => (sandbox === "d" ? [] : [sandbox]))
    assert.deepStrictEqual(removed.slice(-3), ["c", "b", "a"])
  }).pipe(Effect.provide(layer()))
)

it.live("removes all members if one fails, and boots none that depends on it", () =>
  Effect.gen(function* () {
    const failing = Sandbox.group({
      web: { image, dependsOn: { db: { ports: [1] } } },
      db: { image, services: { one: { command: "exit 1", ready: { port: 1 } } } },
      other: { image, services: { one: echo(7203) } }
    })
    const { reason } = yield* Effect.flip(Effect.scoped(failing))
    assert.deepInclude(reason, { _tag: "NotReady", job: "one" })
    assert.deepStrictEqual(yield* left, nothing)
    assert.isAtMost((yield* callsOf("createSandbox")).length, 2)
    const unready = Sandbox.group({ a: { image, ready: { port: 7204, timeout: "1 second" } } })
    assert.deepInclude((yield* Effect.flip(Effect.scoped(unready))).reason, { _tag: "NotReady" })
    assert.deepStrictEqual(yield* left, nothing)
    const { inject } = yield* MicrosandboxMemory.Control
    yield* inject(MicrosandboxMemory.failAt("guest.open", new Unknown({ problem: "no room" }), { times: 1 }))
    const hosts = Sandbox.group({ a: { image }, b: { image, dependsOn: { a: { ports: [1] } } } })
    assert.deepInclude((yield* Effect.flip(Effect.scoped(hosts))).reason, { _tag: "Unknown" })
    assert.deepStrictEqual(yield* left, nothing)
  }).pipe(Effect.provide(layer()))
)

it.live("checks all members before anything boots or is built", () =>
  Effect.gen(function* () {
    const unbuilt: Effect.Effect<Sandbox.BootableSnapshot> = Effect.die(new Error("it is built"))
    const wrong: ReadonlyArray<readonly [field: string, members: { readonly [name: string]: Sandbox.GroupMember }]> = [
      ["web.dependsOn.db", { web: { image, dependsOn: { db: "ready" } } }],
      ["web.dependsOn.constructor", { web: { image, dependsOn: Object({ constructor: "ready" }) } }],
      ["a.dependsOn", { a: { image, dependsOn: { a: "ready" } } }],
      [
        "a.dependsOn",
        {
          a: { image, dependsOn: { b: { ports: [1] } } },
          b: { image, dependsOn: { a: { ports: [1] } } },
          c: { image }
        }
      ],
      ["b.dependsOn.a", { a: { image }, b: { image, dependsOn: { a: "ready" } } }],
      ["b.cwd", { a: { snapshot: unbuilt }, b: { image, cwd: "rel" } }],
      ["b.snapshot", { a: { snapshot: unbuilt }, b: { snapshot: "a", image: Object("a") } }]
    ]
    for (const [field, members] of wrong) {
      const { reason } = yield* Effect.flip(Effect.scoped(Sandbox.group(members)))
      assert.deepInclude(reason, { _tag: "InvalidConfig", field })
    }
    assert.lengthOf(yield* callsOf("createSandbox"), 0)
  }).pipe(Effect.provide(layer()))
)

it.live("connects only a member, and only to declared ports", () =>
  Effect.scoped(
    Effect.gen(function* () {
      const driver = yield* Microsandbox.Microsandbox
      const proxies: Array<NonNullable<Microsandbox.CreateSandbox["proxy"]>> = []
      const recording: typeof driver = {
        ...driver,
        createSandbox: (request) => {
          if (request.proxy !== undefined) proxies.push(request.proxy)
          return driver.createSandbox(request)
        }
      }
      yield* Sandbox.group({
        db: { image, services: { one: echo(7205), two: { ...echo(7206), ready: undefined } } },
        web: { image, dependsOn: { db: "ready" } }
      }).pipe(Effect.provideService(Microsandbox.Microsandbox, recording))
      assert.lengthOf(proxies, 1)
      const [proxy = { port: 0, user: "" }] = proxies
      const ask = (user: string, port: number) =>
        Effect.callback<string>((resume) => {
          const socket = Net.connect(proxy.port, "127.0.0.1")
          socket.write(Buffer.from([4, 1, port >> 8, port & 255, 198, 18, 0, 1, ...Buffer.from(`${user}\0`)]))
          socket.once("data", (bytes) => {
            socket.destroy()
            resume(Effect.succeed(bytes.toString("hex", 0, 8)))
          })
        })
      const [granted, refused] = ["005a000000000000", "005b000000000000"]
      assert.strictEqual(yield* ask("guessed", 7205), refused)
      assert.strictEqual(yield* ask(proxy.user, 7205), granted)
      assert.strictEqual(yield* ask(proxy.user, 7206), refused)
    })
  ).pipe(Effect.provide(layer()))
)

it.live("a member that is captured, and copies of it, still reach the others by name", () =>
  Effect.scoped(
    Effect.gen(function* () {
      const { web } = yield* Sandbox.group({
        db: { image, services: { one: echo(7207) } },
        web: { image, dependsOn: { db: "ready" } }
      })
      yield* Snapshot.capture(web, { name: "captured" })
      assert.strictEqual(yield* ask(web, "db", 7207), "hello")
      const copies = yield* Sandbox.fork(web, { count: 2 })
      const answers = yield* Effect.forEach([web, ...copies], (sandbox) => ask(sandbox, "db", 7207))
      assert.deepStrictEqual(answers, ["hello", "hello", "hello"])
    })
  ).pipe(Effect.provide(layer()))
)
