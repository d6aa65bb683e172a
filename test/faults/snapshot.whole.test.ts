/** Snapshots, with every fault. */
import { assert } from "@effect/vitest"
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Microsandbox from "../../src/Microsandbox.ts"
import * as Sandbox from "../../src/Sandbox.ts"
import * as Snapshot from "../../src/Snapshot.ts"
import * as FakeRegistry from "../Snapshot/FakeRegistry.ts"
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

/** A registry in this process. An open connection would be taken for work under way. */
const registry = FakeRegistry.start({ closes: true })

const reference = Effect.map(
  Effect.promise(() => registry),
  ({ host }) => `${host}/team/tools:main`
)

const push = Effect.flatMap(reference, (reference) => Snapshot.push("tools", reference))
const pull = Effect.flatMap(reference, (reference) => Snapshot.pull("tools", reference))

const save = Effect.flatMap(savedPath, (path) => Snapshot.save("tools", path))

/** Functions that only describe a build. */
const descriptions =
  "apt builder checkpoint copy defaults env exec from gitClone isDefinition labels make npm pip provide resources shell skipCache step user verify workdir write"

matrix(
  "Snapshot",
  {
    exports: Snapshot,
    // A diff makes two calls per folder, too many to fail each in turn: its own test fails some of them.
    others: [
      "diff",
      "fromDockerfile",
      "Built",
      "Current",
      "Diff",
      "Difference",
      "Generation",
      "Pushed",
      "TransferProgress",
      "Snapshot",
      ...descriptions.split(" ")
    ]
  },
  [
    { name: "build", run: Snapshot.build(full) },
    { name: "build of an existing result", stored: builtOnce, run: builtOnce, always: isWhole },
    { name: "build of another result", stored: builtOnce, run: Snapshot.build(tools(2), { keep: 1 }), always: isWhole },
    { name: "build with force", stored: builtOnce, run: Snapshot.build(tools(1), { force: true }), always: isWhole },
    {
      name: "build with its memory",
      stored: builtOnce,
      run: Snapshot.build(tools(1).pipe(Snapshot.defaults({ services: { idle: { command: "exec sleep 1000" } } })), {
        warm: true
      }),
      always: isWhole
    },
    {
      name: "build that keeps its builder",
      run: Snapshot.build(tools(1), { keepBuilder: true }),
      // Kept after a failure, too, running or not.
      mayStay: ["sandbox tools-builder, stopped", "sandbox tools-builder, crashed"]
    },
    // Kept results are reused by the next build, until pruned.
    { name: "buildScoped", run: Snapshot.buildScoped(tools(1)), mayStay: ["snapshot lb-*"] },
    {
      name: "layer",
      stored: builtOnce,
      run: Effect.provide(Effect.asVoid(Snapshot.Current), Snapshot.layer(tools(1)))
    },
    {
      name: "layerConfig",
      stored: builtOnce,
      run: Effect.provide(
        Effect.asVoid(Snapshot.Current),
        Snapshot.layerConfig(tools(1), { keep: Config.succeed(2) })
      ).pipe(Effect.catchTag("ConfigError", Effect.die))
    },
    { name: "Service", stored: builtOnce, run: Effect.provide(Effect.asVoid(Tools), Tools.layer) },
    {
      name: "capture",
      stored: builtOnce,
      given: Sandbox.launch({ snapshot: "tools", name: "box" }),
      run: Snapshot.capture("box", { name: "captured", secrets: { TOKEN: Redacted.make("s3cret-value") } }),
      always: isWhole
    },
    { name: "tag", stored: builtTwice, run: Snapshot.tag("tools@1", "tagged", { overwrite: true }), always: isWhole },
    { name: "plan", stored: builtOnce, run: Snapshot.plan(tools(2)), always: isWhole },
    { name: "list", stored: builtOnce, run: Snapshot.list({ layers: true }), always: isWhole },
    { name: "get", stored: builtOnce, run: Snapshot.get("tools"), always: isWhole },
    { name: "exists", stored: builtOnce, run: Snapshot.exists("tools"), always: isWhole },
    { name: "generations", stored: builtTwice, run: Snapshot.generations("tools"), always: isWhole },
    {
      name: "build with other launch defaults",
      stored: builtOnce,
      run: Snapshot.build(tools(1).pipe(Snapshot.defaults({ env: { A: "1" } }))),
      always: isWhole
    },
    {
      name: "rollback to other launch defaults",
      stored: Effect.andThen(builtOnce, Snapshot.build(tools(1).pipe(Snapshot.defaults({ env: { A: "1" } })))),
      run: Snapshot.rollback("tools", 1),
      always: isWhole
    },
    { name: "rollback", stored: builtTwice, run: Snapshot.rollback("tools", 1), always: isWhole },
    { name: "prune", stored: builtTwice, run: Snapshot.prune({ keep: 1 }), always: isWhole },
    { name: "save", stored: builtOnce, run: save, always: isWhole },
    {
      name: "load",
      stored: Effect.andThen(builtOnce, save),
      run: Effect.flatMap(savedPath, (path) => Snapshot.load(path, { name: "loaded", overwrite: true, trusted: true })),
      always: isWhole
    },
    {
      name: "load an untrusted file",
      stored: Effect.andThen(builtOnce, save),
      run: Effect.flatMap(savedPath, (path) => Snapshot.load(path, { name: "loaded", overwrite: true })),
      always: isWhole
    },
    {
      // Its disk is not a result that a prune would remove.
      name: "remove a loaded snapshot",
      stored: Effect.andThen(
        Effect.andThen(builtOnce, save),
        Effect.flatMap(savedPath, (path) => Snapshot.load(path, { name: "loaded" }))
      ),
      run: Effect.catchReason(Snapshot.remove("loaded"), "LightboxError", "NotFound", () => Effect.void)
    },
    { name: "push", stored: builtOnce, run: push, always: isWhole },
    {
      name: "pull",
      stored: Effect.andThen(
        builtOnce,
        Effect.andThen(push, Effect.andThen(Snapshot.remove("tools"), Snapshot.prune()))
      ),
      run: pull
    },
    {
      name: "pull of another generation",
      stored: Effect.andThen(builtOnce, Effect.andThen(push, Snapshot.build(tools(2), { keep: 1 }))),
      run: pull,
      always: isWhole
    },
    {
      name: "pull an untrusted snapshot",
      stored: Effect.andThen(builtOnce, push),
      run: Effect.flatMap(reference, (reference) => Snapshot.pull("tools", reference, { trusted: false })),
      always: isWhole
    },
    { name: "remove", stored: builtTwice, run: Snapshot.remove("tools") }
  ]
)
