/**
 * A fleet on machines with a network between them, in which everything breaks while programs work: hosts, programs, the
 * database and what is between them. Then what was noted is compared with what has run.
 */
import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, layer } from "@effect/vitest"
import * as Console from "effect/Console"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as ChildProcess from "effect/process/ChildProcess"
import * as Queue from "effect/Queue"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import { graceMillis } from "../../src/internal/directory/directory.ts"
import * as Microsandbox from "../../src/Microsandbox.ts"
import * as Sandbox from "../../src/Sandbox.ts"
import { dieWithParent } from "../host/Subprocess.ts"
import * as Postgres from "../images/Postgres.ts"
import * as Cases from "../internal/directory/cases.ts"
import { Line } from "./journal.ts"
import * as Network from "./Network.ts"
import * as Support from "./support.ts"

const program = (name: string) => fileURLToPath(new URL(`programs/${name}.ts`, import.meta.url))

const decodeInventory = Schema.decodeUnknownEffect(
  Schema.fromJsonString(
    Schema.Struct({
      sandboxes: Schema.Array(Schema.Struct({ name: Schema.String, status: Schema.String })),
      snapshots: Schema.Array(Schema.String)
    })
  )
)

const decodeLine = Schema.decodeUnknownSync(Schema.fromJsonString(Line))

/** Waits until something of the real world is so. */
const until = <A, E, R>(what: string, effect: Effect.Effect<A, E, R>, isSo: (value: A) => boolean) =>
  effect.pipe(
    Effect.filterOrFail(isSo, (value) => `${what}: ${JSON.stringify(value)}`),
    Effect.retry(Schedule.spaced("200 millis").pipe(Schedule.upTo({ duration: "150 seconds" })))
  )

/** How long an operation may take whatever happens, in seconds: leases, and the time to find out that they are over. */
const limit = 150

/** How far the clocks of one host and of one program are off. */
const skews = { host: 3_600_000, worker: -3_600_000 }

/** Starts a process on a machine. */
const start = Effect.fnUntraced(function* (
  machine: Network.Machine,
  script: string,
  args: ReadonlyArray<string>,
  skew = 0
) {
  const scope = yield* Effect.flatMap(Effect.scope, Scope.fork)
  const preloaded = skew === 0 ? [] : ["--import", program("skew")]
  const [command, ...words] = machine.on(dieWithParent([process.execPath, ...preloaded, program(script), ...args]))
  const input = yield* Queue.unbounded<Uint8Array>()
  const child = yield* ChildProcess.make(command, words, {
    stdin: Stream.fromQueue(input),
    stderr: "inherit",
    env: { LIGHTBOX_SKEW: String(skew) },
    extendEnv: true,
    killSignal: "SIGKILL"
  }).pipe(Scope.provide(scope))
  const output = yield* Queue.unbounded<string>()
  yield* Stream.splitLines(Stream.decodeText(child.stdout)).pipe(
    // Others are its log.
    Stream.filter((line) => /^(host |\{)/.test(line)),
    Stream.runForEach((line) => Queue.offer(output, line)),
    Effect.forkIn(scope)
  )
  const send = (signal: NodeJS.Signals) => Effect.sync(() => void process.kill(Number(child.pid), signal))
  return {
    send,
    ask: Effect.andThen(Queue.offer(input, new TextEncoder().encode("\n")), Queue.take(output)),
    line: Queue.take(output),
    end: (signal: "SIGTERM" | "SIGKILL") =>
      Effect.andThen(send(signal), Effect.exit(child.exitCode)).pipe(Effect.andThen(Scope.close(scope, Exit.void)))
  }
})

const linesOf = (file: string): ReadonlyArray<string> =>
  Fs.existsSync(file)
    ? Fs.readFileSync(file, "utf8")
        .split("\n")
        .filter((line) => line !== "")
    : []

layer(NodeServices.layer, { excludeTestServices: true })("a fleet whose parts break", (it) => {
  it.effect(
    "runs no command twice, says what became of each, leaves nothing, and goes on",
    () =>
      Effect.gen(function* () {
        const { add, everybody } = yield* Network.make
        const [atA, atB, atWorker, atOther, atDatabase] = yield* Effect.all([add, add, add, add, add])
        const machines = [atA, atB, atWorker, atOther, atDatabase]
        const database = yield* Postgres.make(atDatabase)
        const [folder, journals] = [yield* Support.folder("s"), yield* Support.folder("j")]
        const { url } = database
        const startDatabase = Effect.gen(function* () {
          const scope = yield* Effect.flatMap(Effect.scope, Scope.fork)
          const child = yield* Scope.provide(database.start, scope)
          return {
            // Those that serve connections are in groups of their own.
            send: (signal: NodeJS.Signals) =>
              Effect.sync(() => {
                const pid = Number(child.pid)
                const children = Fs.readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ")
                for (const each of [pid, ...children.map(Number)]) process.kill(each, signal)
              }),
            kill: Scope.close(scope, Exit.void)
          }
        })
        let server = yield* startDatabase
        const directory = yield* Effect.retry(
          Cases.open(url),
          Schedule.spaced("200 millis").pipe(Schedule.upTo({ times: 100 }))
        )

        const startHost = Effect.fnUntraced(function* (machine: Network.Machine, home: string, skew?: number) {
          const host = yield* start(machine, "host", [home, url, machine.address, folder], skew)
          const id = (yield* host.line).replace("host ", "")
          return { ...host, id, inventory: Effect.flatMap(host.ask, (line) => decodeInventory(line)) }
        })
        const [homeA, homeB] = [yield* Support.folder("h"), yield* Support.folder("h")]
        const a = yield* startHost(atA, homeA)
        let b = yield* startHost(atB, homeB, skews.host)

        let count = 0
        const startWorker = Effect.fnUntraced(function* (machine: Network.Machine, skew?: number) {
          const journal = Path.join(journals, String(count++))
          const worker = yield* start(machine, "worker", [url, folder, journal], skew)
          return { ...worker, journal }
        })
        const worker = yield* startWorker(atWorker, skews.worker)
        let other = yield* startWorker(atOther)
        const succeeded = ({ journal }: typeof worker) =>
          Effect.sync(() => linesOf(journal).filter((line) => /"command".*"succeeded"/.test(line)).length)
        /** Waits until programs have run so many more commands. */
        const goesOn = (what: string, times: number, ...workers: ReadonlyArray<typeof worker>) =>
          Effect.forEach(
            workers,
            (one) =>
              Effect.flatMap(succeeded(one), (before) =>
                until(`commands ${what}`, succeeded(one), (now) => now >= before + times)
              ),
            { concurrency: "unbounded", discard: true }
          )
        const mend = Effect.forEach(machines, (machine) => machine.mend, { discard: true })
        const seen = (host: { readonly id: string }) =>
          Effect.map(directory.hosts, (hosts) => hosts.find(({ id }) => id === host.id)?.age ?? Infinity)
        const phase = Effect.fnUntraced(function* <E, R>(what: string, broken: Effect.Effect<void, E, R>) {
          yield* Console.log(what)
          yield* broken
          yield* mend
          yield* until(`hosts after ${what}`, Effect.all([seen(a), seen(b)]), (ages) =>
            ages.every((age) => age < 15_000)
          )
          yield* goesOn(`after ${what}`, 1, worker, other)
        })

        yield* goesOn("at first", 3, worker, other)

        yield* phase(
          "a program is cut off from a host",
          Effect.andThen(atWorker.cut(atA), goesOn("without a host", 3, other))
        )
        yield* phase(
          "a host is cut off from the database, and everybody from each other over bad links",
          Effect.gen(function* () {
            yield* atA.cut(atDatabase)
            yield* atOther.worsen(10)
            yield* until("a host that the database does not hear", seen(a), (age) => age > 15_000)
          })
        )
        yield* phase(
          "a program is cut off from the database",
          Effect.andThen(atWorker.cut(atDatabase), goesOn("beside it", 3, other))
        )
        yield* phase(
          "a host stands still",
          Effect.gen(function* () {
            yield* a.send("SIGSTOP")
            yield* until("a host that stands still", seen(a), (age) => age > 15_000)
            yield* a.send("SIGCONT")
          })
        )
        yield* phase(
          "a host is killed",
          Effect.gen(function* () {
            yield* b.end("SIGKILL")
            yield* goesOn("without the other host", 1, worker)
            b = yield* startHost(atB, homeB, skews.host)
          })
        )
        yield* phase(
          "a program is killed",
          Effect.gen(function* () {
            yield* other.end("SIGKILL")
            other = yield* startWorker(atOther)
          })
        )
        yield* phase(
          "the database stands still, and is killed",
          Effect.gen(function* () {
            const before = yield* succeeded(worker)
            yield* server.send("SIGSTOP")
            yield* until(
              "errors",
              Effect.sync(() => linesOf(worker.journal)),
              (lines) => lines.slice(-20).some((line) => line.includes("HostUnavailable"))
            )
            yield* server.send("SIGCONT")
            yield* until("commands", succeeded(worker), (now) => now > before)
            yield* server.kill
            server = yield* startDatabase
          })
        )

        // A host that nobody hears until its sandboxes are given away, and a program that stands still for as long.
        yield* phase(
          "a host is cut off until its sandboxes are given away",
          Effect.gen(function* () {
            const { services } = yield* Support.program(url)
            const driver = Context.get(services, Microsandbox.Microsandbox)
            const launch = Sandbox.launch({ image: "busybox", name: "mine", resources: { memory: "128M" } }).pipe(
              Effect.provideContext(services)
            )
            const first = yield* launch
            const home = [
              { host: a, machine: atA },
              { host: b, machine: atB }
            ].find(({ host }) => first.id.startsWith(`${host.id}~`))
            if (home === undefined) return assert.fail(`${first.id} is on no host`)
            yield* other.send("SIGSTOP")
            yield* home.machine.cut(everybody)
            yield* until("a host that is gone", seen(home.host), (age) => age > graceMillis)
            yield* until("a lost sandbox", directory.find("mine"), (row) => row === undefined || row.state === "lost")
            const second = yield* launch
            assert.isFalse(second.id.startsWith(`${home.host.id}~`))
            assert.strictEqual((yield* second.exec("true")).exitCode, 0)
            yield* home.machine.mend
            yield* until("the old sandbox", home.host.inventory, ({ sandboxes }) =>
              sandboxes.every(({ name }) => name !== "mine")
            )
            assert.strictEqual((yield* driver.getSandbox("mine")).id, second.id)
            yield* other.send("SIGCONT")
          }).pipe(Effect.scoped)
        )

        // Nothing is left of programs that have ended.
        yield* Effect.forEach([worker, other], ({ end }) => end("SIGTERM"), { concurrency: "unbounded" })
        for (const host of [a, b]) {
          yield* until("sandboxes that are left", host.inventory, ({ sandboxes }) => sandboxes.length === 0)
        }
        yield* until(
          "sandboxes that the directory keeps",
          Effect.all([directory.sandboxesOf(a.id), directory.sandboxesOf(b.id)]),
          (rows) => rows.flat().every(({ state }) => state === "lost")
        )
        // No name points to what nobody has.
        const having = yield* Effect.forEach([a, b], ({ inventory }) => inventory)
        for (const { snapshot } of yield* directory.links) {
          assert.isTrue(
            having.some(({ snapshots }) => snapshots.includes(snapshot)),
            snapshot
          )
        }

        // What was noted, and what has run.
        const lines = Fs.readdirSync(journals)
          .filter((name) => /^\d+$/.test(name))
          .flatMap((name) => linesOf(Path.join(journals, name)).map((line) => decodeLine(line)))
        const ran = linesOf(Path.join(folder, "ran"))
        assert.strictEqual(new Set(ran).size, ran.length, "a command ran twice")
        const hasRun = new Set(ran)
        const ended = lines.filter((line) => line.ended !== undefined)
        for (const { ended: how, id, operation } of ended) {
          if (operation !== "command" || how === "unknown") continue
          assert.strictEqual(hasRun.has(id), how === "succeeded", `command ${id} is said to have ${how}`)
        }
        const slow = ended.filter(({ seconds }) => (seconds ?? 0) > limit)
        assert.deepStrictEqual(slow, [], "operations that took too long")
        const reasons = new Map<string, number>()
        for (const { ended: how, operation, reason } of ended) {
          const key = [operation, reason ?? how, ...(how === "unknown" ? ["(unknown)"] : [])].join(" ")
          reasons.set(key, (reasons.get(key) ?? 0) + 1)
        }
        yield* Console.log([...reasons].map(([key, times]) => `${times} × ${key}`).join("\n"))
        const longest = Math.max(...ended.map(({ seconds }) => seconds ?? 0))
        yield* Console.log(`The longest took ${longest.toFixed(1)} s`)
      }),
    900_000
  )
})
