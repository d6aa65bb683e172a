/** Readiness: what can be waited for in a sandbox, and the services that start with one. */
import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Redacted from "effect/Redacted"
import type * as Probe from "../../src/Probe.ts"
import * as Sandbox from "../../src/Sandbox.ts"
import type * as SandboxConfig from "../../src/SandboxConfig.ts"
import * as Snapshot from "../../src/Snapshot.ts"
import { isEmulated } from "../support.ts"
import * as Bench from "./Bench.ts"
import type { Group } from "./contract.ts"

/** Answers a request for a path with the lines that follow it, and others with 404. */
const handler = `#!/bin/sh
read -r request
while read -r line && [ "\${#line}" -gt 1 ]; do :; done
case $request in
  "GET /health HTTP/1.1"*) printf 'HTTP/1.1 103 Early Hints\\r\\nLink: </a>\\r\\n\\r\\nHTTP/1.1 200 OK\\r\\n\\r\\nwell\\n' ;;
  "GET /busy?a=b HTTP/1.1"*) printf 'HTTP/1.1 503 Busy\\r\\n\\r\\n' ;;
  "GET /text HTTP/1.1"*) echo 'not HTTP' ;;
  *) printf 'HTTP/1.1 404 Not Found\\r\\n\\r\\n' ;;
esac
`

/** Long enough for an attempt. */
const seconds = isEmulated ? 8 : 3
const brief = { timeout: `${seconds} seconds` } as const

const launch = Effect.fnUntraced(function* (services: { readonly [name: string]: SandboxConfig.Service }) {
  const { image } = yield* Bench.Bench
  const name = Bench.freshName("services")
  return { name, launched: Sandbox.launch({ name, image, resources: { memory: "256M" }, services }) }
})

export const readiness: Group<Bench.Shared> = (test) => {
  test("a port is waited for, on the guest's own address", function* () {
    const { sandbox } = yield* Bench.Shared
    const server = "read -r go; while true; do nc -l -p 7101 -e /bin/cat; done"
    const job = yield* sandbox.start("sh", ["-c", server], { stdin: "open" })
    const { job: none, observation } = yield* Bench.failsWith("NotReady", sandbox.waitUntil({ port: 7101, ...brief }))
    assert.deepStrictEqual([none, observation.startsWith("port 7101 is closed: ")], [undefined, true], observation)
    const ready = yield* Effect.forkChild(sandbox.waitUntil({ port: 7101 }, { job: job.id }))
    yield* job.write("go\n")
    yield* Fiber.join(ready)
    yield* job.remove({ force: true })
  })

  test("a server is ready once it answers with the expected status", function* () {
    const { sandbox } = yield* Bench.Shared
    yield* sandbox.writeFileString("/root/handler", handler, { mode: 0o755 })
    const job = yield* sandbox.start("sh", ["-c", "while true; do nc -l -p 7102 -e /root/handler; done"])
    yield* sandbox.waitUntil({ http: 7102, path: "/health" })
    yield* sandbox.waitUntil({ http: 7102, path: "/busy?a=b", status: 503 })
    yield* sandbox.waitUntil({ http: 7102, status: 404 })
    const url = "http://127.0.0.1:7102"
    const observed = (probe: Probe.Http) =>
      Effect.map(Bench.failsWith("NotReady", sandbox.waitUntil(probe)), ({ observation }) => observation)
    const [busy, text] = yield* Effect.all(
      [observed({ http: 7102, path: "/busy?a=b", ...brief }), observed({ http: 7102, path: "/text", ...brief })],
      { concurrency: 2 }
    )
    // The server is between two connections now and then.
    assert.match(busy, /status 503$|was not answered/)
    assert.match(text, /was not answered/)
    yield* job.remove({ force: true })
    assert.include(yield* observed({ http: 7102, ...brief }), `GET ${url}/ was not answered: `)
  })

  test("a file, a command and a line of a log are waited for", function* () {
    const { sandbox } = yield* Bench.Shared
    const job = yield* sandbox.start(
      "sh",
      ["-c", "read -r go; printf 'it is re'; touch /root/file; read -r go; echo ady"],
      {
        stdin: "open"
      }
    )
    const id = { job: job.id }
    const file = yield* Effect.forkChild(sandbox.waitUntil({ file: "/root/file" }, id))
    const command = yield* Effect.forkChild(
      sandbox.waitUntil({ command: "test -e $FILE", env: { FILE: "/root/file" } }, id)
    )
    yield* job.write("go\n")
    yield* Fiber.join(file)
    yield* Fiber.join(command)
    yield* sandbox.waitUntil({ log: "it is re" }, id)
    const early = yield* Bench.failsWith("NotReady", sandbox.waitUntil({ log: "is ready", ...brief, ...id }))
    // Where a guest is slow, reading takes longer than the limit.
    assert.oneOf(early.observation, [
      `no line of job "${job.id}" contains "is ready"`,
      ...(isEmulated ? [`the log of job "${job.id}" was not read`] : [])
    ])
    assert.deepStrictEqual([early.limitMillis, early.lastLines], [1000 * seconds, ["it is re"]])
    const log = yield* Effect.forkChild(sandbox.waitUntil({ log: "is ready" }, id), { startImmediately: true })
    yield* job.write("go\n")
    // It is the last that the job does.
    yield* Fiber.join(log)
    yield* job.wait
    yield* sandbox.waitUntil({ log: "is ready" }, id)
  })

  test("all of several probes are waited for, or any", function* () {
    const { sandbox } = yield* Bench.Shared
    const there = { file: "/etc/passwd" }
    const missing = { file: "/not/there" }
    const closed = { port: 7999 }
    yield* sandbox.waitUntil({ any: [missing, closed, { all: [there, { command: ["true"] }] }], ...brief })
    const waitUntil = (probe: Probe.ProbeInput) => Bench.failsWith("NotReady", sandbox.waitUntil(probe))
    const [all, any] = yield* Effect.all(
      [
        waitUntil({ all: [there, missing], ...brief }),
        waitUntil({ any: [missing, { command: ["false"], timeout: `${seconds + 1} seconds` }], ...brief })
      ],
      { concurrency: 2 }
    )
    assert.deepStrictEqual([all.observation, all.limitMillis], ["/not/there does not exist", 1000 * seconds])
    assert.deepStrictEqual(
      [any.observation, any.limitMillis],
      ["/not/there does not exist; false exited with code 1", 1000 * (seconds + 1)]
    )
  })

  test("a job that ends is not ready, at once and with its last lines", function* () {
    const { sandbox } = yield* Bench.Shared
    const job = yield* sandbox.start("sh", ["-c", "echo one; echo two; exit 3"], { id: "ends" })
    const reason = yield* Bench.failsWith("NotReady", sandbox.waitUntil({ file: "/not/there" }, { job: "ends" }))
    assert.deepInclude(reason, {
      job: "ends",
      observation: "it exited with code 3; /not/there does not exist",
      lastLines: ["one", "two"]
    })
    assert.isUndefined(reason.limitMillis)
    const log = yield* Bench.failsWith("NotReady", sandbox.waitUntil({ log: "three", job: "ends" }))
    assert.strictEqual(log.observation, 'no line of job "ends" contains "three", and it exited with code 3')
    yield* job.remove()
    yield* Bench.failsWith("NotFound", sandbox.waitUntil({ file: "/not/there" }, { job: "ends" }))
    const late = yield* Bench.failsWith("NotReady", sandbox.waitUntil({ log: "x", job: "ends", ...brief }))
    assert.strictEqual(late.observation, 'There is no job named "ends"')
  })

  test("services start in their order, and the launch waits for them", function* () {
    const { launched } = yield* launch({
      web: {
        command: "echo web >> /root/order; exec sleep 4341",
        dependsOn: ["db", "cache"]
      },
      cache: { command: ["sh", "-c", "echo $1 >> /root/order; exec sleep 4342", "sh", Redacted.make("cache")] },
      db: {
        command: "echo $NAME >> order; echo open; exec sleep 4343",
        cwd: "/root",
        env: { NAME: Redacted.make("db") },
        ready: { all: [{ log: "open" }, { file: "/root/order" }] }
      }
    })
    const sandbox = yield* launched
    const order = Effect.map(sandbox.readFileString("/root/order"), (text) => text.trim().split("\n"))
    const found = yield* Bench.eventually(order, ({ length }) => length === 3)
    assert.deepStrictEqual([found.length, found.at(-1)], [3, "web"])
    const jobs = yield* sandbox.jobs
    assert.deepStrictEqual(jobs.map(({ id, status }) => `${id} ${status._tag}`).toSorted(), [
      "cache Running",
      "db Running",
      "web Running"
    ])
    assert.notInclude(JSON.stringify(jobs), '"cache"]')
  })

  test("a snapshot brings its launch defaults along, and a restart its services", function* () {
    const { image } = yield* Bench.Bench
    const snapshot = Bench.freshName("baked")
    const definition = Snapshot.make(snapshot, image).pipe(
      Snapshot.resources({ memory: "256M", disk: "256M" }),
      Snapshot.shell("mkdir -p /srv/app"),
      Snapshot.defaults({
        cwd: "/srv/app",
        user: "app",
        env: { A: "baked", B: "baked" },
        ports: { 0: 7103 },
        labels: { tier: "web" },
        services: {
          one: { command: "while true; do nc -l -p 7103 -e /bin/cat; done", user: "root", ready: { port: 7103 } },
          two: { command: "exec sleep 4345", ready: { command: ["true"], timeout: "1 minute" }, dependsOn: ["one"] }
        }
      })
    )
    const name = Bench.freshName("services")
    const sandbox = yield* Sandbox.launch({
      name,
      snapshot: Snapshot.build(definition),
      resources: { memory: "256M" },
      env: { B: "launched" },
      services: { two: { command: "exec sleep 4346" } }
    })
    const seen = Effect.fnUntraced(function* (sandbox: Sandbox.Sandbox) {
      const { stdout } = yield* sandbox.shell('echo "$(pwd) $(id -un) $A $B"')
      const jobs = yield* sandbox.jobs
      const { labels, ports } = yield* sandbox.info
      return [
        stdout.trim(),
        labels["tier"],
        ports.map(({ guest }) => guest),
        jobs.map(({ argv, id, status }) => `${id} ${status._tag} ${argv.at(-1)}`).toSorted()
      ]
    })
    const all = [
      "/srv/app app baked launched",
      "web",
      [7103],
      ["one Running while true; do nc -l -p 7103 -e /bin/cat; done", "two Running exec sleep 4346"]
    ]
    assert.deepStrictEqual(yield* seen(sandbox), all)
    assert.deepStrictEqual(yield* seen(yield* Sandbox.restart(name)), all)
    yield* Sandbox.remove(name, { force: true })
    yield* Snapshot.remove(snapshot)
  })

  test("members of a group reach each other by name, where they say so", function* () {
    const { image } = yield* Bench.Bench
    const member = { image, resources: { memory: "256M" } } as const
    const echo = (port: number) => `while true; do nc -l -p ${port} -e /bin/cat; done`
    const { client, hidden, server } = yield* Sandbox.group({
      client: {
        ...member,
        network: "none",
        dependsOn: { server: "ready" },
        services: { one: { command: "echo hello | nc server 7104 > /root/answer", ready: { file: "/root/answer" } } }
      },
      hidden: { ...member, network: "all" },
      server: { ...member, network: "none", services: { echo: { command: echo(7104), ready: { port: 7104 } } } }
    })
    const other = yield* server.start("sh", ["-c", echo(7105)])
    yield* server.waitUntil({ port: 7105 })
    const ask = (sandbox: Sandbox.Sandbox, host: string, port: number) =>
      Effect.map(sandbox.shell(`echo hello | timeout 20 nc ${host} ${port}`), ({ stdout }) => stdout)
    const answer = client.readFileString("/root/answer")
    assert.strictEqual(yield* Bench.eventually(answer, (text) => text !== ""), "hello\n")
    assert.strictEqual(yield* ask(client, "server", 7104), "hello\n")
    const lookUp = yield* client.shell("grep server /etc/hosts")
    const [address = ""] = lookUp.stdout.split("\t")
    assert.strictEqual(yield* ask(client, address, 7104), "hello\n")
    assert.strictEqual(yield* ask(client, "server", 7105), "")
    for (const sandbox of [hidden, server]) {
      assert.strictEqual(yield* ask(sandbox, "client", 7104), "")
    }
    assert.strictEqual(yield* ask(hidden, "server", 7104), "")
    // On its own network, somebody else may answer.
    assert.notInclude(yield* ask(hidden, address, 7104), "hello")
    assert.deepStrictEqual(
      (yield* Effect.forEach([client, server], ({ shell }) => shell("hostname"))).map(({ stdout }) => stdout),
      ["client\n", "server\n"]
    )
    yield* other.remove({ force: true })
  })

  test("a service starts again as it says, until it is told to end", function* () {
    const { launched } = yield* launch({
      failing: {
        command: "echo run >> /root/runs; [ $(wc -l < /root/runs) -ge 3 ]",
        restart: "on-failure",
        ready: { command: "[ $(wc -l < /root/runs) -ge 3 ]" }
      },
      always: {
        command: ["sh", "-c", "echo up; exit 0"],
        restart: "always",
        ready: { log: "lightbox: exited with code 0, starts again" }
      },
      missing: { command: "not-there", restart: "always" },
      polite: {
        command: "trap 'echo bye; exit 4' TERM; trap 'echo reopened' USR1; echo up; while :; do sleep 0.05; done",
        restart: "always",
        ready: { log: "up" }
      },
      plain: { command: "exec sleep 4345", restart: "on-failure" }
    })
    const sandbox = yield* launched
    const ended = (id: string) => Effect.flatMap(sandbox.job(id), (job) => job.wait)
    assert.deepStrictEqual(yield* ended("failing"), { _tag: "Exited", exitCode: 0 })
    assert.deepStrictEqual(yield* ended("missing"), { _tag: "Exited", exitCode: 127 })
    const always = yield* sandbox.job("always")
    assert.deepStrictEqual(yield* always.status, { _tag: "Running" })
    assert.deepStrictEqual((yield* always.info).argv, ["sh", "-c", "echo up; exit 0"])
    yield* always.signal("SIGKILL")
    assert.deepStrictEqual(yield* always.wait, { _tag: "Signaled", signal: "SIGKILL" })
    const polite = yield* sandbox.job("polite")
    yield* polite.signal("SIGUSR1")
    yield* sandbox.waitUntil({ log: "reopened" }, { job: "polite" })
    assert.deepStrictEqual(yield* polite.status, { _tag: "Running" })
    yield* polite.signal("SIGTERM")
    assert.deepStrictEqual(yield* polite.wait, { _tag: "Exited", exitCode: 4 })
    yield* Effect.flatMap(sandbox.job("plain"), (job) => job.signal("SIGTERM"))
    assert.deepStrictEqual(yield* ended("plain"), { _tag: "Signaled", signal: "SIGTERM" })
  })

  test("a launch whose service does not become ready leaves nothing", function* () {
    const { launched, name } = yield* launch({
      db: {
        command: "echo $PASSWORD is wrong; exit 1",
        env: { PASSWORD: Redacted.make("sesame") },
        ready: { port: 1 }
      },
      web: { command: "exec sleep 4344", dependsOn: ["db"] }
    })
    const reason = yield* Bench.failsWith("NotReady", launched)
    assert.deepStrictEqual([reason.job, reason.lastLines], ["db", ["<redacted> is wrong"]])
    assert.include(reason.observation, "it exited with code 1; port 1 is closed")
    yield* Bench.failsWith("NotFound", Sandbox.get(name))

    const missing = yield* launch({ web: { command: ["not-there"] } })
    assert.strictEqual((yield* Bench.failsWith("CommandNotStarted", missing.launched)).kind, "ProgramNotFound")
    yield* Bench.failsWith("NotFound", Sandbox.get(missing.name))
  })
}
