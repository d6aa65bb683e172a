/** The same as `calls.power.test.ts` with the real SDK, as far as it goes without a microVM. */
import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, layer } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Fs from "node:fs"
import * as Os from "node:os"
import { fileURLToPath } from "node:url"
import { run } from "../host/Subprocess.ts"
import { temporary } from "../support.ts"
import * as Places from "./Places.ts"

const program = fileURLToPath(new URL("programs/sdk.ts", import.meta.url))

const isAll = process.env["LIGHTBOX_CALLS"] === "all"

/** Of one test. A machine on which much else goes on needs far more than an idle one. */
const limit = isAll ? 4 * 60 * 60_000 : 30 * 60_000

/** By default, calls are left out that change no folder, and what the twin does as well: leases and locks. */
const isTried = ({ site }: Places.Call): boolean =>
  isAll ||
  (/^(open64|mkdir|rename|symlink|unlink|unlinkat|rmdir|remove) /.test(site) &&
    !/ home\/lightbox\/(locks\/|owners\/…(\.lease|\/owner\.json.*)?$)/.test(site))

/** The sites that were tried. */
const seen = new Set<string>()

layer(NodeServices.layer, { excludeTestServices: true })("a process that uses the SDK and is killed", (it) => {
  it.effect.each(["load", "commit", "volumes", "sweep"])(
    "during %s leaves nothing that one sweep does not remove, and names that resolve",
    (part) =>
      Effect.gen(function* () {
        const root = yield* temporary
        const library = yield* Places.compile(root)
        const words = (part: string, folder: string, ...more: ReadonlyArray<string>) => [
          program,
          part,
          `${folder}/home`,
          `${folder}/files`,
          ...more
        ]
        const template = `${root}/template`
        const copy = (to: string) =>
          Effect.promise(() => Fs.promises.cp(template, to, { recursive: true, verbatimSymlinks: true }))
        yield* run(process.execPath, words("prepare", template))
        const recorded = `${root}/recorded`
        yield* copy(recorded)
        const calls = yield* Places.record(library, recorded, words(part, recorded))
        yield* run(process.execPath, words("audit", recorded, part))
        const places = Places.choose(calls.filter(isTried), isAll ? "all" : seen)
        const faults: Array<string> = []
        const sites = new Set<string>()
        // The SDK makes more or fewer calls from run to run.
        const missed: Array<Places.Place> = []
        const killAndAudit = Effect.fnUntraced(function* (place: Places.Place) {
          const folder = `${root}/${place.when}-${place.number}`
          yield* copy(folder)
          const site = yield* Places.killAt(library, folder, words(part, folder), place)
          if (site === undefined) missed.push(place)
          else sites.add(site)
          yield* Effect.mapError(
            run(process.execPath, words("audit", folder, part)),
            ({ message }) => `${part}, killed ${site} (${place.number}): ${message}`
          )
          yield* Effect.promise(() => Fs.promises.rm(folder, { recursive: true }))
        })
        yield* Effect.forEach(
          places,
          (place) =>
            Effect.catchCause(killAndAudit(place), (cause) => Effect.sync(() => faults.push(Cause.pretty(cause)))),
          { concurrency: Os.availableParallelism(), discard: true }
        )
        assert.deepStrictEqual(faults, [])
        assert.isAbove(sites.size, 10)
        assert.isAtMost(missed.length, places.length / 4)
        yield* Console.log(
          `${part}: ${calls.length} calls, killed at ${places.length}, ${sites.size} of them different, ${missed.length} not reached`
        )
      }),
    limit
  )
})
