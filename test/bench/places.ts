/**
 * The places where benchmarks are measured, and what is known of a measurement.
 */
import * as Schema from "effect/Schema"
import * as Baked from "./baked.ts"
import * as Build from "./build.ts"
import * as Exec from "./exec.ts"
import * as Hosts from "./hosts.ts"
import * as Jobs from "./jobs.ts"
import * as Import from "./import.ts"
import * as Launch from "./launch.ts"
import * as Pool from "./pool.ts"
import * as Reach from "./reach.ts"
import * as Row from "./Row.ts"
import * as Scale from "./scale.ts"
import * as Services from "./services.ts"
import * as Size from "./size.ts"
import * as Transfer from "./transfer.ts"
import * as Warm from "./warm.ts"

/** All benchmarks. */
export const benches: ReadonlyArray<Row.Bench> = [
  ...Size.benches,
  ...Import.benches,
  ...Launch.benches,
  ...Exec.benches,
  ...Reach.benches,
  ...Build.benches,
  ...Pool.benches,
  ...Scale.benches,
  ...Services.benches,
  ...Transfer.benches,
  ...Hosts.benches,
  ...Jobs.benches,
  ...Baked.benches,
  ...Warm.benches
]

const placesOf = ({ place }: Row.Bench): ReadonlyArray<Row.Place> => {
  switch (place) {
    case "machine":
      return ["machine"]
    case "file systems":
      return ["microvms", "reflinks"]
    case "agents":
      return ["stand-in", "microvms"]
    default:
      return ["microvms"]
  }
}

/** The benchmarks of a place, all of them or those with certain names. */
export const benchesOf = (place: Row.Place, names: ReadonlyArray<string>): ReadonlyArray<Row.Bench> =>
  benches.filter((bench) => (names.length === 0 || names.includes(bench.name)) && placesOf(bench).includes(place))

/** What was measured at one place. */
export const Measured = Schema.Struct({
  place: Row.Place,
  host: Schema.Literals(["native", "emulated"]),
  platform: Schema.String,
  processors: Schema.Int,
  node: Schema.String,
  rows: Schema.Array(Row.Row),
  /** Benchmarks that could not be measured. */
  failures: Schema.Array(Schema.Struct({ bench: Schema.String, problem: Schema.String }))
})

export type Measured = typeof Measured.Type

/** What `npm run bench` writes. */
export const Report = Schema.fromJsonString(
  Schema.Struct({ measured: Schema.Array(Measured), compared: Schema.Array(Row.Row) })
)
