/** Jobs of a fleet: how many of them hosts on the twin get done, each host in a process of its own. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import * as Fleet from "../../src/Fleet.ts"
import { start } from "../Fleet/hosts.ts"
import * as Support from "../MicrosandboxFleet/support.ts"
import * as Row from "./Row.ts"

/** Jobs of a round. */
const count = 20

/** Measures jobs per second, with a new directory in SQLite. */
const rateOn = (hosts: number, n: number) =>
  Effect.scoped(
    Effect.gen(function* () {
      const url = yield* Support.directory
      for (let host = 0; host < hosts; host++) yield* start(url)
      const fleet = yield* Layer.build(Fleet.layer({ directory: url }))
      let rounds = 0
      const round = Effect.suspend(() => {
        const name = `round-${rounds++}`
        const jobs = Array.from({ length: count }, (_, index): Fleet.Job => ({
          id: `${name}-${index}`,
          image: "busybox",
          command: ["true"],
          resources: { memory: "64M" }
        }))
        return Row.millisOf(
          Effect.provideContext(Stream.runDrain(Fleet.runMany(jobs, { concurrency: count })), fleet)
        ).pipe(Effect.map((millis) => (count * 1000) / millis))
      })
      const [values = []] = yield* Row.alternate(n, [round], { warmUp: 1 })
      const what = hosts === 1 ? "1 host" : `${hosts} hosts`
      return Row.make(`jobs of a fleet, ${what}`, { ours: ["Fleet.runMany", values] }, { unit: "jobs/s" })
    })
  )

export const benches: ReadonlyArray<Row.Bench> = [
  {
    name: "fleet-jobs",
    place: "machine",
    rows: (n) => Effect.forEach([1, 2, 4], (hosts) => rateOn(hosts, n))
  }
]
