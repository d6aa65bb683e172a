/** Whole programs among the examples, in memory. */
import { assert, describe, it } from "@effect/vitest"
import * as ChildProcess from "node:child_process"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import * as Sources from "../package/sources.ts"
import { folder, programs } from "./examples.ts"

const cases = Object.entries(programs).flatMap(([name, prints]) =>
  [".ts", ".promise.ts"].map((form) => ({ path: `${name}${form}`, prints }))
)

describe("programs", () => {
  it("print the same in memory, in both forms", { timeout: 300_000 }, () => {
    // Inside the package, each with the project beside it.
    const root = Path.join(Sources.root, ".cache", "whole")
    const copies = cases.map(({ path }) => {
      const copy = Path.join(root, path)
      Fs.cpSync(Path.join(folder, "my-project"), Path.join(copy, "my-project"), { recursive: true })
      Fs.copyFileSync(Path.join(folder, path), Path.join(copy, "program.ts"))
      return Path.join(copy, "program.ts")
    })
    const runner = fileURLToPath(new URL("runPrograms.ts", import.meta.url))
    const { stderr, stdout } = ChildProcess.spawnSync(process.execPath, [runner, ...copies], { encoding: "utf8" })
    Fs.rmSync(root, { recursive: true })
    const results = stdout.split(/(?<=\0\d+\n)/)
    for (const [index, { path, prints }] of cases.entries()) {
      const [printed = "", exitCode] = results[index]?.split("\0") ?? []
      assert.strictEqual(exitCode, "0\n", `${path}: ${stderr}`)
      for (const expected of prints) {
        if (typeof expected === "string") assert.include(printed, expected, path)
        else assert.match(printed, expected, path)
      }
    }
  })
})
