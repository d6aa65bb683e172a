/** Policies of sessions. */
import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import * as Policy from "../../../src/internal/mcp/policy.ts"
import * as MicrosandboxMemory from "../../../src/MicrosandboxMemory.ts"
import * as Sandbox from "../../../src/Sandbox.ts"

const folder = Effect.acquireRelease(
  Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "policy-"))),
  (path) => Effect.sync(() => Fs.rmSync(path, { recursive: true }))
)

/** Loads a policy that is in a file. */
const load = (text: string, flags: { readonly image?: string; readonly snapshot?: string } = {}) =>
  Effect.gen(function* () {
    const file = Path.join(yield* folder, "policy.json")
    Fs.mkdirSync(Path.join(Path.dirname(file), "src"))
    Fs.writeFileSync(file, text)
    return yield* Policy.load({ file, image: flags.image, snapshot: flags.snapshot })
  })

const test = <A, E>(name: string, effect: Effect.Effect<A, E, Effect.Services<ReturnType<typeof load>>>) =>
  it.effect(name, () => Effect.provide(Effect.scoped(effect), MicrosandboxMemory.layer()))

const wrong: ReadonlyArray<readonly [policy: object, field: string, problem: RegExp]> = [
  [{ image: "a b" }, "image", /expected an image reference/],
  [{ image: "a", snapshot: "b" }, "--image", /either an image or a snapshot/],
  [{}, "--image", /either an image or a snapshot/],
  [{ image: "a", colour: "red" }, "colour", /unknown option/],
  [{ image: "a", resources: { memory: "1GB" } }, "resources.memory", /Invalid memory/],
  [{ image: "a", resources: { cpus: 0 } }, "resources.cpus", /./],
  [{ snapshot: "a", resources: { disk: "1G" } }, "resources.disk", /needs an image/],
  [{ image: "a", mounts: { work: "./src" } }, "mounts.work", /absolute path/],
  [{ image: "a", mounts: { "/work": "./nope" } }, "mounts./work", /does not exist/],
  [{ image: "a", network: "some" }, "network", /expected "none", "public" or "all"/],
  [
    { image: "a", network: { policy: { rules: [{ action: "allow", to: { cidr: "x" } }] } } },
    "network.policy.rules.0.to.cidr",
    /./
  ],
  [{ image: "a", secrets: { TOKEN: { hosts: [] } } }, "secrets.TOKEN.hosts", /at least one host/],
  [
    { image: "a", secrets: { TOKEN: { hosts: ["a.org"], env: "LIGHTBOX_UNSET" } } },
    "secrets.TOKEN",
    /LIGHTBOX_UNSET is not set/
  ],
  [{ image: "a", forwards: [0] }, "forwards.0", /./],
  [{ image: "a", snapshots: true }, "snapshots", /./],
  [{ image: "a", snapshots: "" }, "snapshots", /./],
  [{ image: "a", idleTimeout: "soon" }, "idleTimeout", /positive duration/],
  [{ image: "a", maxDuration: "1.5 seconds" }, "maxDuration", /whole seconds/]
]

describe("a policy", () => {
  it.effect.each(wrong)("%j is refused, naming %s", ([policy, field, problem]) =>
    Effect.gen(function* () {
      const { reason } = yield* Effect.flip(load(JSON.stringify(policy)))
      assert.strictEqual(reason._tag, "InvalidConfig")
      if (reason._tag !== "InvalidConfig") return
      assert.strictEqual(reason.field, field.startsWith("--") ? field : `--policy: ${field}`)
      assert.match(reason.problem, problem)
      assert.deepStrictEqual(yield* Sandbox.list(), [])
    }).pipe(Effect.scoped, Effect.provide(MicrosandboxMemory.layer()))
  )

  test(
    "that is no JSON, or no file, is refused",
    Effect.gen(function* () {
      assert.match((yield* Effect.flip(load("{"))).message, /^Invalid --policy: .*policy\.json is not JSON/)
      const missing = Policy.load({ file: "/nope.json", image: undefined, snapshot: undefined })
      assert.match((yield* Effect.flip(missing)).message, /^Invalid --policy: \/nope\.json cannot be read/)
      assert.match((yield* Effect.flip(load("[]"))).message, /^Invalid --policy: the policy: expected an object/)
    })
  )

  test(
    "with a snapshot that does not exist is refused",
    Effect.gen(function* () {
      const { reason } = yield* Effect.flip(load('{ "snapshot": "nope" }'))
      assert.strictEqual(reason._tag, "NotFound")
    })
  )

  test(
    "allows nothing that it does not name",
    Effect.gen(function* () {
      const policy = yield* Policy.load({ file: undefined, image: "node:22", snapshot: undefined })
      assert.deepStrictEqual(policy, {
        launch: { image: "node:22", network: "none", mounts: {}, secrets: {} },
        source: "image node:22",
        forwards: "all",
        snapshots: "agent-",
        idleTimeout: Duration.minutes(15)
      })
      assert.match(Policy.describe(policy), /from image node:22, with no network\. /)
    })
  )

  test(
    "mounts folders relative to its own, and takes secrets from the environment",
    Effect.gen(function* () {
      const text = JSON.stringify({
        image: "node:22",
        resources: { cpus: 2, memory: "1G" },
        mounts: { "/work": { bind: "./src", readonly: true }, "/cache": { volume: "npm" } },
        network: { policy: { rules: [{ action: "allow", to: { domain: "example.com" } }] } },
        secrets: { HOME_TOKEN: { hosts: ["example.com"], env: "HOME" } },
        forwards: [3000],
        snapshots: false,
        idleTimeout: "1 hour"
      })
      const policy = yield* load(text)
      const { mounts = {}, secrets = {} } = policy.launch
      assert.match(JSON.stringify(mounts["/work"]), /"bind":"\/.*policy-\w+\/src"/)
      assert.strictEqual(Redacted.value(secrets["HOME_TOKEN"]?.value ?? Redacted.make("")), process.env["HOME"])
      assert.deepStrictEqual([policy.forwards, policy.snapshots], [[3000], false])
      const described = Policy.describe(policy)
      assert.match(
        described,
        /a restricted network\. Mounted: \/work \(read-only\), \/cache\. HOME_TOKEN are placeholders/
      )
      assert.notInclude(described, String(process.env["HOME"]))
    })
  )

  test(
    "takes the image of the flag instead of its own",
    Effect.gen(function* () {
      const { launch } = yield* load('{ "snapshot": "nope" }', { image: "alpine" })
      assert.strictEqual(launch.image, "alpine")
      assert.isUndefined(launch.snapshot)
    })
  )
})
