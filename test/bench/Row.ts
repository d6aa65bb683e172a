/**
 * What the benchmarks have in common: a {@link Bench} measures, and gives rows of the table.
 *
 * A module of benchmarks exports `benches: ReadonlyArray<Bench>`, and `run.ts` lists the modules.
 */
import type * as NodeServices from "@effect/platform-node/NodeServices"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type { Services } from "../../src/Driver.ts"

/** Values of one thing that was measured several times. */
const Series = Schema.Struct({
  /** What was measured, such as `"the SDK by hand"`. */
  what: Schema.String,
  p50: Schema.Finite,
  /** Absent in figures that were published without it. */
  p95: Schema.optional(Schema.Finite)
})

export type Series = typeof Series.Type

/** One line of the table. */
export const Row = Schema.Struct({
  name: Schema.String,
  /** Of the values: `"ms"`, or `"MiB"` for instance. */
  unit: Schema.String,
  /** How many times each side was measured. */
  n: Schema.Int,
  ours: Series,
  /** What ours is compared with, if anything. */
  reference: Schema.optional(Series),
  /** Ours through the reference, at p50, unless that is nothing. */
  ratio: Schema.optional(Schema.Finite),
  /** The maximum ratio. */
  target: Schema.optional(Schema.Finite),
  /** The maximum of our p50, in the row's unit, for rows without a reference. */
  limit: Schema.optional(Schema.Finite)
})

export type Row = typeof Row.Type

/** Whether a row meets its target; `undefined` without one. */
export const isMet = ({ limit, ours, ratio, target }: Row): boolean | undefined => {
  if (target === undefined && limit === undefined) return undefined
  return (target === undefined || (ratio ?? Infinity) <= target) && (limit === undefined || ours.p50 <= limit)
}

/**
 * This machine with the twin in memory, this machine with a stand-in for the microVM (`standIn/StandIn.ts`), a host of
 * microVMs, and one whose file system has reflinks.
 */
export const Place = Schema.Literals(["machine", "stand-in", "microvms", "reflinks"])

export type Place = typeof Place.Type

/** Something that can be measured on its own. */
export interface Bench {
  /** The name that selects it. */
  readonly name: string
  /**
   * Where it is measured: where microVMs boot (the default), or there on file systems both without and with reflinks,
   * or there and natively with the stand-in, as emulation distorts its ratios, or, as it needs no microVM, on this
   * machine with the driver's twin in memory.
   */
  readonly place?: "machine" | "microvms" | "file systems" | "agents" | undefined
  /** Measures `n` times. The scope ends with the benchmark. */
  readonly rows: (
    n: number,
    place: Place
  ) => Effect.Effect<ReadonlyArray<Row>, unknown, NodeServices.NodeServices | Services | Scope.Scope>
}

/** One side of a comparison: its name, and an effect that gives what one round measured, in the row's unit. */
export interface Side<E, R> {
  readonly what: string
  readonly round: Effect.Effect<number, E, R>
}

/** The value that a given share of all values does not exceed. */
const quantile = (values: ReadonlyArray<number>, share: number): number =>
  values.toSorted((a, b) => a - b)[Math.max(0, Math.ceil(share * values.length) - 1)] ?? Number.NaN

/** A series of values. */
export const series = (what: string, values: ReadonlyArray<number>): Series => ({
  what,
  p50: quantile(values, 0.5),
  p95: quantile(values, 0.95)
})

/** A row of measured values. */
export const make = (
  name: string,
  sides: {
    readonly ours: readonly [what: string, values: ReadonlyArray<number>]
    readonly reference?: readonly [what: string, values: ReadonlyArray<number>] | undefined
  },
  options?: Partial<Pick<Row, "limit" | "target" | "unit">>
): Row => {
  const ours = series(...sides.ours)
  const reference = sides.reference === undefined ? undefined : series(...sides.reference)
  return {
    name,
    unit: options?.unit ?? "ms",
    n: sides.ours[1].length,
    ours,
    reference,
    ratio: reference === undefined || reference.p50 === 0 ? undefined : ours.p50 / reference.p50,
    target: options?.target,
    limit: options?.limit
  }
}

/** How long an effect takes, in milliseconds. */
export const millisOf = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<number, E, R> =>
  Effect.suspend(() => {
    const start = performance.now()
    return Effect.map(effect, () => performance.now() - start)
  })

/** What a round takes, in milliseconds: time, and processor time of all threads of this process. */
export interface Cost {
  readonly millis: number
  readonly cpu: number
}

/** Starts to measure. Calling the result gives the cost so far. */
export const meter = (): (() => Cost) => {
  const start = performance.now()
  const before = process.cpuUsage()
  return () => {
    const { system, user } = process.cpuUsage(before)
    return { millis: performance.now() - start, cpu: (user + system) / 1000 }
  }
}

/** What an effect costs. */
export const costOf = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<Cost, E, R> =>
  Effect.suspend(() => {
    const cost = meter()
    return Effect.map(effect, cost)
  })

/** Rows of costs that were measured already: of the time, which has the target, and of the processor time. */
export const costs = (
  name: string,
  sides: {
    readonly ours: readonly [what: string, values: ReadonlyArray<Cost>]
    readonly reference: readonly [what: string, values: ReadonlyArray<Cost>]
  },
  options?: Partial<Pick<Row, "target">>
): ReadonlyArray<Row> => {
  const row = (name: string, part: keyof Cost, options?: Partial<Pick<Row, "target">>) =>
    make(
      name,
      {
        ours: [sides.ours[0], sides.ours[1].map((cost) => cost[part])],
        reference: [sides.reference[0], sides.reference[1].map((cost) => cost[part])]
      },
      options
    )
  return [row(name, "millis", options), row(`${name}: processor time`, "cpu")]
}

/** Options of {@link alternate}. */
export interface Rounds {
  /** Rounds that are not counted. */
  readonly warmUp?: number | undefined
  /** Runs before each round, and is not measured. */
  readonly between?: Effect.Effect<void> | undefined
}

/**
 * Measures several sides alternately, each round beginning with another one, and gives the values of each. Rounds to
 * warm up come before, and are not counted: code that runs for the first time is compiled first.
 */
export const alternate = <A, E, R>(
  n: number,
  sides: ReadonlyArray<Effect.Effect<A, E, R>>,
  options?: Rounds
): Effect.Effect<ReadonlyArray<ReadonlyArray<A>>, E, R> =>
  Effect.gen(function* () {
    const values: ReadonlyArray<Array<A>> = sides.map(() => [])
    for (let round = -(options?.warmUp ?? 0); round < n; round++) {
      yield* options?.between ?? Effect.void
      for (let turn = 0; turn < sides.length; turn++) {
        const side = (Math.abs(round) + turn) % sides.length
        const measure = sides[side]
        if (measure === undefined) continue
        const value = yield* measure
        if (round >= 0) values[side]?.push(value)
      }
    }
    return values
  })

/** Measures ours and the reference alternately. */
export const compare = <E, R>(
  name: string,
  n: number,
  ours: Side<E, R>,
  reference: Side<E, R>,
  options?: Partial<Pick<Row, "limit" | "target" | "unit">> & Rounds
): Effect.Effect<Row, E, R> =>
  Effect.map(alternate(n, [ours.round, reference.round], options), ([mine = [], theirs = []]) =>
    make(name, { ours: [ours.what, mine], reference: [reference.what, theirs] }, options)
  )

/** Measures what ours and the reference cost, alternately. */
export const compareCosts = <E, R>(
  name: string,
  n: number,
  ours: { readonly what: string; readonly round: Effect.Effect<unknown, E, R> },
  reference: { readonly what: string; readonly round: Effect.Effect<unknown, E, R> },
  options?: Partial<Pick<Row, "target">> & Rounds
): Effect.Effect<ReadonlyArray<Row>, E, R> =>
  Effect.map(alternate(n, [costOf(ours.round), costOf(reference.round)], options), ([mine = [], theirs = []]) =>
    costs(name, { ours: [ours.what, mine], reference: [reference.what, theirs] }, options)
  )
