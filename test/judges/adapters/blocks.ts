/** The programs of the guide to agent frameworks, which only compile and run where the frameworks are installed. */
import * as Fs from "node:fs"
import * as Path from "node:path"

const root = Path.join(import.meta.dirname, "../../..")
const folder = Path.join(import.meta.dirname, ".cache/guide")

export interface Block {
  /** The heading above it. */
  readonly title: string
  readonly file: string
  readonly code: string
  /** What it prints, as the guide shows it. */
  readonly output: string
}

const fence = /^#+ (?<title>.*)$|^```typescript run\n(?<code>[\s\S]*?)^```\n\n```text\n(?<output>[\s\S]*?)^```/gm

export const blocks: ReadonlyArray<Block> = (() => {
  const guide = Fs.readFileSync(Path.join(root, "examples/guides/frameworks.md"), "utf8")
  const found: Array<Block> = []
  let heading = ""
  for (const { groups } of guide.matchAll(fence)) {
    const { code, output = "", title } = groups ?? {}
    if (title !== undefined) heading = title
    if (code !== undefined) {
      found.push({ title: heading, file: Path.join(folder, `${found.length}.ts`), code, output })
    }
  }
  return found
})()

/** Writes them where they find the frameworks. */
export const writeBlocks = (): void => {
  Fs.rmSync(folder, { recursive: true, force: true })
  Fs.mkdirSync(folder, { recursive: true })
  for (const { code, file } of blocks) Fs.writeFileSync(file, code)
}
