/** The programs of the guide print what the guide shows. Those of frameworks without a module of their own are judged by it. */
import * as Assert from "node:assert/strict"
import * as ChildProcess from "node:child_process"
import * as Path from "node:path"
import { judge, versionOf } from "../cases.ts"
import { type Block, blocks } from "./blocks.ts"

const runner = Path.join(import.meta.dirname, "../../examples/runPrograms.ts")

const run = ({ file, output }: Block): void => {
  const { stderr, stdout } = ChildProcess.spawnSync(process.execPath, [runner, file], { encoding: "utf8" })
  Assert.equal(stdout, `${output}\u00000\n`, stderr)
}

/** The package of a framework that the guide has an example for, and nothing else. */
const examples: { readonly [title: string]: string } = {
  Mastra: "@mastra/core",
  "OpenAI Agents SDK": "@openai/agents-core"
}

for (const block of blocks) {
  const name = examples[block.title]
  if (name === undefined) run(block)
  else {
    await judge(`${block.title} (example)`, name, versionOf(import.meta.dirname, name), {
      "prints what the guide shows": async () => run(block)
    })
  }
}
