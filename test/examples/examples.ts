/** The examples, and tests that run each in its own process, as a reader would, one after the other. */
import { assert, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import * as ChildProcess from "effect/process/ChildProcess"
import * as Stream from "effect/Stream"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import * as Microsandbox from "../../src/Microsandbox.ts"
import * as Support from "../microvm/support.ts"

/** Where they are. */
export const folder = fileURLToPath(new URL("../../examples/", import.meta.url))

/** A program, and its outcome. */
interface Example {
  readonly path: string
  /** What it prints, in order. */
  readonly prints: ReadonlyArray<string | RegExp>
  readonly stdin?: string
  /** Sandboxes that are left afterwards. Default: none. */
  readonly leaves?: ReadonlyArray<string>
}

// =============================================================================
// In two forms, on Effect and with promises
// =============================================================================

/** What whole programs print, in memory as well. */
export const programs = {
  "programs/requests": [
    '{"status":"exit code 3","stdout":"hello\\n","stderr":"oops\\n"}',
    '{"status":"too slow","stdout":"begun\\n","stderr":""}',
    '{"status":"exit code 0","stdout":"main.sh\\n","stderr":""}'
  ],
  "programs/ci": [
    '{"name":"unit","exitCode":0,"stderr":""} <testsuite name="unit" tests="1"/>',
    /"name":"smoke","exitCode":1,"stderr":".*there is no suite smoke"} <testsuite name="smoke" tests="0"\/>/
  ],
  "programs/agent": [
    'write: "written"',
    'read a missing file: {"error":"FileError"}',
    'fail: {"exitCode":7,"stdout":"","stderr":"no such package\\n"}',
    'wait: {"error":"too slow","stdout":"working\\n"}',
    'serve: "dev is ready"',
    'fetch: "<h1>hi</h1>"',
    "stop and read the log: true"
  ]
} satisfies { readonly [path: string]: ReadonlyArray<string | RegExp> }

/** In the order in which they need each other. */
const pairs: ReadonlyArray<Example> = [
  { path: "presets/coding-agents", prints: [] },
  { path: "presets/customized", prints: ["prettier"] },
  { path: "snapshots/list", prints: [/^lightbox .*oven\/bun/m, /^tools .*busybox/m] },
  { path: "snapshots/define", prints: ["leave a message", "try it", "Python 3."] },
  { path: "quick-start/run-python", prints: [/^5050$/m] },
  { path: "sandboxes/run-and-tear-down", prints: ["copilot 1.0.0", "gemini 1.0.0", "codex 1.0.0", "pi 1.0.0"] },
  { path: "sandboxes/commands", prints: ["3 false hello", "oops", /total \d+/, "done"] },
  { path: "sandboxes/ports", prints: ["hello"] },
  { path: "streaming/output", prints: ["package 1\npackage 2\npackage 3\n", "warn", "exit code 0"] },
  { path: "sandboxes/detach", prints: ["copilot 1.0.0"], leaves: ["agent-1 running"] },
  { path: "pool/agents", prints: [], leaves: ["agent-1 running", "agent-2 running"] },
  {
    path: "connect/connect",
    prints: ["agent-1 running", "agent-2 running", "pi 1.0.0"],
    leaves: ["agent-1 running", "agent-2 running"]
  },
  { path: "cleanup/stop", prints: ["agent-1 stopped"], leaves: ["agent-1 stopped", "agent-2 running"] },
  { path: "cleanup/remove", prints: [] },
  { path: "mounts/project", prints: ["Ran 2 tests", "OK"] },
  { path: "caching/volumes", prints: [/^npm-cache (2048|2147483648) /m, "tier", "ci", "false"] },
  { path: "caching/1-shared", prints: ["[ 0, 0 ]"] },
  { path: "caching/2-hand-off", prints: ["myapp 1.0"] },
  { path: "caching/3-prime", prints: [/^(\w{32}  \S+weights\s+){2}$/] },
  {
    path: "debug/failed-build",
    stdin: "ls -d /work\n",
    prints: ["setup step exited with code 1: cat /work/package.json", /^\/work$/m]
  },
  { path: "debug/slow-pull", prints: [/resolv/i, /^test$/m] },
  { path: "snapshots/remove", prints: ["false"] }
]

/** These need no others. */
const apart: ReadonlyArray<Example> = Object.entries(programs).map(([path, prints]) => ({ path, prints }))

/** In this form only, and they need no others. */
const single: ReadonlyArray<Example> = [
  { path: "pool/main.ts", prints: [/^agent did: release$/m, /sandboxes handed out/] },
  {
    path: "build-events/main.ts",
    prints: [
      "events; the first and the last",
      /Snapshot\.step .*step\.index=2/,
      /Sandbox\.exec .*exit_code=0/,
      "Metrics:",
      /lightbox_build_steps_run_total\s+\d/,
      /lightbox_launch_duration_seconds_count\s+\d/
    ]
  },
  { path: "programs/database.ts", prints: ["scones|4\ntea|2\n"] },
  { path: "services/on-the-host.ts", prints: [/^4 passed, 0 failed$/m] }
]

const forms = [".ts", ".promise.ts"] as const

const inForms = (
  examples: ReadonlyArray<Example>,
  of: (index: number) => ReadonlyArray<number>
): ReadonlyArray<Example> =>
  examples.flatMap((example, index) =>
    of(index).map((form) => ({ ...example, path: `${example.path}${forms[form % forms.length]}` }))
  )

/** In this form only. */
const last: ReadonlyArray<Example> = [
  { path: "cleanup/volumes.promise.ts", prints: ["0 removed"] },
  { path: "cleanup/volumes.ts", prints: ["pr-1234: kept"] }
]

/** All of them. */
export const all: ReadonlyArray<Example> = [...inForms([...pairs, ...apart], () => [0, 1]), ...last, ...single]

const ofThisRun = (index: number): ReadonlyArray<number> => [
  process.env["LIGHTBOX_FORMS"] === "others" ? index + 1 : index
]

/**
 * Those of one run: of each pair one form, the next pair's in the other. They share names and snapshots, so each works
 * on what an example in the other form has made. `LIGHTBOX_FORMS=others` swaps the forms.
 */
export const chosen: ReadonlyArray<Example> = [...inForms(pairs, ofThisRun), ...last]

/** Those of one run that need no others. */
export const chosenApart: ReadonlyArray<Example> = [...inForms(apart, ofThisRun), ...single]

// =============================================================================
// Tests
// =============================================================================

const run = Effect.fnUntraced(function* ({ path, stdin }: Example) {
  const home = yield* Support.Home
  const child = yield* ChildProcess.make(process.execPath, [Path.join(folder, path)], {
    cwd: home.files,
    env: { MSB_HOME: home.path },
    extendEnv: true,
    // What it leaves running is in its process group.
    detached: false,
    stdin: stdin === undefined ? "ignore" : Stream.make(new TextEncoder().encode(stdin))
  })
  return yield* Effect.all(
    { printed: Stream.mkString(Stream.decodeText(child.all)), status: child.exitCode },
    { concurrency: "unbounded" }
  )
}, Effect.scoped)

/** The project that some use, where they run: the file system must keep a guest's attributes of files. */
const project = Layer.effectDiscard(
  Effect.gen(function* () {
    const fs = yield* FileSystem.FileSystem
    yield* fs.copy(Path.join(folder, "my-project"), Path.join((yield* Support.Home).files, "my-project"))
  })
)

/** Tests of some of the examples, on their own home. */
export const suite = (title: string, examples: ReadonlyArray<Example>, snapshots: ReadonlyArray<string>): void =>
  layer(Layer.provideMerge(project, Support.layer), { excludeTestServices: true })(title, (it) => {
    for (const example of examples) {
      it.effect(example.path, () =>
        Effect.gen(function* () {
          const driver = yield* Microsandbox.Microsandbox
          const { printed, status } = yield* run(example)
          assert.strictEqual(Number(status), 0, printed)
          for (const expected of example.prints) {
            if (typeof expected === "string") assert.include(printed, expected)
            else assert.match(printed, expected)
          }
          const left = (yield* driver.listSandboxes()).map(({ name, status }) => `${name} ${status}`)
          assert.deepStrictEqual(left.toSorted(), example.leaves ?? [])
        })
      )
    }

    it.effect("leave nothing but the snapshots they built", () => Support.assertNothingLeft({ snapshots }))
  })
