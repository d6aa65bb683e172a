import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Fs from "node:fs"
import type * as Microsandbox from "../../src/Microsandbox.ts"
import * as BootOptions from "../../src/internal/config/bootOptions.ts"
import { requireResumable } from "../../src/internal/driver/next/memory.ts"
import { geometryOf } from "../../src/internal/driver/next/sdk.ts"
import { call } from "../../src/internal/driver/sdk/calls.ts"
import { temporary } from "../support.ts"

const mebibyte = 1024 ** 2

const captured = { cpus: 2, memory: 256 * mebibyte }

const check = (config: Microsandbox.CreateSandbox["config"], proxy?: Microsandbox.CreateSandbox["proxy"]) =>
  requireResumable({ name: "copy", source: { _tag: "Snapshot", name: "warm" }, config, proxy }, captured)

const refusedFeature = (config: Microsandbox.CreateSandbox["config"], proxy?: Microsandbox.CreateSandbox["proxy"]) =>
  Effect.map(Effect.flip(check(config, proxy)), ({ reason }) =>
    reason._tag === "Unsupported" ? reason.feature : reason._tag
  )

describe("a machine that goes on", () => {
  it.effect("keeps its processors and its memory, and takes what concerns the outside and its commands", () =>
    Effect.gen(function* () {
      yield* check({})
      yield* check({
        resources: { cpus: 2, memory: 256 * mebibyte },
        network: "public",
        env: { A: "b" },
        cwd: "/srv",
        shell: "/bin/ash",
        hostname: "other",
        ports: { 8080: 80 },
        labels: { team: "blue" },
        rootDisk: "copy"
      })
    })
  )

  it.effect("has the user and the commands that it was booted with, and no others", () =>
    Effect.gen(function* () {
      const config = { user: "app", cmd: ["serve"], entrypoint: ["tini", "--"] }
      const featureOf = (config: Microsandbox.CreateSandbox["config"], options: string | undefined) =>
        requireResumable(
          { name: "copy", source: { _tag: "Snapshot", name: "warm" }, config },
          { ...captured, options }
        ).pipe(
          Effect.flip,
          Effect.map(({ reason }) => (reason._tag === "Unsupported" ? reason.feature : reason._tag))
        )
      const options = BootOptions.recorded(config)
      assert.notInclude(options, "app")
      yield* requireResumable(
        { name: "copy", source: { _tag: "Snapshot", name: "warm" }, config },
        { ...captured, options }
      )
      assert.strictEqual(yield* featureOf({ ...config, user: "root" }, options), "user")
      assert.strictEqual(yield* featureOf({ ...config, user: undefined }, options), "user")
      assert.strictEqual(yield* featureOf({ ...config, cmd: [] }, options), "cmd")
      assert.strictEqual(yield* featureOf({ ...config, entrypoint: ["tini"] }, options), "entrypoint")
      assert.strictEqual(yield* featureOf({ cmd: ["serve"] }, undefined), "cmd")
      assert.strictEqual(yield* featureOf({ cmd: ["serve"] }, "not JSON"), "cmd")
    })
  )

  it.effect("is not resumed for a launch that asks for what only a boot gives", () =>
    Effect.gen(function* () {
      assert.strictEqual(yield* refusedFeature({ resources: { cpus: 1 } }), "resources.cpus")
      assert.strictEqual(yield* refusedFeature({ resources: { memory: 512 * mebibyte } }), "resources.memory")
      assert.strictEqual(yield* refusedFeature({ network: "none" }), "network")
      assert.strictEqual(yield* refusedFeature({}, { port: 1080, user: "u" }), "a proxy")
      assert.strictEqual(yield* refusedFeature({ mounts: { "/data": { volume: "data" } } }), "mounts")
      assert.strictEqual(yield* refusedFeature({ user: "app" }), "user")
      assert.strictEqual(yield* refusedFeature({ ephemeral: true }), "ephemeral")
      assert.strictEqual(
        yield* refusedFeature({ secrets: { KEY: { value: Redacted.make("v"), hosts: ["api.example.com"] } } }),
        "secrets"
      )
    })
  )
})

it.effect("a snapshot whose machine was written in part is damaged, so that a launch boots its disk", () =>
  Effect.gen(function* () {
    const path = yield* temporary
    Fs.mkdirSync(`${path}/checkpoint`)
    const file = `${path}/checkpoint/checkpoint.json`
    const geometry = call("Microsandbox.createSandbox", { snapshot: "warm" }, () => geometryOf(path))
    for (const text of [undefined, "", '{"geometry":{"vcpus":2,', '{"geometry":{}}']) {
      if (text !== undefined) Fs.writeFileSync(file, text)
      assert.strictEqual((yield* Effect.flip(geometry)).reason._tag, "SnapshotDamaged")
    }
    Fs.writeFileSync(file, '{"geometry":{"vcpus":2,"memory_mib":256}}')
    assert.deepStrictEqual(yield* geometry, { cpus: 2, mebibytes: 256 })
  })
)
