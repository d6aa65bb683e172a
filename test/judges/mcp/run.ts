/**
 * Has the tools of the protocol's makers judge `lightbox mcp`, on the twin: `node test/judges/mcp/run.ts`
 *
 * Prints a line of JSON for each judge, and ends with another status than 0 if something failed that is not expected to.
 */
import * as ChildProcess from "node:child_process"
import * as Fs from "node:fs"

const cwd = import.meta.dirname

const run = (program: string, ...args: ReadonlyArray<string>): void => {
  // What the installation prints is no verdict.
  const stdio = program === "npm" ? (["ignore", 2, 2] as const) : "inherit"
  const { error, status } = ChildProcess.spawnSync(program, args, {
    cwd,
    stdio: typeof stdio === "string" ? stdio : [...stdio]
  })
  if (error !== undefined) throw error
  if (status !== 0) process.exitCode = 1
}

if (!Fs.existsSync(`${cwd}/node_modules/.package-lock.json`)) {
  run("npm", "ci", "--omit=optional", "--ignore-scripts", "--no-audit", "--no-fund")
}
run(process.execPath, "../../../node_modules/typescript/bin/tsc", "-p", ".", "--pretty", "false")
for (const file of ["conformance.ts", "client.ts", "inspector.ts"]) run(process.execPath, file)
