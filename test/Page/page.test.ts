/** The server of the page: who may use it, and what it tells. */
import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as BuildRecord from "../../src/BuildRecord.ts"
import type { Services } from "../../src/Driver.ts"
import * as Builds from "../../src/internal/page/builds.ts"
import * as Changes from "../../src/internal/page/changes.ts"
import * as Protocol from "../../src/internal/page/protocol.ts"
import * as Records from "../../src/internal/store/records.ts"
import { LightboxError, Unknown } from "../../src/LightboxError.ts"
import * as Microsandbox from "../../src/Microsandbox.ts"
import * as MicrosandboxMemory from "../../src/MicrosandboxMemory.ts"
import * as Page from "../../src/Page.ts"
import * as Sandbox from "../../src/Sandbox.ts"
import * as Snapshot from "../../src/Snapshot.ts"
import * as Volume from "../../src/Volume.ts"
import * as Remote from "../MicrosandboxRemote/support.ts"
import { turn } from "../support.ts"
import * as Client from "./Client.ts"
import * as World from "./world.ts"

const test = <E>(
  name: string,
  effect: Effect.Effect<void, E, Services | MicrosandboxMemory.Control | Scope.Scope>,
  layer = World.layer()
) => it.live(name, () => Effect.provide(Effect.scoped(effect), layer, { local: true }))

/** Changes are told at once. */
const opened = Effect.flatMap(Page.serve(), ({ url }) => Client.open(url)).pipe(
  Effect.provideService(Changes.Interval, Duration.millis(10))
)

const isTag =
  (tag: string) =>
  (value: unknown): { readonly [name: string]: unknown } | undefined =>
    typeof value === "object" && value !== null && "_tag" in value && value._tag === tag ? { ...value } : undefined

const decodeDetail = Schema.decodeUnknownSync(Protocol.BuildDetail)
const decodeOutput = Schema.decodeUnknownSync(Protocol.Output)
const decodeEnded = Schema.decodeUnknownSync(Schema.Array(Protocol.Ended))
const decodeSnapshots = Schema.decodeUnknownSync(Protocol.Snapshots)

const last = Effect.gen(function* () {
  const [first] = yield* BuildRecord.list({ limit: 1 })
  return first === undefined ? assert.fail("nothing is recorded") : first.id
})

describe("the link", () => {
  test(
    "works once, and opens a session that nothing else has",
    Effect.gen(function* () {
      const { port, url } = yield* Page.serve()
      assert.match(url, new RegExp(`^http://lightbox-[\\da-f]{32}\\.localhost:${port}/\\?token=[\\w-]{43}$`))
      const { host } = new URL(url)
      const path = url.slice(url.indexOf("/?"))
      const wrong = yield* Client.ask(host, "/?token=guessed")
      assert.strictEqual(wrong.status, 403)
      // Whoever only looks does not use it up.
      assert.strictEqual((yield* Client.ask(host, path, {}, "HEAD")).status, 405)
      const first = yield* Client.ask(host, path)
      assert.strictEqual(first.status, 200)
      const [cookie = ""] = first.headers["set-cookie"] ?? []
      assert.match(cookie, new RegExp(`^lightbox-${port}=[\\w-]{43}; HttpOnly; SameSite=Strict; Path=/$`))
      const again = yield* Client.ask(host, path)
      assert.deepInclude(again, {
        status: 403,
        text: "This link works once. Run `lightbox ui` again for another one.\n"
      })
      assert.notProperty(again.headers, "set-cookie")
      // A person who goes back to it comes to the page.
      const own = { cookie: cookie.split(";")[0] }
      const back = yield* Client.ask(host, path, own)
      assert.strictEqual(back.status, 303)
      assert.strictEqual(back.headers.location, "/")
      assert.strictEqual((yield* Client.ask(host, "/", own)).status, 200)
      assert.strictEqual((yield* Client.ask(host, "/")).status, 403)
      assert.strictEqual((yield* Client.ask(host, "/", { cookie: `lightbox-${port}=guessed` })).status, 403)
      // The token is in no answer.
      const token = path.slice("/?token=".length)
      for (const { headers, text } of [first, again, back]) {
        assert.notInclude(JSON.stringify(headers) + text, token)
      }
    })
  )

  test(
    "has a host of its own, also on the same port, and tells it to nobody",
    Effect.gen(function* () {
      const first = yield* Effect.scoped(Page.serve())
      const { port, url } = yield* Page.serve({ port: first.port })
      const { host } = new URL(url)
      assert.notStrictEqual(host, new URL(first.url).host)
      const { headers, status, text } = yield* Client.ask(host, "/", { host: `127.0.0.1:${port}` })
      assert.strictEqual(status, 403)
      assert.notInclude(JSON.stringify(headers) + text, host)
    })
  )

  test(
    "closes with the scope, and a port in use is named",
    Effect.gen(function* () {
      const { url } = yield* Effect.scoped(
        Effect.gen(function* () {
          const page = yield* Page.serve()
          const error = yield* Effect.flip(Page.serve({ port: page.port }))
          assert.deepInclude(error.reason, { _tag: "InvalidConfig", field: "port" })
          return page
        })
      )
      assert.match((yield* Effect.flip(Client.ask(new URL(url).host, "/"))).message, /ECONNREFUSED/)
    })
  )
})

describe("requests", () => {
  test(
    "under another name, of another site or without the session are refused",
    Effect.gen(function* () {
      const session = yield* opened
      const { cookie, host: own } = session
      const { port } = new URL(`http://${own}`)
      const status = (headers: { readonly [name: string]: string }, path = "/") =>
        Effect.map(Client.ask(own, path, headers), ({ status }) => status)
      assert.strictEqual(yield* status({ cookie }), 200)
      // Those of servers in guests, which may have had the port before, and may have left a worker or a file there.
      const shared = [`127.0.0.1:${port}`, `localhost:${port}`, `[::1]:${port}`]
      for (const host of ["evil.example", `evil.example:${port}`, `other.localhost:${port}`, ...shared]) {
        assert.strictEqual(yield* status({ cookie, host }), 403, host)
      }
      assert.strictEqual(yield* status({ cookie, origin: "http://evil.example" }), 403)
      assert.strictEqual(yield* status({ cookie, origin: `http://127.0.0.1:${port}` }), 403)
      assert.strictEqual(yield* status({ cookie }, "/assets/../../package.json"), 404)
      assert.strictEqual(yield* status({ cookie }, "/assets/%2e%2e%2fserver.js"), 404)
      assert.strictEqual(yield* status({}, "/assets/page.css"), 403)

      const origin = `http://${own}`
      assert.strictEqual(yield* Client.refusal(session), undefined)
      assert.strictEqual(yield* Client.refusal(session, { path: "/other" }), 404)
      assert.strictEqual(yield* Client.refusal(session, { headers: { host: `evil.example:${port}` } }), 403)
      for (const wrong of ["http://evil.example", `http://127.0.0.1:${port}`, `https://${own}`, "null"]) {
        assert.strictEqual(yield* Client.refusal(session, { headers: { origin: wrong } }), 403, wrong)
      }
      assert.strictEqual(yield* Client.refusal(session, { headers: { origin, cookie: "" } }), 403)
      // A server on another port of this machine has been sent the cookie, but not the key.
      assert.strictEqual(yield* Client.refusal(session, { key: "guessed" }), 403)
      assert.strictEqual(yield* Client.refusal(session, { key: "" }), 403)
    })
  )

  test(
    "for a stream that are refused end their connection, even if the other side keeps it",
    Effect.gen(function* () {
      const { port, url } = yield* Page.serve()
      const { socket, text } = yield* Remote.open(`http://127.0.0.1:${port}`)
      socket.write(
        `GET /stream HTTP/1.1\r\nHost: ${new URL(url).host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n`
      )
      while (!(yield* text).startsWith("HTTP/1.1 403")) yield* turn
      // This side goes on writing, which only a connection that is gone refuses.
      while (!socket.destroyed) {
        socket.write("x")
        yield* turn
      }
    })
  )

  test(
    "are answered with headers that let nothing in but the page's own files",
    Effect.gen(function* () {
      const { cookie, host } = yield* opened
      const { headers, text } = yield* Client.ask(host, "/", { cookie })
      const policy = String(headers["content-security-policy"])
      assert.include(policy, "default-src 'none'")
      assert.match(policy, /script-src 'self' 'sha256-[\w+/=]+';/)
      assert.include(policy, "frame-ancestors 'none'")
      assert.deepInclude(headers, {
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
        "cache-control": "no-store"
      })
      // All that the page names is there.
      const named = [...text.matchAll(/"(\/assets\/[^"]+)"/g)].map(([, path = ""]) => path)
      assert.isAbove(named.length, 6)
      for (const path of [...named, "/assets/xterm.css", "/assets/login.js"]) {
        const { headers, status } = yield* Client.ask(host, path, { cookie })
        assert.strictEqual(status, 200, path)
        assert.match(String(headers["content-type"]), /^(?:text\/(?:javascript|css)|image\/svg\+xml)/, path)
      }
    })
  )
})

const encodeChange = Schema.encodeSync(Schema.fromJsonString(Protocol.Change))

/** Follows changes, as another driver sees them. */
const watching = Effect.fnUntraced(
  function* (
    change: (
      driver: Microsandbox.Microsandbox["Service"]
    ) => Partial<Pick<Microsandbox.Microsandbox["Service"], "backend" | "listSandboxes" | "readMetrics">>
  ) {
    const own = yield* Microsandbox.Microsandbox
    const driver = { ...own, ...change(own) }
    const told = yield* Changes.make(driver, yield* Builds.make(driver))
    const queue = yield* Queue.unbounded<Protocol.Change>()
    yield* Effect.forkScoped(Stream.runForEach(told, (one) => Queue.offer(queue, one)))
    /** Takes changes until one has all of the texts. */
    return (...texts: ReadonlyArray<string>): Effect.Effect<string> =>
      Effect.map(Queue.take(queue), (one) => encodeChange(one)).pipe(
        Effect.repeat({ until: (one) => texts.every((text) => one.includes(text)) })
      )
  },
  Effect.provideService(Changes.Interval, Duration.millis(10))
)

describe("changes", () => {
  test(
    "come of all sandboxes, also while one does not answer",
    Effect.gen(function* () {
      yield* Sandbox.launch({ image: "alpine", name: "stuck" })
      yield* Sandbox.launch({ image: "alpine", name: "well" })
      const until = yield* watching(({ readMetrics }) => ({
        readMetrics: (sandbox) => (sandbox.name === "stuck" ? Effect.never : readMetrics(sandbox))
      }))
      const { id } = yield* Sandbox.get("well")
      yield* until('"_tag":"Usages"', id)
      yield* Sandbox.launch({ image: "alpine", name: "later" })
      yield* until('"_tag":"Sandboxes"', "later")
    }).pipe(Effect.provideService(Changes.Patience, Duration.millis(100)))
  )

  test(
    "take the use of a sandbox back when it is not measured any more",
    Effect.gen(function* () {
      const sandbox = yield* Sandbox.launch({ image: "alpine", name: "box" })
      const until = yield* watching(() => ({}))
      const { id } = yield* Sandbox.get("box")
      yield* until('"_tag":"Usages"', id)
      yield* sandbox.stop()
      yield* until('"_tag":"Usages"', `"removed":["${id}"]`)
    })
  )
})

describe("the machine that doctor examines", () => {
  test(
    "is named if sandboxes run on another one",
    Effect.gen(function* () {
      assert.notInclude(yield* (yield* watching(() => ({})))('"_tag":"Hello"'), '"machine"')
      const elsewhere = yield* watching(() => ({ backend: "remote" }))
      yield* elsewhere('"_tag":"Hello"', `"machine":${JSON.stringify(Os.hostname())}`)
    })
  )
})

describe("trouble", () => {
  for (const [of, tag] of [
    ["sandboxes", "Sandboxes"],
    ["builds", "Builds"]
  ] as const) {
    test(
      `with the list of ${of} is told once, and when it is over, also if nothing has changed`,
      Effect.gen(function* () {
        yield* Sandbox.launch({ image: "alpine", name: "box" })
        yield* Snapshot.build(Snapshot.make("tools", "alpine").pipe(Snapshot.shell("true")))
        const { home } = yield* Microsandbox.Microsandbox
        let isBroken = false
        const until = yield* watching(({ listSandboxes }) => ({
          listSandboxes: (labels) =>
            Effect.suspend(() =>
              isBroken && of === "sandboxes"
                ? Effect.fail(
                    new LightboxError({ method: "Sandbox.list", reason: new Unknown({ problem: "no answer" }) })
                  )
                : listSandboxes(labels)
            )
        }))
        const folder = Records.folderOf(home)
        const aside = `${folder}.aside`
        yield* until(`"_tag":"${tag}"`)
        isBroken = true
        if (of === "builds") {
          Fs.renameSync(folder, aside)
          // A file where the folder was.
          Fs.writeFileSync(folder, "")
        }
        yield* until('"_tag":"Trouble"', `"of":"${of}"`)
        isBroken = false
        if (of === "builds") {
          Fs.rmSync(folder)
          Fs.renameSync(aside, folder)
        }
        assert.strictEqual(yield* until('"of":'), `{"_tag":"Recovered","of":"${of}"}`)
      })
    )
  }
})

describe("the stream", () => {
  test(
    "begins with everything, and goes on with what changes",
    Effect.gen(function* () {
      yield* Sandbox.launch({ image: "alpine", name: "first", labels: { team: "web" } })
      yield* Snapshot.build(Snapshot.make("tools", "alpine").pipe(Snapshot.shell("echo one")))
      const { ask, follow } = yield* Client.stream(yield* opened)
      const changes = yield* follow("watch")
      const hello = yield* changes.until(isTag("Hello"))
      assert.deepInclude(hello, { backend: "memory" })
      const seen: Array<unknown> = []
      yield* changes.until((value) => {
        seen.push(value)
        return isTag("Ready")(value)
      })
      const text = JSON.stringify(seen)
      assert.include(text, '"name":"first"')
      assert.include(text, '"labels":{"team":"web"}')
      assert.include(text, '"snapshot":"tools"')
      assert.include(text, '"memoryLimit"')

      yield* Sandbox.launch({ image: "alpine", name: "second" })
      const added = yield* changes.until((value) =>
        JSON.stringify(value).includes('"name":"second"') ? isTag("Sandboxes")(value) : undefined
      )
      // Nothing is told twice.
      assert.notInclude(JSON.stringify(added), '"name":"first"')
      const { id } = yield* Sandbox.get("second")
      assert.deepStrictEqual(yield* ask("stop", { name: "second", id: "of another one" }), {
        error: {
          problem: 'Sandbox "second" was removed, and another one now has its name',
          reason: "Replaced",
          hint: "Connect again by name to use the new one"
        }
      })
      assert.deepStrictEqual(yield* ask("stop", { name: "second", id }), { value: null })
      yield* changes.until((value) => (JSON.stringify(value).includes('"status":"stopped"') ? value : undefined))
      yield* Sandbox.remove("second")
      yield* changes.until((value) => (JSON.stringify(value).includes(`"removed":["${id}"]`) ? value : undefined))
    })
  )

  test(
    "carries no more than is taken",
    Effect.gen(function* () {
      yield* Snapshot.build(Snapshot.make("much", "alpine").pipe(Snapshot.shell("flood 10000")))
      const { follow, received } = yield* Client.stream(yield* opened)
      const id = yield* last
      const log = yield* follow("buildLog", { id, index: 1 })
      yield* Queue.peek(log.queue)
      for (let count = 0; count < 50; count++) yield* turn
      assert.isBelow(received().length, 4 * Protocol.maxPiece)
      const { exit, values } = yield* log.all
      assert.deepInclude(exit, { _tag: "Success" })
      const pieces = values.map((value) => decodeOutput(value))
      const text = pieces.map(({ text }) => text).join("")
      assert.include(text, "line 1: ")
      assert.include(text, "line 10000: ")
      // The middle of so much is not recorded.
      assert.deepStrictEqual(
        pieces.filter(({ source }) => source === "gap").map(({ attempt }) => attempt),
        [1]
      )
    })
  )

  test(
    "is closed by a message that is too long, and another one can be opened",
    Effect.gen(function* () {
      const session = yield* opened
      const { closed, send } = yield* Client.stream(session)
      yield* send({ _tag: "Request", id: "1", tag: "type", payload: "x".repeat(Protocol.maxMessageBytes), headers: [] })
      yield* closed
      const other = yield* Client.stream(session)
      assert.deepStrictEqual(yield* other.ask("volumes"), { value: [] })
    })
  )
})

describe("a build", () => {
  test(
    "is told with what became of its steps, why, where, and with its output",
    Effect.gen(function* () {
      yield* World.make
      const { follow, received } = yield* Client.stream(yield* opened)
      const id = yield* last
      const { exit, values } = yield* (yield* follow("build", { id })).all
      // It has ended, so nothing follows.
      assert.deepInclude(exit, { _tag: "Success" })
      const build = decodeDetail(values.at(-1))
      assert.deepInclude(build, { snapshot: "node-ci", status: "failed" })
      assert.deepStrictEqual(
        build.steps.map(({ outcome }) => outcome),
        ["cached", "cached", "cached", "ran", "failed", "pending"]
      )
      const failed = build.steps[4]
      assert.match(failed?.problem ?? "", /exited with code 1/)
      assert.match(failed?.declaredAt ?? "", /^test\/Page\/world\.ts:\d+$/)
      assert.strictEqual(failed?.reason, "step 4 runs")
      assert.isTrue(build.spans.some(({ index, isFailed, kind }) => index === 5 && isFailed && kind === "step"))
      const log = yield* (yield* follow("buildLog", { id, index: 5 })).all
      assert.include(JSON.stringify(log.values), "expected 119 to equal 120")
      const signIn = yield* (yield* follow("buildLog", { id, index: 4 })).all
      assert.include(JSON.stringify(signIn.values), "using ")
      yield* (yield* follow("watch")).until(isTag("Ready"))
      assert.notInclude(received(), World.secret)

      const missing = yield* (yield* follow("build", { id: "mx2n73nj-a-0" })).all
      assert.deepInclude(missing.exit?.cause?.[0]?.error, { reason: "NotFound" })
    })
  )

  test(
    "that waited for another one says for which, and a retried step has both attempts",
    Effect.gen(function* () {
      yield* World.make
      const { follow } = yield* Client.stream(yield* opened)
      const details: Array<Protocol.BuildDetail> = []
      for (const { id } of yield* BuildRecord.list()) {
        details.push(decodeDetail((yield* (yield* follow("build", { id })).all).values.at(-1)))
      }
      const waited = details.find(({ followed }) => followed.length > 0)
      assert.include(
        details.map(({ id }) => id),
        waited?.followed[0] ?? ""
      )
      assert.isTrue(waited?.spans.some(({ kind }) => kind === "wait"))
      const retried = details.find(({ steps }) => steps.some(({ attempts }) => attempts > 1))
      const index = retried?.steps.find(({ attempts }) => attempts > 1)?.index
      const { values } = yield* (yield* follow("buildLog", { id: retried?.id, index })).all
      assert.deepStrictEqual([...new Set(values.map((value) => decodeOutput(value).attempt))], [1, 2])
    })
  )
})

describe("a sandbox", () => {
  test(
    "shows its log, jobs and files",
    Effect.gen(function* () {
      yield* World.make
      const { ask, follow } = yield* Client.stream(yield* opened)
      const logs = yield* follow("logs", { name: "web", system: false })
      yield* logs.until((entries) => (JSON.stringify(entries).includes("warming up the cache") ? entries : undefined))
      const jobs = yield* follow("jobs", { name: "web" })
      const listed = yield* jobs.until((jobs) => JSON.stringify(jobs))
      assert.include(listed, '"id":"server"')
      const output = yield* follow("jobLog", { name: "web", id: "server" })
      yield* output.until((text) => (String(text).includes("listening on") ? text : undefined))

      const files = yield* ask("files", { name: "web", path: "/work" })
      assert.include(JSON.stringify(files.value), '"name":"README.md"')
      assert.deepStrictEqual(yield* ask("file", { name: "web", path: "/work/README.md" }), {
        value: { isText: true, isComplete: true, text: "# Prices\n\nServes the prices of the shop.\n" }
      })
      // A link to a folder leads into it.
      const sandbox = yield* Sandbox.connect("web")
      yield* sandbox.symlink("/work", "/tmp/link")
      assert.include(JSON.stringify((yield* ask("files", { name: "web", path: "/tmp" })).value), "SymbolicLink")
      assert.deepInclude((yield* ask("file", { name: "web", path: "/tmp/link" })).value, { folder: "/work", text: "" })
      assert.deepInclude((yield* ask("file", { name: "web", path: "/work/none" })).error, { reason: "FileError" })
      assert.deepInclude((yield* ask("files", { name: "web", path: "../etc" })).error, { reason: "InvalidConfig" })
      assert.deepInclude((yield* ask("files", { name: "nobody", path: "/" })).error, { reason: "NotFound" })
    })
  )

  test(
    "shows characters whole that are written in parts",
    Effect.gen(function* () {
      const box = yield* Sandbox.launch({ image: "alpine", name: "box" })
      yield* box.exec("split", [])
      const { follow } = yield* Client.stream(yield* opened)
      const logs = yield* follow("logs", { name: "box", system: false })
      let text = ""
      yield* logs.until((entries) => {
        text += JSON.stringify(entries)
        return text.includes("é") && text.includes("ü") ? text : undefined
      })
      assert.notInclude(text, "\ufffd")
    })
  )

  test(
    "has a terminal that ends with the page, and other tabs cannot type into",
    Effect.gen(function* () {
      yield* Sandbox.launch({ image: "alpine", name: "box" })
      const control = yield* MicrosandboxMemory.Control
      const session = yield* opened
      const shells = Effect.map(control.inventory, ({ processes }) => processes.length)
      const id = "0123456789abcdef"
      yield* Effect.scoped(
        Effect.gen(function* () {
          const { ask, follow } = yield* Client.stream(session)
          const terminal = yield* follow("terminal", { name: "box", id, rows: 24, columns: 80 })
          const isOpen: Effect.Effect<void> = Effect.gen(function* () {
            // The shell says nothing until something is typed.
            while ((yield* ask("resize", { id, rows: 30, columns: 100 })).error !== undefined) yield* turn
          })
          yield* isOpen
          assert.deepStrictEqual(yield* ask("type", { id, text: "echo $((6 * 7))\r" }), { value: null })
          let text = ""
          yield* terminal.until((piece) => {
            text += Buffer.from(String(piece), "base64").toString()
            return text.includes("42") ? text : undefined
          })
          assert.strictEqual(yield* shells, 1)
          assert.deepInclude((yield* ask("type", { id: "fedcba9876543210", text: "x" })).error, {
            reason: "InvalidConfig"
          })
        })
      )
      while ((yield* shells) > 0) yield* turn
    })
  )

  test(
    "can be reached through a port that the page opens",
    Effect.gen(function* () {
      yield* Sandbox.launch({ image: "alpine", name: "box" })
      const { follow } = yield* Client.stream(yield* opened)
      const forward = yield* follow("forward", { name: "box", port: 3000 })
      const url = yield* forward.until((value) =>
        typeof value === "object" && value !== null && "url" in value ? String(value.url) : undefined
      )
      assert.match(url, /^http:\/\/127\.0\.0\.1:\d+$/)
    })
  )
})

describe("a sandbox that has ended", () => {
  test(
    "is listed, with why it ended and what it wrote last",
    Effect.gen(function* () {
      const { ask } = yield* Client.stream(yield* opened)
      assert.deepStrictEqual((yield* ask("ended", {})).value, [])
      yield* Effect.scoped(
        Effect.gen(function* () {
          const box = yield* Sandbox.launch({ image: "alpine", name: "box" })
          yield* box.shell("echo its last words")
        })
      )
      const all = decodeEnded((yield* ask("ended", {})).value)
      assert.deepStrictEqual(
        all.map(({ name, pid, reason }) => ({ name, pid, reason })),
        [{ name: "box", pid: process.pid, reason: "the scope of its launch closed" }]
      )
      assert.deepStrictEqual((yield* ask("ended", { name: "box" })).value, all)
      assert.deepStrictEqual((yield* ask("ended", { name: "other" })).value, [])
      const { value } = yield* ask("endedDetail", { id: all[0]?.id })
      assert.include(JSON.stringify(value), "its last words")
      assert.deepInclude((yield* ask("endedDetail", { id: "mx2n73nj-a-0" })).error, { reason: "NotFound" })
    })
  )
})

describe("the store", () => {
  test(
    "is shown with what keeps each result, and what a prune would remove",
    Effect.gen(function* () {
      const definition = (text: string) => Snapshot.make("tools", "alpine").pipe(Snapshot.shell(`echo ${text}`))
      yield* Snapshot.build(definition("one"))
      yield* Snapshot.build(definition("two"))
      yield* Volume.ensure("cache")
      const { ask } = yield* Client.stream(yield* opened)
      const all = decodeSnapshots((yield* ask("snapshots", {})).value)
      assert.deepStrictEqual(
        all.names.map(({ generations, name }) => [name, generations.map(({ generation }) => generation)]),
        [["tools", [1, 2]]]
      )
      assert.deepStrictEqual(
        all.verdicts.map(({ verdict }) => verdict),
        ["kept", "kept"]
      )
      const kept = decodeSnapshots((yield* ask("snapshots", { keep: 1 })).value)
      assert.deepStrictEqual(kept.verdicts.map(({ verdict }) => verdict).toSorted(), ["kept", "removable"])
      assert.isAbove(kept.freedBytes, 0)
      // Nothing was removed.
      assert.lengthOf(yield* Snapshot.generations("tools"), 2)
      assert.include(JSON.stringify((yield* ask("volumes")).value), '"name":"cache"')
      assert.isNumber((yield* ask("volumeUsage", { name: "cache" })).value)
    })
  )
})
