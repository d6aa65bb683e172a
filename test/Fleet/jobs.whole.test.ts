/** Jobs on hosts of one process, with a directory in SQLite. The clock of the cluster is that of the database. */
import { assert, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import * as Fleet from "../../src/Fleet.ts"
import type * as MicrosandboxMemory from "../../src/MicrosandboxMemory.ts"
import * as Sandbox from "../../src/Sandbox.ts"
import * as Snapshot from "../../src/Snapshot.ts"
import { lockOf } from "../../src/internal/directory/jobs.ts"
import { sandboxOf } from "../../src/internal/fleet/conduct.ts"
import { failsWith } from "../Microsandbox/Bench.ts"
import * as Cases from "../internal/directory/cases.ts"
import * as Support from "../MicrosandboxFleet/support.ts"
import { counted, image, runAll, until } from "./cases.ts"

const host = (url: string, twin: MicrosandboxMemory.Options = {}) => Support.host(url, { member: { jobs: 8 }, twin })

/** A fleet of two hosts, and a program that asks for jobs. */
const make = Effect.gen(function* () {
  const url = yield* Support.directory
  const hosts = [yield* host(url), yield* host(url)] as const
  return { url, hosts, fleet: yield* Layer.build(Fleet.layer({ directory: url })) }
})

const sandboxesOf = (hosts: ReadonlyArray<Effect.Success<ReturnType<typeof host>>>) =>
  Effect.map(
    Effect.forEach(hosts, ({ control }) => control.inventory),
    (all) => all.flatMap(({ sandboxes }) => sandboxes.map(({ name }) => name))
  )

/** Some wait until a connection to a host that has stopped counts as lost. */
const limit = 60_000

layer(Layer.empty, { excludeTestServices: true })("jobs of a fleet", (it) => {
  it.effect(
    "run in sandboxes of their own, and return their results in order, once",
    () =>
      Effect.gen(function* () {
        const { fleet, hosts, url } = yield* make
        const { services } = yield* Support.program(url)
        yield* Effect.provideContext(
          Snapshot.build(Snapshot.make("app", image).pipe(Snapshot.shell("echo baked > /root/baked"))),
          services
        )
        const numbered = Array.from({ length: 4 }, (_, index): Fleet.Job => ({
          id: `number-${index}`,
          image,
          command: `echo out ${index}; echo err >&2; exit ${index}`
        }))
        const jobs: ReadonlyArray<Fleet.Job> = [
          ...numbered,
          { id: "baked", snapshot: "app", command: ["cat", "/root/baked"] },
          {
            id: "options",
            image,
            command: 'echo "$COLOR $(pwd) $(id -un)"',
            env: { COLOR: "blue" },
            cwd: "/tmp",
            user: "root",
            resources: { memory: "128M", cpus: 2 }
          },
          // More than what a result keeps.
          {
            id: "long",
            image,
            command: "x=0123456789; for i in 1 2 3 4 5 6 7 8 9 10 11 12 13; do x=$x$x; done; echo $x"
          },
          { id: "again", image, command: "exit 7", retries: 1 },
          { id: "slow", image, command: "echo begun; sleep 1000", timeout: "500 millis" },
          { id: "missing", snapshot: "none", command: "true" },
          { id: "no-program", image, command: ["no-such-program"] }
        ]
        const results = yield* Effect.provideContext(runAll(jobs), fleet)
        assert.deepStrictEqual(
          results.map(({ id }) => id),
          jobs.map(({ id }) => id)
        )
        const ids = new Set(hosts.map(({ id }) => id))
        numbered.forEach((_, index) => {
          const result = results[index]
          assert.deepInclude(result, {
            _tag: "Exited",
            exitCode: index,
            stdout: `out ${index}\n`,
            stderr: "err\n",
            runs: 1
          })
          assert.isTrue(result?._tag === "Exited" && ids.has(result.host) && !result.isTruncated)
        })
        const [baked, options, long, again, slow, missing, program] = results.slice(numbered.length)
        assert.deepInclude(baked, { exitCode: 0, stdout: "baked\n" })
        assert.deepInclude(options, { exitCode: 0, stdout: "blue /tmp root\n" })
        assert.isTrue(long?._tag === "Exited" && long.isTruncated && long.stdout.length === 64 * 1024)
        assert.deepInclude(again, { _tag: "Exited", exitCode: 7, runs: 2 })
        assert.isTrue(slow?._tag === "Failed" && slow.error.reason._tag === "TimedOut")
        assert.include(slow?._tag === "Failed" ? slow.error.message : "", "begun")
        assert.isTrue(missing?._tag === "Failed" && missing.error.reason._tag === "NotFound")
        assert.isTrue(program?._tag === "Failed" && program.error.reason._tag === "CommandNotStarted")
        assert.deepStrictEqual(yield* sandboxesOf(hosts), [])

        // From another program, and without hosts: what is recorded needs none.
        for (const { stop } of hosts) yield* stop
        const other = yield* Layer.build(Fleet.layer({ directory: url }))
        assert.deepStrictEqual(yield* Effect.provideContext(runAll(jobs), other), results)
        const different = { ...numbered[0], id: "number-0", command: "true" }
        assert.deepInclude(yield* failsWith("AlreadyExists", Effect.provideContext(Fleet.run(different), other)), {
          resource: "job",
          name: "number-0"
        })
        yield* failsWith("HostUnavailable", Effect.provideContext(Fleet.run({ ...different, id: "new" }), other))
        const listed = yield* Effect.provideContext(Fleet.jobs({ limit: 2 }), other)
        assert.strictEqual(listed.length, 2)
        const all = yield* Effect.provideContext(Fleet.jobs(), other)
        assert.isTrue(all.every(({ state }) => state === "ended"))
        assert.deepStrictEqual(
          new Map(all.map(({ id, result }) => [id, result])),
          new Map(results.map((result) => [result.id, result]))
        )
      }),
    limit
  )

  it.effect(
    "go on without the program that asked, and on another host when theirs stops",
    () =>
      Effect.gen(function* () {
        const { fleet, hosts, url } = yield* make
        const scope = yield* Scope.make()
        const first = yield* Layer.buildWithScope(Fleet.layer({ directory: url }), scope)
        const jobs = Array.from({ length: 4 }, (_, index): Fleet.Job => ({
          id: `job-${index}`,
          image,
          // Until it is on the second host, or the test says so.
          command: `echo ${index}; sleep 2`
        }))
        const asking = yield* Effect.forkChild(Effect.provideContext(runAll(jobs), first))
        yield* until(sandboxesOf(hosts), (found) => found.length === jobs.length)
        yield* Fiber.interrupt(asking)
        yield* Scope.close(scope, Exit.void)
        const [left, stopped] = hosts
        yield* stopped.stop
        const results = yield* Effect.provideContext(runAll(jobs), fleet)
        assert.deepStrictEqual(
          results.map((result) => (result._tag === "Exited" ? [result.exitCode, result.stdout] : [result.error])),
          jobs.map((_, index) => [0, `${index}\n`])
        )
        assert.deepStrictEqual(yield* sandboxesOf([left]), [])
      }),
    limit
  )

  it.effect(
    "run once, though another host joins, and the cluster cannot extend its locks meanwhile",
    () =>
      Effect.gen(function* () {
        const url = yield* Support.directory
        const { sql } = yield* Cases.open(url)
        const { count, end, work } = yield* counted
        const commands = { work }
        const first = yield* host(url, { commands })
        const fleet = yield* Layer.build(Fleet.layer({ directory: url }))
        const jobs = Array.from({ length: 8 }, (_, index): Fleet.Job => ({
          id: `job-${index}`,
          image,
          command: "work"
        }))
        const running = yield* Effect.forkScoped(Effect.provideContext(runAll(jobs), fleet))
        yield* until(count, (begun) => begun === jobs.length)
        const joined = yield* host(url, { commands })
        // It has its share of the shards, but not those of jobs that run.
        yield* until(
          sql`SELECT shard_id FROM lightbox_cluster_locks WHERE address = ${`${joined.id}:1`}`,
          (shards) => shards.length >= 16
        )
        // Then the cluster takes all of its work from the first host, until that has its locks again.
        yield* sql`CREATE TABLE noted (what TEXT)`
        yield* sql`CREATE TRIGGER failing BEFORE UPDATE ON lightbox_cluster_locks
          BEGIN INSERT INTO noted VALUES ('failed ' || OLD.address); SELECT RAISE(FAIL, 'no'); END`
        yield* sql`CREATE TRIGGER acquired AFTER INSERT ON lightbox_cluster_locks
          BEGIN INSERT INTO noted VALUES ('acquired ' || NEW.address); END`
        const noted = (what: string) => sql`SELECT what FROM noted WHERE what = ${`${what} ${first.id}:1`}`
        yield* until(noted("failed"), (all) => all.length >= 6)
        yield* sql`DROP TRIGGER failing`
        yield* until(noted("acquired"), (all) => all.length > 0)
        yield* end
        const results = yield* Fiber.join(running)
        assert.deepStrictEqual(
          results.map((result) => (result._tag === "Exited" ? [result.stdout, result.runs] : [result.error])),
          jobs.map(() => ["worked\n", 1])
        )
        assert.strictEqual(yield* count, jobs.length)
      }),
    limit
  )

  it.effect("are recorded after one run, though their lock runs out as the command ends", () =>
    Effect.gen(function* () {
      const url = yield* Support.directory
      const { sql } = yield* Cases.open(url)
      yield* host(url)
      const fleet = yield* Layer.build(Fleet.layer({ directory: url }))
      yield* sql`CREATE TRIGGER expire AFTER DELETE ON lightbox_sandboxes
        BEGIN UPDATE lightbox_locks SET held_until = 0 WHERE name = 'jobs/late'; END`
      const result = yield* Effect.provideContext(Fleet.run({ id: "late", image, command: "echo out" }), fleet)
      assert.deepInclude(result, { _tag: "Exited", stdout: "out\n", runs: 1 })
    })
  )

  it.effect("fail without another run once five were lost with their hosts", () =>
    Effect.gen(function* () {
      const url = yield* Support.directory
      const { sql } = yield* Cases.open(url)
      const { count, work } = yield* counted
      yield* host(url, { commands: { work } })
      const fleet = yield* Layer.build(Fleet.layer({ directory: url }))
      yield* sql`CREATE TRIGGER lose AFTER INSERT ON lightbox_jobs BEGIN UPDATE lightbox_jobs SET runs = 5; END`
      const result = yield* Effect.provideContext(Fleet.run({ id: "deadly", image, command: "work" }), fleet)
      assert.isTrue(result._tag === "Failed" && result.error.reason._tag === "GuestLost" && result.runs === 5)
      assert.strictEqual(yield* count, 0)
    })
  )

  it.effect("do not keep others from running while they wait", () =>
    Effect.gen(function* () {
      const url = yield* Support.directory
      const directory = yield* Cases.open(url)
      yield* Support.host(url, { member: { jobs: 1 } })
      const fleet = yield* Layer.build(Fleet.layer({ directory: url }))
      const waits = { id: "waits", image, command: "true" }
      yield* directory.lock(lockOf(waits.id), "another host")
      yield* Effect.forkScoped(Effect.provideContext(Fleet.run(waits), fleet))
      const next = yield* Effect.provideContext(Fleet.run({ ...waits, id: "next" }, { timeout: "20 seconds" }), fleet)
      assert.deepInclude(next, { _tag: "Exited", exitCode: 0 })
    })
  )

  it.effect("do not touch a sandbox of somebody else, and wait while their name is taken", () =>
    Effect.gen(function* () {
      const { fleet, url } = yield* make
      const { services } = yield* Support.program(url)
      yield* Effect.provideContext(Sandbox.launch({ image, name: sandboxOf("mine") }), services)
      const mine = yield* Effect.provideContext(Fleet.run({ id: "mine", image, command: "true" }), fleet)
      assert.isTrue(mine._tag === "Failed" && mine.error.reason._tag === "Unknown")
      const status = yield* Effect.provideContext(Sandbox.get(sandboxOf("mine")), services)
      assert.strictEqual(status.status, "running")
      const late = { id: "late", image, command: "sleep 1000" }
      const limited = yield* failsWith(
        "TimedOut",
        Effect.provideContext(Fleet.run(late, { timeout: "500 millis" }), fleet)
      )
      assert.include(limited.operation, '"late"')
    })
  )

  it.effect("are refused in a fleet that runs jobs in another way", () =>
    Effect.gen(function* () {
      const url = yield* Support.directory
      const directory = yield* Cases.open(url)
      yield* directory.agree("cluster", JSON.stringify({ version: 0 }))
      yield* failsWith("Unsupported", Layer.build(Fleet.layer({ directory: url })))
      yield* failsWith("Unsupported", host(url))
    })
  )
})
