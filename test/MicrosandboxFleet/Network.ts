/** Machines with a network between them, as namespaces of this one. It needs a root user. */
import * as Effect from "effect/Effect"
import type { ChildProcessSpawner } from "effect/process/ChildProcessSpawner"
import * as Packages from "../host/Packages.ts"
import { run, type Words } from "../host/Subprocess.ts"

export interface Machine {
  readonly address: string
  /** What runs a command on it. */
  readonly on: (words: Words) => Words
  /** Loses everything between it and others. */
  readonly cut: (...others: ReadonlyArray<Pick<Machine, "address">>) => Effect.Effect<void, never, ChildProcessSpawner>
  /** Loses this part of what it receives, and sends a megabit a second. */
  readonly worsen: (percent: number) => Effect.Effect<void, never, ChildProcessSpawner>
  /** Makes its network whole again. */
  readonly mend: Effect.Effect<void, never, ChildProcessSpawner>
}

const tool = (...[program, ...args]: Words) => Effect.orDie(run(program, args))

/** Starts a network, on which this process has the first address, and returns what adds a machine to it. */
export const make = Effect.gen(function* () {
  yield* Packages.ensure("a network of machines", ["iproute2", "nftables"])
  const prefix = `10.213.${process.pid % 250}`
  const bridge = `lb${process.pid}`
  yield* Effect.acquireRelease(tool("ip", "link", "add", bridge, "type", "bridge"), () =>
    tool("ip", "link", "delete", bridge)
  )
  yield* tool("ip", "address", "add", `${prefix}.1/24`, "dev", bridge)
  yield* tool("ip", "link", "set", bridge, "up")
  let count = 1
  const add = Effect.gen(function* () {
    const number = ++count
    const namespace = `${bridge}-${number}`
    const link = `${bridge}v${number}`
    const address = `${prefix}.${number}`
    const inside = (...words: Words) => tool("ip", "netns", "exec", namespace, ...words)
    yield* Effect.acquireRelease(tool("ip", "netns", "add", namespace), () => tool("ip", "netns", "delete", namespace))
    yield* Effect.acquireRelease(
      tool("ip", "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", namespace),
      () => tool("ip", "link", "delete", link)
    )
    yield* tool("ip", "link", "set", link, "master", bridge, "up")
    yield* inside("ip", "address", "add", `${address}/24`, "dev", "eth0")
    yield* inside("ip", "link", "set", "eth0", "up")
    yield* inside("ip", "link", "set", "lo", "up")
    yield* inside("nft", "add table inet faults")
    yield* inside("nft", "add chain inet faults in { type filter hook input priority 0; }")
    yield* inside("nft", "add chain inet faults out { type filter hook output priority 0; }")
    const machine: Machine = {
      address,
      on: (words) => ["ip", "netns", "exec", namespace, ...words],
      cut: (...others) =>
        Effect.forEach(
          others,
          (other) =>
            Effect.andThen(
              inside("nft", `add rule inet faults in ip saddr ${other.address} drop`),
              inside("nft", `add rule inet faults out ip daddr ${other.address} drop`)
            ),
          { discard: true }
        ),
      worsen: (percent) =>
        Effect.andThen(
          inside("nft", `add rule inet faults in numgen random mod 100 < ${percent} drop`),
          Effect.asVoid(
            inside(
              "tc",
              "qdisc",
              "add",
              "dev",
              "eth0",
              "root",
              "tbf",
              "rate",
              "1mbit",
              "burst",
              "32k",
              "latency",
              "50ms"
            )
          )
        ),
      mend: Effect.andThen(
        inside("nft", "flush table inet faults"),
        Effect.ignore(run("ip", ["netns", "exec", namespace, "tc", "qdisc", "delete", "dev", "eth0", "root"]))
      )
    }
    return machine
  })
  return { add, everybody: { address: `${prefix}.0/24` } }
})
