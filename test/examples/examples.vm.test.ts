import { assert, describe, it } from "@effect/vitest"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Examples from "./examples.ts"

const { folder } = Examples

/** Programs that are run by `npm run demo`, and by the tests of the services. */
const elsewhere = ["quickstart.ts", "services/in-a-microvm.ts", "agent-tools/main.ts"]

const modules = Fs.readdirSync(folder, { recursive: true, encoding: "utf8" }).filter((path) => path.endsWith(".ts"))

/** What other modules import. */
const parts = new Set(
  modules.flatMap((path) =>
    [...Fs.readFileSync(Path.join(folder, path), "utf8").matchAll(/ from "(\.[^"]+)"/g)].map(([, imported = ""]) =>
      Path.join(Path.dirname(path), imported)
    )
  )
)

describe("examples", () => {
  it("are all known to a test", () => {
    const paths = modules.filter((path) => !parts.has(path) && !path.endsWith(".test.ts")).toSorted()
    const run = Examples.all.map(({ path }) => path)
    assert.deepStrictEqual([...run, ...elsewhere].toSorted(), paths)
    const readme = Fs.readFileSync(Path.join(folder, "README.md"), "utf8")
    assert.deepStrictEqual(
      paths.filter((path) => !readme.includes(`](./${path})`)),
      [],
      "examples that the README does not name"
    )
  })
})

Examples.suite("examples", Examples.chosen, ["agents-xl", "lightbox", "py-data", "python-ci"])
