/**
 * What the types allow. The tests pass if this file compiles, which `tsc -p .` checks.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { describe, expectTypeOf, it } from "vitest"
import type { Services } from "../../src/Driver.ts"
import type { LightboxError } from "../../src/LightboxError.ts"
import * as Preset from "../../src/Preset.ts"
import * as Presets from "../../src/presets.ts"
import * as Promises from "../../src/promise.ts"
import * as Sandbox from "../../src/Sandbox.ts"
import type * as SandboxConfig from "../../src/SandboxConfig.ts"
import * as Snapshot from "../../src/Snapshot.ts"
import * as Volume from "../../src/Volume.ts"

class Database extends Context.Service<Database, { readonly url: string }>()(
  "effect-lightbox/test/package/types.test/Database"
) {}

class Clock extends Context.Service<Clock, { readonly now: number }>()(
  "effect-lightbox/test/package/types.test/Clock"
) {}

class SeedFailed extends Schema.TaggedError<SeedFailed>()("SeedFailed", {}) {}

class CheckFailed extends Schema.TaggedError<CheckFailed>()("CheckFailed", {}) {}

const base = Snapshot.make("tools", "debian:12")

const seed = () => Effect.flatMap(Database, () => Effect.fail(new SeedFailed()))

const check = () => Effect.flatMap(Clock, () => Effect.fail(new CheckFailed()))

describe("types", () => {
  it("add the errors and services of steps to the definition", () => {
    const plain = base.pipe(Snapshot.shell("make"), Snapshot.env({ A: "1" }))
    expectTypeOf(plain).toEqualTypeOf<Snapshot.Definition>()

    const seeded = plain.pipe(Snapshot.step("seed", seed))
    expectTypeOf(seeded).toEqualTypeOf<Snapshot.Definition<SeedFailed, Database>>()

    const checked = seeded.pipe(Snapshot.shell("make"), Snapshot.verify(check), Snapshot.labels({ a: "b" }))
    expectTypeOf(checked).toEqualTypeOf<Snapshot.Definition<SeedFailed | CheckFailed, Database | Clock>>()

    expectTypeOf(Snapshot.step(plain, "seed", seed)).toEqualTypeOf(seeded)
    expectTypeOf(Snapshot.from("child", checked).pipe(Snapshot.apt(["git"]))).toEqualTypeOf(checked)
    expectTypeOf(Snapshot.from("child", plain).pipe(Snapshot.step("seed", seed))).toEqualTypeOf(seeded)
  })

  it("add the errors and services of a definition to its build", () => {
    const definition = base.pipe(Snapshot.step("seed", seed), Snapshot.verify(check))
    expectTypeOf(Snapshot.build(definition)).toEqualTypeOf<
      Effect.Effect<Snapshot.Built, LightboxError | SeedFailed | CheckFailed, Services | Database | Clock>
    >()
    expectTypeOf(Snapshot.plan(definition)).toExtend<Effect.Effect<unknown, LightboxError, Services>>()
    expectTypeOf(Snapshot.layer(definition)).toEqualTypeOf<
      Layer.Layer<Snapshot.Current, LightboxError | SeedFailed | CheckFailed, Services | Database | Clock>
    >()
  })

  it("accept a piped definition, with options and without", () => {
    const definition = base.pipe(Snapshot.step("seed", seed))
    const build = Snapshot.build(definition)
    expectTypeOf(definition.pipe(Snapshot.build)).toEqualTypeOf(build)
    expectTypeOf(definition.pipe(Snapshot.build())).toEqualTypeOf(build)
    expectTypeOf(definition.pipe(Snapshot.build({ force: true }))).toEqualTypeOf(build)
    expectTypeOf(Snapshot.build(definition, { force: true })).toEqualTypeOf(build)
    expectTypeOf(definition.pipe(Snapshot.buildScoped())).toEqualTypeOf(Snapshot.buildScoped(definition))
    expectTypeOf(definition.pipe(Snapshot.plan)).toEqualTypeOf(Snapshot.plan(definition))
    expectTypeOf(definition.pipe(Snapshot.layer())).toEqualTypeOf(Snapshot.layer(definition))
    // @ts-expect-error: no such option
    void Snapshot.build(definition, { forced: true })
  })

  it("remove provided services from a definition", () => {
    const definition = base.pipe(Snapshot.step("seed", seed), Snapshot.verify(check))
    const layer: Layer.Layer<Database, CheckFailed, Clock> = Layer.effect(Database, Effect.as(check(), { url: "" }))
    expectTypeOf(definition.pipe(Snapshot.provide(layer))).toEqualTypeOf<
      Snapshot.Definition<SeedFailed | CheckFailed, Clock>
    >()
    expectTypeOf(Snapshot.provide(definition, Layer.succeed(Database, { url: "" }))).toEqualTypeOf<
      Snapshot.Definition<SeedFailed | CheckFailed, Clock>
    >()
  })

  it("reject launching a definition", () => {
    // @ts-expect-error: "A definition is not a snapshot: build it first, with Snapshot.build(definition)"
    void Sandbox.launch({ snapshot: base })
  })

  it("reject running a build whose services are not provided", () => {
    const build = Snapshot.build(Snapshot.step(base, "seed", seed))
    expectTypeOf(build).not.toExtend<Effect.Effect<unknown, unknown, Services>>()
    expectTypeOf(Effect.provideService(build, Database, { url: "" })).toExtend<
      Effect.Effect<unknown, unknown, Services>
    >()
  })

  it("require from a launch what its snapshot requires, and a scope", () => {
    const build = Snapshot.build(Snapshot.step(base, "seed", seed))
    expectTypeOf(Sandbox.launch({ snapshot: build })).toEqualTypeOf<
      Effect.Effect<Sandbox.Sandbox, LightboxError | SeedFailed, Services | Database | Scope.Scope>
    >()
    expectTypeOf(Sandbox.run({ snapshot: build }, seed)).toEqualTypeOf<
      Effect.Effect<never, LightboxError | SeedFailed, Services | Database>
    >()
    expectTypeOf(Sandbox.layer({ snapshot: Snapshot.Current })).toEqualTypeOf<
      Layer.Layer<Sandbox.Sandbox, LightboxError, Services | Snapshot.Current>
    >()
    expectTypeOf(Sandbox.run({ image: "debian:12" }, (sandbox) => sandbox.exec("true"))).toEqualTypeOf<
      Effect.Effect<Sandbox.ExecResult, LightboxError, Services>
    >()
  })

  it("require an image or a snapshot, not both or none", () => {
    // @ts-expect-error: from both
    void Sandbox.launch({ image: "debian:12", snapshot: "tools" })
    // @ts-expect-error: from none
    void Sandbox.launch({ name: "worker" })
  })

  it("give each sandbox, snapshot and volume service a type of its own", () => {
    class Web extends Sandbox.Service<Web>()("test/Web", { snapshot: "web" }) {}
    class Tools extends Snapshot.Service<Tools>()("test/Tools", Snapshot.step(base, "seed", seed)) {}
    class Cache extends Volume.Service<Cache>()("test/Cache", "npm-cache") {}
    expectTypeOf(Web.layer).toEqualTypeOf<Layer.Layer<Web, LightboxError, Services>>()
    expectTypeOf(Tools.layer).toEqualTypeOf<Layer.Layer<Tools, LightboxError | SeedFailed, Services | Database>>()
    expectTypeOf(Cache.layer).toExtend<Layer.Layer<Cache, LightboxError, Services>>()
    expectTypeOf(Web).toExtend<Effect.Effect<Sandbox.Sandbox, never, Web>>()
  })

  it("keep the literal types of a configuration", () => {
    const config = Promises.defineSnapshot({
      name: "node-ci",
      image: "node:22",
      resources: { cpus: 4, memory: "4G" },
      setup: ["mkdir -p /work", { kind: "exec", cmd: "npm", args: ["ci"] }]
    })
    expectTypeOf(config.resources.memory).toEqualTypeOf<"4G">()
    config.setup.push("npm test")
    expectTypeOf(config).toExtend<Promises.SnapshotConfig>()
    // @ts-expect-error: memory is said with a unit
    Promises.defineSnapshot({ name: "a", image: "b", resources: { memory: 1024 } })
  })

  it("accept the sizes that are accepted at run time", () => {
    type Good = "512M" | "4G" | "4 GiB" | "100 KiB" | "64k" | "0M"
    type Bad = "1GB" | "1.5G" | "1e3M" | "-1G" | "007M" | "" | "512" | "1T" | "1  G"
    expectTypeOf<Good>().toExtend<SandboxConfig.Size>()
    expectTypeOf<Extract<Bad, SandboxConfig.Size>>().toBeNever()
    expectTypeOf<Good>().toExtend<Promises.Memory>()
    expectTypeOf<Extract<Bad, Promises.Memory>>().toBeNever()
    // @ts-expect-error: a gigabyte is no size
    void Sandbox.launch({ image: "debian:12", resources: { memory: "1GB" } })
    // @ts-expect-error: a gigabyte is no size
    const resources: Promises.SnapshotResources = { memory: "1GB" }
    void resources
  })

  it("accept only one style of mounts", () => {
    void Sandbox.launch({
      image: "debian:12",
      mounts: { "/a": ".", "/b": { bind: "." }, "/c": { volume: "c" }, "/d": { tmpfs: "64M" }, "/e": { disk: "e.raw" } }
    })
    // @ts-expect-error: not how a mount is written
    void Sandbox.launch({ image: "debian:12", mounts: { "/work": { type: "bind", source: "." } } })
    // @ts-expect-error: not how a mount is written
    const mounts: Promises.LaunchSettings["mounts"] = { "/work": { hostPath: "." } }
    void mounts
  })

  it("accept a built snapshot, not its definition", () => {
    void Sandbox.launch({ snapshot: Snapshot.build(base) })
    // @ts-expect-error: nothing has built it
    void Sandbox.launch({ snapshot: base })
  })

  it("require an image or a snapshot on the Promise side too, with or without a name", () => {
    expectTypeOf<{ image: string }>().toExtend<Promises.LaunchOptions>()
    expectTypeOf<{ snapshot: string; name: string }>().toExtend<Promises.LaunchOptions>()
    expectTypeOf<{ name: string }>().not.toExtend<Promises.LaunchOptions>()
    expectTypeOf<{ image: string; snapshot: string }>().not.toExtend<Promises.LaunchOptions>()
  })

  it("let steps be added to a preset without a check", () => {
    const preset = Presets.codingAgentsPreset()
    expectTypeOf(preset).toEqualTypeOf<Promises.PresetConfig>()
    expectTypeOf(preset.setup.push).toBeFunction()
    expectTypeOf(Preset.codingAgents()).toEqualTypeOf<Snapshot.Definition>()
  })

  it("narrow a caught error", () => {
    const seen = (error: unknown) => {
      if (!(error instanceof Promises.LightboxError)) return undefined
      expectTypeOf(error.isRetryable).toBeBoolean()
      expectTypeOf(error.reason._tag).toExtend<string>()
      if (error.reason._tag === "CommandFailed") expectTypeOf(error.reason.exitCode).toEqualTypeOf<number>()
      if (error.reason._tag === "TimedOut") expectTypeOf(error.reason.stdout).toEqualTypeOf<string | undefined>()
      if (error.reason._tag === "NotReady") expectTypeOf(error.reason.lastLines).toExtend<ReadonlyArray<string>>()
      // @ts-expect-error: only some reasons have it
      void error.reason.exitCode
      return error.step?.index
    }
    expectTypeOf(seen).returns.toEqualTypeOf<number | undefined>()
  })
})
