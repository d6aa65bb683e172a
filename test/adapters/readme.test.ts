import { assert, describe, it } from "@effect/vitest"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Sources from "../package/sources.ts"

const read = (path: string): string => Fs.readFileSync(Path.join(Sources.root, path), "utf8")

/** The modules that stand for a framework: its package is an optional peer of this one. */
const adapters = ["ai-sdk", "claude-agent", "computesdk", "deepagents"]

/** The rows of the table that `npm run judges` writes. */
const rows = [...read("README.md").matchAll(/^\| (?<integration>.+?) +\| `(?<judge>.+?)` \S+ +\| (?<count>.+?) +\|$/gm)]

describe("the table of integrations", () => {
  it.each(adapters)("has a judge of %s", (name) => {
    assert.include(Sources.entryPoints, name)
    assert.include(
      rows.map(({ groups }) => groups?.["integration"]),
      `effect-lightbox/${name}`
    )
    assert.include(read("examples/guides/frameworks.md"), `effect-lightbox/${name}`)
  })

  it("shows no failure that is not expected", () => {
    for (const { groups } of rows) {
      const [, passed, all, expected = 0] =
        /^(\d+) of (\d+)(?:, (\d+) expected to fail)?$/.exec(groups?.["count"] ?? "") ?? []
      assert.strictEqual(Number(passed) + Number(expected), Number(all), groups?.["integration"])
    }
    assert.isAtLeast(rows.length, adapters.length)
  })

  it("shows the versions that the judges install", () => {
    const { dependencies }: { dependencies: { readonly [name: string]: string } } = JSON.parse(
      read("test/judges/adapters/package.json")
    )
    for (const [, , judge = ""] of rows) {
      if (judge in dependencies) assert.include(read("README.md"), `\`${judge}\` ${dependencies[judge]}`)
    }
  })
})
