/**
 * Runs the jobs of a CI side by side: a snapshot with the tools, the project mounted read-only, a cache that the jobs
 * share, and a report of each copied out, whether it passes or fails.
 */
import {
  buildSnapshot,
  defineSnapshot,
  ensureVolume,
  removeSnapshot,
  removeVolume,
  runInSandbox,
  write
} from "effect-lightbox/promise"
import * as Fs from "node:fs"

const resources = { cpus: 1, memory: "128M" } as const

/** Stands for a test runner. */
const runner = `#!/bin/sh
tests=$(grep -c "def test" "test_$1.py") || { echo "there is no suite $1" >&2; tests=0; }
echo "<testsuite name=\\"$1\\" tests=\\"$tests\\"/>" > report.xml
echo "$1" > /cache/last
[ "$tests" -gt 0 ]
`

const tools = defineSnapshot({
  name: "ci",
  image: "busybox",
  resources,
  labels: { purpose: "ci" },
  setup: [write("/usr/bin/run-tests", runner, { mode: 0o755 })]
})

const reports = Fs.mkdtempSync("reports-")

const job = (name: string) =>
  runInSandbox(
    {
      snapshot: "ci",
      name: `ci-${name}`,
      network: "none",
      resources,
      mounts: { "/src": { bind: "./my-project", readonly: true }, "/cache": { volume: "ci-cache" } }
    },
    async (sandbox) => {
      await sandbox.exec("cp", ["-r", "/src", "/work"], { check: true })
      const out = await sandbox.exec("run-tests", [name], { cwd: "/work", timeoutMs: 60_000 })
      await sandbox.fs().copyToHost("/work/report.xml", `${reports}/${name}.xml`)
      return { name, exitCode: out.code, stderr: out.stderr().trim() }
    }
  )

try {
  await buildSnapshot(tools)
  await ensureVolume("ci-cache", { quotaMib: 64 })
  for (const result of await Promise.all(["unit", "smoke"].map(job))) {
    console.log(JSON.stringify(result), Fs.readFileSync(`${reports}/${result.name}.xml`, "utf8").trim())
  }
} finally {
  await removeVolume("ci-cache")
  await removeSnapshot("ci")
  Fs.rmSync(reports, { recursive: true })
}
