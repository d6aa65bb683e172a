/**
 * What the scripts of `package.json` do: `test/bootstrap test/run.ts check | test | all | host | demo`
 *
 * - `check`: format, lint, types, and the quick tests that need no microVM.
 * - `test`: `check`, the tests of whole processes and of the package, and the core of the tests on real microVMs.
 * - `all`: `test`, a short soak, power cuts and kills at system calls, what others' code says of the integrations, and all
 *   other tests on real microVMs.
 * - `host`: the tests of the emulated host itself.
 * - `demo`: the quick start on a real microVM.
 * - `coverage`: how much of `src` the quick tests run. The details are in `.cache/coverage/index.html`.
 *
 * The first four end with how long each part took, what did not pass and why, and the line `N passed, N failed`.
 * Whatever was skipped has failed.
 */
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Command from "effect/cli/Command"
import * as Console from "effect/Console"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Path from "effect/Path"
import type * as PlatformError from "effect/PlatformError"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { fileURLToPath } from "node:url"
import * as Interrupt from "./host/Interrupt.ts"
import * as Machine from "./host/Machine.ts"
import { exitStatus, foreground, run, spawn, type Words } from "./host/Subprocess.ts"

const root = fileURLToPath(new URL("..", import.meta.url))
const out = `${root}.cache`

interface Count {
  readonly passed: number
  readonly failed: number
  /** What did not pass, and why. */
  readonly bad: ReadonlyArray<string>
  /** How long each part took. */
  readonly times: ReadonlyArray<string>
}

const none: Count = { passed: 0, failed: 0, bad: [], times: [] }

const failure = (why: string): Count => ({ ...none, failed: 1, bad: [why] })

const sum = (counts: ReadonlyArray<Count>): Count => ({
  passed: counts.reduce((total, count) => total + count.passed, 0),
  failed: counts.reduce((total, count) => total + count.failed, 0),
  bad: counts.flatMap((count) => count.bad),
  times: counts.flatMap((count) => count.times)
})

const timed = <E, R>(name: string, part: Effect.Effect<Count, E, R>): Effect.Effect<Count, E, R> =>
  Effect.map(Effect.timed(part), ([time, count]) => ({
    ...count,
    times: [`${Duration.toSeconds(time).toFixed(0).padStart(5)} s  ${name}`, ...count.times]
  }))

const bin = (name: string): string => `${root}node_modules/.bin/${name}`

/** Where microVMs boot. */
const onHost = (options: ReadonlyArray<string>, words: Words): Words => [
  process.execPath,
  `${root}test/host/run.ts`,
  ...options,
  "--",
  ...words
]

const static_ = (name: string, words: Words) => timed(name, step(name, words))

const step = Effect.fnUntraced(function* (name: string, words: Words) {
  yield* Console.log(`\n# ${name}`)
  const status = yield* foreground(words)
  return status === 0 ? { ...none, passed: 1 } : failure(`${name} ended with status ${status}`)
})

/** What Vitest's JSON reporter says of a run. */
const Report = Schema.Struct({
  success: Schema.Boolean,
  numTotalTests: Schema.Int,
  numPassedTests: Schema.Int,
  testResults: Schema.Array(
    Schema.Struct({
      name: Schema.String,
      status: Schema.String,
      message: Schema.String,
      assertionResults: Schema.Array(
        Schema.Struct({
          fullName: Schema.String,
          status: Schema.String,
          failureMessages: Schema.NullOr(Schema.Array(Schema.String))
        })
      )
    })
  )
})
const decodeReport = Schema.decodeUnknownEffect(Schema.fromJsonString(Report))

const decodeFiles = Schema.decodeUnknownEffect(
  Schema.fromJsonString(Schema.Array(Schema.Struct({ file: Schema.String })))
)

const vitestScript = `${root}node_modules/vitest/vitest.mjs`

/** The first lines of a text, for a list of many. */
const beginning = (text: string): string =>
  text
    .trim()
    .split("\n")
    .slice(0, 12)
    .map((line) => `    ${line.slice(0, 240)}`)
    .join("\n")

/** How a command ended. */
interface Ended {
  readonly status: number
  /** The last lines it printed, if they were not shown as they came. */
  readonly last: ReadonlyArray<string>
}

const inForeground = (words: Words) => Effect.map(foreground(words), (status): Ended => ({ status, last: [] }))

/** What a report says; what it does not say has failed. */
const countOf = Effect.fnUntraced(function* (name: string, file: string, { last, status }: Ended) {
  const fs = yield* FileSystem.FileSystem
  const report = yield* Effect.option(Effect.flatMap(fs.readFileString(file), decodeReport))
  if (report._tag === "None") {
    return failure([`${name}: ended with status ${status} and without a report`, ...last].join("\n    "))
  }
  const { numPassedTests: passed, numTotalTests: total, testResults } = report.value
  const bad = testResults.flatMap((file) =>
    file.assertionResults.length === 0
      ? [`${file.name}: ran no test\n${beginning(file.message)}`]
      : file.assertionResults
          .filter((test) => test.status !== "passed")
          .map((test) =>
            [
              `${file.name.replace(root, "")}: ${test.fullName}: ${test.status}`,
              ...(test.failureMessages ?? []).map(beginning)
            ].join("\n")
          )
  )
  // A crash after the last test counts as well, and so does a run of no tests.
  const failed = Math.max(total - passed, bad.length, status === 0 && total > 0 ? 0 : 1)
  const unexplained = failed > bad.length ? [`${name}: ended with status ${status}`] : []
  return { ...none, passed, failed, bad: [...bad, ...unexplained] }
})

/** Runs tests, in the foreground or in another way, and counts them. */
const vitest = Effect.fnUntraced(function* <E, R>(
  name: string,
  args: ReadonlyArray<string>,
  run: (words: Words) => Effect.Effect<Ended, E, R>
) {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  yield* fs.makeDirectory(out, { recursive: true })
  const file = path.join(out, `${name}.json`)
  yield* fs.remove(file, { force: true })
  const reporters = ["--reporter=default", "--reporter=json", `--outputFile.json=${file}`]
  return yield* countOf(name, file, yield* run([process.execPath, vitestScript, "run", ...args, ...reporters]))
})

const here = (name: string, ...projects: ReadonlyArray<string>) => {
  const args = [name, ...projects].flatMap((project) => ["--project", project])
  return timed(name, Effect.andThen(Console.log(`\n# Tests: ${name}`), vitest(name, args, inForeground)))
}

const allImages = ["busybox", "bun", "debian"].flatMap((image) => ["--image", image])

/** Runs a command of this repository, and shows what it printed when it is through. */
const behind = Effect.fnUntraced(function* (title: string, words: Words) {
  const child = yield* spawn(words, { cwd: root, stdin: "ignore", forceKillAfter: "30 seconds" })
  const [text, status] = yield* Effect.all([Stream.mkString(Stream.decodeText(child.all)), exitStatus(child)], {
    concurrency: "unbounded"
  })
  yield* Console.log(`\n# Tests: ${title}\n${text}`)
  const ended: Ended = { status, last: text.trim().split("\n").slice(-30) }
  return ended
}, Effect.scoped)

/** The status of a host that ended before its command did: the emulator or the emulated kernel died or stood still. */
const hostDied = 70

/** Runs tests a second time if it was their host that failed. */
const onceAgain = <E, R>(run: Effect.Effect<Ended, E, R>): Effect.Effect<Ended, E, R> =>
  Effect.filterOrElse(
    run,
    ({ status }) => status !== hostDied,
    () => Effect.andThen(Console.log("The emulated host died. Its tests are started again, once"), run)
  )

type Part = Effect.Effect<Count, PlatformError.PlatformError, NodeServices.NodeServices>

/** The tests of one file, and what runs them. */
const filePart = (project: string, file: string, on: (words: Words) => Words = (words) => words): Part => {
  const title = file.slice(root.length)
  const args = ["--project", project, file]
  return timed(
    title,
    vitest(title.replaceAll("/", "-"), args, (words) => onceAgain(behind(title, on(words))))
  )
}

/** These take more than five minutes each, and start first, so that no processor is idle at the end. */
const longest = [
  "test/examples/examples.vm.test.ts",
  "test/examples/programs.vm.test.ts",
  "test/Microsandbox/microsandbox.vm.test.ts",
  "test/Microsandbox/commands.vm.test.ts",
  "test/Microsandbox/jobs.vm.test.ts",
  "test/Snapshot/rebuilds.vm.test.ts",
  "test/cli/cli.vm.test.ts",
  "test/Sandbox/Sandbox.vm.test.ts",
  "test/MicrosandboxPreview/preview.vm.test.ts"
]

const rank = (file: string): number => {
  const index = longest.indexOf(file.slice(root.length))
  return index === -1 ? longest.length : index
}

/** The tests of a project, file by file. */
const fileParts = Effect.fnUntraced(function* (project: string, on?: (words: Words) => Words) {
  const listed = yield* run(process.execPath, [vitestScript, "list", "--project", project, "--filesOnly", "--json"], {
    cwd: root
  }).pipe(Effect.flatMap(decodeFiles), Effect.result)
  return Result.isFailure(listed)
    ? [Effect.succeed(failure(`The tests of ${project} can not be listed: ${listed.failure.message}`))]
    : listed.success
        .map(({ file }) => file)
        .toSorted((a, b) => rank(a) - rank(b))
        .map((file) => filePart(project, file, on))
})

/** Runs parts, as many at a time as there are processors. */
const together = Effect.fnUntraced(function* (parts: ReadonlyArray<Part>) {
  return sum(yield* Effect.all(parts, { concurrency: Machine.cpus }))
})

/**
 * All tests of a project on real microVMs. Emulated hosts of one processor each boot almost twice as many virtual
 * machines as one with all of them: there each test file is a part of its own, with a host of its own.
 */
const microvmParts = Effect.fnUntraced(function* (
  project: string,
  images: ReadonlyArray<string>,
  limits: { readonly each: string; readonly all: string }
) {
  if (!(yield* Machine.canBoot)) {
    const options = ["--name", project, ...images, "--timeout", limits.each]
    return yield* fileParts(project, (words) => onHost(options, words))
  }
  const whole = vitest(project, ["--project", project], (words) =>
    inForeground(onHost(["--name", project, ...images, "--timeout", limits.all], words))
  )
  return [timed(project, whole)]
})

const check = Effect.gen(function* () {
  return sum([
    yield* static_("Build", [bin("tsc"), "-p", "src"]),
    yield* static_("Format", [bin("oxfmt"), "--check", "."]),
    yield* static_("Lint", [bin("oxlint")]),
    yield* static_("Types", [bin("tsc"), "-p", "."]),
    yield* here("unit", "alone")
  ])
})

const test = Effect.gen(function* () {
  const fast = yield* check
  const whole = yield* here("whole")
  const core = yield* microvmParts("core", ["--image", "busybox"], { each: "10 minutes", all: "20 minutes" })
  return sum([fast, whole, yield* together(core)])
})

/** The emulated host itself. All tests on microVMs use it; its own are for those who change it. */
const host = Effect.flatMap(fileParts("host"), together)

/** Power cuts and kills at system calls, which need file systems of their own: a root user, and loop devices. */
const powerParts = Effect.gen(function* () {
  const fs = yield* FileSystem.FileSystem
  const isAble = process.getuid?.() === 0 && (yield* fs.exists("/dev/loop-control"))
  if (isAble) return yield* fileParts("power")
  yield* Console.log("\n# Tests: power\nThey need a root user and loop devices")
  return process.env["CI"] === undefined ? [] : [Effect.succeed(failure("power: needs a root user and loop devices"))]
})

/** A script that passes or fails as a whole. */
const script = (name: string, words: Words): Part =>
  timed(
    name,
    Effect.map(behind(name, words), ({ last, status }) =>
      status === 0 ? { ...none, passed: 1 } : failure([`${name}: ended with status ${status}`, ...last].join("\n    "))
    )
  )

/** A short one of what can go on for long: several processes that work at random, on the twin. */
const soak = script("soak", [process.execPath, `${root}test/soak/run.ts`, "--minutes", "1", "--rounds", "40"])

/** What the code of frameworks and protocols says of the integrations. */
const judges = script("judges", [process.execPath, `${root}test/judges/run.ts`, "--check"])

/** The first part to use images makes them, while others wait. */
const images = script("images", onHost(allImages, ["true"]))

/** In a folder of its own, as its package has the name of that of 0.6. */
const previewRuntime = static_("The runtime of the preview", [
  "npm",
  "ci",
  "--prefix",
  `${root}test/MicrosandboxPreview/runtime`
])

const all = Effect.gen(function* () {
  const tested = sum([yield* test, yield* previewRuntime])
  const microvms = yield* microvmParts("microvm", allImages, { each: "30 minutes", all: "60 minutes" })
  return sum([tested, yield* together([images, ...microvms, ...(yield* powerParts), soak, judges])])
})

const counting = <E, R>(suite: Effect.Effect<Count, E, R>) =>
  Effect.gen(function* () {
    const { bad, failed, passed, times } = yield* suite
    yield* Console.log(`\n# Times\n${times.join("\n")}`)
    if (bad.length > 0) yield* Console.log(`\n# Not passed\n${bad.join("\n")}`)
    yield* Console.log(`\n${passed} passed, ${failed} failed`)
    return failed === 0 ? 0 : 1
  })

const demo = Effect.gen(function* () {
  const built = yield* foreground([bin("tsc"), "-p", "src"])
  if (built !== 0) return built
  return yield* foreground(onHost(["--timeout", "10 minutes"], [process.execPath, "examples/quickstart.ts"]))
})

const coverage = Effect.gen(function* () {
  const built = yield* foreground([bin("tsc"), "-p", "src"])
  if (built !== 0) return built
  return yield* foreground([
    process.execPath,
    vitestScript,
    "run",
    "--project",
    "unit",
    "--project",
    "alone",
    "--coverage"
  ])
})

const program = Effect.gen(function* () {
  let status = 0
  const run = <E, R>(name: string, effect: Effect.Effect<number, E, R>) =>
    Command.make(name, {}, () => Effect.map(effect, (ended) => void (status = ended)))
  const command = Command.make("run.ts").pipe(
    Command.withSubcommands([
      run("check", counting(check)),
      run("test", counting(test)),
      run("all", counting(all)),
      run("host", counting(host)),
      run("demo", demo),
      run("coverage", coverage)
    ])
  )
  yield* Command.run(command, { version: "0" })
  return status
})

program.pipe(Effect.provide(NodeServices.layer), Interrupt.runMain)
