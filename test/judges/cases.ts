/** What judges share: cases, and how their counts are reported. */
import * as Fs from "node:fs"
import * as Path from "node:path"

/** What a judge prints, as a line of JSON, for `test/judges/run.ts`. */
export interface Verdict {
  /** Module of this package, or the example, that was judged. */
  readonly integration: string
  /** The package that judged, and its version. */
  readonly name: string
  readonly version: string
  readonly passed: number
  readonly failed: number
  /** How many of the failures are expected, for reasons that the judge's file gives. */
  readonly expected: number
}

/** The version of an installed package. */
export const versionOf = (folder: string, name: string): string => {
  const manifest: unknown = JSON.parse(Fs.readFileSync(Path.join(folder, "node_modules", name, "package.json"), "utf8"))
  if (typeof manifest === "object" && manifest !== null && "version" in manifest) return String(manifest.version)
  throw new Error(`${name} has no version`)
}

/**
 * Runs cases one after the other, and prints what failed on standard error and the verdict on standard output. `expected`
 * says of cases that fail why they do. One of them that passes is an error, too.
 */
export const judge = async (
  integration: string,
  name: string,
  version: string,
  cases: { readonly [title: string]: () => Promise<void> },
  expected: { readonly [title: string]: string } = {}
): Promise<void> => {
  let passed = 0
  let failed = 0
  let asExpected = 0
  for (const [title, run] of Object.entries(cases)) {
    try {
      await run()
      passed++
      if (title in expected) {
        process.exitCode = 1
        console.error(`${integration}: ${title}: passed, and was expected to fail`)
      }
    } catch (error) {
      failed++
      if (title in expected) asExpected++
      else {
        process.exitCode = 1
        console.error(`${integration}: ${title}\n`, error)
      }
    }
  }
  const verdict: Verdict = { integration, name, version, passed, failed, expected: asExpected }
  console.log(JSON.stringify(verdict))
}
