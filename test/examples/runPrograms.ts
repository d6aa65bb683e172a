/**
 * Runs programs, given by their paths, in memory and in this one process: each begins when the one before has nothing
 * more to do. A line with a zero byte and the exit code follows what each has printed.
 */
import { registerHooks } from "node:module"
import { dirname } from "node:path"
import { pathToFileURL } from "node:url"

const source = (path: string): string => new URL(`../../src/${path}`, import.meta.url).href

const local = source("MicrosandboxLocal.ts")
const memory = new URL("memory.ts", import.meta.url).href
const promises = [source("promise.ts"), source("internal/promise/")]

const programs = process.argv.slice(2)
let started = 0
let exitCode = 0

registerHooks({
  resolve(specifier, context, nextResolve) {
    const [, name = "index"] = /^effect-lightbox(?:\/([\w-]+))?$/.exec(specifier) ?? []
    const isOwn = specifier.startsWith("effect-lightbox")
    const resolved = isOwn ? { url: source(`${name}.ts`), shortCircuit: true } : nextResolve(specifier, context)
    if (resolved.url === local) return { ...resolved, url: memory }
    // The Promise API has one runtime in a process: every program gets its own.
    return promises.some((prefix) => resolved.url.startsWith(prefix))
      ? { ...resolved, url: `${resolved.url}?program=${started}` }
      : resolved
  }
})

// A program's exit must not end this process.
const ended = new Error("the program has ended")
process.exit = (code) => {
  exitCode = Number(code ?? process.exitCode ?? 0)
  throw ended
}

const fail = (error: unknown): void => {
  if (error === ended) return
  exitCode = 1
  console.error(error)
}

process.on("uncaughtException", fail)
process.on("beforeExit", () => {
  // The Promise API still closes what the program has left open.
  if (process.listenerCount("beforeExit") > 1) return
  if (started > 0) process.stdout.write(`\0${exitCode}\n`)
  exitCode = 0
  process.exitCode = undefined
  const program = programs[started++]
  if (program === undefined) return
  process.chdir(dirname(program))
  // Something to wait for, so that the end of this comes back here.
  setImmediate(() => import(pathToFileURL(program).href).catch(fail))
})
