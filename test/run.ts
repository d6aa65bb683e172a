/**
 * What the scripts of `package.json` do: `test/bootstrap test/run.ts check | test | all | demo`
 *
 * - `check`: format, lint, types, and the tests that need no microVM.
 * - `test`: `check`, and the core of the tests on real microVMs.
 * - `all`: `test`, and all other tests on real microVMs.
 * - `demo`: the quick start on a real microVM.
 *
 * The first three end with the line `N passed, N failed`. Whatever was skipped has failed.
 */
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Command from "effect/cli/Command"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Path from "effect/Path"
import * as Schema from "effect/Schema"
import { fileURLToPath } from "node:url"
import * as Interrupt from "./host/Interrupt.ts"
import { spawn, type Words } from "./host/Subprocess.ts"

const root = fileURLToPath(new URL("..", import.meta.url))
const out = `${root}.cache`

interface Count {
  readonly passed: number
  readonly failed: number
}

const sum = (counts: ReadonlyArray<Count>): Count => ({
  passed: counts.reduce((total, count) => total + count.passed, 0),
  failed: counts.reduce((total, count) => total + count.failed, 0)
})

/** Runs a command of this repository in the foreground, and gives its exit status. */
const foreground = Effect.fnUntraced(function* (words: Words) {
  const child = yield* spawn(words, {
    cwd: root,
    stdin: "ignore",
    stdout: "inherit",
    stderr: "inherit",
    forceKillAfter: "30 seconds"
  })
  return yield* child.exitCode
}, Effect.scoped)

const bin = (name: string): string => `${root}node_modules/.bin/${name}`

/** Where microVMs boot. */
const onHost = (options: ReadonlyArray<string>, words: Words): Words => [
  process.execPath,
  `${root}test/host/run.ts`,
  ...options,
  "--",
  ...words
]

const static_ = Effect.fnUntraced(function* (name: string, words: Words) {
  yield* Console.log(`\n# ${name}`)
  const status = yield* foreground(words)
  if (status !== 0) yield* Console.log(`${name} failed with status ${status}`)
  return status === 0 ? { passed: 1, failed: 0 } : { passed: 0, failed: 1 }
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
      assertionResults: Schema.Array(Schema.Struct({ fullName: Schema.String, status: Schema.String }))
    })
  )
})
const decodeReport = Schema.decodeUnknownEffect(Schema.fromJsonString(Report))

const vitest = Effect.fnUntraced(function* (project: string, hostOptions?: ReadonlyArray<string>) {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  yield* Console.log(`\n# Tests: ${project}`)
  yield* fs.makeDirectory(out, { recursive: true })
  const file = path.join(out, `${project}.json`)
  yield* fs.remove(file, { force: true })
  const words: Words = [
    process.execPath,
    `${root}node_modules/vitest/vitest.mjs`,
    "run",
    "--project",
    project,
    "--reporter=default",
    "--reporter=json",
    `--outputFile.json=${file}`
  ]
  const status = yield* foreground(hostOptions === undefined ? words : onHost(hostOptions, words))
  const report = yield* Effect.option(Effect.flatMap(fs.readFileString(file), decodeReport))
  if (report._tag === "None") {
    yield* Console.log(`The tests of ${project} ended with status ${status} and without a report`)
    return { passed: 0, failed: 1 }
  }
  const { numPassedTests: passed, numTotalTests: total, testResults } = report.value
  const bad = testResults.flatMap((file) =>
    file.assertionResults.length === 0
      ? [`${file.name}: ran no test`]
      : file.assertionResults
          .filter((test) => test.status !== "passed")
          .map((test) => `${test.fullName}: ${test.status}`)
  )
  yield* Effect.forEach(bad, (line) => Console.log(`not passed: ${line}`))
  // A crash after the last test counts as well, and so does a run of no tests.
  const failed = Math.max(total - passed, bad.length, status === 0 && total > 0 ? 0 : 1)
  return { passed, failed }
})

const check = Effect.gen(function* () {
  return sum([
    yield* static_("Build", [bin("tsc"), "-p", "src"]),
    yield* static_("Format", [bin("oxfmt"), "--check", "."]),
    yield* static_("Lint", [bin("oxlint")]),
    yield* static_("Types", [bin("tsc"), "-p", "."]),
    yield* vitest("unit")
  ])
})

const test = Effect.gen(function* () {
  const fast = yield* check
  return sum([fast, yield* vitest("core", ["--name", "core", "--image", "busybox", "--timeout", "20 minutes"])])
})

const all = Effect.gen(function* () {
  const first = yield* test
  return sum([
    first,
    yield* vitest("microvm", [
      "--name",
      "microvm",
      "--image",
      "busybox",
      "--image",
      "debian",
      "--timeout",
      "60 minutes"
    ])
  ])
})

const counting = <E, R>(suite: Effect.Effect<Count, E, R>) =>
  Effect.gen(function* () {
    const { failed, passed } = yield* suite
    yield* Console.log(`\n${passed} passed, ${failed} failed`)
    return failed === 0 ? 0 : 1
  })

const demo = Effect.gen(function* () {
  yield* foreground([bin("tsc"), "-p", "src"])
  return yield* foreground(onHost(["--timeout", "10 minutes"], [process.execPath, "examples/quickstart.ts"]))
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
      run("demo", demo)
    ])
  )
  yield* Command.run(command, { version: "0" })
  return status
})

program.pipe(Effect.provide(NodeServices.layer), Interrupt.runMain)
