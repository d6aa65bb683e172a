/** Which hosts are asked for a sandbox, and in which order. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { aliveMillis, type Host, isAlive } from "../../src/internal/directory/directory.ts"
import * as Place from "../../src/internal/driver/fleet/place.ts"
import { localCapabilities } from "../../src/internal/driver/parts.ts"

const gibibyte = 1024 ** 3

const base: Host = {
  id: "a",
  address: "http://a.example.com:7400",
  incarnation: "1",
  age: 0,
  state: "up",
  version: "0",
  architecture: "x64",
  labels: {},
  capabilities: localCapabilities,
  cpus: 4,
  memory: 8 * gibibyte,
  used: 0,
  reserved: 0,
  sandboxes: 0,
  cordoned: 0,
  reason: null
}

const wanted: Place.Wanted = {
  memory: gibibyte,
  architecture: undefined,
  labels: {},
  sources: undefined,
  needs: [],
  images: new Set()
}

const ids = (hosts: ReadonlyArray<Host>) => hosts.map(({ id }) => id)

const among = (...names: ReadonlyArray<string>): ReadonlySet<string> => new Set(names)

const Hosts = Schema.Array(
  Schema.Struct({
    age: Schema.Literals([0, aliveMillis - 1, aliveMillis, 10 * aliveMillis]),
    state: Schema.Literals(["up", "stopped"]),
    architecture: Schema.Literals(["x64", "arm64"]),
    zone: Schema.Literals(["a", "b"]),
    cordoned: Schema.Literals([0, 1]),
    memory: Schema.Literals([0, 1, 4, 16]),
    used: Schema.Literals([0, 1, 3, 20]),
    reserved: Schema.Literals([0, 2, 5]),
    hasSnapshot: Schema.Boolean,
    hasImage: Schema.Boolean
  })
)

describe("a placement", () => {
  it.effect.prop("asks only hosts that may take the sandbox, and all of them up to a limit", [Hosts], ([drawn]) =>
    Effect.sync(() => {
      const hosts = drawn.map(({ age, architecture, cordoned, memory, reserved, state, used, zone }, index): Host => ({
        ...base,
        age,
        architecture,
        cordoned,
        state,
        id: `host-${index}`,
        labels: { zone },
        memory: memory * gibibyte,
        used: used * gibibyte,
        reserved: reserved * gibibyte
      }))
      const having = (key: "hasImage" | "hasSnapshot") =>
        new Set(drawn.flatMap((host, index) => (host[key] ? [`host-${index}`] : [])))
      const asked: Place.Wanted = {
        ...wanted,
        architecture: "x64",
        labels: { zone: "a" },
        sources: { name: "a snapshot", hosts: having("hasSnapshot") },
        images: having("hasImage")
      }
      const order = Place.order(hosts, asked)
      const fit = hosts.filter(
        (host, index) =>
          isAlive(host) &&
          host.cordoned === 0 &&
          host.architecture === "x64" &&
          host.labels["zone"] === "a" &&
          drawn[index]?.hasSnapshot === true
      )
      assert.strictEqual(order.length, Math.min(fit.length, 8))
      assert.isTrue(order.every((host) => fit.includes(host)))
      // Those with room come before those without.
      const hasRoom = ({ memory, reserved, used }: Host) => memory - Math.max(used, reserved) >= asked.memory
      const full = order.findIndex((host) => !hasRoom(host))
      if (full !== -1) assert.isFalse(order.slice(full).some(hasRoom))
      // It does not depend on the order of the directory.
      assert.deepStrictEqual(ids(Place.order(hosts.toReversed(), asked)), ids(order))
      for (const host of hosts) assert.strictEqual(Place.unfit(host, asked) === undefined, fit.includes(host))
    })
  )

  it("prefers the emptiest host, and counts what is being created there", () => {
    const hosts = [
      { ...base, id: "busy", used: 4 * gibibyte },
      { ...base, id: "creating", reserved: 6 * gibibyte },
      { ...base, id: "empty" },
      { ...base, id: "full", used: 8 * gibibyte }
    ]
    assert.deepStrictEqual(ids(Place.order(hosts, wanted)), ["empty", "busy", "creating", "full"])
  })

  it("prefers a host that has the image, unless it is much fuller", () => {
    const hosts = [
      { ...base, id: "empty" },
      { ...base, id: "has it", used: 0.5 * gibibyte },
      { ...base, id: "has it but is busy", used: 6 * gibibyte }
    ]
    const images = among("has it", "has it but is busy")
    assert.deepStrictEqual(ids(Place.order(hosts, { ...wanted, images })), ["has it", "empty", "has it but is busy"])
  })

  it("says why no host can take a sandbox", () => {
    const hosts = [
      { ...base, id: "b", state: "stopped" as const },
      { ...base, id: "c", age: 20_000 },
      { ...base, id: "d", cordoned: 1, reason: "a new disk" },
      { ...base, id: "e" }
    ]
    const sources = { name: `snapshot "lb-1"`, hosts: among("b", "c", "d") }
    const said = Place.explain(hosts, { ...wanted, sources })
    for (const part of [
      "b: it was stopped",
      "c: it was last seen 20 s ago",
      "d: it is cordoned: a new disk",
      `e: it does not have snapshot "lb-1"`
    ]) {
      assert.include(said, part)
    }
    assert.strictEqual(Place.explain([], wanted), "the fleet has no hosts")
  })
})
