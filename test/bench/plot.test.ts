import { assert, describe, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Sources from "../package/sources.ts"
import * as Places from "./places.ts"
import * as Plot from "./plot.ts"
import type * as Row from "./Row.ts"

const row = (name: string, ratio: number | undefined, more?: Partial<Row.Row>): Row.Row => ({
  name,
  unit: "ms",
  n: 5,
  ours: { what: "ours", p50: 10 * (ratio ?? 1), p95: 12 * (ratio ?? 1) },
  reference: { what: "the SDK by hand", p50: 10, p95: 11 },
  ratio,
  ...more
})

const report = (...rows: ReadonlyArray<Row.Row>): Plot.Report => ({
  measured: [
    {
      place: "stand-in",
      host: "native",
      platform: "linux x64",
      processors: 2,
      node: "v24.0.0",
      rows,
      failures: []
    }
  ],
  compared: []
})

interface Placed {
  readonly text: string
  readonly from: number
  readonly to: number
  readonly y: number
}

/** The texts of a plot, and where they are. */
const textsOf = (svg: string): ReadonlyArray<Placed> =>
  [...svg.matchAll(/<text x="([\d.]+)" y="([\d.]+)"([^>]*)>([^<]*)<\/text>/g)].map(
    ([, x = "", y = "", names = "", text = ""]) => {
      const size = names.includes("small") ? 12 : names.includes("title") ? 16 : 14
      const width = Plot.widthOf(text.replaceAll(/&\w+;/g, "x"), size)
      const from = names.includes('"end"')
        ? Number(x) - width
        : names.includes('"middle"')
          ? Number(x) - width / 2
          : Number(x)
      return { text, from, to: from + width, y: Number(y) }
    }
  )

const dotsOf = (svg: string): ReadonlyArray<number> =>
  [...svg.matchAll(/<circle cx="([\d.]+)" cy="[\d.]+" r="5"/g)].map(([, x]) => Number(x))

const assertNoOverlap = (svg: string) => {
  const texts = textsOf(svg)
  for (const [index, a] of texts.entries()) {
    assert.isAtLeast(a.from, 0, a.text)
    assert.isAtMost(a.to, 480, a.text)
    for (const b of texts.slice(index + 1)) {
      const isApart = Math.abs(a.y - b.y) >= 12 || a.to <= b.from || b.to <= a.from
      assert.isTrue(isApart, `"${a.text}" and "${b.text}"`)
    }
  }
}

describe("a scale of ratios", () => {
  it("is linear from zero while the ratios are of a size", () => {
    const { at, kind, ticks } = Plot.scaleOf([0.9, 1.1, 1.5])
    assert.strictEqual(kind, "linear")
    assert.deepStrictEqual(ticks, [0, 0.5, 1, 1.5, 2])
    assert.deepStrictEqual([0, 1, 2].map(at), [0, 0.5, 1])
  })

  it("is logarithmic for large and for small ratios, with all of them on it", () => {
    for (const values of [[5.6], [0.00065, 1.1], [1e-9, 1e9], [0.01], [350]]) {
      const { at, kind, ticks } = Plot.scaleOf(values)
      assert.strictEqual(kind, "log")
      assert.include(ticks, 1)
      assert.isAtMost(ticks.length, 8)
      for (const value of [1, ...values]) {
        assert.isAtLeast(at(value), 0)
        assert.isAtMost(at(value), 1)
      }
      assert.isBelow(at(1), at(10))
    }
  })

  it("has a place for the reference if there is nothing else", () => {
    for (const values of [[], [1, 1, 1], [Number.NaN, 0, -1, Number.POSITIVE_INFINITY]]) {
      const { at, kind, ticks } = Plot.scaleOf(values)
      assert.strictEqual(kind, "linear")
      assert.include(ticks, 1)
      assert.isTrue(at(1) > 0 && at(1) < 1)
    }
  })
})

describe("a plot", () => {
  it("has a dot for each row, the same for the same ratio, and further right for more", () => {
    const [a = 0, b = 0, c = 0] = dotsOf(Plot.svg(report(row("a", 1), row("b", 1), row("c", 1.5))))
    assert.strictEqual(a, b)
    assert.isAbove(c, a)
  })

  it("leaves out rows without a ratio, and says how many", () => {
    const svg = Plot.svg(
      report(row("a", 1), row("size", undefined, { reference: undefined }), row("none", Number.POSITIVE_INFINITY))
    )
    assert.strictEqual(dotsOf(svg).length, 1)
    assert.include(svg, "2 rows have no reference")
    assert.notInclude(svg, "NaN")
    assert.notInclude(svg, "Infinity")
  })

  it("draws values without a p95 as dots, and says nothing of lines then", () => {
    const bare = row("a", 1.1, {
      ours: { what: "ours", p50: 11 },
      reference: { what: "the SDK by hand", p50: 10 }
    })
    const svg = Plot.svg(report(bare))
    assert.strictEqual(dotsOf(svg).length, 1)
    assert.notInclude(svg, 'whisker"/>')
    assert.notInclude(svg, "p95")
    assert.include(Plot.svg(report(row("a", 1.1))), 'whisker"/>')
  })

  it("marks targets, and rows that miss them", () => {
    const svg = Plot.svg(report(row("a", 1.04, { target: 1.1 }), row("b", 3, { target: 2 })))
    assert.strictEqual([...svg.matchAll(/class="target"/g)].length, 2)
    assert.include(svg, ">3.00×, missed</text>")
    assert.include(svg, ">1.04×</text>")
    assert.notInclude(Plot.svg(report(row("a", 1))), 'class="target"')
  })

  it("shows the value of an earlier report as a ring, if that had the same row", () => {
    const now = report(row("a", 1), row("b", 1.2))
    const rings = (before: Plot.Report) =>
      [...Plot.svg(now, { before }).matchAll(/<circle [^>]*class="before"/g)].length
    assert.strictEqual(rings(report(row("a", 1.4))), 1)
    assert.strictEqual(rings(report(row("a", 1.4), row("b", 2))), 2)
    assert.strictEqual(rings(report(row("other", 1.4))), 0)
    const svg = Plot.svg(now, { before: report(row("a", 1.4)) })
    const [ring = 0] = [...svg.matchAll(/<circle cx="([\d.]+)"[^>]*class="before"/g)].map(([, x]) => Number(x))
    assert.isAbove(ring, dotsOf(svg)[0] ?? 0)
    assert.include(svg, "Ring: the earlier value.")
    assert.notInclude(Plot.svg(now), "Ring")
  })

  it("says which host was measured, and how often", () => {
    const svg = Plot.svg(report(row("a", 1), row("b", 1, { n: 50 })))
    assert.include(
      textsOf(svg)
        .map(({ text }) => text)
        .join(" "),
      "native host, linux x64, 2 processors, Node.js v24.0.0, n=5 to 50"
    )
  })

  it("escapes texts", () => {
    const svg = Plot.svg(report(row(`<b>&"'\u0007`, 1)))
    assert.include(svg, "&lt;b&gt;&amp;&quot;&apos;\u{fffd}")
    assert.notInclude(svg, "<b>")
  })

  it("keeps texts apart, however long they are", () => {
    const words = "a long name of what was measured ".repeat(4)
    assertNoOverlap(
      Plot.svg(
        report(
          row(words, 0.00001, { target: 0.5 }),
          row("x".repeat(200), 123_456, { target: 1 }),
          row("short", 2.2, { reference: { what: words, p50: 123_456_789, p95: 1 } })
        )
      )
    )
  })

  it("says that there is nothing to show", () => {
    assert.include(Plot.svg({ measured: [], compared: [] }), "Nothing was measured")
  })

  it("has its own background, and colors for light and for dark", () => {
    const svg = Plot.svg(report(row("a", 1)))
    assert.include(svg, '<rect width="480"')
    assert.include(svg, "@media (prefers-color-scheme: dark)")
  })
})

describe("the plot of the README", () => {
  const read = (path: string) => Fs.readFileSync(Path.join(Sources.root, path), "utf8")
  const published = Schema.decodeSync(Places.Report)(read(".github/benchmarks.json"))

  it("is drawn from the results beside it", () => {
    assert.strictEqual(
      read(".github/benchmarks.svg"),
      Plot.svg(published),
      "run node test/bench/draw.ts .github/benchmarks.json .github/benchmarks.svg"
    )
    assertNoOverlap(Plot.svg(published))
  })

  it("shows the rows of its table", () => {
    const readme = read("README.md")
    const rows = published.measured.flatMap(({ rows }) => rows)
    for (const { name, ours } of rows) {
      const cells = readme.split("\n").find((line) => line.startsWith(`| ${name} `)) ?? ""
      assert.include(cells, ` ${ours.p50.toLocaleString("en-US")} ms `, name)
    }
  })
})
