import { assert, describe, it } from "@effect/vitest"
import * as Fs from "node:fs"
import { createRequire } from "node:module"
import { fileURLToPath } from "node:url"
import * as Path from "node:path"
import * as Sources from "./sources.ts"

const effect = Path.dirname(createRequire(import.meta.url).resolve("effect/package.json"))

/** The stability of a module of Effect, such as `"stable"`. */
const stabilityOf = (specifier: string): string | undefined => {
  const built = Path.relative(effect, fileURLToPath(import.meta.resolve(specifier)))
  const source = Path.join(effect, built.replace(/^dist\//, "src/").replace(/\.js$/, ".ts"))
  return /^ \* @stability (\w+)$/m.exec(Fs.readFileSync(source, "utf8"))?.[1]
}

describe("stability", () => {
  it("distinguishes stable modules of Effect from unstable ones", () => {
    assert.strictEqual(stabilityOf("effect/Effect"), "stable")
    assert.strictEqual(stabilityOf("effect/FileSystem"), "unstable")
  })

  it.each(["index", "promise", "testing", "presets", "ai-sdk", "claude-agent", "deepagents", "computesdk"])(
    "%s loads only stable modules of Effect",
    (name) => {
      // A program with promises loads it only if it is configured for another host.
      const asked = ["MicrosandboxRemote"]
      const loaded = [...Sources.foreignModules(`dist/${name}.js`, asked)].filter(([specifier]) =>
        /^effect(\/|$)/.test(specifier)
      )
      assert.deepStrictEqual(
        loaded.flatMap(([specifier, path]) => (stabilityOf(specifier) === "stable" ? [] : [`${path}: ${specifier}`])),
        []
      )
    }
  )
})
