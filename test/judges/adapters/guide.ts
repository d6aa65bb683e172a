/** The programs of the guide print what the guide shows. */
import * as ChildProcess from "node:child_process"
import * as Path from "node:path"
import { blocks } from "./blocks.ts"

const runner = Path.join(import.meta.dirname, "../../examples/runPrograms.ts")

for (const { file, output, title } of blocks) {
  const { stderr, stdout } = ChildProcess.spawnSync(process.execPath, [runner, file], { encoding: "utf8" })
  if (stdout === `${output}\u00000\n`) continue
  process.exitCode = 1
  console.error(`The guide's program for ${title} printed something else than it shows:\n${stdout}\n${stderr}`)
}
