import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fs from "node:fs"
import * as Net from "node:net"
import { Cli, ending, failing, succeeding, test } from "./support.ts"

const token = "the-token-of-the-host"

/** Sets a variable of the environment for the scope. */
const withVariable = (name: string, value: string | undefined) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const before = process.env[name]
      if (value === undefined) delete process.env[name]
      else process.env[name] = value
      return before
    }),
    (before) =>
      Effect.sync(() => {
        if (before === undefined) delete process.env[name]
        else process.env[name] = before
      })
  )

const freePort = Effect.callback<number>((resume) => {
  const server = Net.createServer().listen(0, "127.0.0.1", () => {
    const address = server.address()
    server.close(() => resume(Effect.succeed(typeof address === "object" && address !== null ? address.port : 0)))
  })
})

const connected = (port: number) =>
  Effect.callback<boolean>((resume) => {
    const socket = Net.connect(port, "127.0.0.1")
    socket.on("connect", () => resume(Effect.succeed(true)))
    socket.on("error", () => resume(Effect.succeed(false)))
    return Effect.sync(() => socket.destroy())
  })

test(
  "host serves this machine to the command line of another",
  Effect.gen(function* () {
    const { folder, requests } = yield* Cli
    yield* withVariable("LIGHTBOX_TOKEN", token)
    const port = yield* freePort
    yield* Effect.forkScoped(ending(0)("host", "--port", String(port)))
    yield* Effect.repeat(connected(port), { until: (isConnected) => isConnected })
    const far = ["--host", `http://localhost:${port}`, "--home", folder]
    yield* succeeding(...far, "run", "-d", "--name", "far", "--image", "busybox")
    assert.include(
      requests.map(({ name }) => name),
      "far"
    )
    assert.match((yield* succeeding(...far, "ps")).stdout, /far/)
    assert.match((yield* succeeding("ps")).stdout, /far/)
    yield* ending(3)(...far, "exec", "far", "sh", "-c", "echo far away > /root/said; exit 3")
    yield* succeeding(...far, "cp", "far:/root/said", `${folder}/said`)
    assert.strictEqual(Fs.readFileSync(`${folder}/said`, "utf8"), "far away\n")
    Fs.writeFileSync(`${folder}/sent`, "sent\n")
    yield* succeeding(...far, "cp", `${folder}/sent`, "far:/root/sent")
    yield* succeeding(...far, "cp", "far:/root/sent", `${folder}/back`)
    assert.strictEqual(Fs.readFileSync(`${folder}/back`, "utf8"), "sent\n")
    yield* succeeding(...far, "volume", "create", "data")
    assert.match((yield* succeeding(...far, "volume", "ls")).stdout, /data/)
    yield* succeeding(...far, "rm", "-f", "far")
    assert.notMatch((yield* succeeding("ps", "-a")).stdout, /far/)

    yield* withVariable("LIGHTBOX_TOKEN", "the-token-of-another-host")
    const refused = yield* failing(1, ...far, "ps")
    assert.match(refused.message, /^Host http:\/\/localhost:\d+ is not available: it does not accept the token/)
    yield* withVariable("LIGHTBOX_TOKEN", undefined)
    assert.match((yield* failing(2, ...far, "ps")).message, /^Invalid LIGHTBOX_TOKEN: /)
  }).pipe(Effect.scoped)
)

test(
  "host names the wrong flag, variable or file, and shows no token",
  Effect.gen(function* () {
    const { folder } = yield* Cli
    const message = (...flags: ReadonlyArray<string>) =>
      Effect.map(failing(2, "host", ...flags), (failure) => failure.message)
    yield* withVariable("LIGHTBOX_TOKEN", token)
    assert.match(yield* message("--bind", "0.0.0.0"), /^Invalid --bind: 0\.0\.0\.0 can be reached by others/)
    assert.match(yield* message("--port", "65536"), /^Invalid --port: /)
    assert.match(yield* message("--tls-cert", "a"), /^Invalid --tls-key: pass both/)
    assert.match(yield* message("--tls-cert", "/no/a", "--tls-key", "/no/b"), /^Invalid --tls-cert: cannot read/)
    assert.match(yield* message("--allow-mount", "/no/such"), /^Invalid --allow-mount 0: cannot share/)
    assert.match(yield* message("--lease", "10ms"), /^Invalid --lease: expected at least a second/)
    const file = `${folder}/tokens.json`
    Fs.writeFileSync(file, JSON.stringify([{ name: "one", token: "short-secret" }]))
    const wrong = yield* message("--tokens", file)
    assert.match(wrong, /^Invalid --tokens .*: expected at least 16 characters/)
    assert.notInclude(wrong, "short-secret")
    Fs.writeFileSync(file, "short-secret")
    assert.match(yield* message("--tokens", file), /^Invalid --tokens: .* is not JSON/)
    assert.match(
      (yield* failing(2, "--host", "ftp://x", "ps")).message,
      /^Invalid --host: expected an http or https URL/
    )
    yield* withVariable("LIGHTBOX_TOKEN", "short")
    assert.match(yield* message(), /^Invalid LIGHTBOX_TOKEN: expected at least 16 characters/)
  }).pipe(Effect.scoped)
)

test(
  "host is part of a fleet, which fleet lists, cordons and drains",
  Effect.gen(function* () {
    const { folder } = yield* Cli
    yield* withVariable("LIGHTBOX_TOKEN", token)
    const url = `sqlite:${folder}/fleet.db`
    yield* withVariable("LIGHTBOX_DIRECTORY", url)
    assert.match((yield* succeeding("fleet", "hosts")).stdout, /^The fleet has no hosts/)
    yield* Effect.forkScoped(ending(0)("host", "--port", "0", "--label", "zone=a"))
    const listed = Effect.map(
      succeeding("fleet", "hosts", "--format", "{{.id}} {{.status}} {{.sandboxes}} {{.reason}}"),
      ({ stdout }) => stdout.trim().split(" ")
    )
    const [id = ""] = yield* Effect.repeat(listed, { until: ([, status]) => status === "ready" })
    const far = ["--host", url, "--home", folder]
    yield* succeeding(...far, "run", "-d", "--name", "far", "--image", "busybox")
    assert.match((yield* succeeding(...far, "ps")).stdout, /far/)
    yield* ending(3)(...far, "exec", "far", "sh", "-c", "exit 3")

    yield* succeeding("fleet", "cordon", id, "--reason", "a new disk")
    const { message } = yield* failing(125, ...far, "run", "-d", "--name", "late", "--image", "busybox")
    assert.include(message, `${id}: it is cordoned: a new disk`)
    assert.match((yield* failing(1, "fleet", "drain", id, "--timeout", "10ms")).message, /waiting for 1 sandboxes/)
    yield* succeeding(...far, "rm", "-f", "far")
    assert.match((yield* succeeding("fleet", "drain", id)).stdout, /has no sandboxes any more/)
    assert.deepStrictEqual(yield* listed, [id, "cordoned", "0", "a", "new", "disk"])
    yield* succeeding("fleet", "uncordon", id)
    assert.strictEqual((yield* listed)[1], "ready")

    assert.match((yield* failing(2, "fleet", "rm", id)).message, /^Invalid HOST: .* is alive/)
    assert.match((yield* failing(2, "fleet", "cordon", "nobody")).message, /^Invalid HOST: .* no host nobody/)
    assert.match((yield* failing(2, "fleet", "hosts", "--directory", "mysql://x")).message, /^Invalid --directory: /)
    assert.match((yield* failing(2, "host", "--bind", "0.0.0.0", "--insecure")).message, /^Invalid --advertise: /)
    assert.match((yield* failing(2, "host", "--advertise", "x")).message, /^Invalid --advertise: expected an http/)
    yield* withVariable("LIGHTBOX_DIRECTORY", undefined)
    assert.match((yield* failing(2, "fleet", "hosts")).message, /^Invalid --directory: expected the directory/)
    assert.match((yield* failing(2, "host", "--label", "zone=a")).message, /^Invalid --label: /)
  }).pipe(Effect.scoped)
)
