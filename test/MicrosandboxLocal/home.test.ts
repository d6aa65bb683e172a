/** The home that a process uses, with the SDK itself. */
import { assert, describe, it } from "@effect/vitest"
import * as Config from "effect/Config"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Fs from "node:fs"
import * as Path from "node:path"
import type { LightboxError } from "../../src/LightboxError.ts"
import * as Microsandbox from "../../src/Microsandbox.ts"
import * as Sandbox from "../../src/Sandbox.ts"
import * as SandboxConfig from "../../src/SandboxConfig.ts"
import * as MicrosandboxLocal from "../../src/MicrosandboxLocal.ts"
import { temporary } from "../support.ts"

type Driver = Microsandbox.Microsandbox["Service"]

const driver = (home: string) =>
  Effect.map(Layer.build(Layer.fresh(MicrosandboxLocal.layer({ home }))), Context.get(Microsandbox.Microsandbox))

const createVolume = (home: string) =>
  Effect.flatMap(driver(home), (driver) => driver.createVolume({ name: "cache", kind: "directory" }))

const volumesOf = (home: string) =>
  Effect.flatMap(driver(home), (driver) => Effect.map(driver.listVolumes(), (all) => all.map(({ path }) => path)))

describe("the home of a process", () => {
  it.live("is exclusive, and free again when the last layer closes", () =>
    Effect.gen(function* () {
      const [first, second] = [yield* temporary, yield* temporary]
      const environment = process.env["MSB_HOME"]
      yield* Effect.scoped(
        Effect.gen(function* () {
          yield* createVolume(first)
          // Another one on the same home, closed earlier.
          yield* Effect.scoped(driver(first))
          const error = yield* Effect.flip(Effect.scoped(driver(second)))
          assert.strictEqual(error.reason._tag, "Unsupported")
          assert.include(error.message, first)
          assert.strictEqual(process.env["MSB_HOME"], first)
        })
      )
      assert.strictEqual(process.env["MSB_HOME"], environment)
      assert.deepStrictEqual(yield* Effect.scoped(volumesOf(second)), [])
      yield* Effect.scoped(createVolume(second))
      assert.deepStrictEqual(yield* Effect.scoped(volumesOf(second)), [Path.join(second, "volumes", "cache")])
      assert.deepStrictEqual(yield* Effect.scoped(volumesOf(first)), [Path.join(first, "volumes", "cache")])
    }).pipe(Effect.scoped)
  )

  const calls: ReadonlyArray<readonly [name: string, call: (driver: Driver) => Effect.Effect<unknown, LightboxError>]> =
    [
      ["listSandboxes", (driver) => driver.listSandboxes()],
      ["getSandbox", (driver) => driver.getSandbox("absent")],
      ["listImages", (driver) => driver.listImages()],
      ["listSnapshots", (driver) => driver.listSnapshots()],
      ["createVolume", (driver) => driver.createVolume({ name: "cache", kind: "directory" })],
      ["loadImage", (driver) => driver.loadImage("package.json")]
    ]

  it.live.each(calls)("is readable by its user only, if the first call is %s", ([_name, call]) =>
    Effect.gen(function* () {
      const home = Path.join(yield* temporary, "home")
      yield* Effect.scoped(Effect.flatMap(driver(home), (driver) => Effect.exit(call(driver))))
      const modes = ["", "db"].map((folder) => Fs.statSync(Path.join(home, folder)).mode & 0o777)
      assert.deepStrictEqual(modes, [0o700, 0o700])
    }).pipe(Effect.scoped)
  )

  it.live("is searched for a snapshot before a lack of virtualization is reported", () =>
    Effect.gen(function* () {
      const local = MicrosandboxLocal.layer({ home: yield* temporary })
      const error = yield* Effect.flip(Effect.provide(Sandbox.launch({ snapshot: "absent" }), local))
      assert.deepInclude(error.reason, { _tag: "NotFound", resource: "snapshot", name: "absent" })
    }).pipe(Effect.scoped)
  )

  it.live("follows the configuration", () =>
    Effect.gen(function* () {
      const home = yield* temporary
      const configured = (settings: { readonly [name: string]: string }) =>
        Effect.map(
          Layer.build(
            Layer.fresh(
              MicrosandboxLocal.layerConfig({
                home: Config.String("SANDBOX_HOME"),
                memory: Config.schema(SandboxConfig.Size, "SANDBOX_MEMORY")
              })
            ).pipe(Layer.provide(ConfigProvider.layer(ConfigProvider.fromUnknown(settings))))
          ),
          Context.get(Microsandbox.Microsandbox)
        ).pipe(Effect.scoped)
      const driver = yield* configured({ SANDBOX_HOME: home, SANDBOX_MEMORY: "256M" })
      assert.strictEqual(driver.home, home)
      const missing = yield* Effect.flip(configured({ SANDBOX_HOME: home }))
      assert.strictEqual(missing._tag, "ConfigError")
      assert.include(missing.message, "SANDBOX_MEMORY")
      const unreadable = yield* Effect.flip(configured({ SANDBOX_HOME: home, SANDBOX_MEMORY: "much" }))
      assert.strictEqual(unreadable._tag, "ConfigError")
      assert.include(unreadable.message, "SANDBOX_MEMORY")
      const wrong = yield* Effect.flip(configured({ SANDBOX_HOME: home, SANDBOX_MEMORY: "1M" }))
      assert.isTrue(wrong._tag === "LightboxError" && wrong.reason._tag === "InvalidConfig")
      assert.include(wrong.message, "memory")
    }).pipe(Effect.scoped)
  )
})
