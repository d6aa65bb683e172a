/**
 * Builds the documentation site: `npm run docs`
 *
 * Collects the README, the guides and the examples as pages, has TypeDoc write the reference of every public module,
 * and has VitePress make a static site of both, in `.cache/docs/site`. A link that leads nowhere fails the build.
 */
import * as ChildProcess from "node:child_process"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import { modules } from "./modules.ts"
import * as Pages from "./pages.ts"

const docs = fileURLToPath(new URL(".", import.meta.url))
const root = Path.dirname(Path.resolve(docs))
const out = Path.join(root, ".cache/docs")
// Below the generators, which pages import.
const pages = Path.join(docs, "pages")
const site = Path.join(out, "site")

const run = (program: string, args: ReadonlyArray<string>): void => {
  const { error, status } = ChildProcess.spawnSync(program, args, { cwd: docs, stdio: "inherit" })
  if (error !== undefined) throw error
  if (status !== 0) process.exit(status ?? 1)
}

const node = (script: string, args: ReadonlyArray<string>): void =>
  run(process.execPath, [Path.join(docs, "node_modules", script), ...args])

/** Installs the generators when the lock file is newer than what is installed. */
const install = (): void => {
  const installed = Path.join(docs, "node_modules/.package-lock.json")
  const isCurrent =
    Fs.existsSync(installed) &&
    Fs.statSync(installed).mtimeMs >= Fs.statSync(Path.join(docs, "package-lock.json")).mtimeMs
  if (!isCurrent) run("npm", ["ci", "--no-audit", "--no-fund"])
}

const names = modules.flatMap((group) => group.names)

/** Writes the reference. TypeDoc reads copies, whose first comment is marked as that of the module. */
const reference = (): void => {
  const src = Path.join(out, "src")
  Fs.cpSync(Path.join(root, "src"), src, { recursive: true })
  for (const name of names) {
    const file = Path.join(src, `${name}.ts`)
    Fs.writeFileSync(file, Fs.readFileSync(file, "utf8").replace(/^ \*\/$/m, " * @module\n */"))
  }
  const api = Path.join(pages, "api")
  node("typedoc/bin/typedoc", [
    "--options",
    "typedoc.json",
    "--out",
    api,
    ...names.flatMap((name) => ["--entryPoints", Path.join(src, `${name}.ts`)])
  ])
  Fs.rmSync(Path.join(api, "README.md"))
  for (const name of names) {
    const file = Path.join(api, `${name}.md`)
    Fs.writeFileSync(file, Pages.tidy(Fs.readFileSync(file, "utf8")))
  }
  Fs.writeFileSync(Path.join(api, "index.md"), Pages.overview(root, modules))
}

/** Fails if a link leads to a page or a heading that the site does not have. VitePress itself checks pages only. */
const check = (): void => {
  const problems = Pages.deadLinks(site)
  for (const problem of problems) console.error(problem)
  if (problems.length > 0) {
    console.error(`${problems.length} dead links`)
    process.exit(1)
  }
}

install()
for (const folder of [out, pages]) Fs.rmSync(folder, { recursive: true, force: true })
Pages.write(root, pages, names)
reference()
Fs.writeFileSync(Path.join(out, "navigation.json"), JSON.stringify(Pages.navigation(root, pages, modules)))
node("vitepress/bin/vitepress.js", ["build", "."])
check()
console.log(`\nThe site is in ${Path.relative(process.cwd(), site)}`)
