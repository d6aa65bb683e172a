import { assert, describe, it } from "@effect/vitest"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Sources from "./sources.ts"

/** A folder of `src/internal` imports only from its own level and the ones before. */
const levels = [
  ["config", "report"],
  ["host", "definition", "dockerfile"],
  ["ownership", "guest", "driver", "registry", "volume", "directory"],
  ["store", "sandbox", "driver/sdk"],
  ["interpreter", "plan", "reaper"],
  ["build", "driver/local", "driver/cloud", "driver/memory", "driver/remote", "driver/fleet", "driver/next"],
  ["promise", "mcp", "fleet", "gateway", "page", "cli"],
  ["adapters"]
]

const files = Fs.readdirSync(Path.join(Sources.root, "src"), { recursive: true, encoding: "utf8" })
  .filter((path) => path.endsWith(".ts"))
  .map((path) => `src/${path}`)

const statement = /^(?:import|export) (?<isType>type )?(?:[^"';]*? from )?"(?<path>\.[^"]+)"/gm

/** The modules that a module imports; by value, only those that are loaded with it. */
const importsOf = (file: string, { byValue }: { readonly byValue: boolean }): ReadonlyArray<string> =>
  [...Fs.readFileSync(Path.join(Sources.root, file), "utf8").matchAll(statement)].flatMap(({ groups }) =>
    byValue && groups?.["isType"] !== undefined ? [] : [Path.join(Path.dirname(file), groups?.["path"] ?? "")]
  )

const folderOf = (file: string): string => Path.dirname(Path.relative("src/internal", file))

const levelOf = (file: string): number =>
  levels.findIndex((folders) =>
    folders.some(
      (folder) => folderOf(file) === folder || (folder !== "driver" && `${folderOf(file)}/`.startsWith(`${folder}/`))
    )
  )

const isInternal = (file: string): boolean => file.startsWith("src/internal/")

/** Everything that is loaded with a module, including itself. */
const loadedBy = (file: string, seen: Set<string> = new Set()): ReadonlySet<string> => {
  if (seen.has(file)) return seen
  seen.add(file)
  for (const path of importsOf(file, { byValue: true })) loadedBy(path, seen)
  return seen
}

describe("the folders of src/internal", () => {
  it("all have a level", () => {
    assert.deepStrictEqual(
      files.filter((file) => isInternal(file) && levelOf(file) === -1),
      []
    )
  })

  it("import only from their own level and those before", () => {
    const wrong = files.filter(isInternal).flatMap((file) =>
      importsOf(file, { byValue: false })
        .filter((path) => isInternal(path) && levelOf(path) > levelOf(file))
        .map((path) => `${file} imports ${path}`)
    )
    assert.deepStrictEqual(wrong, [])
  })

  it("hold at most 20 files each", () => {
    const counts = Map.groupBy(files.filter(isInternal), folderOf)
    assert.deepStrictEqual(
      [...counts].filter(([, inFolder]) => inFolder.length > 20).map(([folder]) => folder),
      []
    )
  })
})

describe("the modules of src", () => {
  it("have no import cycle by value", () => {
    const circles = files.flatMap((file) =>
      importsOf(file, { byValue: true })
        .filter((path) => loadedBy(path).has(file))
        .map((path) => `${file} -> ${path}`)
    )
    assert.deepStrictEqual(circles, [])
  })

  it("are few behind Sandbox", () => {
    assert.isAtMost(loadedBy("src/Sandbox.ts").size, 53)
  })
})
