/** `effect-lightbox/vitest` in processes of Vitest, on the twin. */
import { assert, describe, it } from "@effect/vitest"
import * as ChildProcess from "node:child_process"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import { LightboxError } from "../../src/promise.ts"
import { sandboxTest } from "../../src/vitest.ts"
import * as Sources from "../package/sources.ts"

const fixtures = fileURLToPath(new URL("fixtures/", import.meta.url))

interface Report {
  readonly testResults: ReadonlyArray<{
    readonly name: string
    readonly assertionResults: ReadonlyArray<{
      readonly title: string
      readonly status: string
      readonly failureMessages: ReadonlyArray<string>
    }>
  }>
}

/** The test files: those beside this one, and those of the guide, which show the same on the twin. */
const files = (): ReadonlyMap<string, string> => {
  const own = Fs.readdirSync(fixtures).map((name): [string, string] => [
    name,
    Fs.readFileSync(Path.join(fixtures, name), "utf8")
  ])
  const guide = Sources.examples()
    .filter(({ path }) => path === "examples/guides/testing.md")
    .map(({ code }, index): [string, string] => [
      `guide${index}.ts`,
      code.includes("MicrosandboxLocal")
        ? code
            .replaceAll("MicrosandboxLocal.layer()", "MicrosandboxMemory.layer()")
            .replace("MicrosandboxLocal, ", "")
            .replace(/^/, 'import { MicrosandboxMemory } from "effect-lightbox/testing"\n')
        : `import { useTwin } from "effect-lightbox/testing"\nawait useTwin()\n${code}`
    ])
  return new Map([...own, ...guide])
}

/** Runs all files in one process, and returns the message of each test that failed, or nothing, by file and title. */
const runAll = () => {
  // Inside the package, whose name leads to what was built of it.
  const root = Path.join(Sources.root, ".cache", "vitest")
  Fs.mkdirSync(root, { recursive: true })
  for (const [name, code] of files()) Fs.writeFileSync(Path.join(root, name.replace(".ts", ".test.ts")), code)
  Fs.writeFileSync(Path.join(root, "vitest.config.mjs"), "export default {}")
  const { stderr, stdout } = ChildProcess.spawnSync(
    process.execPath,
    [
      Path.join(Sources.root, "node_modules/vitest/vitest.mjs"),
      "run",
      `--root=${root}`,
      "--testTimeout=60000",
      "--hookTimeout=60000",
      "--reporter=default",
      "--reporter=json",
      "--outputFile.json=out.json"
    ],
    { encoding: "utf8", env: { ...process.env, NO_COLOR: "1" } }
  )
  const file = Path.join(root, "out.json")
  const shown = stdout + stderr
  assert.isTrue(Fs.existsSync(file), shown)
  const report: Report = JSON.parse(Fs.readFileSync(file, "utf8"))
  Fs.rmSync(root, { recursive: true })
  const failures = new Map(
    report.testResults.map(({ assertionResults, name }) => [
      Path.basename(name, ".test.ts"),
      new Map(
        assertionResults.map(({ failureMessages, status, title }): [string, string | undefined] => [
          title,
          status === "passed" ? undefined : failureMessages.join("\n")
        ])
      )
    ])
  )
  return { of: (name: string) => failures.get(name) ?? new Map<string, string | undefined>(), failures, shown }
}

let ran: ReturnType<typeof runAll> | undefined

const patient = { timeout: 240_000 }

const log = /The last lines of sandbox "\S+":\n +\| listening on 80\n +\| refused/

describe("sandboxTest", () => {
  it(
    "gives each test a sandbox of its own, from a state prepared once, and shows the log of a failing one",
    patient,
    () => {
      const { of, shown } = (ran ??= runAll())
      const failures = of("each")
      assert.deepStrictEqual(
        [...failures].flatMap(([title, failure]) => (failure === undefined ? [title] : [])),
        [
          "starts from the prepared state: first",
          "starts from the prepared state: second",
          "prepares once, and gives each test a sandbox of its own"
        ],
        shown
      )
      assert.match(failures.get("fails in its sandbox") ?? "", log)
      assert.match(shown, log)
      assert.notInclude(failures.get("needs no sandbox") ?? "", "sandbox")
      assert.notInclude(shown, "quiet")
    }
  )

  it("shares a sandbox in a file, and shows what it can when it is gone", patient, () => {
    const { of, shown } = (ran ??= runAll())
    const failures = of("shared")
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

  it("refuses wrong options, naming them", () => {
    const wrong = (options: unknown) => {
      try {
        return sandboxTest(it, Object(options))
      } catch (error) {
        return error instanceof LightboxError && error.reason._tag === "InvalidConfig" ? error.reason.field : error
      }
    }
    assert.strictEqual(wrong([]), "options")
    assert.strictEqual(wrong({ image: "alpine", per: "suite" }), "per")
    assert.strictEqual(wrong({ image: "alpine", prepare: "npm ci" }), "prepare")
  })
})

describe("withSandbox and reporting", () => {
  it("do the same for @effect/vitest", patient, () => {
    const { of, shown } = (ran ??= runAll())
    const failures = of("effect")
    assert.strictEqual(failures.size, 4, shown)
    for (const title of ["first", "second"]) {
      assert.isUndefined(failures.get(`starts from the prepared state: ${title}`), shown)
    }
    assert.match(failures.get("fails in its sandbox") ?? "", log)
    assert.match(failures.get("fails in its sandbox") ?? "", /\| token: <redacted>\n/)
    assert.notInclude(shown, "a-very-secret-token")
    assert.match(failures.get("fails in a shared sandbox") ?? "", /no luck[^]*sandbox "shared":\n +\| shared line/)
  })
})

describe("the guide", () => {
  it("has only tests that pass", patient, () => {
    const { failures, shown } = (ran ??= runAll())
    const guide = [...failures].filter(([name]) => name.startsWith("guide"))
    assert.deepStrictEqual(
      guide.map(([, tests]) => [...tests.values()]),
      [[undefined, undefined], [undefined, undefined], [undefined]],
      shown
    )
  })
})
