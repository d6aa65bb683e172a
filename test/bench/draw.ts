/**
 * Draws results of the benchmarks: `node test/bench/draw.ts RESULTS.json PLOT.svg [BEFORE.json]`
 *
 * `npm run bench` does so itself. This is for results that were kept, such as those of the README.
 */
import * as Schema from "effect/Schema"
import * as Fs from "node:fs"
import * as Places from "./places.ts"
import * as Plot from "./plot.ts"

const [, , results = "", plot = "", before] = process.argv

const read = (file: string): Plot.Report => Schema.decodeSync(Places.Report)(Fs.readFileSync(file, "utf8"))

Fs.writeFileSync(plot, Plot.svg(read(results), { before: before === undefined ? undefined : read(before) }))
