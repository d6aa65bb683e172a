/**
 * Has other people's code judge what this package offers to frameworks: `test/bootstrap test/judges/run.ts [--check]`
 *
 * Each folder here is a judge: it installs its own exact versions, and its `run.ts` prints lines of JSON, each a
 * `Verdict`, and ends with another status than 0 if a case failed that is not expected to. The table of integrations in
 * the README is written from them; with `--check`, it must already say the same.
 */
import * as ChildProcess from "node:child_process"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import type { Verdict } from "./cases.ts"

const here = fileURLToPath(new URL(".", import.meta.url))
const root = Path.join(here, "../..")
const readme = Path.join(root, "README.md")

const fail = (why: string): never => {
  console.error(why)
  process.exit(1)
}

const run = (cwd: string, program: string, args: ReadonlyArray<string>, input = ""): string => {
  const { error, status, stdout } = ChildProcess.spawnSync(program, args, {
    cwd,
    encoding: "utf8",
    input,
    stdio: ["pipe", "pipe", "inherit"]
  })
  if (error !== undefined) throw error
  if (status === 0) return stdout
  return fail(`${stdout}\n${[program, ...args].join(" ")} ended with status ${status}`)
}

/** Installs what a judge needs, unless its lock file is older than what is installed. */
const install = (folder: string): void => {
  const lock = Path.join(folder, "package-lock.json")
  const installed = Path.join(folder, "node_modules/.package-lock.json")
  if (!Fs.existsSync(lock)) return
  if (Fs.existsSync(installed) && Fs.statSync(installed).mtimeMs >= Fs.statSync(lock).mtimeMs) return
  // Not `npm ci`, which refuses a lock file that leaves out packages for other systems.
  run(folder, "npm", ["install", "--no-save", "--omit=optional", "--ignore-scripts", "--no-audit", "--no-fund"])
}

const isVerdict = (u: unknown): u is Omit<Verdict, "integration"> & Partial<Pick<Verdict, "integration">> =>
  typeof u === "object" && u !== null && "name" in u && "version" in u && "passed" in u && "failed" in u

const verdictsOf = (name: string): ReadonlyArray<Verdict> => {
  const folder = Path.join(here, name)
  install(folder)
  const verdicts = run(folder, process.execPath, ["run.ts"])
    .split("\n")
    .filter((line) => line.startsWith("{"))
    .map((line): unknown => JSON.parse(line))
    .filter(isVerdict)
    .map((verdict) => ({ integration: name, ...verdict }))
  return verdicts.length === 0 ? fail(`${name} came to no verdict`) : verdicts
}

const row = ({ expected, failed, integration, name, passed, version }: Verdict): string => {
  const count = `${passed} of ${passed + failed}`
  return `| ${integration} | \`${name}\` ${version} | ${expected === 0 ? count : `${count}, ${expected} expected to fail`} |`
}

const begin = "<!-- Written by npm run judges -->"
const end = "<!-- The end of what npm run judges writes -->"

const withTable = (text: string, verdicts: ReadonlyArray<Verdict>): string => {
  const [before = "", rest] = text.split(begin)
  const [, after] = (rest ?? "").split(end)
  if (after === undefined) return fail("README.md has no place for the table of integrations")
  const head = ["| Integration | Judged by | Passed |", "| --- | --- | --- |"]
  return `${before}${begin}\n\n${[...head, ...verdicts.map(row)].join("\n")}\n\n${end}${after}`
}

const judges = Fs.readdirSync(here).filter((name) => Fs.existsSync(Path.join(here, name, "run.ts")))
const verdicts = judges.flatMap(verdictsOf)
const written = Fs.readFileSync(readme, "utf8")
const oxfmt = Path.join(root, "node_modules/.bin/oxfmt")
const now = run(root, oxfmt, ["--stdin-filepath=README.md"], withTable(written, verdicts))
console.log(now.split(begin)[1]?.split(end)[0]?.trim())
if (!process.argv.includes("--check")) Fs.writeFileSync(readme, now)
else if (now !== written) fail("README.md shows other results: run npm run judges")
