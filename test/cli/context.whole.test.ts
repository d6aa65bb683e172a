import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Fs from "node:fs"
import * as Shapes from "../../src/internal/cli/json.ts"
import * as Hosts from "./host.ts"
import { withVariable } from "./host.ts"
import { Cli, failing, json, succeeding, test } from "./support.ts"

const token = "the-token-of-the-host"

test(
  "context names a host, which commands then use",
  Effect.gen(function* () {
    const { folder } = yield* Cli
    yield* withVariable("LIGHTBOX_TOKEN", token)
    yield* withVariable("LIGHTBOX_CONTEXT", undefined)
    const url = yield* Hosts.serve()
    yield* withVariable("LIGHTBOX_TOKEN", undefined)
    Fs.writeFileSync(`${folder}/token`, `${token}\n`)
    const home = ["--home", `${folder}/home`]
    yield* succeeding("run", "-d", "--name", "far", "--image", "busybox")
    const added = yield* succeeding("context", "add", "kvm", "--url", url, "--token-file", `${folder}/token`)
    assert.strictEqual(added.stdout, "Added kvm: lightbox --context kvm ps\n")
    const file = `${folder}/settings/lightbox/contexts.json`
    assert.strictEqual(Fs.statSync(file).mode & 0o777, 0o600)

    const uses = (...args: ReadonlyArray<string>) =>
      Effect.map(json(Shapes.Sandboxes, ...home, ...args, "ps"), ([all = []]) => all.map(({ name }) => name))
    assert.deepStrictEqual(yield* uses("--context", "kvm"), ["far"])
    yield* withVariable("LIGHTBOX_CONTEXT", "kvm")
    assert.deepStrictEqual(yield* uses(), ["far"])
    yield* withVariable("LIGHTBOX_CONTEXT", undefined)

    const listed = Effect.map(json(Schema.Array(Shapes.Context), "context", "list"), ([all = []]) =>
      all.map(({ isCurrent, name }) => [name, isCurrent])
    )
    assert.deepStrictEqual(yield* listed, [
      ["local", true],
      ["kvm", false]
    ])
    assert.strictEqual((yield* succeeding("context", "use", "kvm")).stdout, `Using kvm, ${url}\n`)
    assert.deepStrictEqual(yield* listed, [
      ["local", false],
      ["kvm", true]
    ])
    assert.deepStrictEqual(yield* uses(), ["far"])

    // What is named wins over what is chosen.
    yield* succeeding(
      "context",
      "add",
      "wrong",
      "--url",
      "http://127.0.0.1:1",
      "--token-file",
      `${folder}/token`,
      "--use"
    )
    const unreachable = yield* failing(1, ...home, "ps")
    assert.match(unreachable.message, /^Host http:\/\/127\.0\.0\.1:1 of the context "wrong" is not available: /)
    assert.deepStrictEqual(yield* uses("--context", "kvm"), ["far"])
    yield* succeeding("--context", "local", "ps")
    yield* withVariable("LIGHTBOX_TOKEN", token)
    assert.deepStrictEqual(yield* uses("--host", url, "--context", "wrong"), ["far"])
    yield* withVariable("LIGHTBOX_TOKEN", undefined)

    // Also for a pull from a host.
    const pulled = yield* failing(1, "--context", "local", "pull", "--from-host", "kvm", "none")
    assert.deepInclude(pulled.error?.reason, { _tag: "TransferFailed", kind: "NotFound" })

    yield* succeeding("context", "remove", "wrong")
    yield* succeeding("ps")
    assert.deepStrictEqual(yield* listed, [
      ["local", true],
      ["kvm", false]
    ])
    assert.notInclude((yield* succeeding("context", "list", "--json")).stdout, token)
  }).pipe(Effect.scoped)
)

test(
  "context names what is wrong",
  Effect.gen(function* () {
    const { folder } = yield* Cli
    yield* withVariable("LIGHTBOX_TOKEN", undefined)
    yield* withVariable("LIGHTBOX_CONTEXT", undefined)
    const message = (...args: ReadonlyArray<string>) => Effect.map(failing(2, ...args), (failure) => failure.message)
    const add = (...args: ReadonlyArray<string>) => message("context", "add", ...args)
    const url = "http://example.com:7400"
    assert.match(yield* add("one"), /^Invalid --url: /)
    assert.match(yield* add("one", "--url", url), /^Invalid --token-file: pass a file, or set LIGHTBOX_TOKEN/)
    assert.match(yield* add("one", "--url", url, "--token-file", "/none"), /^Invalid --token-file: /)
    yield* withVariable("LIGHTBOX_TOKEN", token)
    assert.match(yield* add("a b", "--url", url), /^Invalid NAME: /)
    assert.match(yield* add("local", "--url", url), /^Invalid NAME: "local" is this machine/)
    assert.match(yield* add("one", "--url", "ftp://x"), /^Invalid --url: /)
    assert.match(yield* add("one", "--url", url, "--ca", "/none"), /^Invalid --ca: /)
    assert.isFalse(Fs.existsSync(`${folder}/settings/lightbox/contexts.json`))
    assert.match(
      yield* message("--context", "two", "ps"),
      /^Invalid --context: there is no context "two"; there are: local$/
    )
    assert.match(yield* message("context", "use", "two"), /^Invalid NAME: there is no context "two"/)
    assert.match(yield* message("context", "remove", "two"), /^Invalid NAME: there is no context "two"/)
    assert.match(yield* message("pull", "--from-host", "two", "x"), /^Invalid --from-host: there is no context "two"/)
    yield* withVariable("LIGHTBOX_CONTEXT", "two")
    assert.match(yield* message("ps"), /^Invalid LIGHTBOX_CONTEXT: there is no context "two"/)
    yield* withVariable("LIGHTBOX_CONTEXT", undefined)
    yield* succeeding("context", "add", "one", "--url", url)
    Fs.writeFileSync(`${folder}/settings/lightbox/contexts.json`, "{")
    assert.match(yield* message("context", "list"), /contexts\.json: it is not JSON/)
    Fs.writeFileSync(`${folder}/settings/lightbox/contexts.json`, JSON.stringify({ contexts: { one: { url: 5 } } }))
    assert.match(yield* message("ps"), /contexts\.json: contexts\.one\.url: expected a string/)
  }).pipe(Effect.scoped)
)
