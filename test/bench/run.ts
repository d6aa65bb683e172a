/**
 * The benchmarks: `npm run bench -- [--rounds 5] [--before FILE] [NAMES…]`
 *
 * Each is measured where it belongs: on this machine, or where microVMs boot, some of them on file systems without and
 * with reflinks, and some also natively, with a stand-in for the microVM (`standIn/StandIn.ts`): emulation distorts
 * their ratios. Prints a table, writes everything to `.cache/bench.json`, and draws what has a reference in
 * `.cache/bench.svg`, with the values of an earlier `bench.json` if it is given. A target that is missed is reported, and
 * is no failure; a benchmark that can not be measured is one.
 */
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import * as Path from "effect/Path"
import * as Schema from "effect/Schema"
import { fileURLToPath } from "node:url"
import * as Interrupt from "../host/Interrupt.ts"
import * as Machine from "../host/Machine.ts"
import { foreground, type Words } from "../host/Subprocess.ts"
import * as Places from "./places.ts"
import * as Plot from "./plot.ts"
import * as Row from "./Row.ts"
import * as Table from "./table.ts"

const root = fileURLToPath(new URL("../..", import.meta.url))

const decode = Schema.decodeEffect(Schema.fromJsonString(Places.Measured))
const encode = Schema.encodeEffect(Places.Report)

/** Measures the benchmarks of one place. */
const measure = Effect.fnUntraced(function* (
  place: Row.Place,
  input: { readonly rounds: number; readonly processors: number; readonly names: ReadonlyArray<string> }
) {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  if (Places.benchesOf(place, input.names).length === 0) return { status: 0, measured: [] }
  yield* Console.log(`\n# ${place}`)
  const file = path.join(root, ".cache", `bench-${place}.json`)
  yield* fs.remove(file, { force: true })
  const words: Words = [
    process.execPath,
    path.join(root, "test/bench/measure.ts"),
    place,
    String(input.rounds),
    file,
    ...input.names
  ]
  const fileSystem = place === "reflinks" ? "xfs" : "ext4"
  const host = ["--name", place, "--fs", fileSystem, "--cpus", String(input.processors), "--timeout", "3 hours"]
  const status = yield* foreground(
    place === "machine" || place === "stand-in"
      ? words
      : [process.execPath, path.join(root, "test/host/run.ts"), ...host, "--", ...words]
  )
  const measured = yield* Effect.option(Effect.flatMap(fs.readFileString(file), decode))
  if (status !== 0) yield* Console.log(`the measurements of ${place} ended with status ${status}`)
  return { status, measured: Option.toArray(measured) }
})

/** What the file system makes of a capture. */
const compared = (measured: ReadonlyArray<Places.Measured>): ReadonlyArray<Row.Row> => {
  const rowsOf = (place: Row.Place) => measured.find((one) => one.place === place)?.rows ?? []
  return rowsOf("reflinks").flatMap((row) => {
    const other = rowsOf("microvms").find(({ name }) => name === row.name)
    if (other === undefined || !row.name.startsWith("capture")) return []
    return [
      {
        name: row.name,
        unit: row.unit,
        n: row.n,
        ours: { ...row.ours, what: "with reflinks (XFS)" },
        reference: { ...other.ours, what: "without (ext4)" },
        ratio: row.ours.p50 / other.ours.p50,
        target: 0.1
      }
    ]
  })
}

const program = Effect.gen(function* () {
  let status = 0
  const bench = Command.make(
    "run.ts",
    {
      rounds: Flag.Int("rounds").pipe(
        Flag.withDescription("How often each is measured at least"),
        Flag.withSchema(Schema.Int.check(Schema.isGreaterThan(0))),
        Flag.withDefault(5)
      ),
      processors: Flag.Int("cpus").pipe(
        Flag.withDescription("Processors of an emulated host (default: 1)"),
        Flag.withDefault(1)
      ),
      before: Flag.File("before", { mustExist: true }).pipe(
        Flag.withDescription("An earlier bench.json, whose values the plot shows as well"),
        Flag.optional
      ),
      names: Argument.Literals(
        "names",
        Places.benches.map(({ name }) => name)
      ).pipe(Argument.withDescription("Benchmarks (default: all)"), Argument.variadic())
    },
    Effect.fnUntraced(function* (input) {
      const fs = yield* FileSystem.FileSystem
      const path = yield* Path.Path
      yield* fs.makeDirectory(path.join(root, ".cache"), { recursive: true })
      // Before it is written anew, and before an hour of measurements.
      const before = Option.isNone(input.before)
        ? undefined
        : yield* Effect.flatMap(fs.readFileString(input.before.value), Schema.decodeEffect(Places.Report))
      status = yield* foreground([path.join(root, "node_modules/.bin/tsc"), "-p", "src"])
      if (status !== 0) return
      // A machine that boots microVMs itself has the file system that it has.
      const places: ReadonlyArray<Row.Place> = (yield* Machine.canBoot)
        ? ["machine", "stand-in", "microvms"]
        : ["machine", "stand-in", "microvms", "reflinks"]
      const results = yield* Effect.forEach(places, (place) => measure(place, input))
      const measured = results.flatMap(({ measured }) => measured)
      const across = compared(measured)
      for (const { failures, host, node, place, platform, processors, rows } of measured) {
        yield* Console.log(`\n# ${place}: ${host}, ${platform}, ${processors} processors, Node.js ${node}`)
        yield* Console.log(Table.table(rows))
        yield* Effect.forEach(failures, ({ bench, problem }) => Console.log(`not measured: ${bench}: ${problem}`))
      }
      if (across.length > 0) yield* Console.log(`\n# file systems\n${Table.table(across)}`)
      const all = [...measured.flatMap(({ rows }) => rows), ...across]
      const missed = all.filter((row) => Row.isMet(row) === false)
      yield* Console.log(`\n${all.length} rows, ${missed.length} missed their target`)
      yield* fs.writeFileString(path.join(root, ".cache", "bench.json"), yield* encode({ measured, compared: across }))
      const plot = path.join(root, ".cache", "bench.svg")
      yield* fs.writeFileString(plot, Plot.svg({ measured, compared: across }, { before }))
      yield* Console.log(`drawn in ${plot}`)
      status = results.some(({ status }) => status !== 0) ? 1 : 0
    })
  )
  yield* Command.run(bench.pipe(Command.withDescription("Measures the benchmarks")), { version: "0" })
  return status
})

program.pipe(Effect.provide(NodeServices.layer), Interrupt.runMain)
