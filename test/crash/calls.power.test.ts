/**
 * A process is killed before and after its calls that change the file system, and one sweep of another finds everything.
 * By default once for each place in the code and the home; around all calls with `LIGHTBOX_CALLS=all`.
 */
import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, layer } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Console from "effect/Console"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import * as Fs from "node:fs"
import * as Os from "node:os"
import { fileURLToPath } from "node:url"
import { vi } from "vitest"
import type * as Cleanup from "../../src/Cleanup.ts"
import * as MicrosandboxMemory from "../../src/MicrosandboxMemory.ts"
import * as Reaper from "../../src/Reaper.ts"
import * as Sandbox from "../../src/Sandbox.ts"
import { run } from "../host/Subprocess.ts"
import { temporary } from "../support.ts"
import { auditHome, prepare } from "./audit.ts"
import * as Places from "./Places.ts"
import { parts } from "./work.ts"

const program = fileURLToPath(new URL("programs/calls.ts", import.meta.url))

const isAll = process.env["LIGHTBOX_CALLS"] === "all"

/** Of one test. A machine on which much else goes on needs far more than an idle one. */
const limit = isAll ? 4 * 60 * 60_000 : 30 * 60_000

const onHome = <A, E, R>(home: string, effect: Effect.Effect<A, E, R>) =>
  Effect.provide(effect, Layer.fresh(MicrosandboxMemory.layer({ home, sweep: false, memorySnapshots: true })))

/** Copies a home, with its sockets, to which nobody listens any more. */
const copy = (from: string, to: string) => run("cp", ["-a", from, to])

/** How far the clock is ahead: enough for whatever is given a moment to begin. */
let ahead = 0

const verdictsOf = (report: Cleanup.Report, wanted: ReadonlyArray<Cleanup.Verdict["verdict"]>) =>
  report.verdicts.filter(({ verdict }) => wanted.includes(verdict))

class Tools extends Context.Service<Tools, { readonly root: string; readonly library: string }>()(
  "effect-lightbox/test/crash/calls.power.test/Tools"
) {}

const tools = Layer.effect(
  Tools,
  Effect.gen(function* () {
    // Sockets are made below it, and the path of a socket is short.
    const root = yield* temporary
    Fs.mkdirSync(`${root}/template/files`, { recursive: true })
    yield* onHome(`${root}/template/home`, prepare("main", "plain"))
    const library = yield* Places.compile(root)
    const now = Date.now
    vi.spyOn(Date, "now").mockImplementation(() => now() + ahead)
    yield* Effect.addFinalizer(() => Effect.sync(() => vi.restoreAllMocks()))
    return { root, library }
  })
)

/** Kills a program at a place, beside a living process, and looks at what a sweep makes of it. */
const killAndAudit = Effect.fnUntraced(function* (template: string, part: string, place: Places.Place) {
  const { library, root } = yield* Tools
  const folder = `${root}/${part}-${place.when}-${place.number}`
  const [home, files] = [`${folder}/home`, `${folder}/files`]
  yield* copy(template, folder)
  const scope = yield* Scope.make()
  const others = yield* Layer.buildWithScope(
    Layer.fresh(MicrosandboxMemory.layer({ home, sweep: false, memorySnapshots: true })),
    scope
  )
  const living = yield* Sandbox.launch({ snapshot: "main", name: "living" }).pipe(
    Scope.provide(scope),
    Effect.provideContext(others)
  )
  const version = living.exec("cat", ["/etc/version"], { check: true })
  const before = (yield* version).stdout
  const site = yield* Places.killAt(library, folder, [program, part, home, files], place)
  assert.isDefined(site, `${part}, to be killed ${place.when} ${place.number}`)
  const what = `${part}, killed ${site} (${place.number})`
  const work = parts[part] ?? parts["core"] ?? (() => Effect.void)
  const sweep = Effect.gen(function* () {
    ahead += 60_000
    const report = yield* Reaper.sweep()
    assert.isTrue(report.isComplete, what)
    assert.deepStrictEqual(verdictsOf(report, ["failed"]), [], what)
  })
  yield* Effect.gen(function* () {
    yield* sweep
    assert.deepStrictEqual(verdictsOf(yield* Reaper.sweep(), ["removed", "failed"]), [], `a second sweep: ${what}`)
    assert.strictEqual((yield* version).stdout, before, `what lives: ${what}`)
    yield* Scope.close(scope, Exit.void)
    yield* auditHome(what, "main", files)
    // What was cut short can be done, and leaves nothing either.
    yield* Effect.scoped(work("main", "plain", files))
    yield* sweep
  }).pipe((effect) => onHome(home, effect))
  yield* onHome(home, auditHome(`done again: ${what}`, "main", files))
  yield* Effect.promise(() => Fs.promises.rm(folder, { recursive: true }))
  return site
})

/** Kills a program at many places, and returns all of its calls. */
const killEverywhere = Effect.fnUntraced(function* (template: string, part: string) {
  const { library, root } = yield* Tools
  const folder = `${root}/${part}`
  yield* copy(template, folder)
  const calls = yield* Places.record(library, folder, [program, part, `${folder}/home`, `${folder}/files`])
  const places = Places.choose(calls, isAll ? "all" : seen)
  const sites = new Set<string>()
  // All of what is wrong, not only the first of it.
  const faults: Array<string> = []
  yield* Effect.forEach(
    places,
    (place) =>
      Effect.matchCause(killAndAudit(template, part, place), {
        onFailure: (cause) => faults.push(Cause.pretty(cause)),
        onSuccess: (site) => sites.add(site)
      }),
    { concurrency: Os.availableParallelism(), discard: true }
  )
  assert.deepStrictEqual(faults, [])
  yield* Console.log(`${part}: ${calls.length} calls, killed at ${places.length}, ${sites.size} of them different`)
  return calls
})

/** The sites that were tried. */
const seen = new Set<string>()

layer(Layer.provideMerge(tools, NodeServices.layer), { excludeTestServices: true, timeout: limit })(
  "a process killed at a call",
  (it) => {
    it.effect.each(Object.keys(parts))(
      "during %s leaves nothing that one sweep does not remove, and names that boot",
      (part) =>
        Effect.gen(function* () {
          const { root } = yield* Tools
          const calls = yield* killEverywhere(`${root}/template`, part)
          assert.isAbove(calls.length, 30)
        }),
      limit
    )

    it.effect(
      "during a sweep leaves nothing that the next sweep does not remove, and names that boot",
      () =>
        Effect.gen(function* () {
          const { library, root } = yield* Tools
          const remains = `${root}/remains`
          yield* copy(`${root}/template`, remains)
          // What dead processes have left of each kind: killed after a note, when there is something to it.
          const kinds = new Set<string>()
          for (const part of Object.keys(parts)) {
            const folder = `${root}/again-${part}`
            yield* copy(`${root}/template`, folder)
            const calls = yield* Places.record(library, folder, [program, part, `${folder}/home`, `${folder}/files`])
            const done = calls.filter(({ isDone }) => isDone)
            for (const [index, { site }] of done.entries()) {
              const kind = /^symlink .*owners\/…\/([a-z]+)\.…$/.exec(site)?.[1]
              if (kind === undefined || kind === "staged" || kinds.has(kind)) continue
              const forgotten = done.findIndex(
                (call, at) => at > index && call.site === site.replace("symlink", "unlink")
              )
              const last = done[forgotten - 1] ?? done.at(-1)
              if (last === undefined) continue
              kinds.add(kind)
              const args = [program, part, `${remains}/home`, `${remains}/files`]
              assert.isDefined(yield* Places.killAt(library, remains, args, { number: last.number, when: "after" }))
            }
          }
          assert.sameMembers([...kinds], ["sandbox", "capture", "load", "unnamed", "file", "name", "use", "renamed"])
          const calls = yield* killEverywhere(remains, "sweep")
          assert.isAbove(calls.length, 50)
        }),
      limit
    )
  }
)
