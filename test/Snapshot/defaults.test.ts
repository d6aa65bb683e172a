/** Launch defaults of snapshots, on the twin. */
import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Metric from "effect/Metric"
import * as Scope from "effect/Scope"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { waitingLaunches } from "../../src/internal/report/metrics.ts"
import * as Microsandbox from "../../src/Microsandbox.ts"
import * as MicrosandboxMemory from "../../src/MicrosandboxMemory.ts"
import * as Sandbox from "../../src/Sandbox.ts"
import type * as SandboxConfig from "../../src/SandboxConfig.ts"
import * as SandboxPool from "../../src/SandboxPool.ts"
import * as Snapshot from "../../src/Snapshot.ts"
import type { Services } from "../../src/Driver.ts"
import { turn } from "../support.ts"
import { assertNothingRuns, buildCounting, countingBoots, image, withTwin } from "./support.ts"

/** Services need the time of this machine. */
const test = <E>(name: string, effect: Effect.Effect<void, E, Services | MicrosandboxMemory.Control | Scope.Scope>) =>
  it.live(name, () => withTwin(Effect.andThen(Effect.scoped(effect), assertNothingRuns)))

const service = (name: string, dependsOn: ReadonlyArray<string> = []): SandboxConfig.Service => ({
  command: `touch /run/${name}; exec sleep 1000`,
  ready: { file: `/run/${name}`, timeout: "20 seconds" },
  dependsOn
})

const base = Snapshot.make("web", image).pipe(
  Snapshot.shell("mkdir /app /srv; echo app:x:1000:1000::/:/bin/sh >> /etc/passwd; chmod 777 /run")
)

const full: SandboxConfig.LaunchDefaults = {
  cwd: "/app",
  user: "app",
  shell: "/bin/sh",
  env: { A: "default", B: "default" },
  cmd: ["serve"],
  entrypoint: ["/init"],
  ports: { 0: 3000 },
  services: { one: service("one"), two: service("two", ["one"]) },
  labels: { team: "a", tier: "web" }
}

const definition = base.pipe(Snapshot.defaults(full))

/** What a sandbox has of the defaults. */
const seen = Effect.fnUntraced(function* (sandbox: Sandbox.Sandbox) {
  const { stdout } = yield* sandbox.shell('echo "$(pwd) $(id -un) $A $B"')
  const jobs = yield* sandbox.jobs
  const { labels } = yield* sandbox.info
  return {
    shell: stdout.trim(),
    jobs: jobs.map(({ id }) => id).toSorted(),
    ports: sandbox.ports.map(({ guest }) => guest),
    labels: [labels["team"], labels["tier"]]
  }
})

const all = { shell: "/app app default default", jobs: ["one", "two"], ports: [3000], labels: ["a", "web"] }

const none = { shell: "/ root", jobs: [], ports: [], labels: [undefined, undefined] }

const launched = (options: Omit<Sandbox.LaunchOptions, "image" | "snapshot">) =>
  Sandbox.run({ ...options, snapshot: "web" }, seen)

test(
  "are those of a sandbox that boots from the snapshot, however it is given",
  Effect.gen(function* () {
    const built = yield* Snapshot.build(definition)
    const sources = [built, "web", yield* Snapshot.get("web"), Snapshot.build(definition)]
    for (const snapshot of sources) assert.deepStrictEqual(yield* Sandbox.run({ snapshot }, seen), all)
    assert.deepStrictEqual(yield* Sandbox.run({ snapshot: { path: built.path } }, seen), none)
    const layer = Sandbox.layer({ snapshot: "web" })
    assert.deepStrictEqual(yield* Effect.provide(Sandbox.Sandbox.use(seen), layer), all)
  })
)

test(
  "are overridden by the options of a launch, some of them by name",
  Effect.gen(function* () {
    yield* Snapshot.build(definition)
    assert.deepStrictEqual(
      yield* launched({
        cwd: "/srv",
        user: "root",
        env: { B: "launch", C: "launch" },
        ports: [],
        labels: { tier: "db" },
        services: { three: service("three", ["two"]) }
      }),
      {
        shell: "/srv root default launch",
        jobs: ["one", "three", "two"],
        ports: [],
        labels: ["a", "db"]
      }
    )
    assert.deepStrictEqual((yield* launched({ services: {} })).jobs, [])
    assert.deepStrictEqual((yield* launched({ services: undefined })).jobs, ["one", "two"])
    assert.deepStrictEqual((yield* launched({ services: { two: service("two") } })).jobs, ["one", "two"])
    assert.deepStrictEqual((yield* launched({ ports: { 0: 80 } })).ports, [80])
    assert.deepStrictEqual((yield* launched({ network: "none" })).ports, [])
    assert.deepStrictEqual((yield* launched({ network: { policy: "none" } })).ports, [])
    const { reason } = yield* Effect.flip(launched({ services: { three: service("three", ["four"]) } }))
    assert.deepInclude(reason, { _tag: "InvalidConfig", field: "services.three.dependsOn.0" })
    const circle = yield* Effect.flip(launched({ services: { one: service("one", ["two"]) } }))
    assert.deepInclude(circle.reason, { _tag: "InvalidConfig", field: "services.one.dependsOn" })
  })
)

test(
  "change without a boot, as a new generation",
  Effect.gen(function* () {
    yield* Snapshot.build(definition)
    const changed = definition.pipe(Snapshot.defaults({ env: { A: "changed" }, cwd: "/srv" }))
    const plan = yield* Snapshot.plan(changed)
    assert.deepStrictEqual([plan.isCached, plan.changesDefaults], [true, true])
    assert.include(String(plan), "No steps to run: only the launch defaults change.")
    const { boots, built } = yield* buildCounting(changed)
    assert.deepStrictEqual([boots, built.stepsReused, built.generation], [0, 1, 2])
    const after = yield* Snapshot.plan(changed)
    assert.isFalse(after.changesDefaults)
    assert.include(String(after), "Nothing to do.")
    assert.strictEqual((yield* Snapshot.build(changed)).generation, 2)
    assert.strictEqual((yield* launched({})).shell, "/srv app changed default")
    const generations = yield* Snapshot.generations("web")
    assert.deepStrictEqual(
      generations.map(({ defaults, generation, isCurrent }) => [generation, defaults?.env?.["A"], isCurrent]),
      [
        [1, "default", false],
        [2, "changed", true]
      ]
    )
    assert.strictEqual((yield* Snapshot.rollback("web")).generation, 1)
    assert.strictEqual((yield* launched({})).shell, all.shell)
    assert.deepStrictEqual(
      (yield* Snapshot.generations("web")).map(({ generation, isCurrent }) => [generation, isCurrent]),
      [
        [1, true],
        [2, false]
      ]
    )
    assert.strictEqual((yield* Snapshot.rollback("web", 2)).generation, 2)
    assert.strictEqual((yield* launched({})).shell, "/srv app changed default")
    // The order of variables does not matter.
    const reordered = base.pipe(
      Snapshot.defaults({ ...full, env: { B: "default", A: "default" } }),
      Snapshot.defaults({ cwd: "/srv", env: { A: "changed" } })
    )
    assert.strictEqual((yield* Snapshot.build(reordered)).generation, 2)
    assert.strictEqual((yield* Snapshot.build(base)).generation, 3)
    assert.isUndefined((yield* Snapshot.get("web")).defaults)
  })
)

test(
  "are inherited by a definition that starts from another, and verified with it",
  Effect.gen(function* () {
    const seenThere: Array<unknown> = []
    const derived = Snapshot.from("derived", definition).pipe(
      Snapshot.defaults({ env: { B: "derived" }, services: { three: service("three", ["two"]) } }),
      Snapshot.verify((sandbox) => Effect.map(seen(sandbox), (found) => seenThere.push(found)))
    )
    const built = yield* Snapshot.build(derived)
    const found = { ...all, shell: "/app app default derived", jobs: ["one", "three", "two"] }
    assert.deepStrictEqual(seenThere, [{ ...found, ports: [] }])
    assert.deepStrictEqual(yield* Sandbox.run({ snapshot: built }, seen), found)
    yield* Snapshot.build(derived)
    assert.lengthOf(seenThere, 1)
    const broken = derived.pipe(
      Snapshot.defaults({ services: { three: { command: "exit 1", ready: { port: 1, timeout: "1 second" } } } })
    )
    const { reason } = yield* Effect.flip(Snapshot.build(broken))
    assert.deepInclude(reason, { _tag: "NotReady", job: "three" })
    assert.strictEqual((yield* Snapshot.get("derived")).generation, 1)
  })
)

test(
  "do not reach the steps of a build",
  Effect.gen(function* () {
    const definition = Snapshot.make("steps", image).pipe(
      Snapshot.env({ STEP: "1" }),
      Snapshot.defaults({ env: { LAUNCH: "1" }, cwd: "/srv", services: { one: service("one") } }),
      Snapshot.shell('mkdir -p /srv && echo "$(pwd) ${STEP-none} ${LAUNCH-none}" > /steps')
    )
    yield* Snapshot.build(definition)
    const found = yield* Sandbox.run({ snapshot: "steps" }, (sandbox) =>
      sandbox.shell('cat /steps; echo "$(pwd) ${STEP-none} ${LAUNCH-none}"')
    )
    assert.strictEqual(found.stdout, "/ 1 none\n/srv none 1\n")
  })
)

test(
  "are saved and loaded with a snapshot, but do not choose a port of the host",
  Effect.gen(function* () {
    const { home } = yield* Microsandbox.Microsandbox
    const ports = [{ host: 8_123, guest: 3000, bind: "0.0.0.0" }]
    const { defaults } = yield* Snapshot.build(definition.pipe(Snapshot.defaults({ ports })))
    const file = Path.join(home, "web.tar")
    yield* Snapshot.save("web", file)
    const free = [{ host: 0, guest: 3000, protocol: "tcp" as const, bind: "127.0.0.1" }]
    assert.deepStrictEqual((yield* Snapshot.load(file, { name: "other" })).defaults, { ...defaults, ports: free })
    assert.deepStrictEqual((yield* Snapshot.load(file, { name: "trusted", trusted: true })).defaults, {
      ...defaults,
      ports
    })
    assert.deepStrictEqual(yield* Sandbox.run({ snapshot: "other" }, seen), all)
  })
)

test(
  "are checked when they are read",
  Effect.gen(function* () {
    const { home } = yield* Microsandbox.Microsandbox
    yield* Snapshot.build(definition)
    const path = Path.join(home, "lightbox", "names", "web.json")
    const text = Fs.readFileSync(path, "utf8")
    for (const [from, to] of [
      ["/app", "app"],
      ["sleep 1000", String.raw`sleep\u0000`],
      ['"team"', '"lightbox.role"']
    ] as const) {
      Fs.writeFileSync(path, text.replace(from, to))
      // The name can still be booted, with a warning, as from another version of the library.
      assert.deepStrictEqual(yield* launched({}), none, to)
      const [{ reason }, boots] = yield* countingBoots(Effect.flip(Snapshot.build(definition)))
      assert.deepInclude(reason, { _tag: "FileError", code: "EUNREADABLE" }, to)
      assert.strictEqual(boots, 0)
    }
    const wrong = { path: "/x", defaults: { cwd: "app" } }
    const { reason } = yield* Effect.flip(Effect.scoped(Sandbox.launch({ snapshot: wrong })))
    assert.deepInclude(reason, { _tag: "InvalidConfig", field: "cwd" })
  })
)

test(
  "are a part of the options that getOrCreate compares",
  Effect.gen(function* () {
    yield* Snapshot.build(definition)
    const get = (options: Partial<SandboxConfig.Options> = {}) =>
      Effect.scoped(Effect.flatMap(Sandbox.getOrCreate("kept", { ...options, snapshot: "web" }), seen))
    assert.deepStrictEqual(yield* get(), all)
    assert.deepStrictEqual(yield* get({ env: { A: "default" } }), all)
    const { reason } = yield* Effect.flip(get({ services: {} }))
    assert.deepInclude(reason, { _tag: "Drift", field: "services" })
    yield* Snapshot.build(definition.pipe(Snapshot.defaults({ env: { A: "later" } })))
    const later = yield* Effect.flip(get())
    assert.deepInclude(later.reason, { _tag: "Drift", field: "env" })
    assert.deepStrictEqual(yield* get({ env: { A: "default" } }), all)
    yield* Sandbox.remove("kept", { force: true })
  })
)

test(
  "reach the sandboxes of a pool, which follows their change",
  Effect.gen(function* () {
    const ports = { 8124: 3000 }
    yield* Snapshot.build(definition.pipe(Snapshot.defaults({ ports })))
    yield* Effect.scoped(
      Effect.gen(function* () {
        const pool = yield* SandboxPool.make({ snapshot: "web", min: 0, max: 2, rollOver: "at-once" })
        assert.deepStrictEqual(yield* Effect.all([pool.use(seen), pool.use(seen)], { concurrency: 2 }), [all, all])
      })
    )
    yield* Effect.scoped(
      Effect.gen(function* () {
        const one = yield* SandboxPool.make({ snapshot: "web", max: 1 })
        assert.deepStrictEqual(
          yield* one.use(({ ports }) => Effect.succeed(ports.map(({ guest, host }) => [host, guest]))),
          [[8124, 3000]]
        )
        yield* Snapshot.build(definition.pipe(Snapshot.defaults({ ports, env: { A: "later" } })))
        yield* Effect.repeat(one.use(seen), { until: ({ shell }) => shell.endsWith("later default") })
      })
    )
  })
)

test(
  "go with the snapshot when it gets another name, of which earlier generations stay",
  Effect.gen(function* () {
    yield* Snapshot.build(definition)
    yield* Snapshot.tag("web", "other")
    const other = Sandbox.launch({ snapshot: "other" })
    assert.deepStrictEqual(yield* Effect.scoped(Effect.flatMap(other, seen)), all)
    for (const file of ["a", "b", "c"]) {
      yield* Snapshot.build(Snapshot.make("many", image).pipe(Snapshot.shell(`touch /${file}`)), { keep: 5 })
    }
    yield* Snapshot.tag("web", "many", { overwrite: true })
    const kept = yield* Snapshot.generations("many")
    assert.deepStrictEqual(
      kept.map(({ generation, isCurrent }) => [generation, isCurrent]),
      [
        [1, false],
        [2, false],
        [3, false],
        [4, true]
      ]
    )
    assert.deepStrictEqual(kept[3]?.defaults, (yield* Snapshot.generations("web"))[0]?.defaults)
    yield* Snapshot.build(base)
    assert.deepStrictEqual(yield* Effect.scoped(Effect.flatMap(other, seen)), all)
  })
)

it.live.each([
  ["Sandbox.launch", Sandbox.launch({ snapshot: "web" })],
  ["Sandbox.getOrCreate", Sandbox.getOrCreate("kept", { snapshot: "web" })]
] as const)("are those of the disk that boots, also if the name moves while %s waits for room", ([, launch]) =>
  Effect.gen(function* () {
    yield* Snapshot.build(definition)
    const first = yield* Scope.make()
    yield* Scope.provide(Sandbox.launch({ image }), first)
    const fiber = yield* Effect.forkScoped(launch, { startImmediately: true })
    yield* Effect.repeat(Effect.andThen(turn, Metric.value(waitingLaunches)), { until: ({ value }) => value === 1 })
    const changed = definition.pipe(Snapshot.defaults({ env: { A: "changed" } }))
    yield* Snapshot.build(changed)
    yield* Scope.close(first, Exit.void)
    assert.deepStrictEqual((yield* seen(yield* Fiber.join(fiber))).shell, "/app app changed default")
  }).pipe(
    Effect.scoped,
    Effect.provide(MicrosandboxMemory.layer({ images: { [image]: {} }, budget: { sandboxes: 1 } }), { local: true })
  )
)
