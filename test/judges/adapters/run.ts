/** Judges the adapters for frameworks: their types first, then each file of cases, in a process of its own. */
import * as ChildProcess from "node:child_process"
import * as Path from "node:path"
import { writeBlocks } from "./blocks.ts"

const root = Path.join(import.meta.dirname, "../../..")

const node = (...args: ReadonlyArray<string>): void => {
  const { status } = ChildProcess.spawnSync(process.execPath, args, { cwd: import.meta.dirname, stdio: "inherit" })
  if (status !== 0) process.exitCode = 1
}

writeBlocks()
node(Path.join(root, "node_modules/typescript/bin/tsc"), "-p", ".", "--pretty", "false")
for (const file of ["ai-sdk.ts", "claude-agent.ts", "deepagents.ts", "computesdk.ts", "bash-tool.ts", "guide.ts"])
  node(file)
