/**
 * Input without types: every exported function with invalid values for each argument and option.
 *
 * An export, a method or an option that is not in these tables does not compile or fails, as does one that is in them and
 * is not checked.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Redacted from "effect/Redacted"
import { beforeEach } from "vitest"
import * as Presets from "../../src/presets.ts"
import * as Lightbox from "../../src/promise.ts"
import { invalid } from "../../src/internal/config/validation.ts"
import { isLightboxError } from "../../src/LightboxError.ts"
import { node } from "../Interpreter/native.ts"
import { rejection, twin, untyped, wrongField } from "./support.ts"

const memory = twin({ commands: { node } })

type Any = ReturnType<JSON["parse"]>
type Wrong<O> = { readonly [K in keyof Required<O>]: ReadonlyArray<unknown> }

const notText = [5, null, {}, []]
const notFlag = ["yes", 1, null]
const notObject = [5, null, "x"]
const notCount = ["5", -1, 1.5, Number.NaN, null]

const call: Wrong<Lightbox.CallOptions> = { signal: [1000, null, {}, "x"] }

const sizes = ["1X", 5, null, {}]

const resources: Wrong<Lightbox.SnapshotResources> = {
  cpus: [0, 256, "2", null],
  maxCpus: [0, 256, "2", null],
  memory: sizes,
  maxMemory: sizes,
  disk: sizes
}

const millis = ["5s", 0, -1, Number.NaN, null, Number.POSITIVE_INFINITY]
const pullPolicy = ["x", null, 5]
const rlimits = [5, null, { x: 1 }, { nofile: -1 }, { nofile: { soft: 2, hard: 1 } }]
const network = [
  "x",
  null,
  5,
  { plicy: "none" },
  { policy: { egress: "x" } },
  { policy: { rules: [{ action: "allow", to: { cidr: "x" } }] } },
  { dns: 5 },
  { dns: { queryTimeout: 5 } },
  { dns: { queryTimeoutMs: "1 second" } }
]
const registry = [5, null, { username: 5 }, { username: "a", password: 5 }, { user: "a" }]
const mounts = [5, null, { "/w": 5 }, { w: "." }, { "/w": { vol: "x" } }, { "/w": { volume: "x", readOnly: true } }]

const under = (name: string, fields: { readonly [field: string]: ReadonlyArray<unknown> }) =>
  Object.entries(fields).flatMap(([field, values]) => values.map((value) => [`${name}.${field}`, { [field]: value }]))

const exec: Wrong<Lightbox.ExecOptions> = {
  ...call,
  cwd: ["rel", ...notText],
  user: ["a b", ...notText],
  env: [5, null, { A: 1 }, { A: undefined }, { "A=B": "" }],
  stdin: [5, null, {}, []],
  timeoutMs: millis,
  rlimits,
  check: notFlag,
  maxOutput: ["1X", -1, 1.5, null, {}]
}

const { check: _check, maxOutput: _maxOutput, ...streamed } = exec
const { cwd, env, signal, user } = exec
const attach: Wrong<Lightbox.AttachOptions> = { cwd, env, signal, user, rlimits }

const forward: Wrong<Lightbox.ForwardOptions> = {
  ...call,
  host: [-1, 65_536, "80", null],
  bind: ["localhost", "", 5, null]
}

const context: Wrong<Lightbox.InterpreterOptions> = {
  ...call,
  language: ["ruby", ...notText],
  program: ["", ...notText],
  memory: ["1M", ...sizes],
  cwd,
  user,
  env,
  interruptTimeoutMs: millis
}

const proxy: Wrong<Lightbox.ProxyOptions> = { ...call, port: [-1, 65_536, "80", null] }

const execStream: Wrong<Lightbox.ExecStreamOptions> = {
  ...streamed,
  pipeStdin: notFlag,
  terminal: [5, null, { rows: 0, columns: 1 }, { rows: 1 }, { rows: 1, columns: Number.NaN }]
}

const image = "debian:12"

/** Values of each option that all steps share. */
const stepOptions: Wrong<Lightbox.StepOptions> = {
  description: ["", 5, null],
  timeoutMs: millis,
  retries: ["x", -1, null, { times: "x" }, { times: 1, delayMs: "x" }, { time: 1 }],
  retryFrom: ["x", null],
  network,
  cache: ["x", null, { key: "" }, { ky: "a" }]
}

const wrongly = (step: object, options: { readonly [field: string]: ReadonlyArray<unknown> }) =>
  Object.entries(options).flatMap(([field, values]) => values.map((value) => ({ ...step, [field]: value })))

const commandStep: Wrong<Lightbox.CommandStepOptions> = {
  ...stepOptions,
  env: [5, null, { A: 1 }],
  secrets: [5, null, { A: 5 }, { A: { value: 5 } }, { A: { value: "x", as: "y" } }, { "": "x" }]
}

const owned = { mode: [-1, 0o10000, "755", null], owner: ["a b", 5, null, { uid: 1 }] }

const steps = [
  { kind: "x" },
  {},
  ...wrongly({ kind: "shell", script: "true" }, { ...commandStep, script: ["", 5], login: ["yes"], froce: [1] }),
  ...wrongly({ kind: "exec", cmd: "true" }, { ...commandStep, cmd: ["", 5], args: ["x", [5]] }),
  ...wrongly(
    { kind: "copy", from: ".", to: "/x" },
    { ...stepOptions, ...owned, from: ["", 5], to: ["rel", 5], ignore: ["x", [5]] }
  ),
  ...wrongly({ kind: "write", path: "/x", content: "" }, { ...stepOptions, ...owned, path: ["rel"], content: [5] }),
  ...wrongly({ kind: "step", name: "a", run: () => {} }, { ...stepOptions, name: ["", 5], run: [5], key: [5] }),
  ...["apt", "npm", "pip"].flatMap((kind) =>
    wrongly({ kind, packages: ["a"] }, { ...commandStep, packages: ["git", [5], [""]] })
  ),
  ...wrongly({ kind: "gitClone", url: "a", path: "/a" }, { ...commandStep, url: ["", 5], path: ["rel"], ref: ["", 5] }),
  { kind: "env", variables: { A: 1 } },
  { kind: "user", user: "a b" },
  { kind: "workdir", path: "rel" },
  { kind: "checkpoint", at: 1 },
  { kind: "skipCache", at: 1 }
]

const config: Wrong<Lightbox.SnapshotConfig> = {
  name: ["", "a b", ...notText, undefined],
  image: ["", ...notText, undefined],
  dockerfile: [5, null, {}],
  from: [5, null, "x"],
  resources: [5, null, { cpu: 1 }, ...under("resources", resources).map(([, value]) => value)],
  workdir: ["rel", ...notText],
  env: [5, null, { A: 1 }],
  mounts,
  network,
  registry,
  verify: [5, null, {}],
  setup: [
    ...steps.map((step) => [step]),
    "true",
    5,
    [5],
    [null],
    [""],
    [Lightbox.shell(untyped(5))],
    [Lightbox.exec("a", untyped("text"))],
    [Lightbox.exec("a", [], untyped(5))]
  ],
  labels: [5, null, { A: 1 }],
  defaults: [5, null, { cwd: "/" }]
}

const build: Wrong<Lightbox.BuildOptions> = {
  ...call,
  overwrite: notFlag,
  rebuild: ["yes", -1, null],
  checkpoints: ["x", null],
  checkpointFactor: ["x", -1, null, Number.NaN],
  keep: [0, ...notCount],
  debugBuilder: notFlag,
  pullPolicy,
  warm: notFlag,
  verbose: notFlag,
  onEvent: [5, null, {}]
}

const probes = [
  5,
  null,
  "x",
  {},
  { port: 0 },
  { port: 80, interval: 5 },
  { port: 80, timeout: 5 },
  { port: 80, intervalMs: "1 second" },
  { port: 80, timeoutMs: 0 },
  { http: 80, path: "rel" },
  { command: [] },
  { all: [] },
  { all: { port: 80 } },
  { any: [{ all: [{ port: 80, timeoutMs: "x" }] }] }
]

const launch: Wrong<Lightbox.LaunchSettings> = {
  ...call,
  name: ["", "a b", ...notText],
  resources: config.resources,
  workdir: config.workdir,
  env: config.env,
  ports: [5, null, "80", { http: 80 }, { 80: "http" }, { 80: 70_000 }, [{}], [{ guest: 80, hst: 1 }]],
  mounts,
  labels: config.labels,
  rootDisk: ["x", null, 5],
  network,
  secrets: [
    5,
    null,
    { A: "x" },
    { A: { value: 5, hosts: ["h"] } },
    { A: { value: "x", hosts: "h" } },
    { A: { value: "x", hosts: [] } },
    { A: { value: "x", hosts: ["h"], placeholder: "" } },
    { A: { value: "x", hosts: ["h"], inject: { header: true } } },
    { "A B": { value: "x", hosts: ["h"] } }
  ],
  user: ["a b", ...notText],
  shell: ["rel", ...notText],
  hostname: ["-a", ...notText],
  entrypoint: ["sh", 5, null, [5]],
  cmd: ["sh", 5, null, [5]],
  scripts: [5, null, { a: 5 }],
  init: ["x", 5, null, { command: "" }, { command: "x", arg: [] }],
  rlimits,
  security: ["x", null],
  deployment: ["x", null],
  ephemeral: notFlag,
  idleTimeoutMs: [...millis, 1500],
  maxDurationMs: [...millis, 1500],
  pullPolicy,
  registry: [...registry, { username: "a" }],
  patches: [5, null, [5], [{ _tag: "Mkdir", path: "rel" }]],
  logLevel: ["x", null],
  metricsIntervalMs: [...millis, 1.5],
  onPullProgress: [5, null, {}],
  releaseTimeoutMs: millis,
  services: [
    5,
    null,
    { "A b": { command: "x" } },
    { a: {} },
    { a: { command: "" } },
    { a: { command: ["a", 5] } },
    { a: { command: "x", workdir: "/" } },
    { a: { command: "x", env: { A: 1 } } },
    { a: { command: "x", restart: "never" } },
    { a: { command: "x", dependsOn: ["b"] } },
    ...probes.map((ready) => ({ a: { command: "x", ready } }))
  ],
  resume: ["x", 5, null],
  onResume: ["", " ", 5, null, [], [""], ["a", 5], ["a", Redacted.make("x")]],
  overwrite: notFlag,
  detached: notFlag,
  verbose: notFlag
}

const defaults: Wrong<Lightbox.SnapshotDefaults> = {
  workdir: config.workdir,
  user: ["a b", ...notText],
  shell: config.workdir,
  env: config.env,
  cmd: ["sh", 5, null, [5]],
  ports: [5, null, { http: 80 }, { 80: 70_000 }, [{}]],
  services: [...launch.services, { a: { command: "x", env: { A: Redacted.make("x") } } }],
  onResume: launch.onResume,
  labels: [...config.labels, { "lightbox.role": "pool" }]
}

/** Wrong definitions to start from. */
const bases = [{ name: "m" }, { name: "m", image: 5 }, { name: "m", image, setup: [5] }]

const change: Wrong<Lightbox.SandboxChange> = {
  cpus: resources.cpus,
  maxCpus: resources.maxCpus,
  memory: ["1X", null],
  maxMemory: ["1X", null],
  disk: ["1X", null],
  workdir: config.workdir,
  env: [5, null, { A: 1 }],
  labels: [5, null, { a: 1 }, { "lightbox.a": "x" }],
  apply: ["x", null],
  dryRun: notFlag
}

const source = { snapshot: ["", ...notText], image: ["", ...notText] }

const ensure: Wrong<Lightbox.EnsureVolumeOptions> = { quotaMib: [0, ...notCount], labels: config.labels }

const configure: Wrong<Lightbox.ConfigureOptions> = {
  home: ["", ...notText],
  host: [null, 5, { url: "x", token: "a" }, { url: "http://example.com" }],
  pullPolicy: ["x", null, 5],
  bootTimeoutMs: millis,
  progress: notFlag,
  records: notFlag
}

const { detached: _detached, name: _name, overwrite: _overwrite, verbose: _verbose, ...pooled } = launch

const pool: Wrong<Lightbox.PoolSettings> = {
  min: [2, ...notCount],
  max: [0, undefined, ...notCount],
  timeToLiveMs: millis,
  rollOver: ["x", null],
  fork: notFlag,
  healthCheck: [5, null, { interval: 5 }, { intervalMs: 0 }, { timeoutMs: "x" }],
  prepare: [5, null, {}]
}

const reference = ["", "a b", ...notText, undefined]
const hostPath = ["", ...notText, undefined]
const stop = { ...call, timeoutMs: millis }
const logs: Wrong<Lightbox.LogOptions> = {
  ...call,
  sources: ["stdout", null, ["x"]],
  tail: [0, ...notCount],
  after: ["", 5, null],
  follow: notFlag
}
const userOptions: Wrong<Lightbox.UserOptions> = { cwd, env, signal, user }

const force = { ...call, force: notFlag }
const name = ["", "a b", ...notText, undefined]
const path = ["rel", "", "/a\0", ...notText, undefined]
const command = ["", ...notText, undefined]
const args = ["hello", 5, null, {}, [1]]
const data = [5, null, {}, [], undefined]
const reading = { ...call, maxBytes: ["1X", -1, 1.5, null, {}] }

/** A function: its valid arguments, invalid values for each, and invalid values for each of its options. */
interface Row {
  readonly run: (...args: ReadonlyArray<Any>) => unknown
  readonly right: ReadonlyArray<unknown>
  readonly args?: { readonly [name: string]: ReadonlyArray<unknown> }
  readonly options?: { readonly [field: string]: ReadonlyArray<unknown> }
}

const row = (
  run: (...args: Any) => unknown,
  right: ReadonlyArray<unknown> = [],
  args: { readonly [name: string]: ReadonlyArray<unknown> } = {},
  options: { readonly [field: string]: ReadonlyArray<unknown> } = call
): Row => ({ run: (...all) => run(...all), right, args, options })

/** A method of an object, for any arguments. */
const on =
  (object: object, method: string) =>
  (...all: ReadonlyArray<unknown>): unknown =>
    Reflect.apply(Reflect.get(object, method), object, all)

/** The first event of a loop. */
const first =
  (run: (...all: ReadonlyArray<unknown>) => unknown) =>
  (...all: ReadonlyArray<unknown>): unknown =>
    on(Object(run(...all)), "next")()

/** All invalid calls of a row, with the field that each error must name. */
const callsOf = ({ args = {}, options = {}, right }: Row) => [
  ...Object.entries(args).flatMap(([field, values], index) =>
    values.map((value) => ({ field, given: right.with(index, value) }))
  ),
  ...(Object.keys(options).length === 0
    ? []
    : [...notObject, []].map((value) => ({ field: "options", given: [...right, value] }))),
  ...Object.entries({ ...options, froce: [true, undefined] }).flatMap(([field, values]) =>
    Object.keys(options).length === 0 ? [] : values.map((value) => ({ field, given: [...right, { [field]: value }] }))
  )
]

const show = (value: unknown): string => (JSON.stringify(value) ?? String(value)).slice(0, 80)

const check = async (title: string, row: Row) => {
  const boots = await memory.count("createSandbox")
  for (const { field, given } of callsOf(row)) {
    const said = `${title}(${given.map(show).join(", ")})`
    const error = await rejection((async () => await row.run(...given))()).catch((thrown: unknown) =>
      assert.fail(`${said}: ${String(thrown)}`)
    )
    const named = String(wrongField(error))
    assert.isTrue(named === field || named.startsWith(`${field}.`), `${said} names ${named}: ${error.message}`)
    assert.notMatch(error.message, /Redacted|readonly|undefined|declareConstructor/, said)
  }
  assert.strictEqual(await memory.count("createSandbox"), boots, `${title} boots`)
}

/** Valid options with one invalid value; or values that are not options at all. */
const beside = (right: object, wrong: unknown): Any =>
  typeof wrong === "object" && wrong !== null && !Array.isArray(wrong) ? { ...right, ...wrong } : wrong

const withConfig = (options: unknown) => Lightbox.buildSnapshot(beside({ name: "n", image }, options))
const withLaunch = (options: unknown) => Lightbox.launchSandbox(beside({ image }, options))
const inSandbox = (options: unknown) => Lightbox.runInSandbox(beside({ image }, options), async () => {})

type Functions = {
  readonly [
    K in keyof typeof Lightbox as (typeof Lightbox)[K] extends abstract new (...args: never) => unknown ? never : K
  ]: ReadonlyArray<Row>
}

const capture: Wrong<Lightbox.CaptureOptions> = {
  ...call,
  name,
  labels: config.labels,
  keep: [0, ...notCount],
  overwrite: notFlag,
  replaceForeign: notFlag,
  secrets: [5, null, { A: 5 }]
}

const functions: Functions = {
  // These only make what the build checks.
  captureSnapshot: [
    row(on(Lightbox, "captureSnapshot"), ["s", { name: "n" }], { sandbox: name }, {}),
    row((options) => Lightbox.captureSnapshot("s", beside({ name: "n" }, options)), [], {}, { ...capture })
  ],
  diffSnapshots: [
    row(on(Lightbox, "diffSnapshots"), ["a", "b"], { before: ["a@0", ...name], after: ["a@0", ...name] }, {
      ...call,
      limit: [0, 1_000_001, ...notCount]
    } satisfies Wrong<Lightbox.DiffOptions>)
  ],
  forkSandbox: [row(on(Lightbox, "forkSandbox"), [{}], { sandbox: [5, null, "x", {}, undefined] }, {})],
  defineSnapshot: [],
  fromDockerfile: [
    row(Lightbox.fromDockerfile, ["n", { text: "FROM a" }], { name, dockerfile: [5, null, ""] }, {
      ...call,
      context: ["", 5, null],
      target: ["", 5, null],
      args: [5, null, { a: 5 }],
      secrets: [5, null, { a: 5 }]
    } satisfies Wrong<Lightbox.DockerfileOptions>)
  ],
  shell: [],
  exec: [],
  copy: [],
  write: [],
  step: [],
  apt: [],
  npm: [],
  pip: [],
  gitClone: [],
  env: [],
  user: [],
  workdir: [],
  checkpoint: [],
  skipCache: [],
  // Its constructor is not for callers.
  Sandbox: [],
  createPool: [
    row(
      (options) => Lightbox.createPool(beside({ image, max: 1 }, options)),
      [],
      {},
      { ...pooled, ...pool, name: ["x"], overwrite: [true], detached: [true] }
    ),
    row((options) => Lightbox.createPool(beside({ max: 1 }, options)), [], {}, source)
  ],
  planSnapshot: [
    row((options) => Lightbox.planSnapshot(beside({ name: "n", image }, options)), [], {}, { ...config }),
    row(Lightbox.planSnapshot, [{ name: "n", image }], {}, { ...call, rebuild: build.rebuild, pullPolicy })
  ],
  buildTemporarySnapshot: [
    row((options) => Lightbox.buildTemporarySnapshot(beside({ name: "n", image }, options)), [], {}, { ...config }),
    row(Lightbox.buildTemporarySnapshot, [{ name: "n", image }], {}, { ...call, rebuild: build.rebuild, pullPolicy })
  ],
  listBuilds: [
    row(Lightbox.listBuilds, [], {}, {
      ...call,
      snapshot: ["", ...notText],
      limit: [0, ...notCount]
    } satisfies Wrong<Lightbox.ListBuildsOptions>)
  ],
  getBuild: [row(Lightbox.getBuild, ["a-b-c"], { id: ["", "a", "../a", "A-b-c", ...notText] }, call)],
  listEndedSandboxes: [
    row(Lightbox.listEndedSandboxes, [], {}, {
      ...call,
      name: ["", ...notText],
      limit: [0, ...notCount]
    } satisfies Wrong<Lightbox.ListEndedSandboxesOptions>)
  ],
  getEndedSandbox: [row(Lightbox.getEndedSandbox, ["a-b-c"], { id: ["", "a", "../a", "A-b-c", ...notText] }, call)],
  listGenerations: [row(Lightbox.listGenerations, ["n"], { name })],
  rollbackSnapshot: [row(Lightbox.rollbackSnapshot, ["n"], { name }, { ...call, to: [0, ...notCount] })],
  saveSnapshot: [
    row(
      Lightbox.saveSnapshot,
      ["n", "/tmp/x"],
      { name, path: hostPath },
      { ...call, generations: ["x", null], withImage: notFlag, compress: notFlag }
    )
  ],
  loadSnapshot: [
    row(
      Lightbox.loadSnapshot,
      ["/tmp/x"],
      { path: hostPath },
      { ...call, name: ["", "a b", ...notText], overwrite: notFlag, trusted: notFlag }
    )
  ],
  pushSnapshot: [
    row(
      Lightbox.pushSnapshot,
      ["n", "example.com/n"],
      { name, reference: ["", ...notText] },
      {
        ...call,
        registry: [null, { username: "x" }],
        s3: [null, { endpoint: "x" }, { accessKeyId: 5 }],
        onProgress: ["x", null]
      }
    )
  ],
  pullSnapshot: [
    row(
      Lightbox.pullSnapshot,
      ["n", "example.com/n"],
      { name, reference: ["", ...notText, { host: "x", token: "a" }, { host: "http://example.com" }] },
      {
        ...call,
        registry: [null, { username: "x" }],
        s3: [null, { endpoint: "x" }, { accessKeyId: 5 }],
        onProgress: ["x", null],
        overwrite: notFlag,
        keep: [0, ...notCount],
        trusted: notFlag
      }
    )
  ],
  pruneSnapshots: [
    row(
      Lightbox.pruneSnapshots,
      [],
      {},
      { ...call, keep: [0, ...notCount], olderThanMs: millis, maxBytes: ["1X", -1, 1.5, null], dryRun: notFlag }
    )
  ],
  pruneVolumes: [
    row(Lightbox.pruneVolumes, [], {}, { ...call, labels: config.labels, olderThanMs: millis, dryRun: notFlag })
  ],
  sweep: [row(Lightbox.sweep, [], {}, { ...call, dryRun: notFlag, timeoutMs: millis })],
  primeVolume: [
    row(
      Lightbox.primeVolume,
      ["n", async () => {}],
      { name, fill: [5, null, undefined] },
      { ...call, ...ensure, key: [5, null] }
    )
  ],
  listImages: [row(Lightbox.listImages)],
  getImage: [row(Lightbox.getImage, ["n"], { reference })],
  loadImages: [row(Lightbox.loadImages, ["/tmp/x"], { path: hostPath }, { ...call, tag: ["", "a b", ...notText] })],
  saveImages: [
    row(
      Lightbox.saveImages,
      [["n"], "/tmp/x"],
      { references: ["n", [5], null], path: hostPath },
      { ...call, format: ["x", null] }
    )
  ],
  removeImage: [row(Lightbox.removeImage, ["n"], { reference }, force)],
  pruneImages: [row(Lightbox.pruneImages, [], {}, { ...call, dryRun: notFlag })],
  buildSnapshot: [
    row((from) => Lightbox.buildSnapshot({ name: "n", from }), [{ name: "m", image }], { from: bases }, {}),
    row(
      withConfig,
      [],
      {},
      {
        ...config,
        defaults: [...config.defaults, ...under("defaults", defaults).map(([, value]) => value)]
      }
    ),
    row(Lightbox.buildSnapshot, [{ name: "n", image }], {}, build)
  ],
  listSnapshots: [row(Lightbox.listSnapshots)],
  snapshotExists: [row(Lightbox.snapshotExists, ["n"], { name })],
  removeSnapshot: [row(Lightbox.removeSnapshot, ["n"], { name }, force)],
  launchSandbox: [row(withLaunch, [], {}, launch), row((options) => Lightbox.launchSandbox(options), [], {}, source)],
  runInSandbox: [
    row(inSandbox, [], {}, launch),
    row((options) => Lightbox.runInSandbox(options, async () => {}), [], {}, source),
    row((use) => Lightbox.runInSandbox({ image }, use), [() => {}], { use: [5, null, undefined] }, {})
  ],
  getOrCreateSandbox: [
    row(
      (name: Any, options: unknown) => Lightbox.getOrCreateSandbox(name, beside({ image }, options)),
      ["n"],
      { name },
      { ...launch, name: ["x"], overwrite: [true], detached: [true], releaseTimeoutMs: [1], timeoutMs: millis }
    )
  ],
  startProxy: [row(Lightbox.startProxy, [], {}, proxy)],
  launchGroup: [
    row((members: Any, options: Any) => Lightbox.launchGroup(members, options), [{}], {
      members: [5, null, "x", undefined]
    }),
    row(
      async (options) => {
        try {
          await Lightbox.launchGroup({ a: beside({ image }, options), b: { image } })
        } catch (error) {
          throw isLightboxError(error) && error.reason._tag === "InvalidConfig"
            ? invalid(error.method, error.reason.field.replace(/^a\.?/, "") || "options", error.reason.problem)
            : error
        }
      },
      [],
      {},
      {
        ...launch,
        overwrite: [true],
        detached: [true],
        verbose: [true],
        signal: [new AbortController().signal],
        ready: [5, null, {}, { port: 0 }],
        dependsOn: [5, null, { a: "ready" }, { c: "ready" }, { b: "ready" }, { b: { ports: [0] } }]
      }
    )
  ],
  connectToSandbox: [row(Lightbox.connectToSandbox, ["n"], { name })],
  removeSandbox: [row(Lightbox.removeSandbox, ["n"], { name }, force)],
  ensureVolume: [row(Lightbox.ensureVolume, ["n"], { name }, { ...call, ...ensure })],
  listVolumes: [row(Lightbox.listVolumes)],
  volumeExists: [row(Lightbox.volumeExists, ["n"], { name })],
  removeVolume: [row(Lightbox.removeVolume, ["n"], { name })],
  ensureRuntime: [row(Lightbox.ensureRuntime)],
  configure: [
    row(Lightbox.configure, [], {}, configure),
    row(
      (options: unknown) => Lightbox.configure(beside({ host: { url: "http://example.com", token: "a" } }, options)),
      [],
      {},
      { pullPolicy: ["always"], bootTimeoutMs: [1000], records: [false] }
    )
  ]
}

const preset: Wrong<Presets.PresetOptions> = {
  name: config.name.filter((value) => value !== undefined),
  image: config.image.filter((value) => value !== undefined),
  resources: config.resources,
  labels: config.labels
}

describe("invalid input", () => {
  it.each(Object.entries(functions))("of %s is rejected with its field, before anything boots", async (title, rows) => {
    for (const each of rows) await check(title, each)
  })

  it("of a definition that starts from itself is rejected", async () => {
    const circle = { name: "m", from: {} }
    circle.from = circle
    assert.strictEqual(wrongField(await rejection(Lightbox.buildSnapshot(Object(circle)))), "from.from")
  })

  it("of a launch without a source or with two is rejected", async () => {
    for (const wrong of [{}, { image, snapshot: "s" }]) {
      assert.strictEqual(wrongField(await rejection(Lightbox.launchSandbox(Object(wrong)))), "snapshot")
    }
  })

  it.each([Lightbox.launchSandbox, Lightbox.buildSnapshot])(
    "of a call without arguments is rejected: %o",
    async (run) => {
      assert.strictEqual(wrongField(await rejection(Reflect.apply(run, undefined, []))), "options")
    }
  )

  it.each(Object.entries(Presets))("of %s is rejected with its field when it is built", async (title, make) => {
    await check(
      title,
      row(async (options) => await Lightbox.buildSnapshot(make(options)), [], {}, { ...preset })
    )
  })
})

type Methods<C> = {
  readonly [K in keyof C as C[K] extends (...args: never) => unknown ? K : never]: ReadonlyArray<Row> | Row
}

describe("invalid input to methods", () => {
  let sandbox: Lightbox.Sandbox
  beforeEach(async () => {
    sandbox = await Lightbox.launchSandbox({ image, name: "s" })
    return async () => await sandbox[Symbol.asyncDispose]()
  })

  /** Each method, once all objects are there. */
  const checkAll = async (title: string, methods: { readonly [method: string]: Row | ReadonlyArray<Row> }) => {
    for (const [method, rows] of Object.entries(methods)) {
      for (const each of "run" in rows ? [rows] : rows) await check(`${title}.${method}`, each)
    }
  }

  it("is rejected by Sandbox", async () => {
    const methods: Omit<Methods<Lightbox.Sandbox>, typeof Symbol.asyncDispose> = {
      exec: row(on(sandbox, "exec"), ["true", []], { command, args }, exec),
      shell: row(on(sandbox, "shell"), ["true"], { script: notText }, exec),
      execStream: row(on(sandbox, "execStream"), ["true", []], { command, args }, execStream),
      shellStream: row(on(sandbox, "shellStream"), ["true"], { script: notText }, execStream),
      start: row(
        on(sandbox, "start"),
        ["true", []],
        { command, args },
        {
          ...call,
          id: ["", "A", ...notText],
          cwd: ["rel", ...notText],
          user: ["a b", ...notText],
          env: [5, null, { A: 1 }],
          rlimits: [5, null, { nofile: -1 }, { nofile: "x" }],
          stdin: ["x", 5, null],
          terminal: [5, {}, { rows: 0, columns: 80 }, null],
          maxLog: ["1X", "64K", 1.5, null, {}]
        }
      ),
      interpreter: row((options) => sandbox.interpreter(beside({ language: "python" }, options)), [], {}, context),
      jobs: row(on(sandbox, "jobs")),
      job: row(on(sandbox, "job"), ["a"], { id: ["", "A", ...notText] }),
      waitUntil: row(
        on(sandbox, "waitUntil"),
        [{ port: 80 }],
        { probe: [...probes, { log: "a" }] },
        { ...call, job: ["", "A", ...notText] }
      ),
      attach: row(on(sandbox, "attach"), ["true", []], { command, args }, attach),
      attachShell: row(on(sandbox, "attachShell")),
      forward: row(on(sandbox, "forward"), [80], { guestPort: [0, 65_536, "80", null] }, forward),
      forwards: row(on(sandbox, "forwards")),
      fs: [],
      metrics: row(on(sandbox, "metrics")),
      logs: row(first(on(sandbox, "logs")), [], {}, logs),
      ping: row(on(sandbox, "ping")),
      touch: row(on(sandbox, "touch")),
      modify: [row(on(sandbox, "modify"), [], {}, change), row((options) => sandbox.modify({ dryRun: true }, options))],
      detachFor: row(on(sandbox, "detachFor"), [1000], { timeToLiveMs: [...millis, undefined] }),
      stop: row(on(sandbox, "stop"), [], {}, stop),
      stopAndWait: row(on(sandbox, "stopAndWait")),
      kill: row(on(sandbox, "kill")),
      pause: row(on(sandbox, "pause")),
      resume: row(on(sandbox, "resume")),
      growRootDisk: row(on(sandbox, "growRootDisk"), ["8G"], { size: ["1X", null, {}, undefined] }),
      detach: row(on(sandbox, "detach")),
      raw: row(on(sandbox, "raw"))
    }
    await checkAll("Sandbox", methods)
  })

  it("is rejected by SandboxFs", async () => {
    const fs = sandbox.fs()
    const methods: Methods<Lightbox.SandboxFs> = {
      read: row(on(fs, "read"), ["/f"], { path }, reading),
      readToString: row(on(fs, "readToString"), ["/f"], { path }, reading),
      readStream: row(on(fs, "readStream"), ["/f"], { path }),
      write: row(on(fs, "write"), ["/f", ""], { path, data }, { ...call, mode: owned.mode, append: notFlag }),
      symlink: row(on(fs, "symlink"), ["/f", "/g"], { target: ["/a\0", ...notText, undefined], path }),
      readLink: row(on(fs, "readLink"), ["/f"], { path }),
      realPath: row(on(fs, "realPath"), ["/f"], { path }),
      watch: row(first(on(fs, "watch")), ["/f"], { path }, { ...call, recursive: notFlag, onReady: [5, null] }),
      writeStream: row(on(fs, "writeStream"), ["/f"], { path }),
      list: row(on(fs, "list"), ["/f"], { path }),
      mkdir: row(on(fs, "mkdir"), ["/f"], { path }),
      removeDir: row(on(fs, "removeDir"), ["/f"], { path }),
      remove: row(on(fs, "remove"), ["/f"], { path }),
      copy: row(on(fs, "copy"), ["/f", "/g"], { from: path, to: path }),
      rename: row(on(fs, "rename"), ["/f", "/g"], { from: path, to: path }),
      stat: row(on(fs, "stat"), ["/f"], { path }),
      exists: row(on(fs, "exists"), ["/f"], { path }),
      copyFromHost: row(
        on(fs, "copyFromHost"),
        ["/f", "/g"],
        { hostPath: ["", ...notText], guestPath: path },
        { ...call, ...owned, ignore: ["x", null, [5]] }
      ),
      copyToHost: row(on(fs, "copyToHost"), ["/f", "/g"], { guestPath: path, hostPath: ["", ...notText] }, reading)
    }
    await checkAll("SandboxFs", methods)
    assert.isFalse(await fs.exists("/f"))
  })

  it("is rejected by SandboxPool", async () => {
    await using pool = await Lightbox.createPool({ image, min: 0, max: 1 })
    const methods: Omit<Methods<Lightbox.SandboxPool>, typeof Symbol.asyncDispose> = {
      acquire: row(on(pool, "acquire"), [], {}, userOptions),
      use: row(on(pool, "use"), [async () => {}], { use: [5, null, undefined] }, userOptions),
      runMany: row(
        first(on(pool, "runMany")),
        [[]],
        { tasks: [5, null, undefined] },
        { ...userOptions, concurrency: [0, ...notCount], retries: notCount, ordered: notFlag }
      ),
      interpreter: row((options) => pool.interpreter(beside({ language: "python" }, options)), [], {}, context),
      stats: row(on(pool, "stats")),
      close: []
    }
    await checkAll("SandboxPool", methods)
  })

  it("is rejected by handles of commands and files", async () => {
    await using handle = await sandbox.execStream("cat", [], { pipeStdin: true })
    const stdin = await handle.takeStdin()
    assert.isNotNull(stdin)
    await using file = await sandbox.fs().writeStream("/out")
    await using reader = await sandbox.fs().readStream("/out")
    const handles: Omit<Methods<Lightbox.ExecHandle>, typeof Symbol.asyncDispose | typeof Symbol.asyncIterator> = {
      recv: row(on(handle, "recv")),
      wait: row(on(handle, "wait")),
      collect: row(on(handle, "collect")),
      takeStdin: [],
      kill: row(on(handle, "kill")),
      signal: row(on(handle, "signal"), [15], { number: [0, 65, ...notCount] }),
      resize: row(on(handle, "resize"), [1, 1], {
        rows: [0, ...notCount],
        columns: [0, 1e9, ...notCount]
      })
    }
    await checkAll("ExecHandle", handles)
    await checkAll("ExecSink", {
      write: row(on(stdin, "write"), [""], { data }),
      close: row(on(stdin, "close"))
    })
    await checkAll("FsWriteSink", {
      write: row(on(file, "write"), [""], { data })
    })
    await checkAll("FsReadStream", {
      recv: row(on(reader, "recv")),
      collect: row(on(reader, "collect"))
    })
    await stdin.close()
    assert.isTrue((await handle.wait()).success)
  })

  it("is rejected by interpreters", async () => {
    await using interpreter = await sandbox.interpreter({ language: "javascript" })
    const running: Wrong<Lightbox.CodeOptions> = {
      ...call,
      timeoutMs: millis,
      maxOutput: ["65M", "1X", -1, 1.5, null, {}],
      maxResults: ["65M", "1X", -1, 1.5, null, {}]
    }
    const methods: Omit<Methods<Lightbox.Interpreter>, typeof Symbol.asyncDispose> = {
      run: row(on(interpreter, "run"), ["1"], { code: [...notText, undefined] }, running),
      runStream: row(first(on(interpreter, "runStream")), ["1"], { code: [...notText, undefined] }, running),
      interrupt: row(on(interpreter, "interrupt")),
      restart: row(on(interpreter, "restart")),
      close: []
    }
    await checkAll("Interpreter", methods)
  })

  it("is rejected by jobs", async () => {
    await Lightbox.runInSandbox({ image, name: "own" }, async (own) => {
      const job = await own.start("true")
      await checkAll("Job", {
        resize: row(on(job, "resize"), [1, 1], { rows: [0, ...notCount], columns: [0, 1e9, ...notCount] }),
        attach: row(on(job, "attach"))
      })
    })
  })

  it("is rejected by the static methods and handles of Sandbox, Snapshot and Volume", async () => {
    const handle = await Lightbox.Sandbox.get("s")
    await Lightbox.buildSnapshot({ name: "n", image })
    const snapshot = await Lightbox.Snapshot.get("n")
    const volume = await Lightbox.Volume.builder("v").create()
    const { Sandbox, Snapshot, Volume } = Lightbox
    const handles: Methods<Lightbox.SandboxHandle> = {
      connect: row(on(handle, "connect")),
      start: row(on(handle, "start")),
      startDetached: row(on(handle, "startDetached")),
      restart: row(on(handle, "restart"), [], {}, { ...stop, detached: notFlag }),
      waitFor: row(on(handle, "waitFor"), ["running"], { status: ["x", 5, null, undefined] }, stop),
      logs: row(first(on(handle, "logs")), [], {}, logs),
      stop: row(on(handle, "stop"), [], {}, stop),
      pause: row(on(handle, "pause")),
      resume: row(on(handle, "resume")),
      kill: row(on(handle, "kill")),
      remove: row(on(handle, "remove"), [], {}, force),
      refresh: row(on(handle, "refresh"))
    }
    await checkAll("SandboxHandle", handles)
    const sandboxes: Omit<Methods<typeof Sandbox>, "allOf" | "borrow" | "inner" | "open" | "openGroup"> = {
      builder: [],
      get: row(on(Sandbox, "get"), ["n"], { name }),
      list: row(on(Sandbox, "list"), [], {}, { ...call, labels: config.labels }),
      remove: row(on(Sandbox, "remove"), ["n"], { name }, force)
    }
    await checkAll("Sandbox", sandboxes)
    const forks: Wrong<Lightbox.ForkOptions> = {
      ...call,
      count: [0, 1001, ...notCount],
      memory: notFlag,
      name: launch.name,
      options: [5, null, { name: "n" }, { image }, { workdir: "relative" }, { env: 5 }]
    }
    await checkAll("promise", { forkSandbox: row(on(Lightbox, "forkSandbox"), [sandbox], {}, { ...forks }) })
    const archive = ["", ...notText]
    const snapshots: Methods<typeof Snapshot> = {
      builder: [
        row((given) => Snapshot.builder("n").name(given).fromSandbox("s").create(), ["n"], { name }, {}),
        row((given) => Snapshot.builder("n").fromSandbox(given).create(), ["s"], { sandbox: name }, {}),
        row((given) => Snapshot.builder("n").label("a", given).create(), ["b"], { labels: [5, null] }, {}),
        row((options) => Snapshot.builder("n").fromSandbox("s").create(options))
      ],
      get: row(on(Snapshot, "get"), ["n"], { name }),
      open: row(on(Snapshot, "open"), ["n"], { name }),
      list: row(on(Snapshot, "list")),
      tag: row(on(Snapshot, "tag"), ["a", "n"], { reference: ["a@0", ...name], name }, { ...call, overwrite: notFlag }),
      remove: row(on(Snapshot, "remove"), ["n"], { name }),
      export: row(on(Snapshot, "export"), ["n", "/tmp/x"], { name, archive }),
      import: row(on(Snapshot, "import"), ["/tmp/x", "n"], { archive, name })
    }
    await checkAll("Snapshot", snapshots)
    await checkAll("a snapshot", {
      open: row(on(snapshot, "open")),
      remove: row(on(snapshot, "remove")),
      verify: row(on(snapshot, "verify"))
    } satisfies Methods<Lightbox.Snapshot>)
    const volumes: Methods<typeof Volume> = {
      builder: [
        row((given) => Volume.builder(given).create(), ["n"], { name }, {}),
        row((given) => Volume.builder("n").quota(given).create(), [1], { quota: [0, ...notCount] }, {}),
        row((given) => Volume.builder("n").label("a", given).create(), ["b"], { labels: [5, null] }, {}),
        row((options) => Volume.builder("n").create(options))
      ],
      get: row(on(Volume, "get"), ["n"], { name }),
      list: row(on(Volume, "list")),
      remove: row(on(Volume, "remove"), ["n"], { name })
    }
    await checkAll("Volume", volumes)
    await checkAll("a volume", { remove: row(on(volume, "remove")) })
    await volume.remove()
  })
})
