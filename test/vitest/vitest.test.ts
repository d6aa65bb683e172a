/** `effect-lightbox/vitest` in processes of Vitest, on the twin. */
import { assert, describe, it } from "@effect/vitest"
import * as ChildProcess from "node:child_process"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import * as Sources from "../package/sources.ts"

const fixtures = fileURLToPath(new URL("fixtures/", import.meta.url))

interface Report {
  readonly testResults: ReadonlyArray<{
    readonly assertionResults: ReadonlyArray<{
      readonly title: string
      readonly status: string
      readonly failureMessages: ReadonlyArray<string>
    }>
  }>
}

/** Runs a file of tests, and returns the message of each that failed, or nothing, by title. */
const runFile = (name: string) => {
  // Inside the package, whose name leads to what was built of it.
  const root = Path.join(Sources.root, ".cache", "vitest", name)
  Fs.mkdirSync(root, { recursive: true })
  Fs.copyFileSync(Path.join(fixtures, `${name}.ts`), Path.join(root, "it.test.ts"))
  Fs.writeFileSync(Path.join(root, "vitest.config.mjs"), "export default {}")
  const vitest = Path.join(Sources.root, "node_modules/vitest/vitest.mjs")
  const { stderr, stdout } = ChildProcess.spawnSync(
    process.execPath,
    [vitest, "run", "--root", root, "--reporter=default", "--reporter=json", "--outputFile.json=out.json"],
    { encoding: "utf8", env: { ...process.env, NO_COLOR: "1" } }
  )
  const file = Path.join(root, "out.json")
  assert.isTrue(Fs.existsSync(file), stdout + stderr)
  const report: Report = JSON.parse(Fs.readFileSync(file, "utf8"))
  Fs.rmSync(root, { recursive: true })
  const failures = new Map(
    report.testResults.flatMap(({ assertionResults }) =>
      assertionResults.map(({ failureMessages, status, title }): [string, string | undefined] => [
        title,
        status === "passed" ? undefined : failureMessages.join("\n")
      ])
    )
  )
  return { failures, shown: stdout + stderr }
}

const patient = { timeout: 120_000 }

describe("the fixtures", () => {
  it(
    "give each test a sandbox of its own, from a state prepared once, and show the log of a failing one",
    patient,
    () => {
      const { failures, shown } = runFile("each")
      for (const title of [
        "starts from the prepared state: first",
        "starts from the prepared state: second",
        "prepares once, and gives each test a sandbox of its own"
      ]) {
        assert.isTrue(failures.has(title) && failures.get(title) === undefined, `${title}: ${shown}`)
      }
      const failed = failures.get("fails in its sandbox") ?? ""
      assert.match(failed, /The last lines of sandbox "\S+":/)
      for (const text of [failed, shown]) assert.match(text, / \| listening on 80\n +\| refused/)
      assert.notInclude(failures.get("needs no sandbox") ?? "", "sandbox")
      assert.notInclude(shown, "quiet")
    }
  )

  it("share a sandbox in a file, and show what they can when it is gone", patient, () => {
    const { failures, shown } = runFile("shared")
    assert.deepStrictEqual(
      [...failures].map(([title, failure]) => [title, failure === undefined]),
      [
        ["writes", true],
        ["reads what the test before has written", true],
        ["fails when its sandbox is gone", false]
      ],
      shown
    )
    assert.match(failures.get("fails when its sandbox is gone") ?? "", /The last lines of sandbox "\S+":/)
  })
})

describe("withSandbox and reporting", () => {
  it("do the same for @effect/vitest", patient, () => {
    const { failures, shown } = runFile("effect")
    assert.strictEqual(failures.size, 4, shown)
    for (const title of ["first", "second"]) {
      assert.isUndefined(failures.get(`starts from the prepared state: ${title}`), shown)
    }
    const failed = failures.get("fails in its sandbox") ?? ""
    assert.match(failed, /The last lines of sandbox "\S+":\n +\| listening on 80\n +\| refused/)
    assert.match(failures.get("fails in a shared sandbox") ?? "", /no luck[^]*sandbox "shared":\n +\| shared line/)
  })
})
