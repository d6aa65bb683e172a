/** What jobs promise when their hosts are killed, in any database. */
import { assert } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import * as Fleet from "../../src/Fleet.ts"
import type * as MicrosandboxMemory from "../../src/MicrosandboxMemory.ts"
import * as Cases from "../internal/directory/cases.ts"
import { start } from "./hosts.ts"

export const image = "busybox"

export const runAll = (jobs: Iterable<Fleet.Job>, options?: Fleet.RunManyOptions) =>
  Stream.runCollect(Fleet.runMany(jobs, options))

/** Looks again until something is so. */
export const until = <A, E, R>(effect: Effect.Effect<A, E, R>, isSo: (value: A) => boolean) =>
  Effect.retry(
    Effect.filterOrFail(effect, isSo, () => "not yet" as const),
    Schedule.spaced("100 millis").pipe(Schedule.upTo({ times: 600 }))
  )

/** A command that counts how often it was begun, and ends when it is told to. */
export const counted = Effect.sync(() => {
  let begun = 0
  const isOver = Deferred.makeUnsafe<void>()
  const work: MicrosandboxMemory.Command = Effect.fnUntraced(function* ({ stdout }) {
    begun += 1
    yield* Deferred.await(isOver)
    yield* stdout("worked\n")
    return 0
  })
  return { work, count: Effect.sync(() => begun), end: Deferred.succeed(isOver, undefined) }
})

/** Nobody waits for what is known of a dead host to become old. */
const age = Effect.fnUntraced(function* (directory: Effect.Success<ReturnType<typeof Cases.open>>, host: string) {
  const { sql } = directory
  yield* sql`UPDATE lightbox_hosts SET seen_at = seen_at - 300000 WHERE id = ${host}`
  yield* sql`UPDATE lightbox_sandboxes SET state = 'lost', reason = 'its host was killed' WHERE host = ${host}`
  yield* sql`UPDATE lightbox_locks SET held_until = held_until - 300000
    WHERE name IN (SELECT 'jobs/' || id FROM lightbox_jobs WHERE host = ${host})`
  const before = sql.onDialectOrElse({
    pg: () => sql.literal("now() - interval '300 seconds'"),
    orElse: () => sql.literal("datetime('now', '-300 seconds')")
  })
  yield* sql`UPDATE lightbox_cluster_locks SET acquired_at = ${before} WHERE address = ${`${host}:1`}`
  yield* sql`UPDATE lightbox_cluster_runners SET last_heartbeat = ${before} WHERE address = ${`${host}:1`}`
})

/** Kills one of two hosts while both run jobs, and conduct them for each other. */
export const survivesKill = Effect.fnUntraced(function* (url: string) {
  const directory = yield* Cases.open(url)
  const hosts = [yield* start(url), yield* start(url)] as const
  const fleet = yield* Layer.build(Fleet.layer({ directory: url }))
  const jobs = Array.from({ length: 6 }, (_, index): Fleet.Job => ({
    id: `job-${index}`,
    image,
    command: `sleep 6; echo ${index}`,
    resources: { memory: "64M" }
  }))
  const results = yield* Effect.forkScoped(Effect.provideContext(runAll(jobs), fleet))
  const [dead, alive] = hosts
  const running = (host: string) =>
    Effect.map(directory.sandboxesOf(host), (all) =>
      all.filter(({ name, state }) => name.startsWith("job-") && state === "running")
    )
  // A name whose creation was left half done is free again after two minutes: no job has only begun to be created.
  yield* until(
    Effect.gen(function* () {
      const ended = (yield* Effect.provideContext(Fleet.jobs(), fleet)).filter(({ state }) => state === "ended")
      const here = yield* running(dead.id)
      const there = yield* running(alive.id)
      return here.length > 0 && here.length + there.length + ended.length >= jobs.length
    }),
    (isSo) => isSo
  )
  yield* dead.kill
  const before = yield* Effect.provideContext(Fleet.jobs(), fleet)
  yield* age(directory, dead.id)
  const all = yield* Fiber.join(results)
  assert.deepStrictEqual(
    all.map((result) => (result._tag === "Exited" ? [result.id, result.exitCode, result.stdout] : [result.error])),
    jobs.map(({ id }, index) => [id, 0, `${index}\n`])
  )
  // What had not ended has run again, on the host that is left.
  const ended = new Set(before.flatMap(({ id, state }) => (state === "ended" ? [id] : [])))
  const again = all.filter(({ id, runs }) => !ended.has(id) && runs > 1)
  assert.isAbove(again.length, 0)
  for (const result of again) assert.deepInclude(result, { host: alive.id })
  // Nothing is left, and nothing runs for those that ask again.
  assert.deepStrictEqual(yield* until(running(alive.id), (found) => found.length === 0), [])
  assert.deepStrictEqual(yield* Effect.provideContext(runAll(jobs), fleet), all)
  return { alive, all, fleet, jobs }
})
