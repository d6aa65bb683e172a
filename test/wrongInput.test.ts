/**
 * Input without types: every exported function of the Effect side with invalid values for each argument and
 * option. A function or an option that is not in these tables fails or does not compile, as does one that is in them and
 * is not checked.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Sink from "effect/Sink"
import * as Stream from "effect/Stream"
import type * as Guest from "../src/Guest.ts"
import * as Interpreter from "../src/Interpreter.ts"
import { isLightboxError } from "../src/LightboxError.ts"
import * as MicrosandboxMemory from "../src/MicrosandboxMemory.ts"
import * as Preset from "../src/Preset.ts"
import type * as Presets from "../src/presets.ts"
import * as Reaper from "../src/Reaper.ts"
import * as Sandbox from "../src/Sandbox.ts"
import type * as SandboxConfig from "../src/SandboxConfig.ts"
import * as SandboxPool from "../src/SandboxPool.ts"
import * as SandboxProxy from "../src/SandboxProxy.ts"
import * as Snapshot from "../src/Snapshot.ts"
import * as Volume from "../src/Volume.ts"
import { node } from "./Interpreter/native.ts"

type Values = ReadonlyArray<unknown>
type Fields = { readonly [field: string]: Values }
type Wrong<O> = { readonly [K in keyof Required<O>]: Values }
/** The functions of a module or an object. */
type Tables<M> = {
  readonly [K in keyof M as M[K] extends (...args: never) => unknown ? K : never]: ReadonlyArray<Row>
}

const text = [5, null, {}, []]
const flag = ["yes", 1, null]
const objects = [5, null, "x", []]
const count = ["5", -1, 1.5, Number.NaN, null]
const time = [-1, 0, "soon", null, {}, Number.NaN, Number.POSITIVE_INFINITY]
const size = ["1X", 1.5, -1, null, {}]
const labels = [5, null, { a: 1 }]
const func = [5, null, "x", {}]
const names = ["", "a b", ...text, undefined]
const paths = ["rel", "", "/a\0", ...text, undefined]
const hostPaths = ["", ...text]
const commands = ["", "\ud800", ...text, undefined]
const words = ["hello", 5, null, {}, [1], ["\udfff"]]

const probes = [
  5,
  null,
  "x",
  [],
  {},
  { prot: 80 },
  { port: 0 },
  { port: "80" },
  { port: 80, path: "/" },
  { http: 70_000 },
  { http: 80, path: "rel" },
  { http: 80, path: "/a b" },
  { http: 80, status: 99 },
  { file: "rel" },
  { command: "" },
  { command: [] },
  { command: ["a"], cwd: "rel" },
  { log: "" },
  { log: "a\nb" },
  { log: "a", job: "A" },
  { all: [] },
  { all: { port: 80 } },
  { any: [{ port: 80 }, { all: [{ port: 0 }] }] },
  { port: 80, interval: 0 },
  { port: 80, timeout: "soon" }
]

const services = [
  5,
  null,
  [],
  { "A b": { command: "x" } },
  { a: 5 },
  { a: {} },
  { a: { command: " " } },
  { a: { command: [] } },
  { a: { command: ["", "b"] } },
  { a: { command: ["a", 5] } },
  { a: { command: "x", cmd: "y" } },
  { a: { command: "x", cwd: "rel" } },
  { a: { command: "x", user: "a b" } },
  { a: { command: "x", env: { A: 1 } } },
  { a: { command: "x", restart: "never" } },
  { a: { command: "x", dependsOn: "b" } },
  { a: { command: "x", dependsOn: ["b"] } },
  { a: { command: "x", dependsOn: ["toString"] } },
  { a: { command: "x", dependsOn: ["a"] } },
  { a: { command: "x", dependsOn: ["b"] }, b: { command: "x", dependsOn: ["a"] } },
  ...probes.map((ready) => ({ a: { command: "x", ready } }))
]

const config: Wrong<SandboxConfig.Options> = {
  name: ["", "a b", ...text],
  resources: [5, null, { cpu: 1 }, { cpus: 256 }, { maxCpus: "2" }, { memory: "1X" }, { maxMemory: 1 }, { disk: {} }],
  cwd: ["rel", ...text],
  shell: ["rel", ...text],
  user: ["a b", ...text],
  hostname: ["-a", ...text],
  env: [5, null, { A: 1 }, { "A=B": "" }],
  entrypoint: ["sh", 5, null, [5]],
  cmd: ["sh", 5, null, [5]],
  scripts: [5, null, { a: 5 }],
  init: ["x", 5, null, { command: "" }, { command: "x", arg: [] }],
  rlimits: [5, null, { x: 1 }, { nofile: -1 }, { nofile: { soft: 2, hard: 1 } }],
  security: ["x", null],
  deployment: ["x", null],
  ephemeral: flag,
  rootDisk: ["x", null],
  idleTimeout: time,
  maxDuration: time,
  pullPolicy: ["x", null],
  registry: [5, null, { username: "a" }, { user: "a" }, { username: "a", password: "b" }],
  ports: [5, null, { http: 80 }, { 80: 70_000 }, [{}], [{ guest: 80, hst: 1 }]],
  network: ["x", 5, null],
  secrets: [5, null, { A: "x" }, { A: { value: "x", hosts: [] } }],
  patches: [5, null, [{}], [{ _tag: "Mkdir", path: "rel" }]],
  mounts: [5, null, { "/w": 5 }, { w: "." }, { "/w": { vol: "x" } }],
  services,
  resume: ["x", 5, null],
  onResume: ["", " ", 5, null, [], [""], ["a", 5]],
  labels,
  logLevel: ["x", null],
  metricsInterval: ["x", null, -1]
}

const { cmd, cwd, entrypoint, env, ports, shell, user } = config

const secret = Redacted.make("x")

const launchDefaults: Wrong<SandboxConfig.LaunchDefaults> = {
  cmd,
  cwd,
  entrypoint,
  env,
  ports,
  services: [
    ...services,
    { a: { command: ["a", secret] } },
    { a: { command: "a", env: { A: secret } } },
    { a: { command: "a", ready: { all: [{ command: ["a", secret] }] } } }
  ],
  onResume: [...(config["onResume"] ?? []), ["a", secret]],
  shell,
  user,
  labels: [...labels, { "lightbox.role": "pool" }]
}

type Source = "snapshot" | "image"

const source: { readonly [K in Source]: Values } = {
  snapshot: ["", ...text, Snapshot.make("n", "alpine")],
  image: ["", ...text]
}

const launch: Wrong<Omit<Sandbox.LaunchOptions, Source>> = {
  ...config,
  overwrite: flag,
  detached: flag,
  onPullProgress: func,
  releaseTimeout: time
}

const pool: Wrong<Omit<SandboxPool.Options, Source>> & Fields = {
  ...config,
  onPullProgress: func,
  releaseTimeout: time,
  min: count,
  max: [0, ...count],
  timeToLive: time,
  rollOver: ["x", null],
  fork: flag,
  healthCheck: [5, null, { interval: -1 }, { every: 1 }],
  prepare: func
}

const attach = { cwd: config.cwd, user: config.user, env: config.env, rlimits: config.rlimits }

const streamed = { ...attach, stdin: [5, null, {}, []], timeout: time, check: flag }

const exec: Wrong<Sandbox.ExecOptions> = { ...streamed, maxOutput: size }

const spawn = {
  ...attach,
  output: [5, null, { memoryBytes: -1 }, { overflow: "x" }, { over: 1 }],
  terminal: [5, null, { rows: 0, columns: 1 }, { rows: 1 }]
}

const stream: Wrong<Sandbox.ExecStreamOptions> = { ...streamed, ...spawn }

const mode = [...count, 0o10000]

const copyIn: Wrong<Sandbox.CopyInOptions> = {
  ignore: ["x", 5, null, [5]],
  mode,
  owner: [5, null, { uid: 1 }, "a b"]
}

const write: Wrong<Guest.WriteOptions> = { flag: ["r", 5, null], mode }

const force = ["x", 0, 99, 1.5, null]

const scoped: Wrong<Snapshot.BuildScopedOptions> = {
  checkpoints: ["x", null],
  checkpointFactor: ["x", -1, null, Number.NaN],
  force,
  keepBuilder: flag,
  pullPolicy: config.pullPolicy,
  warm: flag,
  onEvent: func
}

const build: Wrong<Snapshot.BuildOptions> = {
  ...scoped,
  overwrite: flag,
  replaceForeign: flag,
  keep: [0, ...count]
}

const ensure: Wrong<Volume.EnsureOptions> = { kind: ["x", null], quota: size, labels, onDrift: ["x", null] }

const { onDrift: _, ...volume } = ensure

const step: Wrong<Snapshot.StepOptions> = {
  description: ["", ...text],
  timeout: time,
  retry: func,
  retryFrom: ["x", null],
  network: config.network,
  cache: ["x", null, { key: "" }, { ky: "a" }]
}

const command: Wrong<Snapshot.CommandStepOptions> = {
  ...step,
  env: config.env,
  login: flag,
  secrets: [5, null, { A: "x" }, { A: { value: "x" } }]
}

const copy: Wrong<Snapshot.CopyOptions> = { ...step, ...copyIn }

const writeStep: Wrong<Snapshot.WriteOptions> = { ...step, mode, owner: copyIn.owner }

const effectStep: Wrong<Snapshot.EffectStepOptions> = { ...step, key: text }

const builder: Wrong<Snapshot.BuilderOptions> = {
  network: config.network,
  pullPolicy: config.pullPolicy,
  registry: config.registry,
  resources: config.resources,
  mounts: config.mounts
}

const preset: Wrong<Presets.PresetOptions> = {
  name: config.name,
  image: source.image,
  resources: [5, null, { cpu: 1 }, { cpus: 0 }],
  labels
}

/** A function: its valid arguments, invalid values for each, and invalid values for each of its options. */
interface Row {
  readonly run: (...args: Values) => unknown
  readonly right: Values
  readonly args: Fields
  readonly options: Fields
  /** The prefix of an error's field. */
  readonly within: string
}

const row = (
  run: (...args: Values) => unknown,
  right: Values = [],
  args: Fields = {},
  options: Fields = {},
  within = ""
): Row => ({ run, right, args, options, within })

/** A function of an object, for any arguments. */
const on =
  (object: object, method: string) =>
  (...all: Values): unknown =>
    Reflect.apply(Reflect.get(object, method), object, all)

/** A function with valid options and one invalid value; or values that are not options at all. */
const beside =
  (object: object, method: string, right: object, ...more: Values) =>
  (wrong: unknown): unknown =>
    on(object, method)(
      typeof wrong === "object" && wrong !== null && !Array.isArray(wrong) ? { ...right, ...wrong } : wrong,
      ...more
    )

const callsOf = ({ args, options, right, within }: Row) => [
  ...Object.entries(args).flatMap(([field, values], index) =>
    values.map((value) => ({ field, given: right.with(index, value) }))
  ),
  ...(Object.keys(options).length === 0
    ? []
    : [
        ...objects.map((value) => ({ field: "options", given: [...right, value] })),
        ...Object.entries({ ...options, froce: [true] }).flatMap(([field, values]) =>
          values.map((value) => ({ field: `${within}${field}`, given: [...right, { [field]: value }] }))
        )
      ])
]

/** Runs whatever a function returns: an effect, a stream, a sink or a layer. */
const settled = (thunk: () => unknown) =>
  Effect.sync(thunk).pipe(
    Effect.flatMap((made): Effect.Effect<unknown, unknown, never> => {
      if (Effect.isEffect(made)) return Object(made)
      if (Layer.isLayer(made)) return Object(Effect.scoped(Layer.build(Object(made))))
      if (Stream.isStream(made)) return Object(Stream.runDrain(made))
      return Sink.isSink(made) ? Object(Stream.run(Stream.empty, Object(made))) : Effect.succeed(made)
    }),
    Effect.scoped
  )

const show = (value: unknown): string => (JSON.stringify(value) ?? String(value)).slice(0, 80)

const checkAll = Effect.fnUntraced(function* (title: string, tables: { readonly [name: string]: ReadonlyArray<Row> }) {
  const control = yield* MicrosandboxMemory.Control
  const boots = Effect.map(control.calls, (all) => all.filter(({ operation }) => operation === "createSandbox").length)
  const before = yield* boots
  for (const [name, rows] of Object.entries(tables)) {
    for (const row of rows) {
      for (const { field, given } of callsOf(row)) {
        const said = `${title}.${name}(${given.map(show).join(", ")})`
        const exit = yield* Effect.exit(settled(() => row.run(...given)))
        const error = Exit.isFailure(exit) ? Cause.squash(exit.cause) : assert.fail(`${said} succeeds`)
        const reason = isLightboxError(error) ? error.reason : assert.fail(`${said}: ${String(error)}`)
        const named = reason._tag === "InvalidConfig" ? reason.field : assert.fail(`${said}: ${reason.message}`)
        assert.isTrue(
          named === field || named.startsWith(`${field}.`) || (field === "options" && row.within.startsWith(named)),
          `${said} names ${named}: ${reason.message}`
        )
      }
    }
  }
  assert.strictEqual(yield* boots, before, `${title} boots`)
})

const image = "debian:12"
const definition = Snapshot.make("n", image).pipe(Snapshot.shell("true"))

/** Builds a changed definition, which rejects invalid input at the latest. */
const building =
  (method: string) =>
  (...all: Values): unknown =>
    on(Snapshot, "build")(on(Snapshot, method)(Snapshot.make("n", image), ...all))

const stepRow = (method: string, right: Values, args: Fields, options: Fields) =>
  row(building(method), right, args, options, "steps.0.options.")

const test = (title: string, tables: Effect.Effect<{ readonly [name: string]: ReadonlyArray<Row> }, unknown, never>) =>
  it.live(`is rejected by ${title}`, () =>
    Effect.flatMap(tables, (rows) => checkAll(title, rows)).pipe(Effect.provide(MicrosandboxMemory.layer()))
  )

describe("invalid input", () => {
  const sandboxes: Omit<
    Tables<typeof Sandbox>,
    "isSandbox" | "decodeText" | "splitLines" | "Service" | "layerConfig"
  > = {
    launch: [
      row(beside(Sandbox, "launch", { image }), [], {}, { ...launch }),
      row((snapshot) => on(Sandbox, "launch")({ snapshot }), ["s"], { snapshot: source.snapshot }),
      row((image) => on(Sandbox, "launch")({ image }), [image], { image: source.image })
    ],
    group: [
      row((members) => on(Sandbox, "group")(members), [{}], { members: [5, null, "x", [], undefined] }),
      ...["A", "a_b", "-", "localhost"].map((name) =>
        row((member) => on(Sandbox, "group")({ [name]: member }), [{ image: "Wrong image" }], { [name]: [{ image }] })
      ),
      row(
        beside({ call: (a: unknown) => on(Sandbox, "group")({ a, b: { image } }) }, "call", { image }),
        [],
        {},
        {
          ...config,
          ephemeral: [true],
          detached: [true],
          overwrite: [true],
          onPullProgress: func,
          releaseTimeout: time,
          ready: probes,
          dependsOn: [
            5,
            null,
            [],
            { a: "ready" },
            { c: "ready" },
            { b: "started" },
            { b: "ready" },
            { b: { ports: [] } },
            { b: { ports: [0] } },
            { b: { port: 80 } }
          ]
        },
        "a."
      )
    ],
    run: [
      row(
        beside(Sandbox, "run", { image }, () => Effect.void),
        [],
        {},
        { ...launch }
      ),
      row((use) => on(Sandbox, "run")({ image }, use), [() => Effect.void], { use: func })
    ],
    layer: [row(beside(Sandbox, "layer", { image }), [], {}, { ...launch })],
    getOrCreate: [
      row((name) => on(Sandbox, "getOrCreate")(name, { image }), ["n"], { name: names }),
      row(
        (given) =>
          beside({ call: (options: unknown) => on(Sandbox, "getOrCreate")("n", options) }, "call", { image })(given),
        [],
        {},
        { ...config, name: ["x"], overwrite: flag, detached: flag, onPullProgress: func, timeout: time }
      )
    ],
    connect: [row(on(Sandbox, "connect"), ["n"], { name: names })],
    start: [row(on(Sandbox, "start"), ["n"], { name: names }, { detached: flag })],
    restart: [row(on(Sandbox, "restart"), ["n"], { name: names }, { detached: flag, timeout: time })],
    stop: [row(on(Sandbox, "stop"), ["n"], { name: names }, { timeout: time })],
    kill: [row(on(Sandbox, "kill"), ["n"], { name: names })],
    pause: [row(on(Sandbox, "pause"), ["n"], { name: names })],
    resume: [row(on(Sandbox, "resume"), ["n"], { name: names })],
    fork: [row(on(Sandbox, "fork"), [{}], { sandbox: [5, null, "x", {}, undefined] })],
    remove: [row(on(Sandbox, "remove"), ["n"], { name: names }, { force: flag })],
    list: [row(on(Sandbox, "list"), [], {}, { labels })],
    get: [row(on(Sandbox, "get"), ["n"], { name: names })],
    waitFor: [row(on(Sandbox, "waitFor"), ["n", "running"], { name: names, status: ["x", null, 5] }, { timeout: time })]
  }
  test("Sandbox", Effect.succeed(sandboxes))

  const pools: Pick<Tables<typeof SandboxPool>, "make" | "layer"> = {
    make: [
      row(beside(SandboxPool, "make", { image, max: 1 }), [], {}, pool),
      row((snapshot) => on(SandboxPool, "make")({ snapshot, max: 1 }), ["s"], { snapshot: [...text, ""] })
    ],
    layer: [row(beside(SandboxPool, "layer", { image, max: 1 }), [], {}, pool)]
  }
  test("SandboxPool", Effect.succeed(pools))

  const proxies: Tables<typeof SandboxProxy> = {
    make: [row(on(SandboxProxy, "make"), [], {}, { port: [-1, 65_536, 1.5, "80", null] })]
  }
  test("SandboxProxy", Effect.succeed(proxies))

  const steps: Omit<
    Tables<typeof Snapshot>,
    "Built" | "Generation" | "Service" | "checkpoint" | "isDefinition" | "layerConfig" | "provide" | "skipCache"
  > = {
    make: [
      row((...all) => on(Snapshot, "build")(on(Snapshot, "make")(...all)), ["n", image], {
        name: names,
        image: source.image
      })
    ],
    from: [
      row((...all) => on(Snapshot, "build")(on(Snapshot, "from")(...all)), ["n", definition], {
        name: names,
        base: [5, null, {}, undefined]
      })
    ],
    fromDockerfile: [
      row(on(Snapshot, "fromDockerfile"), ["n", { text: "FROM a" }], { name: names, dockerfile: [5, null, ""] }, {
        context: hostPaths,
        target: ["", ...text],
        args: [5, null, { a: 5 }],
        secrets: [5, null, { a: "x" }]
      } satisfies Wrong<Snapshot.DockerfileOptions>)
    ],
    shell: [stepRow("shell", ["true"], { "steps.0.script": ["", ...text] }, { ...command })],
    exec: [
      stepRow("exec", ["a", []], { "steps.0.argv": ["", ...text] }, { ...command }),
      row(building("exec"), ["a", []], { "steps.0.argv": [], args: ["hello", 5, null, {}] })
    ],
    copy: [stepRow("copy", [".", "/a"], { "steps.0.from": hostPaths, "steps.0.to": paths }, { ...copy })],
    write: [
      stepRow("write", ["/a", ""], { "steps.0.path": paths, "steps.0.content": [5, null, {}] }, { ...writeStep })
    ],
    env: [row(building("env"), [{}], { "steps.0.variables": [5, null, { A: 1 }] })],
    workdir: [row(building("workdir"), ["/a"], { "steps.0.path": paths })],
    user: [row(building("user"), ["a"], { "steps.0.user": config.user })],
    step: [
      stepRow(
        "step",
        ["a", () => Effect.void],
        { "steps.0.name": ["", ...text], "steps.0.run": func },
        { ...effectStep }
      )
    ],
    apt: [stepRow("apt", [["a"]], { packages: ["git", 5, null, {}] }, { ...command })],
    npm: [stepRow("npm", [["a"]], { packages: ["git", 5, null, {}] }, { ...command })],
    pip: [stepRow("pip", [["a"]], { packages: ["git", 5, null, {}] }, { ...command })],
    gitClone: [stepRow("gitClone", ["u", "/p"], {}, { ...command })],
    resources: [row(building("resources"), [{}], { resources: config.resources })],
    builder: [row(building("builder"), [], {}, { ...builder })],
    labels: [row(building("labels"), [{}], { labels })],
    defaults: [row(building("defaults"), [], {}, { ...launchDefaults }, "defaults.")],
    verify: [row(building("verify"), [() => Effect.void], { verification: func })],
    build: [
      row(on(Snapshot, "build"), [definition], { definition: [5, null, "x", { name: "n", image }] }, { ...build })
    ],
    buildScoped: [
      row(on(Snapshot, "buildScoped"), [definition], { definition: [5, null, "x", { name: "n" }] }, { ...scoped })
    ],
    capture: [
      row(on(Snapshot, "capture"), ["n", { name: "s" }], { sandbox: names }),
      row(
        (options) =>
          beside({ call: (given: unknown) => on(Snapshot, "capture")("n", given) }, "call", { name: "s" })(options),
        [],
        {},
        {
          name: names,
          labels,
          keep: [0, ...count],
          overwrite: flag,
          replaceForeign: flag,
          secrets: [5, null, { A: "x" }]
        } satisfies Wrong<Snapshot.CaptureOptions>
      )
    ],
    diff: [
      row(on(Snapshot, "diff"), ["a", "b"], { before: ["a@0", "a@b", ...names], after: ["a@0", "@1", ...names] }, {
        limit: [0, 1_000_001, ...count]
      } satisfies Wrong<Snapshot.DiffOptions>)
    ],
    tag: [
      row(on(Snapshot, "tag"), ["a", "b"], { reference: ["a@0", "a@b", ...names], name: names }, {
        overwrite: flag
      } satisfies Wrong<Snapshot.TagOptions>)
    ],
    plan: [
      row(
        on(Snapshot, "plan"),
        [definition],
        { definition: [5, null, "x", { name: "n" }] },
        { force, pullPolicy: config.pullPolicy }
      )
    ],
    layer: [row(on(Snapshot, "layer"), [definition], { definition: [5, null, "x", { name: "n" }] }, { ...build })],
    list: [row(on(Snapshot, "list"), [], {}, { layers: flag })],
    get: [row(on(Snapshot, "get"), ["n"], { name: names })],
    exists: [row(on(Snapshot, "exists"), ["n"], { name: names })],
    remove: [row(on(Snapshot, "remove"), ["n"], { name: names })],
    generations: [row(on(Snapshot, "generations"), ["n"], { name: names })],
    rollback: [row(on(Snapshot, "rollback"), ["n", 1], { name: names, to: [0, ...count] })],
    prune: [
      row(on(Snapshot, "prune"), [], {}, {
        keep: [0, ...count],
        olderThan: time,
        maxBytes: size,
        dryRun: flag
      } satisfies Wrong<Snapshot.PruneOptions>)
    ],
    save: [
      row(on(Snapshot, "save"), ["n", "x"], { name: names, path: hostPaths }, {
        generations: ["x", null],
        withImage: flag,
        compress: flag
      } satisfies Wrong<Snapshot.SaveOptions>)
    ],
    load: [
      row(on(Snapshot, "load"), ["x"], { path: hostPaths }, {
        name: config.name,
        overwrite: flag,
        trusted: flag
      } satisfies Wrong<Snapshot.LoadOptions>)
    ],
    push: [
      row(on(Snapshot, "push"), ["n", "x"], { name: ["", 5, null], reference: ["", "a b", 5, null, "x@sha256:0"] }, {
        s3: [null, 5, { accessKeyId: "x" }, { region: "A B" }],
        registry: config.registry,
        onProgress: [5, null]
      } satisfies Wrong<Snapshot.PushOptions>)
    ],
    pull: [
      row(on(Snapshot, "pull"), ["n", "x"], { name: names, reference: ["", "a b", 5, null] }, {
        s3: [null, 5, { accessKeyId: "x" }, { region: "A B" }],
        registry: config.registry,
        onProgress: [5, null],
        overwrite: flag,
        keep: [0, ...count],
        trusted: flag
      } satisfies Wrong<Snapshot.PullOptions>)
    ]
  }
  test("Snapshot", Effect.succeed(steps))

  const volumes: Omit<Tables<typeof Volume>, "Service" | "layerConfig" | "list"> = {
    ensure: [row(on(Volume, "ensure"), ["n"], { name: names }, { ...ensure })],
    scoped: [row(on(Volume, "scoped"), ["n"], { name: names }, volume)],
    layer: [row(on(Volume, "layer"), ["n"], { name: names }, { ...ensure })],
    get: [row(on(Volume, "get"), ["n"], { name: names })],
    exists: [row(on(Volume, "exists"), ["n"], { name: names })],
    remove: [row(on(Volume, "remove"), ["n"], { name: names })],
    exclusive: [row(on(Volume, "exclusive"), ["n"], { name: names })],
    usage: [row(on(Volume, "usage"), ["n"], { name: names })],
    files: [row(on(Volume, "files"), ["n"], { name: names })],
    prime: [row(on(Volume, "prime"), ["n", () => Effect.void], { name: names, fill: func }, { ...ensure, key: text })],
    prune: [
      row(on(Volume, "prune"), [], {}, { labels, olderThan: time, dryRun: flag } satisfies Wrong<Volume.PruneOptions>)
    ]
  }
  test("Volume", Effect.succeed(volumes))

  const presets: Tables<typeof Preset> = {
    codingAgents: [row(on(Preset, "codingAgents"), [], {}, { ...preset })],
    nodeCi: [row(on(Preset, "nodeCi"), [], {}, { ...preset })],
    pythonData: [row(on(Preset, "pythonData"), [], {}, { ...preset })],
    browser: [row(on(Preset, "browser"), [], {}, { ...preset })]
  }
  test("Preset", Effect.succeed(presets))

  const reaper: Omit<Tables<typeof Reaper>, "layerConfig"> = {
    sweep: [row(on(Reaper, "sweep"), [], {}, { dryRun: flag, timeout: time } satisfies Wrong<Reaper.SweepOptions>)],
    layer: [row(on(Reaper, "layer"), [], {}, { interval: time } satisfies Wrong<Reaper.LayerOptions>)]
  }
  test("Reaper", Effect.succeed(reaper))

  it.live("is rejected by a sandbox and its processes", () =>
    Effect.gen(function* () {
      const sandbox = yield* Sandbox.launch({ image, name: "s" })
      const process = yield* sandbox.spawn("cat")
      const script = { script: [...text, undefined] }
      const between = { from: paths, to: paths }
      const methods: Tables<Sandbox.Sandbox> = {
        exec: [row(on(sandbox, "exec"), ["a", []], { command: commands, args: words }, { ...exec })],
        shell: [row(on(sandbox, "shell"), ["a"], script, { ...exec })],
        execStream: [row(on(sandbox, "execStream"), ["a", []], { command: commands, args: words }, { ...stream })],
        shellStream: [row(on(sandbox, "shellStream"), ["a"], script, { ...stream })],
        spawn: [row(on(sandbox, "spawn"), ["a", []], { command: commands, args: words }, spawn)],
        start: [
          row(
            on(sandbox, "start"),
            ["a", []],
            { command: commands, args: words },
            {
              ...attach,
              id: ["", "A b", "a/b", ...text],
              stdin: ["x", 5, null],
              terminal: spawn.terminal,
              maxLog: ["64K", ...size]
            }
          )
        ],
        job: [row(on(sandbox, "job"), ["a"], { id: ["", "A", "a/b", ...text, undefined] })],
        waitUntil: [
          row(
            on(sandbox, "waitUntil"),
            [{ port: 80 }],
            { probe: [...probes, { log: "a" }, { all: [{ any: [{ log: "a" }] }] }, undefined] },
            { job: ["", "A b", ...text] }
          )
        ],
        attach: [row(on(sandbox, "attach"), ["a", []], { command: commands, args: words }, attach)],
        forward: [
          row(
            on(sandbox, "forward"),
            [80],
            { guestPort: [0, 65_536, "80", 1.5, null, undefined] },
            { host: [-1, 65_536, "80", null], bind: ["localhost", "", 5, null] }
          )
        ],
        copyIn: [row(on(sandbox, "copyIn"), [".", "/a"], { hostPath: hostPaths, path: paths }, { ...copyIn })],
        copyOut: [row(on(sandbox, "copyOut"), ["/a", "b"], { path: paths, hostPath: hostPaths }, { maxBytes: size })],
        stop: [row(on(sandbox, "stop"), [], {}, { timeout: time })],
        detachFor: [row(on(sandbox, "detachFor"), [1], { timeToLive: time })],
        growRootDisk: [row(on(sandbox, "growRootDisk"), ["8G"], { size })],
        logs: [
          row(
            on(sandbox, "logs"),
            [],
            {},
            { sources: ["x", 5, null], tail: [0, ...count], after: ["", ...text], follow: flag }
          )
        ],
        modify: [],
        readFile: [row(on(sandbox, "readFile"), ["/f"], { path: paths }, { maxBytes: size })],
        readFileString: [row(on(sandbox, "readFileString"), ["/f"], { path: paths }, { maxBytes: size })],
        stream: [row(on(sandbox, "stream"), ["/f"], { path: paths }, { offset: count, bytesToRead: count })],
        writeFile: [
          row(on(sandbox, "writeFile"), ["/f", new Uint8Array()], { path: paths, data: [5, "x", {}] }, { ...write })
        ],
        writeFileString: [row(on(sandbox, "writeFileString"), ["/f", ""], { path: paths, text }, { ...write })],
        sink: [row(on(sandbox, "sink"), ["/f"], { path: paths }, { ...write })],
        exists: [row(on(sandbox, "exists"), ["/f"], { path: paths })],
        stat: [row(on(sandbox, "stat"), ["/f"], { path: paths })],
        readDirectory: [row(on(sandbox, "readDirectory"), ["/f"], { path: paths })],
        readDirectoryEntries: [row(on(sandbox, "readDirectoryEntries"), ["/f"], { path: paths })],
        makeDirectory: [row(on(sandbox, "makeDirectory"), ["/f"], { path: paths }, { mode })],
        remove: [row(on(sandbox, "remove"), ["/f"], { path: paths }, { recursive: flag })],
        rename: [row(on(sandbox, "rename"), ["/f", "/g"], between)],
        copyFile: [row(on(sandbox, "copyFile"), ["/f", "/g"], between)],
        realPath: [row(on(sandbox, "realPath"), ["/f"], { path: paths })],
        readLink: [row(on(sandbox, "readLink"), ["/f"], { path: paths })],
        symlink: [row(on(sandbox, "symlink"), ["a", "/f"], { target: text, path: paths })]
      }
      yield* checkAll("sandbox", methods)
      yield* checkAll("Sandbox", {
        fork: [
          row(on(Sandbox, "fork"), [sandbox], {}, {
            count: [0, 1001, ...count],
            memory: flag,
            name: config.name,
            options: [5, null, "x", { cwd: "rel" }, { name: 5 }, { froce: true }]
          } satisfies Wrong<Sandbox.ForkOptions>)
        ]
      })
      const sizes = {
        rows: [
          { rows: 0, columns: 1 },
          { rows: Number.NaN, columns: 1e9 }
        ],
        size: []
      }
      const job = yield* sandbox.start("true")
      yield* checkAll("job", {
        logs: [row(on(job, "logs"), [], {}, { since: count, follow: flag })],
        signal: [row(on(job, "signal"), ["SIGTERM"], { signal: ["SIGX", -1, 65, 1.5, null, {}] })],
        resize: [row(on(job, "resize"), [{ rows: 1, columns: 1 }], sizes)],
        remove: [row(on(job, "remove"), [], {}, { force: flag })]
      })
      const contexts: Wrong<Interpreter.Options> = {
        language: ["ruby", ...text],
        program: ["", ...text],
        memory: ["1M", ...size],
        cwd: attach.cwd,
        user: attach.user,
        env: attach.env,
        interruptTimeout: time
      }
      const makers: Omit<Tables<typeof Interpreter>, "isInterpreter" | "Result" | "CodeError" | "Execution"> = {
        make: [
          row(
            (options) =>
              beside({ call: (all: unknown) => on(Interpreter, "make")(sandbox, all) }, "call", { language: "python" })(
                options
              ),
            [],
            {},
            { ...contexts }
          ),
          row(on(Interpreter, "make"), [sandbox, { language: "python" }], { source: [5, null, "x", {}, undefined] })
        ]
      }
      yield* checkAll("Interpreter", makers)
      const context = yield* Interpreter.make(sandbox, { language: "javascript" })
      const running: Wrong<Interpreter.RunOptions> = {
        timeout: time,
        maxOutput: ["65M", ...size],
        maxResults: ["65M", ...size]
      }
      const runs: Tables<Interpreter.Interpreter> = {
        run: [row(on(context, "run"), ["1"], { code: [...text, undefined] }, { ...running })],
        runStream: [row(on(context, "runStream"), ["1"], { code: [...text, undefined] }, { ...running })]
      }
      yield* checkAll("interpreter", runs)
      yield* checkAll("process", {
        signal: [row(on(process, "signal"), ["SIGTERM"], { signal: ["SIGX", -1, 65, 1.5, null, {}] })],
        resize: [row(on(process, "resize"), [{ rows: 1, columns: 1 }], sizes)]
      })
      assert.isFalse(yield* sandbox.exists("/f"))
    }).pipe(Effect.scoped, Effect.provide(MicrosandboxMemory.layer({ commands: { node } })))
  )
})
