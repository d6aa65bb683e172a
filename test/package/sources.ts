/**
 * This package's sources and documents, as text.
 */
import * as Fs from "node:fs"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"

/** The folder of the package. */
export const root = fileURLToPath(new URL("../..", import.meta.url))

const read = (path: string): string => Fs.readFileSync(Path.join(root, path), "utf8")

/** All files below a folder, by path in the package. */
const filesBelow = (folder: string): ReadonlyArray<string> =>
  Fs.existsSync(Path.join(root, folder))
    ? Fs.readdirSync(Path.join(root, folder), { recursive: true, withFileTypes: true })
        .filter((entry) => entry.isFile())
        .map((entry) => Path.relative(root, Path.join(entry.parentPath, entry.name)))
        .toSorted()
    : []

/** The modules that can be imported as `effect-lightbox/<name>`. */
export const entryPoints: ReadonlyArray<string> = filesBelow("src")
  .flatMap((path) => /^src\/([\w-]+)\.ts$/.exec(path)?.[1] ?? [])
  .filter((name) => name !== "index" && name !== "bin")

/** All modules, by path in the package. */
export const modules: ReadonlyArray<string> = filesBelow("src").filter((path) => path.endsWith(".ts"))

// =============================================================================
// Exports
// =============================================================================

/** An export of a module, with its documentation. */
export interface Export {
  readonly name: string
  /** Where it is declared. */
  readonly path: string
  readonly line: number
  /** Its comment, or nothing. */
  readonly comment: string
}

const declaration =
  /^export (?:declare |abstract |async )*(?:const|class|interface|type|function\*?|\* as) (?<name>\w+)|^export (?:type )?\{(?<names>[^}]*)\}(?: from "(?<from>[^"]+)")?/gm

/** The exports of a module, including those that it re-exports. */
export const exportsOf = (path: string): ReadonlyArray<Export> => {
  const text = read(path)
  return [...text.matchAll(declaration)].flatMap(({ groups, index }): ReadonlyArray<Export> => {
    if (groups?.["name"] !== undefined) {
      const line = text.slice(0, index).split("\n").length
      return [{ name: groups["name"], path, line, comment: commentBefore(text, index) }]
    }
    const names = (groups?.["names"] ?? "").split(",").flatMap((part) => {
      const name =
        part
          .trim()
          .replace(/^type /, "")
          .split(" as ")[0] ?? ""
      return name === "" ? [] : [name]
    })
    return names.flatMap((name) => {
      const from = groups?.["from"] ?? sourceOf(text, name)
      if (from === undefined) return [{ name, path, line: 0, comment: "" }]
      return exportsOf(Path.join(Path.dirname(path), from)).filter((other) => other.name === name)
    })
  })
}

/** The module that a name is re-exported from. */
const sourceOf = (text: string, name: string): string | undefined =>
  [...text.matchAll(/^import (?:type )?\{([^}]*)\} from "(\.[^"]+)"/gm)].find(([, names = ""]) =>
    names.split(",").some((part) => part.trim().replace(/^type /, "") === name)
  )?.[2]

const commentBefore = (text: string, index: number): string => {
  const before = text.slice(0, index).trimEnd()
  return before.endsWith("*/") ? before.slice(before.lastIndexOf("/**")) : ""
}

/** The fields of an interface, with their documentation. */
export const fieldsOf = (path: string, name: string): ReadonlyArray<Pick<Export, "name" | "comment">> => {
  const body = new RegExp(`^export interface ${name}\\b[^\\n]*\\{\\n([\\s\\S]*?)^\\}`, "m").exec(read(path))?.[1] ?? ""
  return [...body.matchAll(/^ {2}(?:readonly )?(\w+)\??:/gm)].map(({ 1: field = "", index }) => ({
    name: field,
    comment: commentBefore(body, index)
  }))
}

/** The comment at the head of a module. */
export const moduleComment = (path: string): string => /^\/\*\*[\s\S]*?\*\//.exec(read(path))?.[0] ?? ""

// =============================================================================
// Examples
// =============================================================================

/** A program in a comment or a document. */
export interface Example {
  readonly path: string
  /** Where it begins. */
  readonly line: number
  readonly code: string
  /** Whether it says `run` after the language: it is a whole program, and tests run it. */
  readonly isRun: boolean
  /** The name that `file=` gives it, for other programs of its document to import. */
  readonly file: string
  /** What it prints: the block of text after it, if there is one. */
  readonly output: string | undefined
}

const fence =
  /^(?<margin>[ \t]*(?:\* ?)?)```ts(?<info>[ \t][^\n]*)?\n(?<code>[\s\S]*?)^[ \t]*(?:\* ?)?```\n(?:\n*```text\n(?<output>[\s\S]*?)^```)?/gm

/** The documents that users read, by path in the package. */
export const documents: ReadonlyArray<string> = [
  ...Fs.readdirSync(root).filter((name) => name.endsWith(".md")),
  ...[".github", "examples", "src"].flatMap(filesBelow).filter((path) => path.endsWith(".md"))
]

/** The targets of a document's links, as paths in the package. */
export const linksOf = (document: string): ReadonlyArray<string> =>
  [...read(document).matchAll(/\]\((?!\w+:)([^)#]+)/g)].map(([, target = ""]) =>
    Path.join(Path.dirname(document), target)
  )

/** The programs in the comments of the sources, and in the documents that users read. */
export const examples = (): ReadonlyArray<Example> => {
  const sources = filesBelow("src").filter((path) => path.endsWith(".ts"))
  return [...documents, ...sources].flatMap((path) => {
    const text = read(path)
    return [...text.matchAll(fence)].map(({ groups, index }) => {
      const line = text.slice(0, index).split("\n").length + 1
      const info = groups?.["info"]?.trim().split(" ") ?? []
      return {
        path,
        line,
        code: (groups?.["code"] ?? "")
          .split("\n")
          .map((line) => (path.endsWith(".ts") ? line.replace(/^[ \t]*\* ?/, "") : line))
          .join("\n"),
        isRun: info.includes("run"),
        file: info.find((word) => word.startsWith("file="))?.slice("file=".length) ?? `line_${line}.ts`,
        output: groups?.["output"]
      }
    })
  })
}

/** Writes the programs into a folder, those of one document or module together, and returns their paths. */
export const writeExamples = (folder: string, examples: ReadonlyArray<Example>): ReadonlyArray<string> => {
  Fs.rmSync(folder, { recursive: true, force: true })
  return examples.map(({ code, file, path }) => {
    const program = Path.join(folder, path.replaceAll(/[/.]/g, "_"), file)
    Fs.mkdirSync(Path.dirname(program), { recursive: true })
    Fs.writeFileSync(program, code)
    return program
  })
}

// =============================================================================
// Built files
// =============================================================================

const imported = /(?:\bfrom|\bimport)\s*\(?\s*"([^"]+)"/g

const withoutComments = (text: string): string => text.replace(/\/\*[\s\S]*?\*\//g, "")

/**
 * The modules of others that can be reached from a built file of this package, each with a file that names it. Modules of
 * this package whose names are in `except` are not followed.
 */
export const foreignModules = (built: string, except: ReadonlyArray<string> = []): ReadonlyMap<string, string> => {
  const foreign = new Map<string, string>()
  const extension = built.endsWith(".d.ts") ? ".d.ts" : ".js"
  const seen = new Set<string>()
  const visit = (path: string): void => {
    if (seen.has(path) || except.includes(Path.basename(path, extension))) return
    seen.add(path)
    for (const [, specifier = ""] of withoutComments(read(path)).matchAll(imported)) {
      if (specifier.startsWith(".")) {
        visit(Path.join(Path.dirname(path), specifier.replace(/\.(ts|js)$/, extension)))
      } else foreign.set(specifier, path)
    }
  }
  visit(built)
  return foreign
}
