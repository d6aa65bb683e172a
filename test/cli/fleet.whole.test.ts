/** Jobs of a fleet from the command line, by the clock of its database. */
import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fs from "node:fs"
import { withVariable } from "./host.ts"
import { Cli, ending, failing, succeeding, test } from "./support.ts"

const token = "a-token-of-the-tests"

test(
  "fleet run has the fleet run jobs, and prints their results",
  Effect.gen(function* () {
    const { folder } = yield* Cli
    yield* withVariable("LIGHTBOX_TOKEN", token)
    yield* withVariable("LIGHTBOX_DIRECTORY", `sqlite:${folder}/fleet.db`)
    assert.match((yield* succeeding("fleet", "jobs")).stdout, /^The fleet has no jobs/)
    assert.match(
      (yield* failing(1, "fleet", "run", "--image", "busybox", "true")).message,
      /the directory has no host that is alive/
    )
    yield* Effect.forkScoped(ending(0)("host", "--port", "0", "--jobs", "8"))
    const listed = Effect.map(succeeding("fleet", "hosts", "--format", "{{.status}}"), ({ stdout }) => stdout.trim())
    yield* Effect.repeat(listed, { until: (status) => status === "ready" })

    const one = ["fleet", "run", "--id", "one", "--image", "busybox", "-e", "COLOR=blue", "-w", "/tmp"]
    const command = ["--", "sh", "-c", 'echo "$COLOR $(pwd)"; echo oops >&2']
    const first = yield* succeeding(...one, ...command)
    assert.strictEqual(first.stdout, "blue /tmp\n")
    assert.match(first.stderr, /^oops\njob one exited \(0\) on /)
    assert.deepStrictEqual(yield* succeeding(...one, ...command), first)
    assert.match((yield* failing(1, ...one, "--", "true")).message, /A job named "one" already exists/)

    const file = `${folder}/jobs.jsonl`
    const jobs = [0, 3].map((code) => ({ id: `exit-${code}`, image: "busybox", command: `exit ${code}` }))
    Fs.writeFileSync(file, `${jobs.map((job) => JSON.stringify(job)).join("\n\n")}\n`)
    const many = yield* ending(1)("fleet", "run", "--jobs", file)
    assert.match(many.stdout, /^exit-0 {2}exited \(0\) {2}1 runs, on .*\nexit-3 {2}exited \(3\) {2}1 runs, on .*\n$/)
    const asJson = yield* ending(1)("--json", "fleet", "run", "--jobs", file)
    assert.deepStrictEqual(
      asJson.stdout
        .trim()
        .split("\n")
        .map((line): unknown => JSON.parse(line).exitCode),
      [0, 3]
    )
    const rows = yield* succeeding("fleet", "jobs", "--format", "{{.id}} {{.state}} {{.exitCode}} {{.runs}}")
    assert.deepStrictEqual(rows.stdout.trim().split("\n").toSorted(), [
      "exit-0 ended 0 1",
      "exit-3 ended 3 1",
      "one ended 0 1"
    ])
    assert.match((yield* succeeding("fleet", "jobs")).stdout, /^JOB +STATE +EXIT/)

    const wrong = (...words: ReadonlyArray<string>) =>
      Effect.map(failing(2, "fleet", "run", ...words), ({ message }) => message)
    assert.match(yield* wrong(), /^Invalid COMMAND: /)
    assert.match(yield* wrong("true"), /^Invalid --image: pass either/)
    assert.match(yield* wrong("--image", "busybox", "--id", "two words", "true"), /^Invalid --id: /)
    assert.match(yield* wrong("--jobs", file, "--id", "one"), /^Invalid --jobs: cannot be combined/)
    const variables = `${folder}/variables`
    Fs.writeFileSync(variables, "A=b\n")
    const ofOne = ["env", "env-file", "workdir", "user", "cpus", "memory", "timeout", "retries"]
    const values = ["A=b", variables, "/tmp", "root", "1", "1G", "1m", "1"]
    for (const [index, name] of ofOne.entries()) {
      const message = yield* wrong("--jobs", file, `--${name}`, values[index] ?? "")
      assert.isTrue(message.startsWith(`Invalid --${name}: cannot be combined with --jobs`), message)
    }
    assert.match(yield* wrong("--jobs", file, "--concurrency", "0"), /^Invalid --concurrency: /)
    Fs.writeFileSync(file, `${JSON.stringify(jobs[0])}\n{"id":"next","image":"busybox","command":["true"],"cwd":"x"}\n`)
    assert.match(yield* wrong("--jobs", file), /^Invalid --jobs: line 2: cwd: /)
    Fs.writeFileSync(file, "nothing")
    assert.match(yield* wrong("--jobs", file), /^Invalid --jobs: line 1: expected JSON/)
    yield* withVariable("LIGHTBOX_DIRECTORY", undefined)
    assert.match(yield* wrong("--image", "busybox", "true"), /^Invalid --directory: /)
  }).pipe(Effect.scoped)
)
