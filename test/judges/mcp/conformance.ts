/** The conformance suite of the protocol, over HTTP. */
import * as Fs from "node:fs"
import * as Path from "node:path"
import { report, run, startHttp, withToken } from "./support.ts"

const suite = Path.join(import.meta.dirname, "node_modules/@modelcontextprotocol/conformance/dist/index.js")
const baseline = Path.join(import.meta.dirname, "expected-failures.yml")

const server = await withToken(await startHttp())
const { status, stderr, stdout } = await run([
  suite,
  "server",
  "--url",
  server.url,
  "--suite",
  "all",
  "--expected-failures",
  baseline
])
server.stop()

// A line for each scenario: `✓ ping: 1 passed, 0 failed`. One without any check counts as failed.
const known = new Set([...Fs.readFileSync(baseline, "utf8").matchAll(/^ {2}- ([\w-]+)$/gm)].map(([, name]) => name))
const scenarios = [...stdout.matchAll(/^([✓✗]) ([\w-]+): (\d+) passed, \d+ failed/gm)]
const failures = scenarios.filter(([, mark, , checks]) => mark === "✗" || checks === "0").map(([, , name]) => name)
const expected = failures.filter((name) => known.has(name)).length
if (status !== 0) {
  console.error(stdout.slice(-6000), stderr.slice(-2000))
  process.exitCode = 1
}
report({
  name: "@modelcontextprotocol/conformance",
  passed: scenarios.length - failures.length,
  failed: failures.length,
  expected
})
if (scenarios.length === 0) process.exitCode = 1
