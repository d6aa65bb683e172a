/** A home in memory with something of everything, for tests and pictures of the page. */
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import * as MicrosandboxMemory from "../../src/MicrosandboxMemory.ts"
import * as Sandbox from "../../src/Sandbox.ts"
import * as Snapshot from "../../src/Snapshot.ts"
import * as Volume from "../../src/Volume.ts"

/** What a build is given, and nobody may see. */
export const secret = "s3cr3t-value-of-a-token"

const lines = (text: string): string =>
  text
    .split("\n")
    .map((line) => `${line.trim()}\n`)
    .join("")

const installed = lines(`Reading package lists...
  Building dependency tree...
  The following NEW packages will be installed:
  ca-certificates git libcurl3-gnutls openssl
  0 upgraded, 4 newly installed, 0 to remove and 0 not upgraded.
  Setting up git (1:2.39.5-0+deb12u2) ...`)

const failing = lines(`> app@1.4.0 test
  > node --test

  ✔ parses prices (1.2 ms)
  ✔ rounds half up (0.4 ms)
  ✖ adds the tax (3.1 ms)
  AssertionError: expected 119 to equal 120
  at test/prices.test.js:42:10`)

let attempts = 0

/** Programs of the guests. They take the time that a picture needs. */
const commands = (pace: number): { readonly [name: string]: MicrosandboxMemory.Command } => ({
  "apt-get": ({ stdout }) => stdout(installed).pipe(Effect.andThen(Effect.sleep(900 * pace)), Effect.as(0)),
  npm: ({ argv, stderr, stdout }) =>
    Effect.gen(function* () {
      if (argv[1] === "test") {
        yield* stdout(failing)
        yield* Effect.sleep(400 * pace)
        yield* stderr("npm error Test failed. See above for more details.\n")
        return 1
      }
      if (argv[1] === "ci" && attempts++ === 0) {
        yield* Effect.sleep(500 * pace)
        yield* stderr("npm error network request to https://registry.example.com failed\n")
        return 1
      }
      for (let count = 1; count <= 40; count++) yield* stdout(`added package ${count} of 40\n`)
      yield* Effect.sleep(1200 * pace)
      return 0
    }),
  serve: ({ stdout }) =>
    Effect.gen(function* () {
      yield* stdout("listening on 0.0.0.0:3000\n")
      for (let count = 1; count <= 24; count++) {
        yield* stdout(`GET /prices?page=${count} 200 in ${(7 * count) % 31} ms\n`)
      }
      return yield* Effect.never
    }),
  // Writes a character to each output in parts, both at once.
  split: ({ stderr, stdout }) =>
    Effect.gen(function* () {
      const [one, other] = [new TextEncoder().encode("é\n"), new TextEncoder().encode("ü\n")]
      yield* stdout(one.subarray(0, 1))
      yield* stderr(other.subarray(0, 1))
      yield* stdout(one.subarray(1))
      yield* stderr(other.subarray(1))
      return 0
    }),
  flood: ({ argv, stdout }) =>
    Effect.gen(function* () {
      const all = Array.from(
        { length: Number(argv[1]) },
        (_, at) => `line ${at + 1}: compiling src/modules/part-${at % 97}/component-${at}.ts\n`
      )
      for (let at = 0; at < all.length; at += 100) yield* stdout(all.slice(at, at + 100).join(""))
      return 0
    })
})

export const layer = (pace = 0) =>
  MicrosandboxMemory.layer({
    images: {
      "node:22": { isCached: true, env: { NODE_VERSION: "22.19.0" } },
      "debian:12": {},
      alpine: { isCached: true }
    },
    commands: commands(pace)
  })

const base = Snapshot.make("node-ci", "node:22").pipe(
  Snapshot.env({ CI: "true" }),
  Snapshot.workdir("/work"),
  Snapshot.shell("apt-get install -y git", { description: "install git" })
)

const dependencies = base.pipe(
  Snapshot.shell("npm ci", { description: "npm ci", retry: Schedule.recurs(2) }),
  Snapshot.checkpoint
)

export const failingBuild = dependencies.pipe(
  Snapshot.shell('test -n "$TOKEN" && echo "using $TOKEN"', {
    description: "sign in",
    secrets: { TOKEN: Redacted.make(secret) }
  }),
  Snapshot.shell("npm test", { description: "npm test" }),
  Snapshot.shell("npm prune --omit=dev", { description: "npm prune" })
)

/** Builds, among them two of the same at once and one that fails, and sandboxes, volumes and jobs for the scope. */
export const make = Effect.gen(function* () {
  attempts = 0
  yield* Snapshot.build(dependencies)
  yield* Snapshot.build(dependencies)
  const docs = Snapshot.make("docs", "debian:12").pipe(Snapshot.shell("apt-get install -y pandoc"))
  yield* Effect.all([Snapshot.build(docs), Snapshot.build(docs)], { concurrency: 2 })
  yield* Snapshot.build(docs.pipe(Snapshot.shell("apt-get install -y texlive", { description: "install TeX" })))
  yield* Effect.flip(Snapshot.build(failingBuild))

  yield* Volume.ensure("npm-cache", { labels: { team: "web" } })
  yield* Volume.ensure("database", { kind: "disk", quota: "2G" })
  const web = yield* Sandbox.launch({
    snapshot: "node-ci",
    name: "web",
    cwd: "/work",
    ports: [{ guest: 3000 }],
    mounts: { "/root/.npm": { volume: "npm-cache" } },
    labels: { team: "web" }
  })
  yield* web.writeFileString("/work/README.md", "# Prices\n\nServes the prices of the shop.\n")
  yield* web.writeFileString("/work/server.js", "import http from 'node:http'\n\nhttp.createServer().listen(3000)\n")
  yield* web.writeFileString("/work/invoice\u202efdp.exe", "price\u2066\n")
  yield* web.makeDirectory("/srv/shop")
  yield* web.symlink("/srv/shop", "/work/shop")
  yield* web.writeFileString("/srv/shop/prices.csv", "pear,2\n")
  yield* web.start("serve", [], { id: "server" })
  yield* web.start("npm", ["run", "check"], { id: "check" })
  yield* web.shell("echo warming up the cache; echo ready >&2")
  yield* Effect.scoped(
    Effect.gen(function* () {
      const ended = yield* Sandbox.launch({ image: "alpine", name: "migration" })
      yield* ended.shell("echo migrating; echo no such table: prices >&2")
    })
  )
  yield* Sandbox.launch({ image: "alpine", name: "worker-1", resources: { memory: "512M" } })
  yield* Sandbox.launch({ image: "alpine", name: "worker-2", resources: { memory: "512M" } })
  const old = yield* Sandbox.launch({ image: "debian:12", name: "nightly" })
  yield* old.stop()
  return { web }
})
