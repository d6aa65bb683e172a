/** Where a process is killed: before or after one of its calls that change a file system, which `programs/calls.c` counts. */
import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as ChildProcess from "effect/process/ChildProcess"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import * as Packages from "../host/Packages.ts"
import { run } from "../host/Subprocess.ts"
import { killedBy } from "./killed.ts"

/** A call, as it was made once. */
export interface Call {
  readonly number: number
  /** What is called, and on what, without what differs from run to run. */
  readonly site: string
  /** Whether it changed something. */
  readonly isDone: boolean
}

export interface Place {
  readonly number: number
  readonly when: "before" | "after"
}

/** Compiles the library in a folder. */
export const compile = Effect.fnUntraced(function* (folder: string) {
  const fs = yield* FileSystem.FileSystem
  if (!(yield* fs.exists("/usr/bin/cc"))) {
    yield* Packages.ensure("Killing processes at their calls", ["gcc", "libc6-dev"])
  }
  const library = Path.join(folder, "calls.so")
  const source = fileURLToPath(new URL("programs/calls.c", import.meta.url))
  yield* run("cc", [
    "-std=gnu11",
    "-Wall",
    "-Wextra",

    "-O1",
    "-shared",
    "-fPIC",
    "-o",
    library,
    source,
    "-ldl"
  ])
  return library
})

/** What differs from run to run: hashes, generated names, and numbers. */
const siteOf = (folder: string, kind: string, path: string): string =>
  `${kind} ${Path.relative(folder, path)}`
    .replaceAll(/[0-9a-f]{12,}/g, "…")
    .replaceAll(/m[0-9a-z]{7}-[0-9a-z]+-[0-9a-z]+/g, "…")
    .replaceAll(/-[0-9a-f]{8}(?![0-9a-z])/g, "-…")
    .replaceAll(/(import-|\/\.\w+\.)\w{6}(?=\/|$)/g, "$1…")
    .replaceAll(/[.]?\d+(?=$|\/)/g, "…")

const read = (folder: string, log: string): ReadonlyArray<Call> => {
  const lines = Fs.existsSync(log) ? Fs.readFileSync(log, "utf8").split("\n").slice(0, -1) : []
  const done = new Set(lines.flatMap((line) => /^(\d+) = 0$/.exec(line)?.[1] ?? []))
  return lines.flatMap((line) => {
    const [, number = "", kind = "", path = ""] = /^(\d+) (\w+) (.*)$/.exec(line) ?? []
    return number === "" ? [] : [{ number: Number(number), site: siteOf(folder, kind, path), isDone: done.has(number) }]
  })
}

/** Runs a program to its end, and returns its calls that change something below a folder. */
export const record = Effect.fnUntraced(function* (library: string, folder: string, args: ReadonlyArray<string>) {
  const log = `${folder}.log`
  const child = yield* start(library, folder, args, {})
  assert.strictEqual(Number(yield* child.exitCode), 0, args.join(" "))
  return read(folder, log)
}, Effect.scoped)

/**
 * Kills a program at a place, and returns the call that it was, or nothing if the program ended before: how many calls
 * there are may differ from run to run.
 */
export const killAt = Effect.fnUntraced(function* (
  library: string,
  folder: string,
  args: ReadonlyArray<string>,
  { number, when }: Place
) {
  const child = yield* start(library, folder, args, { LIGHTBOX_CALLS_KILL: `${when} ${number}` })
  const status = yield* Effect.match(child.exitCode, { onFailure: killedBy, onSuccess: Number })
  const calls = read(folder, `${folder}.log`)
  if (status === undefined) return `${when} ${calls.find((call) => call.number === number)?.site}`
  assert.strictEqual(status, 0)
  assert.isBelow(calls.length, number)
  return undefined
}, Effect.scoped)

const start = (
  library: string,
  folder: string,
  args: ReadonlyArray<string>,
  env: { readonly [name: string]: string }
) =>
  ChildProcess.make(process.execPath, args, {
    stdin: "ignore",
    stdout: "inherit",
    stderr: "inherit",
    env: {
      LD_PRELOAD: library,
      LIGHTBOX_CALLS_IN: folder,
      LIGHTBOX_CALLS_LOG: `${folder}.log`,
      LIGHTBOX_CALLS_EXCEPT: "/home/db/",
      ...env
    },
    extendEnv: true
  })

/**
 * Chooses places: after and before the first of the calls of each site that has not been `seen`, or around all calls.
 * Being killed before a call is being killed after the one before it.
 */
export const choose = (calls: ReadonlyArray<Call>, seen: Set<string> | "all"): ReadonlyArray<Place> => {
  const done = calls.filter(({ isDone }) => isDone)
  const chosen = done.filter(({ site }) => {
    if (seen === "all") return true
    const isNew = !seen.has(site)
    seen.add(site)
    return isNew
  })
  return chosen.flatMap((call): ReadonlyArray<Place> => {
    const previous = done[done.indexOf(call) - 1]
    const after: Place = { number: call.number, when: "after" }
    return previous !== undefined && chosen.includes(previous)
      ? [after]
      : [{ number: call.number, when: "before" }, after]
  })
}
