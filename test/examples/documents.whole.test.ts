import { assert, describe, it } from "@effect/vitest"
import * as ChildProcess from "node:child_process"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import * as Sources from "../package/sources.ts"

const programs = Sources.examples().filter(({ isRun }) => isRun)

/** Runs all of them in one process. */
const runAll = (): { readonly results: ReadonlyArray<string>; readonly errors: string } => {
  const folder = Path.join(Sources.root, ".cache", "programs")
  const { stderr, stdout } = ChildProcess.spawnSync(
    process.execPath,
    [fileURLToPath(new URL("runPrograms.ts", import.meta.url)), ...Sources.writeExamples(folder, programs)],
    { encoding: "utf8", timeout: 180_000, killSignal: "SIGKILL" }
  )
  Fs.rmSync(folder, { recursive: true, force: true })
  return { results: stdout.split(/(?<=\0\d+\n)/), errors: stderr }
}

describe("documents", () => {
  let ran: ReturnType<typeof runAll> | undefined

  it.each(programs.map((program, index) => ({ ...program, index })))(
    "$path:$line prints what the document shows",
    { timeout: 200_000 },
    ({ index, output }) => {
      ran ??= runAll()
      const [printed, exitCode] = ran.results[index]?.split("\0") ?? []
      assert.strictEqual(exitCode, "0\n", ran.errors)
      if (output !== undefined) assert.strictEqual(printed, output)
    }
  )
})
