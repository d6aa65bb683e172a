/** How programs run by `Lightbox.runMain` end. */
import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import * as ChildProcess from "node:child_process"
import { fileURLToPath } from "node:url"
import * as MicrosandboxMemory from "../../src/MicrosandboxMemory.ts"
import * as Reaper from "../../src/Reaper.ts"
import * as Sandbox from "../../src/Sandbox.ts"

const program = fileURLToPath(new URL("programs/main.ts", import.meta.url))

interface Ended {
  readonly status: number | null
  readonly said: ReadonlyArray<string>
  /** Its standard error. */
  readonly complaint: string
}

/** Runs the program, and sends it a signal when it prints the word for it. */
const end = (
  home: string,
  args: ReadonlyArray<string>,
  signals: { readonly [said: string]: NodeJS.Signals } = {}
): Effect.Effect<Ended> =>
  Effect.callback((resume) => {
    const said: Array<string> = []
    const child = ChildProcess.spawn(process.execPath, [program, home, ...args], {
      stdio: ["ignore", "pipe", "pipe"]
    })
    let complaint = ""
    child.stderr.setEncoding("utf8").on("data", (text: string) => (complaint += text))
    child.stdout.setEncoding("utf8")
    child.stdout.on("data", (text: string) => {
      for (const line of text.trim().split("\n")) {
        // The rest is what Effect logs.
        if (!["ready", "releasing", "released", "out of order"].includes(line)) continue
        said.push(line)
        const signal = signals[line]
        if (signal !== undefined) child.kill(signal)
      }
    })
    child.on("close", (status) => resume(Effect.succeed({ status, said, complaint })))
    return Effect.sync(() => child.kill("SIGKILL"))
  })

const makeHome = FileSystem.FileSystem.use((fs) => fs.makeTempDirectoryScoped({ prefix: "m" }))

/** The sandboxes that are left, without and with a sweep. */
const left = (home: string) =>
  Effect.gen(function* () {
    const names = Effect.map(Sandbox.list(), (all) => all.map(({ name }) => name))
    const before = yield* names
    yield* Reaper.sweep()
    return [before, yield* names]
  }).pipe(Effect.provide(Layer.fresh(MicrosandboxMemory.layer({ home, sweep: false }))))

layer(NodeServices.layer, { excludeTestServices: true })("a program", (it) => {
  const cases = [
    { what: "wait", signal: "SIGINT", status: 130 },
    { what: "wait", signal: "SIGTERM", status: 143 },
    { what: "wait", signal: "SIGHUP", status: 129 },
    { what: "succeed", signal: undefined, status: 0 },
    { what: "fail", signal: undefined, status: 1 },
    { what: "die", signal: undefined, status: 1 },
    { what: "throw", signal: undefined, status: 1 }
  ] as const
  for (const { signal, status, what } of cases) {
    it.effect(`releases its resources and exits with status ${status}: ${signal ?? what}`, () =>
      Effect.gen(function* () {
        const home = yield* makeHome
        const ended = yield* end(home, [what], signal === undefined ? {} : { ready: signal })
        assert.deepInclude(ended, { status, said: ["ready", "released"] })
        assert.deepStrictEqual(yield* left(home), [[], []])
      })
    )
  }

  it.effect("does not wait for a release that never ends, and leaves it to the sweep", () =>
    Effect.gen(function* () {
      const home = yield* makeHome
      const ended = yield* end(home, ["slow", "2000"], { ready: "SIGTERM" })
      assert.deepInclude(ended, { status: 143, said: ["ready", "releasing"] })
      assert.include(ended.complaint, "Not everything was released")
      yield* left(home)
      assert.deepStrictEqual(yield* left(home), [[], []])
    })
  )

  it.effect("exits at once on a second signal", () =>
    Effect.gen(function* () {
      const home = yield* makeHome
      const ended = yield* end(home, ["slow"], { ready: "SIGINT", releasing: "SIGTERM" })
      assert.deepInclude(ended, { status: 130, said: ["ready", "releasing"] })
      assert.include(ended.complaint, "Not everything was released")
      yield* left(home)
      assert.deepStrictEqual(yield* left(home), [[], []])
    })
  )
})
