/**
 * Measures the benchmarks of one place: `node test/bench/measure.ts PLACE ROUNDS FILE [NAMES…]`
 *
 * Prints each row, and writes what was measured so far to the file.
 */
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Cause from "effect/Cause"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Schema from "effect/Schema"
import * as Os from "node:os"
import * as MicrosandboxLocal from "../../src/MicrosandboxLocal.ts"
import * as MicrosandboxMemory from "../../src/MicrosandboxMemory.ts"
import * as Interrupt from "../host/Interrupt.ts"
import * as Places from "./places.ts"
import * as Row from "./Row.ts"
import * as StandIn from "./standIn/StandIn.ts"
import * as Table from "./table.ts"

const encode = Schema.encodeEffect(Schema.fromJsonString(Places.Measured))

const [, , wanted, rounds, file = "", ...names] = process.argv

const program = Effect.gen(function* () {
  const fs = yield* FileSystem.FileSystem
  const place = yield* Schema.decodeUnknownEffect(Row.Place)(wanted)
  let measured: Places.Measured = {
    place,
    host: process.env["LIGHTBOX_HOST"] === "emulated" ? "emulated" : "native",
    platform: `${process.platform} ${process.arch}`,
    processors: Os.availableParallelism(),
    node: process.version,
    rows: [],
    failures: []
  }
  const add = (more: Partial<Places.Measured>) =>
    Effect.suspend(() => {
      measured = { ...measured, ...more }
      return Effect.flatMap(encode(measured), (json) => fs.writeFileString(file, json))
    })
  const driver =
    place === "machine"
      ? MicrosandboxMemory.layer()
      : place === "stand-in"
        ? StandIn.layer
        : MicrosandboxLocal.layer({ memory: "256M", bootTimeout: "100 seconds" })
  yield* Effect.forEach(Places.benchesOf(place, names), (bench) =>
    bench.rows(Number(rounds), place).pipe(
      Effect.scoped,
      Effect.provide(driver),
      Effect.matchCauseEffect({
        onSuccess: (rows) =>
          Effect.andThen(
            Effect.forEach(rows, (row) => Console.log(Table.line(row))),
            add({ rows: [...measured.rows, ...rows] })
          ),
        onFailure: (cause) => {
          const problem = Cause.pretty(cause)
          return Effect.andThen(
            Console.log(`${bench.name} could not be measured: ${problem}`),
            add({ failures: [...measured.failures, { bench: bench.name, problem }] })
          )
        }
      })
    )
  )
  return measured.failures.length === 0 ? 0 : 1
})

program.pipe(Effect.provide(NodeServices.layer), Interrupt.runMain)
