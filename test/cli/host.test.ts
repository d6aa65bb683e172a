import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fs from "node:fs"
import * as FakeRegistry from "../Snapshot/FakeRegistry.ts"
import * as Hosts from "./host.ts"
import { withVariable } from "./host.ts"
import { Cli, definitions, ending, failing, succeeding, test } from "./support.ts"

const two = definitions("two")

const token = "the-token-of-the-host"

test(
  "host serves this machine to the command line of another",
  Effect.gen(function* () {
    const { folder, requests } = yield* Cli
    yield* withVariable("LIGHTBOX_TOKEN", token)
    const url = yield* Hosts.serve()
    const far = ["--host", url, "--home", folder]
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
  "push and pull move snapshots through a host, and pull from one",
  Effect.gen(function* () {
    const { folder } = yield* Cli
    const { host } = yield* FakeRegistry.make
    yield* withVariable("LIGHTBOX_TOKEN", token)
    yield* withVariable("LIGHTBOX_FROM_TOKEN", undefined)
    const url = yield* Hosts.serve()
    const far = ["--host", url, "--home", folder]
    yield* succeeding("build", two, "tools", "--quiet")
    const reference = `${host}/team/tools:main`
    assert.match((yield* succeeding(...far, "push", "tools", reference)).stdout, /^Pushed tools to localhost/)
    assert.strictEqual(
      (yield* succeeding(...far, "pull", "--snapshot", "copy", reference)).stdout,
      `Pulled ${reference} as copy, generation 1\n`
    )
    const none = yield* failing(1, ...far, "push", "none", reference)
    assert.strictEqual(none.error?.reason._tag, "NotFound")
    assert.match((yield* failing(2, ...far, "push", "a b", reference)).message, /^Invalid SNAPSHOT: /)

    const fromHost = ["pull", "--from-host", url]
    assert.strictEqual(
      (yield* succeeding(...fromHost, "tools@1", "--snapshot", "direct")).stdout,
      `Pulled tools@1 of ${url} as direct, generation 1\n`
    )
    assert.match((yield* succeeding(...fromHost, "tools")).stdout, /as tools, generation/)
    const missing = yield* failing(1, ...fromHost, "none")
    assert.deepInclude(missing.error?.reason, { _tag: "TransferFailed", kind: "NotFound" })
    assert.match((yield* failing(2, ...fromHost, "tools", "others")).message, /^Invalid NAME: .* a single one/)
    assert.match((yield* failing(2, ...fromHost, "tools", "--insecure")).message, /^Invalid --insecure: /)
    assert.match((yield* failing(2, "pull", "--from-host", "ftp://x", "tools")).message, /^Invalid --from-host: /)
    yield* withVariable("LIGHTBOX_FROM_TOKEN", "the-token-of-another-host")
    const refused = yield* failing(1, ...fromHost, "tools")
    assert.deepInclude(refused.error?.reason, { _tag: "TransferFailed", kind: "Unauthorized" })
    yield* withVariable("LIGHTBOX_FROM_TOKEN", undefined)
    yield* withVariable("LIGHTBOX_TOKEN", undefined)
    assert.match((yield* failing(2, ...fromHost, "tools")).message, /^Invalid LIGHTBOX_FROM_TOKEN: /)
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
    assert.match((yield* failing(2, "host", "--jobs", "1")).message, /^Invalid --jobs: /)
    assert.match((yield* failing(2, "host", "--prune", "0 3 * * *")).message, /^Invalid --prune: /)
    assert.match((yield* failing(2, "host", "--prune-older-than", "1d")).message, /^Invalid --prune-older-than: /)
    yield* withVariable("LIGHTBOX_DIRECTORY", url)
    assert.match((yield* failing(2, "host", "--jobs", "1001")).message, /^Invalid --jobs: /)
    assert.match((yield* failing(2, "host", "--prune", "at night")).message, /^Invalid --prune: expected a schedule/)
  }).pipe(Effect.scoped)
)
