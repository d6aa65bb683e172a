import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as ChildProcess from "effect/process/ChildProcess"
import * as ChildProcessSpawner from "effect/process/ChildProcessSpawner"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import { Unknown } from "../../src/LightboxError.ts"
import * as MicrosandboxMemory from "../../src/MicrosandboxMemory.ts"
import { Cli, definitions, detached, succeeding, test } from "./support.ts"

const web = fileURLToPath(new URL("programs/web.ts", import.meta.url))

/** The candidates for the last word, without their descriptions. */
const candidates = Effect.fnUntraced(function* (...words: ReadonlyArray<string>) {
  const { stdout } = yield* succeeding("__complete", "--", ...words)
  return stdout
    .split("\n")
    .map((line) => line.replace(/\t.*/, ""))
    .filter((line) => line !== "")
})

describe("completion", () => {
  test(
    "offers commands, flags and the values of flags",
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* candidates("roll"), ["rollback"])
      assert.includeMembers([...(yield* candidates(""))], ["run", "image", "jobs", "stats"])
      assert.notInclude(yield* candidates(""), "__complete")
      assert.deepStrictEqual(yield* candidates("volume", "cr"), ["create"])
      assert.deepStrictEqual(yield* candidates("prune", "--d"), ["--dry-run"])
      assert.includeMembers([...(yield* candidates("--home", "/x", "exec", "-"))], ["--interactive", "--json"])
      assert.deepStrictEqual(yield* candidates("run", "--network", "n"), ["none"])
      assert.deepStrictEqual(yield* candidates("run", "--network=n"), ["--network=none"])
      assert.deepStrictEqual(yield* candidates("run", "--cpus", ""), [])
      assert.deepStrictEqual(yield* candidates("run", "--env-file", ""), [":files"])
      assert.deepStrictEqual(yield* candidates("--home", ""), [":files"])
      assert.deepStrictEqual(yield* candidates("build", ""), [":files"])
      assert.include((yield* succeeding("__complete", "--", "roll")).stdout, "rollback\tPoint a name to")
    })
  )

  test(
    "offers the names of what exists",
    Effect.gen(function* () {
      yield* succeeding("build", definitions("two"), "--quiet")
      yield* detached("web")
      yield* detached("wide")
      yield* succeeding("stop", "wide")
      yield* succeeding("volume", "create", "cache")
      yield* succeeding("job", "start", "web", "--id", "server", "sleep", "1000")
      assert.deepStrictEqual(yield* candidates("exec", ""), ["web"])
      assert.deepStrictEqual(yield* candidates("start", ""), ["wide"])
      assert.deepStrictEqual([...(yield* candidates("rm", "-f", "w"))].toSorted(), ["web", "wide"])
      assert.deepStrictEqual([...(yield* candidates("rm", "web", "w"))].toSorted(), ["web", "wide"])
      assert.deepStrictEqual([...(yield* candidates("rm", "--snapshot", ""))].toSorted(), ["plain", "tools"])
      assert.deepStrictEqual(yield* candidates("run", "to"), ["tools"])
      assert.deepStrictEqual(yield* candidates("run", "--image", "al"), ["alpine:3"])
      assert.deepStrictEqual(yield* candidates("run", "-v", ""), ["cache:/"])
      assert.deepStrictEqual(yield* candidates("rollback", "to"), ["tools"])
      assert.deepStrictEqual(yield* candidates("rollback", "tools", ""), [])
      assert.deepStrictEqual(yield* candidates("volume", "rm", ""), ["cache"])
      assert.deepStrictEqual(yield* candidates("rmi", ""), ["alpine:3"])
      assert.deepStrictEqual(yield* candidates("job", "logs", "web", ""), ["server"])
      assert.includeMembers([...(yield* candidates("inspect", ""))], ["web", "tools", "cache", "alpine:3"])
      assert.deepStrictEqual(yield* candidates("cp", ""), ["web:/", ":files"])
      assert.deepStrictEqual(yield* candidates("cp", "web:/e"), [])
      // The words of a command for the guest.
      assert.deepStrictEqual(yield* candidates("exec", "web", ""), [])
      assert.deepStrictEqual(yield* candidates("exec", "web", "ls", ""), [])
      assert.deepStrictEqual(yield* candidates("run", "--image", "alpine:3", ""), [])
    })
  )

  test(
    "is silent if the names cannot be read, and asks for those of the given home without a sweep",
    Effect.gen(function* () {
      const { drivers } = yield* Cli
      const { inject } = yield* MicrosandboxMemory.Control
      yield* inject(MicrosandboxMemory.failAt("listSandboxes", new Unknown({ problem: "no" })))
      const ended = yield* succeeding("__complete", "--", "--home", "/there", "exec", "")
      assert.deepStrictEqual(ended, { status: 0, stdout: "", stderr: "" })
      assert.deepStrictEqual(drivers.at(-1), { sweep: false, home: "/there" })
    })
  )

  test(
    "works in bash",
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const spawner = yield* ChildProcessSpawner.ChildProcessSpawner
      const { folder } = yield* Cli
      const program = Effect.fnUntraced(function* (name: string, script: string) {
        yield* fs.writeFileString(Path.join(folder, name), `#!/bin/sh\n${script}\n`)
        yield* fs.chmod(Path.join(folder, name), 0o755)
      })
      yield* program("lightbox", `exec "${process.execPath}" "${web}" "$@"`)
      yield* program("fake", `printf '%s\\n' web:/ --network=none :files`)
      yield* fs.makeDirectory(Path.join(folder, "sub/inner"), { recursive: true })
      const script = Path.join(folder, "script")
      yield* fs.writeFileString(script, (yield* succeeding("--completions", "bash")).stdout)
      const completed = (typed: string) =>
        spawner.string(
          ChildProcess.make(
            "bash",
            [
              "-c",
              // The part of a word after its last break, as readline passes it.
              'source ./script; COMP_LINE=$1; COMP_POINT=${#1}; _lightbox lightbox "${1##*[ :=]}"; echo "${COMPREPLY[@]}"',
              "bash",
              typed
            ],
            { cwd: folder, extendEnv: true }
          )
        )
      assert.strictEqual(yield* completed("./lightbox stop "), "web\n")
      // After a break in a word, bash replaces only what follows.
      assert.strictEqual(yield* completed("./fake cp web:/zz"), "/ --network=none\n")
      assert.strictEqual(yield* completed("./fake run --network=n"), "web:/ none\n")
      assert.strictEqual(yield* completed("./fake load su"), "web:/ --network=none sub/\n")
    })
  )

  for (const [shell, sign] of [
    ["zsh", "#compdef lightbox"],
    ["fish", "complete -c lightbox"],
    ["powershell", "Register-ArgumentCompleter"]
  ] as const) {
    test(
      `prints a script for ${shell}`,
      Effect.gen(function* () {
        assert.include((yield* succeeding("--completions", shell)).stdout, sign)
      })
    )
  }
})
