import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import type * as Microsandbox from "../../src/Microsandbox.ts"
import { requireResumable } from "../../src/internal/driver/next/memory.ts"

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
