import { assert, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import * as Path from "effect/Path"
import * as ChildProcess from "effect/process/ChildProcess"
import * as Stream from "effect/Stream"
import { fileURLToPath } from "node:url"
import * as Support from "../microvm/support.ts"

const main = fileURLToPath(new URL("../../src/bin.ts", import.meta.url))

const start = Effect.fnUntraced(function* (
  args: ReadonlyArray<string>,
  options: Pick<ChildProcess.CommandOptions, "detached">
) {
  return yield* ChildProcess.make(process.execPath, [main, ...args], {
    stdin: "ignore",
    stderr: "inherit",
    env: { MSB_HOME: (yield* Support.Home).path },
    extendEnv: true,
    killSignal: "SIGKILL",
    ...options
  })
})

/** Calls the command line. What it leaves running belongs to its process group, which must not be ended with it. */
const lightbox = (...args: ReadonlyArray<string>) => Support.outcome(start(args, { detached: false }))

/** The output of a call that succeeds. */
const said = Effect.fnUntraced(function* (...args: ReadonlyArray<string>) {
  const { exitCode, stdout } = yield* lightbox(...args)
  assert.strictEqual(exitCode, 0, stdout)
  return stdout
})

/** A folder like that of a program with this package installed. */
const project = Effect.gen(function* () {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const { files } = yield* Support.Home
  const modules = path.join(files, "node_modules")
  yield* fs.makeDirectory(modules)
  yield* fs.symlink(fileURLToPath(new URL("../..", import.meta.url)), path.join(modules, "effect-lightbox"))
  return files
})

layer(Support.layer, { excludeTestServices: true })("the command line", (it) => {
  it.effect("goes from a first definition to a sandbox, and removes it again", () =>
    Effect.gen(function* () {
      const path = yield* Path.Path
      const file = path.join(yield* project, "first.ts")
      yield* said("init", file, "--image", Support.image)
      assert.include(yield* said("plan", file), "3 of 3 steps to run.")
      assert.match(yield* said("build", file), /^hello: generation 1, steps: 3 run, 0 reused, /)

      const once = yield* lightbox(
        ..."run hello --memory 256M --env WHO=world --workdir /srv -- sh -c".split(" "),
        'sh hello.sh "$WHO"; exit 7'
      )
      assert.deepStrictEqual(once, { stdout: "Hello from a microVM, world.\n", exitCode: 7 })

      const served = ["--service", "web=mkdir /www; exec httpd -f -p 127.0.0.1:8000 -h /www", "--ready", "web=8000"]
      assert.strictEqual(
        yield* said("run", "hello", "--name", "web", "--memory", "256M", "--detach", ...served),
        "web\n"
      )
      assert.strictEqual(yield* said("ps", "--quiet"), "web\n")
      assert.strictEqual(yield* said("wait", "--for", "8000", "--for", "file:/www", "web"), "web\n")
      assert.strictEqual(yield* said("shell", "web", "--", "cat", "/srv/hello.sh"), "echo Hello from a microVM, $1.\n")
      yield* said("rm", "--force", "web")
      yield* Support.assertNothingLeft({ snapshots: ["hello"] })
    })
  )

  it.effect("runs a group until Ctrl-C, and leaves nothing of it", () =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const path = yield* Path.Path
      const before = yield* Support.snapshotNames
      const file = path.join((yield* Support.Home).files, "group.ts")
      const small = { image: Support.image, resources: { memory: "256M" } }
      const serve = "mkdir /www; echo served > /www/index.html; exec httpd -f -p 127.0.0.1:8000 -h /www"
      const members = {
        server: { ...small, services: { web: { command: serve, ready: { http: 8000 } } } },
        client: {
          ...small,
          dependsOn: { server: "ready" },
          services: { get: { command: "wget -qO- http://server:8000/" } }
        }
      }
      yield* fs.writeFileString(file, `export default ${JSON.stringify(members)}`)
      const up = yield* start(["up", file], { detached: true })
      const lines = Stream.splitLines(Stream.decodeText(up.stdout))
      const found = yield* Stream.runHead(Stream.filter(lines, (line) => line.startsWith("client/get | ")))
      assert.deepStrictEqual(found, Option.some("client/get | served"))
      yield* up.kill({ killSignal: "SIGINT" })
      assert.strictEqual(Number(yield* up.exitCode), 130)
      yield* Support.assertNothingLeft({ snapshots: before })
    }).pipe(Effect.scoped)
  )

  it.effect("leaves nothing of a build stopped with Ctrl-C", () =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const path = yield* Path.Path
      const before = yield* Support.snapshotNames
      const file = path.join((yield* Support.Home).files, "endless.ts")
      yield* fs.writeFileString(
        file,
        `export const endless = { name: "endless", image: "${Support.image}", setup: ["echo begun; sleep 1000"] }`
      )
      // As a terminal does, the signal goes to all processes of the group, virtual machines included.
      const build = yield* start(["build", file, "--json"], { detached: true })
      const lines = Stream.splitLines(Stream.decodeText(build.stdout))
      yield* Stream.runDrain(Stream.takeUntil(lines, (line) => line.includes('"StepOutput"')))
      yield* build.kill({ killSignal: "SIGINT" })
      assert.strictEqual(Number(yield* build.exitCode), 130)
      yield* Support.assertNothingLeft({ snapshots: before })
    }).pipe(Effect.scoped)
  )
})
