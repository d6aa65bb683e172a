/** Snapshots, with every fault. */
import { assert } from "@effect/vitest"
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Microsandbox from "../../src/Microsandbox.ts"
import * as Sandbox from "../../src/Sandbox.ts"
import * as Snapshot from "../../src/Snapshot.ts"
import { image, matrix } from "./matrix.ts"

const tools = (version: number) => Snapshot.make("tools", image).pipe(Snapshot.shell(`echo ${version} > /version`))

const full = tools(1).pipe(
  Snapshot.exec("sh", ["-c", 'test -n "$TOKEN"'], { secrets: { TOKEN: Redacted.make("s3cret-value") } }),
  Snapshot.checkpoint,
  Snapshot.copy(`${import.meta.dirname}/matrix.ts`, "/srv/copied"),
  Snapshot.labels({ team: "platform" }),
  Snapshot.verify((sandbox) => sandbox.exec("test", ["-e", "/srv/copied"], { check: true }))
)

const builtOnce = Snapshot.build(tools(1))
const builtTwice = Effect.andThen(builtOnce, Snapshot.build(tools(2)))

/** The name points to a complete result: the old or the new one. */
const isWhole = Sandbox.run({ snapshot: "tools" }, (sandbox) =>
  Effect.map(sandbox.readFileString("/version"), (version) => assert.match(version, /^[12]\n$/))
)

class Tools extends Snapshot.Service<Tools>()("Tools", tools(1)) {}

const savedPath = Microsandbox.Microsandbox.useSync(({ home }) => `${home}/tools.snapshot`)

const save = Effect.flatMap(savedPath, (path) => Snapshot.save("tools", path))

/** Functions that only describe a build. */
const descriptions =
  "apt builder checkpoint copy defaults env exec from gitClone isDefinition labels make npm pip provide resources shell skipCache step user verify workdir write"

matrix(
  "Snapshot",
  {
    exports: Snapshot,
    // A diff makes two calls per folder, too many to fail each in turn: its own test fails some of them.
    others: ["diff", "Built", "Current", "Diff", "Difference", "Generation", "Snapshot", ...descriptions.split(" ")]
  },
  [
    { name: "build", run: Snapshot.build(full) },
    { name: "build of an existing result", given: builtOnce, run: builtOnce, always: isWhole },
    { name: "build of another result", given: builtOnce, run: Snapshot.build(tools(2), { keep: 1 }), always: isWhole },
    { name: "build with force", given: builtOnce, run: Snapshot.build(tools(1), { force: true }), always: isWhole },
    {
      name: "build that keeps its builder",
      run: Snapshot.build(tools(1), { keepBuilder: true }),
      // Kept after a failure, too, running or not.
      mayStay: ["sandbox tools-builder, stopped", "sandbox tools-builder, crashed"]
    },
    // Kept results are reused by the next build, until pruned.
    { name: "buildScoped", run: Snapshot.buildScoped(tools(1)), mayStay: ["snapshot lb-*"] },
    { name: "layer", given: builtOnce, run: Effect.provide(Effect.asVoid(Snapshot.Current), Snapshot.layer(tools(1))) },
    {
      name: "layerConfig",
      given: builtOnce,
      run: Effect.provide(
        Effect.asVoid(Snapshot.Current),
        Snapshot.layerConfig(tools(1), { keep: Config.succeed(2) })
      ).pipe(Effect.catchTag("ConfigError", Effect.die))
    },
    { name: "Service", given: builtOnce, run: Effect.provide(Effect.asVoid(Tools), Tools.layer) },
    {
      name: "capture",
      given: Effect.andThen(builtOnce, Sandbox.launch({ snapshot: "tools", name: "box" })),
      run: Snapshot.capture("box", { name: "captured", secrets: { TOKEN: Redacted.make("s3cret-value") } }),
      always: isWhole
    },
    { name: "tag", given: builtTwice, run: Snapshot.tag("tools@1", "tagged", { overwrite: true }), always: isWhole },
    { name: "plan", given: builtOnce, run: Snapshot.plan(tools(2)), always: isWhole },
    { name: "list", given: builtOnce, run: Snapshot.list({ layers: true }), always: isWhole },
    { name: "get", given: builtOnce, run: Snapshot.get("tools"), always: isWhole },
    { name: "exists", given: builtOnce, run: Snapshot.exists("tools"), always: isWhole },
    { name: "generations", given: builtTwice, run: Snapshot.generations("tools"), always: isWhole },
    {
      name: "build with other launch defaults",
      given: builtOnce,
      run: Snapshot.build(tools(1).pipe(Snapshot.defaults({ env: { A: "1" } }))),
      always: isWhole
    },
    {
      name: "rollback to other launch defaults",
      given: Effect.andThen(builtOnce, Snapshot.build(tools(1).pipe(Snapshot.defaults({ env: { A: "1" } })))),
      run: Snapshot.rollback("tools", 1),
      always: isWhole
    },
    { name: "rollback", given: builtTwice, run: Snapshot.rollback("tools", 1), always: isWhole },
    { name: "prune", given: builtTwice, run: Snapshot.prune({ keep: 1 }), always: isWhole },
    { name: "save", given: builtOnce, run: save, always: isWhole },
    {
      name: "load",
      given: Effect.andThen(builtOnce, save),
      run: Effect.flatMap(savedPath, (path) => Snapshot.load(path, { name: "loaded", overwrite: true, trusted: true })),
      always: isWhole
    },
    {
      name: "load an untrusted file",
      given: Effect.andThen(builtOnce, save),
      run: Effect.flatMap(savedPath, (path) => Snapshot.load(path, { name: "loaded", overwrite: true })),
      always: isWhole
    },
    {
      // Its disk is not a result that a prune would remove.
      name: "remove a loaded snapshot",
      given: Effect.andThen(
        Effect.andThen(builtOnce, save),
        Effect.flatMap(savedPath, (path) => Snapshot.load(path, { name: "loaded" }))
      ),
      run: Effect.catchReason(Snapshot.remove("loaded"), "LightboxError", "NotFound", () => Effect.void)
    },
    { name: "remove", given: builtTwice, run: Snapshot.remove("tools") }
  ]
)
