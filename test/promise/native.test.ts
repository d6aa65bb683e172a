import { assert, describe, it } from "@effect/vitest"
import * as ChildProcess from "node:child_process"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"

const pathOf = (path: string): string => fileURLToPath(new URL(path, import.meta.url))

describe("the local driver", () => {
  it.each([
    ["Node.js", process.execPath],
    ["Bun", pathOf("../../node_modules/.bin/bun")]
  ])("works through promises under %s, where no microVM is needed", (_, runtime) => {
    const home = Fs.mkdtempSync(Path.join(Os.tmpdir(), "native"))
    const { status, stderr, stdout } = ChildProcess.spawnSync(runtime, [pathOf("programs/native.ts")], {
      encoding: "utf8",
      env: { ...process.env, MSB_HOME: home },
      timeout: 25_000
    })
    assert.deepStrictEqual([status, stdout, stderr], [0, "done\n", ""])
    Fs.rmSync(home, { recursive: true })
  })
})
