/**
 * Runs the jobs of a CI side by side: a snapshot with the tools, the project mounted read-only, a cache that the jobs
 * share, and a report of each copied out, whether it passes or fails.
 */
import { Console, Effect } from "effect"
import { Lightbox, MicrosandboxLocal, Sandbox, Snapshot, Volume } from "effect-lightbox"
import * as Fs from "node:fs"

const resources = { cpus: 1, memory: "128M" } as const

/** Stands for a test runner. */
const runner = `#!/bin/sh
tests=$(grep -c "def test" "test_$1.py") || { echo "there is no suite $1" >&2; tests=0; }
echo "<testsuite name=\\"$1\\" tests=\\"$tests\\"/>" > report.xml
echo "$1" > /cache/last
[ "$tests" -gt 0 ]
`

const tools = Snapshot.make("ci", "busybox").pipe(
  Snapshot.resources(resources),
  Snapshot.labels({ purpose: "ci" }),
  Snapshot.write("/usr/bin/run-tests", runner, { mode: 0o755 })
)

const reports = Fs.mkdtempSync("reports-")

const job = (name: string) =>
  Sandbox.run(
    {
      snapshot: "ci",
      name: `ci-${name}`,
      network: "none",
      resources,
      mounts: { "/src": { bind: "./my-project", readonly: true }, "/cache": { volume: "ci-cache" } }
    },
    (sandbox) =>
      Effect.gen(function* () {
        yield* sandbox.exec("cp", ["-r", "/src", "/work"], { check: true })
        const out = yield* sandbox.exec("run-tests", [name], { cwd: "/work", timeout: "1 minute" })
        yield* sandbox.copyOut("/work/report.xml", `${reports}/${name}.xml`)
        return { name, exitCode: out.exitCode, stderr: out.stderr.trim() }
      })
  )

const program = Effect.gen(function* () {
  yield* Snapshot.build(tools)
  yield* Volume.ensure("ci-cache", { quota: "64M" })
  for (const result of yield* Effect.forEach(["unit", "smoke"], job, { concurrency: "unbounded" })) {
    yield* Console.log(JSON.stringify(result), Fs.readFileSync(`${reports}/${result.name}.xml`, "utf8").trim())
  }
  yield* Volume.remove("ci-cache")
  yield* Snapshot.remove("ci")
})

program.pipe(
  Effect.ensuring(Effect.sync(() => Fs.rmSync(reports, { recursive: true }))),
  Effect.provide(MicrosandboxLocal.layer()),
  Lightbox.runMain()
)
