/** What both drivers reject before they create a sandbox. */
import { assert, describe, it, vi } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Dgram from "node:dgram"
import * as Net from "node:net"
import { createRefused, withPorts } from "../../../src/internal/driver/ports.ts"
import * as MicrosandboxLocal from "../../../src/MicrosandboxLocal.ts"
import * as MicrosandboxMemory from "../../../src/MicrosandboxMemory.ts"
import * as Sandbox from "../../../src/Sandbox.ts"
import type * as SandboxConfig from "../../../src/SandboxConfig.ts"
import { freePort, temporary } from "../../support.ts"

interface Defaults {
  readonly memory?: SandboxConfig.Size
  readonly cpus?: number
}

const drivers = [
  ["the twin", (defaults?: Defaults) => Layer.fresh(MicrosandboxMemory.layer(defaults))],
  [
    "microsandbox",
    (defaults?: Defaults) =>
      Layer.unwrap(Effect.map(temporary, (home) => Layer.fresh(MicrosandboxLocal.layer({ home, ...defaults }))))
  ]
] as const

describe.each(drivers)("before %s creates a sandbox", (_, layer) => {
  const launch = (options: Omit<Sandbox.LaunchOptions, "image" | "snapshot">, defaults?: Defaults) =>
    Sandbox.launch({ image: "plain", ...options }).pipe(Effect.scoped, Effect.provide(layer(defaults)))

  it.live.each([
    [{ memory: "2G" }, { maxMemory: "1G" }, "resources.maxMemory", "expected at least memory, 2048 MiB"],
    [{ cpus: 4 }, { maxCpus: 2 }, "resources.maxCpus", "expected at least cpus, 4"],
    [{}, { maxMemory: "256M" }, "resources.maxMemory", "expected at least memory, 512 MiB"]
  ] as const)("with %j on the layer, it rejects %j", ([defaults, resources, field, problem]) =>
    Effect.gen(function* () {
      const { reason } = yield* Effect.flip(launch({ resources }, defaults))
      assert.deepInclude(reason, { _tag: "InvalidConfig", field })
      assert.include(reason.message, problem)
    })
  )
})

describe("published host ports", () => {
  const refused = (ports: ReadonlyArray<SandboxConfig.PortMapping>) =>
    Effect.map(Effect.flip(withPorts({ ports }, () => Effect.void)), ({ reason }) => reason)

  it.live.each([
    ["udp4", "127.0.0.1", undefined],
    ["udp4", "0.0.0.0", "127.0.0.1"],
    ["udp6", "::1", "::1"]
  ] as const)("are rejected if in use, for %s on %s", ([type, address, bind]) =>
    Effect.gen(function* () {
      const { port } = yield* Effect.acquireRelease(
        Effect.callback<Dgram.Socket>((resume) => {
          const socket = Dgram.createSocket(type)
          socket.bind(0, address, () => resume(Effect.succeed(socket)))
        }),
        (socket) => Effect.sync(() => socket.close())
      ).pipe(Effect.map((socket) => socket.address()))
      const reason = yield* refused([{ host: port, guest: 53, protocol: "udp", bind }])
      assert.deepInclude(reason, { _tag: "InvalidConfig", field: `ports.${port}` })
      assert.include(reason.message, "is in use on this host")
    }).pipe(Effect.scoped)
  )

  it.live("are rejected if two of them overlap", () =>
    Effect.gen(function* () {
      const port = yield* freePort
      const reason = yield* refused([
        { host: port, guest: 80, bind: "0.0.0.0" },
        { host: port, guest: 81 }
      ])
      assert.deepInclude(reason, { _tag: "InvalidConfig", field: `ports.${port}` })
    })
  )
})

describe("a free port", () => {
  it.live("is chosen for each host port 0, and again if it was taken in between", () =>
    Effect.gen(function* () {
      const tried: Array<ReadonlyArray<number>> = []
      const result = yield* withPorts(
        { ports: [{ guest: 80 }, { guest: 53, protocol: "udp" }, { host: 0, guest: 81, bind: "0.0.0.0" }] },
        ({ ports }) =>
          Effect.suspend(() => {
            const hosts = Array.isArray(ports) ? ports.map(({ host }) => host ?? 0) : []
            assert.isTrue(hosts.every((host) => host > 0))
            return tried.push(hosts) === 1
              ? Effect.fail(createRefused(hosts[0] ?? 0, "127.0.0.1", undefined))
              : Effect.succeed(ports)
          })
      )
      assert.strictEqual(tried.length, 2)
      assert.deepStrictEqual(
        Array.isArray(result) ? result.map(({ bind, guest, protocol }) => [bind, guest, protocol]) : [],
        [
          ["127.0.0.1", 80, "tcp"],
          ["127.0.0.1", 53, "udp"],
          ["0.0.0.0", 81, "tcp"]
        ]
      )
    })
  )

  it.live("differs from all others that are chosen at the same time", () =>
    Effect.gen(function* () {
      const hosts = yield* Effect.forEach(
        Array.from({ length: 50 }),
        () =>
          withPorts({ ports: { 0: 80 } }, ({ ports }) =>
            Effect.as(Effect.yieldNow, Array.isArray(ports) ? ports[0]?.host : undefined)
          ),
        { concurrency: "unbounded" }
      )
      assert.strictEqual(new Set(hosts).size, hosts.length)
    })
  )
})

describe("a probed port", () => {
  it.live("is released even if somebody connects to it and stays", () =>
    Effect.gen(function* () {
      const port = yield* freePort
      const client = yield* Effect.acquireRelease(
        Effect.sync(() => new Net.Socket({ allowHalfOpen: true }).on("error", () => {})),
        (client) => Effect.sync(() => client.destroy())
      )
      const spy = yield* Effect.acquireRelease(
        Effect.sync(() =>
          vi.spyOn(Net.Server.prototype, "close").mockImplementationOnce(function (this: Net.Server, done) {
            client.connect(port, "127.0.0.1")
            return this.once("connection", () => this.close(done))
          })
        ),
        (spy) => Effect.sync(() => spy.mockRestore())
      )
      yield* withPorts({ ports: [{ host: port, guest: 80 }] }, () => Effect.void)
      assert.isAtLeast(spy.mock.calls.length, 2)
      yield* withPorts({ ports: [{ host: port, guest: 80 }] }, () => Effect.void)
    }).pipe(Effect.scoped)
  )
})

describe("a published port", () => {
  it.live("is taken on the twin while its sandbox runs, once per protocol", () =>
    Effect.gen(function* () {
      const port = yield* freePort
      const launch = Sandbox.launch({
        image: "plain",
        ports: [
          { host: port, guest: 80 },
          { host: port, guest: 53, protocol: "udp" }
        ]
      })
      const { reason } = yield* Effect.scoped(Effect.andThen(launch, Effect.flip(launch)))
      assert.deepInclude(reason, { _tag: "InvalidConfig", field: `ports.${port}` })
      yield* Effect.scoped(launch)
    }).pipe(Effect.provide(Layer.fresh(MicrosandboxMemory.layer())))
  )
})

describe("partial resources", () => {
  it.live("are combined with the layer's", () =>
    Sandbox.run({ image: "plain", resources: { maxMemory: "384M", maxCpus: 2 } }, (sandbox) =>
      Effect.map(sandbox.info, (info) => assert.deepInclude(info, { memory: 256 * 1024 ** 2, cpus: 2 }))
    ).pipe(Effect.provide(Layer.fresh(MicrosandboxMemory.layer({ memory: "256M", cpus: 2 }))))
  )
})
