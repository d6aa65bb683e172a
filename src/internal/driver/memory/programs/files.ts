/** Programs that change files. Every export is a program, by its name. */
import * as Effect from "effect/Effect"
import { attempt, errno, Errno } from "../kernel/errno.ts"
import type { Process, Program } from "../kernel/process.ts"
import type { Stat } from "../kernel/vnode.ts"
import {
  baseName,
  directoryName,
  fail,
  forEach,
  joinPath,
  orComplain,
  parseDate,
  print,
  usage,
  walk,
  withOptions
} from "./options.ts"

const parseMode = (text: string, current: number, isFolder: boolean): number | undefined => {
  if (/^[0-7]{1,4}$/.test(text)) return Number.parseInt(text, 8)
  let mode = current
  for (const clause of text.split(",")) {
    const match = /^([ugoa]*)([-+=])([rwxXst]*)$/.exec(clause)
    if (match === null) return undefined
    const [, who = "", operator, what = ""] = match
    let bits = what.includes("t") ? 0o1000 : 0
    let wiped = 0
    for (const [letter, shift] of [
      ["u", 6],
      ["g", 3],
      ["o", 0]
    ] as const) {
      if (who !== "" && !who.includes("a") && !who.includes(letter)) continue
      wiped |= 0o7 << shift
      if (what.includes("r")) bits |= 4 << shift
      if (what.includes("w")) bits |= 2 << shift
      if (what.includes("x") || (what.includes("X") && (isFolder || (current & 0o111) !== 0))) bits |= 1 << shift
      if (what.includes("s")) bits |= { u: 0o4000, g: 0o2000, o: 0 }[letter]
    }
    mode = operator === "+" ? mode | bits : operator === "-" ? mode & ~bits : (mode & ~wiped) | bits
  }
  return mode
}

export const mkdir: Program = withOptions(
  "pm:",
  (process, options) =>
    forEach(options.operands, (path) =>
      orComplain(process, `can't create directory '${path}'`, () => {
        const asked = options.get("m")
        if (options.has("p")) process.makeFolders(path)
        else process.make(path, { _tag: "Directory", mode: 0o777 })
        const mode = asked === undefined ? undefined : parseMode(asked, 0o777, true)
        if (mode !== undefined) process.setAttributes(path, { mode })
      })
    ),
  { least: 1, long: { parents: "p", mode: "m" } }
)

export const mkfifo: Program = withOptions(
  "m:",
  (process, options) =>
    forEach(options.operands, (path) =>
      orComplain(process, `'${path}'`, () =>
        process.make(path, { _tag: "Fifo", mode: parseMode(options.get("m") ?? "", 0o666, false) ?? 0o666 })
      )
    ),
  { least: 1 }
)

export const rmdir: Program = withOptions(
  "p",
  (process, options) =>
    forEach(options.operands, (path) => {
      const remove = (at: string) => process.machine.vfs.removeDirectory(at, process.cwd, process.actor)
      return orComplain(process, `'${path}'`, () => {
        remove(path)
        if (!options.has("p")) return
        for (let at = directoryName(path); at !== "." && at !== "/"; at = directoryName(at)) remove(at)
      })
    }),
  { least: 1 }
)

export const rm: Program = withOptions(
  "rRfi",
  (process, options) => {
    if (options.operands.length === 0 && !options.has("f")) return usage(process)
    return forEach(options.operands, (path) => {
      const stat = process.lookAt(path, false)
      if (stat === undefined && options.has("f")) return Effect.succeed(0)
      if (stat?.kind === "Directory" && !options.has("r") && !options.has("R")) {
        return fail(process, `'${path}' is a directory`)
      }
      return orComplain(process, `can't remove '${path}'`, () => process.remove(path))
    })
  },
  { long: { recursive: "r", force: "f" } }
)

/** The target path of a copy or move. Several files need a folder as their target. */
const destination = (process: Process, from: string, operands: ReadonlyArray<string>, isExact: boolean): string => {
  const to = operands.at(-1) ?? ""
  const isFolder = operands.length > 2 || process.lookAt(to)?.kind === "Directory"
  return isFolder && !isExact ? joinPath(to, baseName(from)) : to
}

interface CopyOptions {
  readonly isPreserved: boolean
  readonly keepsLinks: boolean
}

const copyChunk = 1024 * 1024

const copy = (process: Process, from: string, to: string, options: CopyOptions): void => {
  const stat = process.stat(from, !options.keepsLinks)
  const { accessedAt, gid, kind, mode, modifiedAt, uid } = stat
  if (kind === "Symlink") return process.make(to, { _tag: "Symlink", target: process.readLink(from) })
  if (kind === "Directory") {
    const names = process.list(from)
    if (process.lookAt(to) === undefined) process.make(to, { _tag: "Directory", mode: 0o777 })
    for (const name of names) copy(process, joinPath(from, name), joinPath(to, name), options)
    process.setAttributes(to, { mode })
  } else {
    process.using(from, { read: true, write: false }, (source) =>
      process.using(to, { read: false, write: true, create: true, truncate: true, mode }, (target) => {
        for (let offset = 0, bytes = source.read(0, copyChunk); bytes.length > 0;) {
          target.write(offset, bytes)
          offset += bytes.length
          bytes = source.read(offset, copyChunk)
        }
      })
    )
  }
  if (options.isPreserved) process.setAttributes(to, { mode, uid, gid, modifiedAt, accessedAt })
}

const isSame = (process: Process, one: string, other: string): boolean =>
  process.lookAt(other) !== undefined && process.resolve(one).path === process.resolve(other).path

export const cp: Program = withOptions(
  "rRapfdPLuT",
  (process, options) => {
    const isRecursive = ["r", "R", "a"].some(options.has)
    const keepsLinks = options.has("P") || options.has("d") || (isRecursive && !options.has("L"))
    return forEach(options.operands.slice(0, -1), (from) => {
      const stat = process.lookAt(from, !keepsLinks)
      if (stat === undefined) return orComplain(process, `can't stat '${from}'`, () => void process.stat(from))
      if (stat.kind === "Directory" && !isRecursive) return fail(process, `omitting directory '${from}'`)
      const target = destination(process, from, options.operands, options.has("T"))
      if (stat.kind === "File" && isSame(process, from, target)) {
        return fail(process, `'${from}' and '${target}' are the same file`)
      }
      return orComplain(process, `can't create '${target}'`, () =>
        copy(process, from, target, { isPreserved: options.has("p") || options.has("a"), keepsLinks })
      )
    })
  },
  { least: 2, long: { recursive: "r", archive: "a", preserve: "p", force: "f" } }
)

export const mv: Program = withOptions(
  "fnT",
  (process, options) =>
    forEach(options.operands.slice(0, -1), (from) => {
      const target = destination(process, from, options.operands, options.has("T"))
      if (options.has("n") && process.lookAt(target, false) !== undefined) return Effect.succeed(0)
      return orComplain(process, `can't rename '${from}'`, () => {
        try {
          process.machine.vfs.rename(from, target, process.cwd, process.actor)
        } catch (cause) {
          if (!(cause instanceof Errno && cause.code === "EXDEV")) throw cause
          copy(process, from, target, { isPreserved: true, keepsLinks: true })
          process.remove(from)
        }
      })
    }),
  { least: 2 }
)

export const ln: Program = withOptions(
  "sfnT",
  (process, options) => {
    const { actor, cwd, machine } = process
    const [only = "", ...more] = options.operands
    const to = more.at(-1) ?? baseName(only)
    return forEach(more.length === 0 ? [only] : options.operands.slice(0, -1), (from) => {
      const isFolder = !options.has("T") && process.lookAt(to, !options.has("n"))?.kind === "Directory"
      const path = isFolder ? joinPath(to, baseName(from)) : to
      return orComplain(process, options.has("s") ? path : from, () => {
        if (options.has("f") && process.lookAt(path, false) !== undefined) machine.vfs.unlink(path, cwd, actor)
        if (options.has("s")) process.make(path, { _tag: "Symlink", target: from })
        else machine.vfs.link(from, path, cwd, actor)
      })
    })
  },
  { least: 1 }
)

export const touch: Program = withOptions(
  "acmr:d:",
  (process, options) => {
    const reference = options.get("r")
    const date = options.get("d")
    const given = date === undefined ? process.machine.now() : parseDate(date)
    if (Number.isNaN(given)) return fail(process, `invalid date '${date}'`)
    return forEach(options.operands, (path) =>
      orComplain(process, path, () => {
        const at = reference === undefined ? given : process.stat(reference).modifiedAt
        if (process.lookAt(path) === undefined) {
          if (options.has("c")) return
          process.openFile(path, { read: false, write: true, create: true }).close()
        }
        process.setAttributes(path, {
          ...(options.has("a") && !options.has("m") ? {} : { modifiedAt: at }),
          ...(options.has("m") && !options.has("a") ? {} : { accessedAt: at })
        })
      })
    )
  },
  { least: 1 }
)

/** Applies a function to each path and, if wanted, everything below it. */
const onEach = (
  process: Process,
  paths: ReadonlyArray<string>,
  isRecursive: boolean,
  change: (path: string, stat: Stat) => void
) =>
  forEach(paths, (path) =>
    orComplain(process, path, () => {
      if (!isRecursive) return change(path, process.stat(path))
      for (const found of walk(process, path)) change(found.path, found.stat)
    })
  )

export const chmod: Program = (process, argv) => {
  const words = argv.slice(1)
  // Not parsed as options: a mode may begin with a dash.
  const isRecursive = words[0] === "-R"
  const [mode = "", ...paths] = isRecursive ? words.slice(1) : words
  if (paths.length === 0) return usage(process)
  if (parseMode(mode, 0, false) === undefined) return fail(process, `invalid mode '${mode}'`)
  return onEach(process, paths, isRecursive, (path, stat) => {
    const wanted = parseMode(mode, stat.mode, stat.kind === "Directory")
    if (wanted !== undefined && stat.kind !== "Symlink") process.setAttributes(path, { mode: wanted })
  })
}

export const chown: Program = withOptions(
  "Rhf",
  (process, options) => {
    const [owner = "", ...paths] = options.operands
    const [user = "", group = ""] = owner.split(/[:.]/)
    const uid = user === "" ? undefined : process.machine.idOf("passwd", user)
    const gid = group === "" ? undefined : process.machine.idOf("group", group)
    if (user !== "" && uid === undefined) return fail(process, `unknown user ${user}`)
    if (group !== "" && gid === undefined) return fail(process, `unknown group ${group}`)
    return onEach(process, paths, options.has("R"), (path) =>
      process.setAttributes(path, { uid, gid }, !options.has("h") && !options.has("R"))
    )
  },
  { least: 2 }
)

let made = 0

export const mktemp: Program = withOptions("dp:qt", (process, options) => {
  const [template = "tmp.XXXXXX"] = options.operands
  const folder = options.get("p") ?? process.env.get("TMPDIR") ?? "/tmp"
  const path = (template.includes("/") ? template : joinPath(folder, template)).replace(/X+$/, (letters) =>
    (made++).toString(36).padStart(letters.length, "0")
  )
  return orComplain(process, path, () => {
    if (options.has("d")) process.make(path, { _tag: "Directory", mode: 0o700 })
    else process.openFile(path, { read: true, write: true, create: true, exclusive: true, mode: 0o600 }).close()
    return `${path}\n`
  })
})

/** Resolves a path of which the last part may not exist. */
const canonical = (process: Process, path: string): string => {
  if (process.lookAt(path) !== undefined) return process.resolve(path).path
  const folder = process.resolve(directoryName(path))
  if (folder.node.stat().kind !== "Directory") throw errno("ENOTDIR")
  return joinPath(folder.path, baseName(path))
}

export const readlink: Program = withOptions(
  "fn",
  (process, options) =>
    forEach(options.operands, (path) =>
      attempt(() => (options.has("f") ? canonical(process, path) : process.readLink(path))).pipe(
        Effect.flatMap((target) => print(process, options.has("n") ? target : `${target}\n`)),
        Effect.orElseSucceed(() => 1)
      )
    ),
  { least: 1 }
)

export const realpath: Program = withOptions(
  "",
  (process, { operands }) =>
    forEach(operands, (path) => orComplain(process, path, () => `${process.resolve(path).path}\n`)),
  { least: 1 }
)
