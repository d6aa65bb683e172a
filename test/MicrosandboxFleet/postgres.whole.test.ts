/** The directory in a real PostgreSQL, and a fleet that uses it. */
import * as PgClient from "@effect/sql-pg/PgClient"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, layer } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as SqlClient from "effect/sql/SqlClient"
import * as Fleet from "../../src/Fleet.ts"
import * as Sandbox from "../../src/Sandbox.ts"
import * as Snapshot from "../../src/Snapshot.ts"
import * as Jobs from "../Fleet/cases.ts"
import * as Postgres from "../images/Postgres.ts"
import * as Cases from "../internal/directory/cases.ts"
import * as Support from "./support.ts"

const pause = Schedule.spaced("50 millis")

class Server extends Context.Service<
  Server,
  {
    readonly url: string
    /** A database of its own for each test. */
    readonly database: Effect.Effect<{
      readonly url: string
      readonly sql: Context.Service.Shape<typeof SqlClient.SqlClient>
    }>
    readonly stop: Effect.Effect<void>
    readonly start: Effect.Effect<void>
  }
>()("effect-lightbox/test/MicrosandboxFleet/postgres.whole.test/Server") {
  static readonly layer = Layer.effect(
    Server,
    Effect.gen(function* () {
      const scope = yield* Effect.scope
      const { start, url } = yield* Postgres.make()
      const services = yield* Effect.context<Layer.Success<typeof NodeServices.layer>>()
      let running = yield* Scope.fork(scope)
      yield* Scope.provide(start, running)
      const connect = (url: string) =>
        Layer.buildWithScope(PgClient.layer({ url: Redacted.make(url) }), scope).pipe(
          Effect.map((context) => Context.get(context, SqlClient.SqlClient)),
          // It answers connections a moment before it accepts them.
          Effect.tap((sql) => Effect.retry(sql`SELECT 1`, { times: 200, schedule: pause })),
          Effect.orDie
        )
      let count = 0
      return {
        url,
        database: Effect.gen(function* () {
          const name = `fleet${++count}`
          const admin = yield* connect(url)
          // As many languages do, it ignores what is no letter when it compares texts.
          yield* Effect.orDie(
            admin.unsafe(`CREATE DATABASE ${name} TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C'
              LOCALE_PROVIDER icu ICU_LOCALE 'en-US-u-ka-shifted'`)
          )
          const own = url.replace(/postgres$/, name)
          return { url: own, sql: yield* connect(own) }
        }),
        stop: Effect.suspend(() => Scope.close(running, Exit.void)),
        start: Effect.gen(function* () {
          running = yield* Scope.fork(scope)
          yield* Scope.provide(start, running)
        }).pipe(Effect.provideContext(services), Effect.orDie)
      }
    })
  ).pipe(Layer.provide(NodeServices.layer), Layer.orDie)
}

layer(Server.layer, { excludeTestServices: true, timeout: 120_000 })("a directory in PostgreSQL", (it) => {
  /** Nothing waits for the clock of the database: what it has written becomes older. */
  const withPass = (
    run: (url: string, pass: (millis: number) => Effect.Effect<void>) => Effect.Effect<void, unknown, Scope.Scope>
  ) =>
    Effect.gen(function* () {
      const { database } = yield* Server
      const { sql, url } = yield* database
      yield* run(url, (millis) =>
        Effect.gen(function* () {
          yield* sql`UPDATE lightbox_hosts SET seen_at = seen_at - ${millis}::double precision`
          yield* sql`UPDATE lightbox_sandboxes SET lease_until = lease_until - ${millis}::double precision,
            updated_at = updated_at - ${millis}::double precision`
          yield* sql`UPDATE lightbox_locks SET held_until = held_until - ${millis}::double precision`
          yield* sql`UPDATE lightbox_jobs SET touched_at = touched_at - ${millis}::double precision,
            ended_at = ended_at - ${millis}::double precision`
          yield* sql`UPDATE lightbox_lines SET written_at = written_at - ${millis}::double precision`
          yield* sql`UPDATE lightbox_waiters SET heard_at = heard_at - ${millis}::double precision`
        }).pipe(Effect.orDie)
      )
    })

  it.effect("keeps hosts", () => withPass(Cases.keepsHosts))
  it.effect("gives a name to one creation", () => withPass(Cases.givesANameOnce))
  it.effect("loses no sandbox before its host is gone and its lease has run out", () =>
    withPass(Cases.losesNothingEarly)
  )
  it.effect("gives a lock to one holder, until it runs out", () => withPass(Cases.locksOnce))
  it.effect("changes what a lock protects only while it is held", () => withPass(Cases.fencesWrites))
  it.effect("keeps records, names, and what hosts have", () => withPass(Cases.keepsRecords))
  it.effect("keeps jobs, which only the holder of their lock changes", () => withPass(Cases.keepsJobs))
  it.effect("tells those that wait for a lock what its holder says", () => withPass(Cases.tellsThoseThatWait))
  it.effect("keeps what the fleet agrees on", () => withPass(Cases.agreesOnce))

  it.effect("creates its tables once, however many begin at the same time", () =>
    Effect.gen(function* () {
      const { database } = yield* Server
      const { url } = yield* database
      const all = yield* Effect.forEach([1, 2, 3, 4], () => Cases.open(url), { concurrency: "unbounded" })
      for (const directory of all) assert.deepStrictEqual(yield* directory.hosts, [])
    })
  )

  it.effect("gives up a statement that hangs, and goes on after that", () =>
    Effect.gen(function* () {
      const { database } = yield* Server
      const { sql, url } = yield* database
      const directory = yield* Cases.open(url)
      const hangs = sql.withTransaction(
        Effect.andThen(
          sql`LOCK TABLE lightbox_hosts IN ACCESS EXCLUSIVE MODE`,
          Effect.all([Effect.flip(directory.hosts), Effect.flip(directory.cordon("a", "a new disk"))], {
            concurrency: "unbounded"
          })
        )
      )
      const [read, change] = yield* hangs
      assert.deepInclude(read.reason, { _tag: "HostUnavailable", kind: "Unreachable" })
      assert.deepInclude(change.reason, { _tag: "HostUnavailable", kind: "Lost" })
      assert.deepStrictEqual(yield* directory.hosts, [])
    })
  )

  it.effect(
    "has the jobs of a killed host run again on another one",
    () =>
      Effect.gen(function* () {
        const { database } = yield* Server
        const { url } = yield* database
        yield* Jobs.survivesKill(url)
      }).pipe(Effect.provide(NodeServices.layer)),
    60_000
  )

  it.effect(
    "has each job run once, though it is away while they run",
    () =>
      Effect.gen(function* () {
        const { database, start, stop } = yield* Server
        const { sql, url } = yield* database
        const early = yield* Jobs.counted
        const late = yield* Jobs.counted
        const options = { member: { jobs: 4 }, twin: { commands: { early: early.work, late: late.work } } }
        const hosts = [yield* Support.host(url, options), yield* Support.host(url, options)]
        const fleet = yield* Layer.build(Fleet.layer({ directory: url }))
        const jobs = ["early", "early", "late", "late", "late"].map((command, index): Fleet.Job => ({
          id: `job-${index}`,
          image: "busybox",
          command,
          resources: { memory: "64M" }
        }))
        const running = yield* Effect.forkScoped(Effect.provideContext(Jobs.runAll(jobs), fleet))
        const count = Effect.map(
          Effect.forEach(hosts, ({ control }) => control.inventory),
          (all) => all.flatMap(({ sandboxes }) => sandboxes).length
        )
        const begun = Effect.all([early.count, late.count])
        yield* Jobs.until(begun, ([first, second]) => first === 2 && second === 3)
        // It knows them all: a name whose creation was left half done is free again after two minutes.
        yield* Jobs.until(
          Effect.orDie(sql`SELECT name FROM lightbox_sandboxes WHERE state = 'running'`),
          (found) => found.length === jobs.length
        )
        const locks = sql<{ at: string }>`SELECT acquired_at::text AS at FROM lightbox_cluster_locks`
        const before = new Set((yield* locks).map(({ at }) => at))
        yield* stop
        // Some commands end, and nobody can record it.
        yield* early.end
        yield* Jobs.until(count, (sandboxes) => sandboxes <= 3)
        yield* start
        // The others end once the cluster has given all jobs to hosts anew.
        yield* Jobs.until(
          Effect.retry(locks, { times: 200, schedule: pause }),
          (all) => all.length > 0 && all.every(({ at }) => !before.has(at))
        )
        yield* late.end
        const results = yield* Fiber.join(running)
        assert.deepStrictEqual(
          results.map((result) => (result._tag === "Exited" ? [result.stdout, result.runs] : [result.error])),
          jobs.map(() => ["worked\n", 1])
        )
        assert.deepStrictEqual(yield* begun, [2, 3])
        assert.strictEqual(yield* Jobs.until(count, (sandboxes) => sandboxes === 0), 0)
        assert.deepStrictEqual(yield* Effect.provideContext(Jobs.runAll(jobs), fleet), results)
      }),
    90_000
  )

  it.effect("serves a fleet, which goes on while it is away", () =>
    Effect.gen(function* () {
      const { database, start, stop } = yield* Server
      const { url } = yield* database
      const a = yield* Support.host(url, { twin: { budget: { memory: "1G" } } })
      const b = yield* Support.host(url, { twin: { budget: { memory: "1G" } } })
      const { services } = yield* Support.program(url)
      const resources = { memory: "256M" } as const
      const definition = Snapshot.make("app", "busybox").pipe(
        Snapshot.resources(resources),
        Snapshot.shell("echo built > /root/built")
      )
      yield* Effect.provideContext(Snapshot.build(definition), services)
      const launch = (options: Sandbox.LaunchOptions) =>
        Effect.provideContext(Sandbox.launch({ resources, ...options }), services)
      const sandbox = yield* launch({ snapshot: "app", name: "mine" })
      yield* launch({ image: "busybox", name: "one" })
      yield* launch({ image: "busybox", name: "two" })
      const counts = yield* Effect.forEach([a, b], ({ control }) =>
        Effect.map(control.inventory, ({ sandboxes }) => sandboxes.length)
      )
      assert.isTrue(counts.every((count) => count > 0))

      yield* stop
      assert.strictEqual(yield* sandbox.readFileString("/root/built"), "built\n")
      const late = yield* Effect.flip(launch({ image: "busybox", name: "late" }))
      assert.strictEqual(late.reason._tag, "HostUnavailable")
      assert.notInclude(late.message, "@effect")

      yield* start
      const back = yield* Effect.retry(launch({ image: "busybox", name: "back" }), { times: 200, schedule: pause })
      assert.strictEqual((yield* back.exec("true")).exitCode, 0)
    })
  )
})
