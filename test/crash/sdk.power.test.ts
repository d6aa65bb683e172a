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

const seen = new Set<string>()

layer(NodeServices.layer, { excludeTestServices: true })(
  "a process that uses the SDK and is killed at a call",
  (it) => {
    it.effect.each(["load", "remove", "volumes", "sweep"])(
      "during %s leaves nothing that one sweep does not remove, and names that resolve",
      (part) =>
        Effect.gen(function* () {
          const root = yield* temporary
          const library = yield* Places.compile(root)
          const args = (part: string, folder: string) => [program, part, `${folder}/home`, `${folder}/files`]
          const template = `${root}/template`
          yield* run(process.execPath, args("prepare", template))
          const copy = (to: string) =>
            Effect.promise(() => Fs.promises.cp(template, to, { recursive: true, verbatimSymlinks: true }))
          yield* copy(`${root}/recorded`)
          const calls = yield* Places.record(library, `${root}/recorded`, args(part, `${root}/recorded`))
          yield* run(process.execPath, args("audit", `${root}/recorded`))
          const places = Places.choose(calls, isAll ? "all" : seen)
          const faults: Array<string> = []
          const sites = new Set<string>()
          yield* Effect.forEach(
            places,
            (place) => {
              const folder = `${root}/${place.when}-${place.number}`
              return Effect.gen(function* () {
                yield* copy(folder)
                const site = yield* Places.killAt(library, folder, args(part, folder), place)
                sites.add(site)
                yield* Effect.mapError(
                  run(process.execPath, args("audit", folder)),
                  ({ message }) => `${site} (${place.number}): ${message}`
                )
                yield* Effect.promise(() => Fs.promises.rm(folder, { recursive: true }))
              }).pipe(
                Effect.catchCause((cause) =>
                  Effect.sync(() => {
                    faults.push(Cause.pretty(cause))
                    if (process.env.KEEP) Fs.appendFileSync(process.env.KEEP, `${Cause.pretty(cause)}\n`)
                  })
                )
              )
            },
            { concurrency: Os.availableParallelism(), discard: true }
          )
          assert.deepStrictEqual(faults, [])
          yield* Console.log(
            `${part}: ${calls.length} calls, killed at ${places.length}, ${sites.size} of them different`
          )
        }),
      3_600_000
    )
  }
)
