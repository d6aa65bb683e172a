/** Jobs on hosts of one process, with a directory in SQLite. */
import { assert, layer } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import * as Fleet from "../../src/Fleet.ts"
import * as Support from "../MicrosandboxFleet/support.ts"

const image = "busybox"

const runAll = (jobs: Iterable<Fleet.Job>, options?: Fleet.RunManyOptions) =>
  Stream.runCollect(Fleet.runMany(jobs, options))

layer(Layer.empty, { excludeTestServices: true })("jobs of a fleet", (it) => {
  it.effect(
    "run on its hosts, and return their results in order",
    () =>
      Effect.gen(function* () {
        const url = yield* Support.directory
        const a = yield* Support.host(url, { member: { jobs: 4 } })
        const b = yield* Support.host(url, { member: { jobs: 4 } })
        const fleet = yield* Layer.build(Fleet.layer({ directory: url }))
        const jobs = Array.from({ length: 6 }, (_, i): Fleet.Job => ({
          id: `job-${i}`,
          image,
          command: `echo ${i}; echo err >&2; exit ${i}`
        }))
        const results = yield* Effect.provideContext(runAll(jobs), fleet)

        const t = Date.now()
        yield* Effect.provideContext(runAll(jobs), fleet)
      }),
    60000
  )
})
