/** How long it takes to import the Promise adapter, compared with what it cannot do without. */
import * as Effect from "effect/Effect"
import { run } from "../host/Subprocess.ts"
import * as Sources from "../package/sources.ts"
import * as Row from "./Row.ts"

/** Milliseconds that a new process takes to import modules. */
const importing = (specifiers: ReadonlyArray<string>) => {
  const program = [
    "const start = performance.now()",
    `await Promise.all([${specifiers.map((specifier) => `import(${JSON.stringify(specifier)})`).join(", ")}])`,
    "console.log(performance.now() - start)"
  ].join("\n")
  return Effect.map(run(process.execPath, ["--input-type=module", "--eval", program], { cwd: Sources.root }), Number)
}

export const benches: ReadonlyArray<Row.Bench> = [
  {
    name: "import",
    place: "machine",
    rows: (n) =>
      Effect.gen(function* () {
        const needed = [...Sources.foreignModules("dist/promise.js").keys()].filter((name) =>
          /^(@?effect|microsandbox)\b/.test(name)
        )
        const [mine = [], theirs = []] = yield* Row.alternate(n * 2, [
          importing(["effect-lightbox/promise"]),
          importing(["microsandbox", ...needed])
        ])
        const reference = "microsandbox and the modules of Effect that it needs"
        return [
          Row.make("import", { ours: ["effect-lightbox/promise", mine], reference: [reference, theirs] }),
          Row.make(
            "import, what it adds",
            { ours: ["effect-lightbox/promise", mine.map((millis, round) => millis - (theirs[round] ?? 0))] },
            { limit: 150 }
          )
        ]
      })
  }
]
