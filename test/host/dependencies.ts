/**
 * Says on standard output what is missing in `node_modules`, if something is.
 *
 * Runs before anything is installed, and therefore with nothing but Node.js.
 */
import { existsSync, readFileSync } from "node:fs"

interface Package {
  readonly version?: string
  readonly integrity?: string
  readonly optional?: boolean
  readonly os?: ReadonlyArray<string>
  readonly cpu?: ReadonlyArray<string>
  readonly libc?: ReadonlyArray<string>
}

const root = new URL("../../", import.meta.url)

const packagesOf = (file: string): Readonly<Record<string, Package>> => {
  const lock: { readonly packages: Readonly<Record<string, Package>> } = JSON.parse(
    readFileSync(new URL(file, root), "utf8")
  )
  return lock.packages
}

const allows = (list: ReadonlyArray<string> | undefined, value: string): boolean =>
  list === undefined ||
  (list.some((item) => !item.startsWith("!")) ? list.includes(value) : !list.includes(`!${value}`))

const libc = (): string => {
  const report = process.report.getReport()
  return "header" in report && "glibcVersionRuntime" in Object(report.header) ? "glibc" : "musl"
}

// An optional package may be left out when it is for another machine, or when only such packages need it. But npm
// also leaves out one that its own Node.js is too old for.
const isNeeded = (item: Package): boolean => {
  if (item.optional !== true) return true
  if (item.os === undefined && item.cpu === undefined) return false
  return (
    allows(item.os, process.platform) &&
    allows(item.cpu, process.arch) &&
    (item.libc === undefined || process.platform !== "linux" || allows(item.libc, libc()))
  )
}

const findProblem = (): string | undefined => {
  if (!existsSync(new URL("node_modules/.package-lock.json", root))) return "there are none"
  const installed = packagesOf("node_modules/.package-lock.json")
  for (const [path, wanted] of Object.entries(packagesOf("package-lock.json"))) {
    if (path === "") continue
    const name = path.slice(path.lastIndexOf("node_modules/") + "node_modules/".length)
    const found = installed[path]
    if (found === undefined || !existsSync(new URL(`${path}/package.json`, root))) {
      if (isNeeded(wanted)) return `${name} is missing`
    } else if (found.version !== wanted.version || (wanted.integrity ?? found.integrity) !== found.integrity) {
      return `${name} is not the one in package-lock.json`
    }
  }
  return undefined
}

const problem = findProblem()
if (problem !== undefined) process.stdout.write(`${problem}\n`)
