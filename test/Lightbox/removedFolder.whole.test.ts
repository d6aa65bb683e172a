import { assert, describe, it } from "@effect/vitest"
import { spawnSync } from "node:child_process"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"

const program = (path: string): string => fileURLToPath(new URL(path, import.meta.url))

const problem = "expected an absolute path, because the working directory does not exist anymore"

/** Runs the command line in a working directory that was removed. */
const lightbox = (...args: ReadonlyArray<string>) => {
  const home = Fs.mkdtempSync(Path.join(Os.tmpdir(), "home-"))
  const { status, stderr } = spawnSync(
    "/bin/sh",
    ["-c", 'd=$(mktemp -d) && cd "$d" && rmdir "$d" && exec "$@"', "sh", process.execPath, ...args],
    { env: { ...process.env, MSB_HOME: home, NO_COLOR: "1" }, encoding: "utf8" }
  )
  Fs.rmSync(home, { recursive: true, force: true })
  return { status, stderr }
}

describe("a working directory that was removed", { timeout: 120_000 }, () => {
  it("is needed only for relative paths, whose field is named", () => {
    const { stderr, stdout } = spawnSync(process.execPath, [program("programs/removedFolder.ts")], { encoding: "utf8" })
    assert.strictEqual(stderr, "")
    const { "Snapshot.copy": copy, ...outcomes } = JSON.parse(stdout)
    assert.include(copy, `steps.2.from: ${problem} (declared at ${program("programs/removedFolder.ts")}:`)
    assert.deepStrictEqual(outcomes, {
      "Snapshot.build": "ok",
      "Snapshot.save": `path: ${problem}`,
      "Snapshot.load": `path: ${problem}`,
      "Image.load": `path: ${problem}`,
      "Image.save": `path: ${problem}`,
      mounts: `mounts./w: ${problem}`,
      "Sandbox.run": "ok",
      "Sandbox.copyIn": `hostPath: ${problem}`,
      "Sandbox.copyOut": `hostPath: ${problem}`,
      "Lightbox.doctor": `home: ${problem}`,
      "MicrosandboxMemory.layer": `home: ${problem}`,
      "MicrosandboxLocal.layer": `home: ${problem}`,
      "the real SDK": "ok"
    })
  })

  it.each([["--version"], ["ls"]])("is not needed by lightbox %s", (...args) => {
    assert.deepStrictEqual(lightbox(program("../cli/programs/lightbox.ts"), ...args), { status: 0, stderr: "" })
  })

  it.each([["init"], ["build", "lightbox.ts"]])("is named by lightbox %s with a relative file", (...args) => {
    const { status, stderr } = lightbox(program("../cli/programs/lightbox.ts"), ...args)
    assert.strictEqual(stderr, `error: Invalid FILE: ${problem}\n`)
    assert.notStrictEqual(status, 0)
  })
})
