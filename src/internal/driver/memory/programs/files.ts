/**
 * Commands that change files.
 */
import * as Effect from "effect/Effect"
import { attempt, errno, type Errno } from "../kernel/errno.ts"
import type { Process, Program } from "../kernel/process.ts"
import type { Stat } from "../kernel/vnode.ts"
import { baseName, directoryName, forEach, joinPath, orComplain, withOptions } from "./options.ts"

const parseMode = (text: string, current: number, isFolder: boolean): number | undefined => {
  if (/^[0-7]{1,4}$/.test(text)) return Number.parseInt(text, 8)
  let mode = current
  for (const clause of text.split(",")) {
    const match = /^([ugoa]*)([-+=])([rwxXst]*)$/.exec(clause)
    if (match === null) return undefined
    const [, who = "", operator, what = ""] = match
    const shifts = (who === "" || who.includes("a") ? "ugo" : who)
      .split("")
      .map((letter) => ({ u: 6, g: 3, o: 0 })[letter] ?? 0)
    let bits = 0
    let wiped = 0
    for (const shift of shifts) {
      wiped |= 0o7 << shift
      if (what.includes("r")) bits |= 4 << shift
      if (what.includes("w")) bits |= 2 << shift
      if (what.includes("x") || (what.includes("X") && (isFolder || (current & 0o111) !== 0))) bits |= 1 << shift
      if (what.includes("s")) bits |= shift === 6 ? 0o4000 : shift === 3 ? 0o2000 : 0
    }
    if (what.includes("t")) bits |= 0o1000
    mode = operator === "+" ? mode | bits : operator === "-" ? mode & ~bits : (mode & ~wiped) | bits
  }
  return mode
}

/** A path and, if wanted, all that is below it, a folder after its content. */
const tree = (process: Process, path: string, isRecursive: boolean): ReadonlyArray<string> =>
  isRecursive && process.stat(path, false).kind === "Directory"
    ? [...process.list(path).flatMap((name) => tree(process, joinPath(path, name), true)), path]
    : [path]

export const mkdir: Program = withOptions(
  "pm:v",
  (process, options) =>
    forEach(options.operands, (path) =>
      orComplain(process, `can't create directory '${path}'`, () => {
        const { actor, cwd, machine } = process
        const asked = options.get("m")
        if (options.has("p")) machine.vfs.makeFolders(path, cwd, 0o777 & ~process.umask, actor)
        else process.make(path, { _tag: "Directory", mode: 0o777 })
        const mode = asked === undefined ? undefined : parseMode(asked, 0o777, true)
        if (mode !== undefined) process.setAttributes(path, { mode })
      })
    ),
  { parents: "p", mode: "m", verbose: "v" }
)

export const rmdir: Program = withOptions("p", (process, { operands }) =>
  forEach(operands, (path) =>
    orComplain(process, `'${path}'`, () => process.machine.vfs.removeDirectory(path, process.cwd, process.actor))
  )
)

export const rm: Program = withOptions(
  "rRfiv",
  (process, options) =>
    forEach(options.operands, (path) => {
      const { actor, cwd, machine } = process
      const stat = process.lookAt(path, false)
      const isForced = options.has("f")
      if (stat === undefined && isForced) return Effect.succeed(0)
      if (stat?.kind !== "Directory") {
        return orComplain(process, `can't remove '${path}'`, () => machine.vfs.unlink(path, cwd, actor))
      }
      if (!options.has("r") && !options.has("R")) return Effect.as(process.complain(`rm: '${path}' is a directory`), 1)
      return orComplain(process, `can't remove '${path}'`, () => machine.vfs.removeTree(path, cwd, actor))
    }),
  { recursive: "r", force: "f" }
)

/** The path that a file gets which is moved or copied somewhere. */
const destination = (process: Process, from: string, to: string): string =>
  process.lookAt(to)?.kind === "Directory" ? joinPath(to, baseName(from)) : to

const copyAttributes = (process: Process, to: string, stat: Stat, isOwned: boolean): void =>
  process.setAttributes(to, {
    mode: stat.mode,
    ...(isOwned ? { uid: stat.uid, gid: stat.gid, modifiedAt: stat.modifiedAt, accessedAt: stat.accessedAt } : {})
  })

const copyChunk = 1024 * 1024

const copyFile = (process: Process, from: string, to: string, isPreserved: boolean): void => {
  const stat = process.stat(from)
  const source = process.openFile(from, { read: true, write: false })
  try {
    const target = process.openFile(to, { read: false, write: true, create: true, truncate: true, mode: stat.mode })
    try {
      for (let offset = 0; ;) {
        const bytes = source.read(offset, copyChunk)
        if (bytes.length === 0) break
        target.write(offset, bytes)
        offset += bytes.length
      }
    } finally {
      target.close()
    }
  } finally {
    source.close()
  }
  if (isPreserved) copyAttributes(process, to, stat, true)
}

interface CopyOptions {
  readonly isRecursive: boolean
  readonly isPreserved: boolean
  readonly keepsLinks: boolean
}

const copy = (process: Process, from: string, to: string, options: CopyOptions): void => {
  const stat = process.stat(from, !options.keepsLinks)
  if (stat.kind === "Symlink") {
    process.make(to, { _tag: "Symlink", target: process.machine.vfs.readLink(from, process.cwd, process.actor) })
  } else if (stat.kind !== "Directory") copyFile(process, from, to, options.isPreserved)
  else {
    const names = process.list(from)
    if (process.lookAt(to) === undefined) process.make(to, { _tag: "Directory", mode: 0o777 })
    for (const name of names) copy(process, joinPath(from, name), joinPath(to, name), options)
    copyAttributes(process, to, stat, options.isPreserved)
  }
}

export const cp: Program = withOptions(
  "rRapfdPLuT",
  (process, options) => {
    const sources = options.operands.slice(0, -1)
    const to = options.operands.at(-1) ?? ""
    if (sources.length === 0) return Effect.as(process.complain("cp: missing file operand"), 1)
    const isRecursive = options.has("r") || options.has("R") || options.has("a")
    return forEach(sources, (from) => {
      const stat = process.lookAt(from, !isRecursive)
      if (stat === undefined) return orComplain(process, `can't stat '${from}'`, () => process.stat(from))
      if (stat.kind === "Directory" && !isRecursive) {
        return Effect.as(process.complain(`cp: omitting directory '${from}'`), 1)
      }
      const target = options.has("T") ? to : destination(process, from, to)
      return orComplain(process, `can't create '${target}'`, () =>
        copy(process, from, target, {
          isRecursive,
          isPreserved: options.has("p") || options.has("a"),
          keepsLinks: isRecursive && !options.has("L")
        })
      )
    })
  },
  { recursive: "r", archive: "a", preserve: "p", force: "f" }
)

export const mv: Program = withOptions("fnT", (process, options) => {
  const { actor, machine } = process
  const to = options.operands.at(-1) ?? ""
  return forEach(options.operands.slice(0, -1), (from) => {
    const target = options.has("T") ? to : destination(process, from, to)
    return attempt(() => machine.vfs.rename(from, target, process.cwd, actor)).pipe(
      Effect.as(0),
      Effect.catch((error) => {
        if (error.code !== "EXDEV")
          return Effect.as(process.complain(`mv: can't rename '${from}': ${error.problem}`), 1)
        return orComplain(process, `can't rename '${from}'`, () => {
          copy(process, from, target, { isRecursive: true, isPreserved: true, keepsLinks: true })
          for (const path of tree(process, from, true)) {
            if (process.stat(path, false).kind === "Directory") machine.vfs.removeDirectory(path, process.cwd, actor)
            else machine.vfs.unlink(path, process.cwd, actor)
          }
        })
      })
    )
  })
})

export const ln: Program = withOptions("sfnTv", (process, options) => {
  const { actor, cwd, machine } = process
  const [only, ...more] = options.operands
  if (only === undefined) return Effect.as(process.complain("ln: missing file operand"), 1)
  const to = more.at(-1) ?? baseName(only)
  return forEach(more.length === 0 ? [only] : options.operands.slice(0, -1), (from) => {
    const isFollowed = !options.has("n")
    const path =
      !options.has("T") && process.lookAt(to, isFollowed)?.kind === "Directory" ? joinPath(to, baseName(from)) : to
    return orComplain(process, options.has("s") ? path : from, () => {
      if (options.has("f") && process.lookAt(path, false) !== undefined) machine.vfs.unlink(path, cwd, actor)
      if (options.has("s")) process.make(path, { _tag: "Symlink", target: from })
      else machine.vfs.link(from, path, cwd, actor)
    })
  })
})

export const touch: Program = withOptions("acmr:d:t:", (process, options) => {
  const { machine } = process
  const reference = options.get("r")
  const date = options.get("d")
  return forEach(options.operands, (path) =>
    orComplain(process, path, () => {
      const given =
        date === undefined ? undefined : date.startsWith("@") ? Number(date.slice(1)) * 1000 : Date.parse(date)
      const at = reference === undefined ? (given ?? machine.now()) : process.stat(reference).modifiedAt
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
})

export const chmod: Program = (process) =>
  Effect.gen(function* () {
    const words = process.argv.slice(1)
    // A mode may begin with a dash, as options do.
    const isRecursive = words[0] === "-R"
    if (isRecursive) words.shift()
    const [mode = "", ...paths] = words
    if (parseMode(mode, 0, false) === undefined) {
      yield* process.complain(`chmod: invalid mode '${mode}'`)
      return 1
    }
    return yield* forEach(paths, (path) =>
      orComplain(process, path, () => {
        for (const at of tree(process, path, isRecursive)) {
          const stat = process.stat(at)
          const wanted = parseMode(mode, stat.mode, stat.kind === "Directory")
          if (wanted !== undefined) process.setAttributes(at, { mode: wanted })
        }
      })
    )
  })

export const chown: Program = withOptions("Rhf", (process, options) => {
  const { machine } = process
  const isGroupOnly = process.name === "chgrp"
  const [owner = "", ...paths] = options.operands
  const [userName = "", groupName] = isGroupOnly ? ["", owner] : owner.split(/[:.]/)
  const uid = userName === "" ? undefined : machine.idOf("passwd", userName)
  const gid = groupName === undefined || groupName === "" ? undefined : machine.idOf("group", groupName)
  if (userName !== "" && uid === undefined)
    return Effect.as(process.complain(`${process.name}: unknown user ${userName}`), 1)
  if (groupName !== undefined && groupName !== "" && gid === undefined) {
    return Effect.as(process.complain(`${process.name}: unknown group ${groupName}`), 1)
  }
  return forEach(paths, (path) =>
    orComplain(process, path, () => {
      for (const at of tree(process, path, options.has("R"))) {
        process.setAttributes(at, { uid, gid }, !options.has("h") && !options.has("R"))
      }
    })
  )
})

export const truncate: Program = withOptions("s:c", (process, options) => {
  const match = /^(\d+)([kKmMgG]?)$/.exec(options.get("s") ?? "")
  if (match === null) return Effect.as(process.complain(`truncate: invalid number '${options.get("s") ?? ""}'`), 1)
  const size = Number(match[1]) * 1024 ** ["", "k", "m", "g"].indexOf((match[2] ?? "").toLowerCase())
  return forEach(options.operands, (path) =>
    orComplain(process, path, () => {
      const file = process.openFile(path, { read: false, write: true, create: !options.has("c") })
      try {
        file.truncate(size)
      } finally {
        file.close()
      }
    })
  )
})

let made = 0

export const mktemp: Program = withOptions("dp:qt", (process, options) => {
  const folder = options.get("p") ?? process.env.get("TMPDIR") ?? "/tmp"
  const template = options.operands[0] ?? "tmp.XXXXXX"
  const path = (template.includes("/") ? template : joinPath(folder, template)).replace(/X+$/, (letters) =>
    (made++).toString(36).padStart(letters.length, "0")
  )
  return attempt(() => {
    if (options.has("d")) process.make(path, { _tag: "Directory", mode: 0o700 })
    else process.openFile(path, { read: true, write: true, create: true, exclusive: true, mode: 0o600 }).close()
  }).pipe(
    Effect.andThen(process.print(`${path}\n`)),
    Effect.as(0),
    Effect.catch(({ problem }) => Effect.as(process.complain(`mktemp: ${path}: ${problem}`), 1))
  )
})

export const install: Program = withOptions("dm:o:g:D", (process, options) => {
  const mode = parseMode(options.get("m") ?? "755", 0o755, options.has("d")) ?? 0o755
  const { actor, cwd, machine } = process
  const folders = options.has("d") ? options.operands : []
  const sources = options.has("d") ? [] : options.operands.slice(0, -1)
  const to = options.operands.at(-1) ?? ""
  return forEach([...folders.map((path) => ({ path })), ...sources.map((from) => ({ from }))], (item) =>
    "path" in item
      ? orComplain(process, item.path, () => {
          machine.vfs.makeFolders(item.path, cwd, mode, actor)
          process.setAttributes(item.path, { mode })
        })
      : orComplain(process, item.from, () => {
          const target = destination(process, item.from, to)
          if (options.has("D")) machine.vfs.makeFolders(directoryName(target), cwd, 0o755, actor)
          copyFile(process, item.from, target, false)
          process.setAttributes(target, { mode })
        })
  )
})

/** What `dd` copies, and how much of it. */
export const dd: Program = (process) =>
  Effect.gen(function* () {
    const operands = new Map(
      process.argv.slice(1).map((word) => [word.split("=")[0] ?? "", word.slice(word.indexOf("=") + 1)])
    )
    const size = (key: string, fallback: number): number => {
      const match = /^(\d+)([kKMG]?)B?$/.exec(operands.get(key) ?? "")
      return match === null
        ? fallback
        : Number(match[1]) * 1024 ** ["", "K", "M", "G"].indexOf((match[2] ?? "").toUpperCase())
    }
    const block = size("bs", 512)
    const count = size("count", Number.POSITIVE_INFINITY)
    const input = operands.get("if")
    const output = operands.get("of")
    const conversions = (operands.get("conv") ?? "").split(",")
    const opened = yield* Effect.result(
      Effect.gen(function* () {
        if (input !== undefined) process.assign(0, yield* process.open(input, { read: true, write: false }))
        if (output !== undefined) {
          const truncate = !conversions.includes("notrunc") && !operands.has("seek")
          process.assign(1, yield* process.open(output, { read: false, write: true, create: true, truncate }))
        }
      })
    )
    if (opened._tag === "Failure") {
      yield* process.complain(`dd: can't open '${input ?? output ?? ""}': ${opened.failure.problem}`)
      return 1
    }
    for (let skipped = 0; skipped < size("skip", 0); skipped++) yield* readFully(process, block)
    const target = process.descriptors.get(1)
    if (target !== undefined && "position" in target) target.position = size("seek", 0) * block
    let full = 0
    let partial = 0
    let written = 0
    let failure: Errno | undefined
    while (full + partial < count) {
      const bytes = yield* readFully(process, block)
      if (bytes.length === 0) break
      if (bytes.length === block) full++
      else partial++
      const result = yield* Effect.result(process.writeBytes(1, bytes))
      if (result._tag === "Failure") {
        failure = result.failure
        break
      }
      if (bytes.length === block) written++
    }
    if (failure !== undefined)
      yield* process.complain(`dd: error writing '${output ?? "standard output"}': ${failure.problem}`)
    if (operands.get("status") !== "none") {
      yield* process.complain(`${full}+${partial} records in\n${written}+${partial} records out`)
    }
    return failure === undefined ? 0 : 1
  })

/** A whole block, unless the input ends. */
const readFully = (process: Process, length: number): Effect.Effect<Uint8Array, Errno> =>
  Effect.gen(function* () {
    const block = new Uint8Array(length)
    let filled = 0
    while (filled < length) {
      const bytes = yield* process.read(0, length - filled)
      if (bytes.length === 0) break
      block.set(bytes, filled)
      filled += bytes.length
    }
    return block.subarray(0, filled)
  })

/** Where a path leads, without symbolic links. */
export const readlink: Program = withOptions("fenms", (process, options) =>
  forEach(options.operands, (path) => {
    const { actor, cwd, machine } = process
    const isFollowed = options.has("f") || options.has("e") || options.has("m") || process.name === "realpath"
    const isQuiet = process.name !== "realpath"
    return attempt(() =>
      isFollowed ? canonical(process, path, options.has("e")) : machine.vfs.readLink(path, cwd, actor)
    ).pipe(
      Effect.flatMap((target) => process.print(options.has("n") ? target : `${target}\n`)),
      Effect.as(0),
      Effect.catch(({ problem }) =>
        Effect.as(isQuiet ? Effect.void : process.complain(`${process.name}: ${path}: ${problem}`), 1)
      )
    )
  })
)

const canonical = (process: Process, path: string, mustExist: boolean): string => {
  const { actor, cwd, machine } = process
  if (mustExist || process.lookAt(path) !== undefined) return machine.vfs.resolve(path, cwd, actor).path
  const folder = machine.vfs.resolve(directoryName(path), cwd, actor)
  if (folder.node.stat().kind !== "Directory") throw errno("ENOTDIR")
  return joinPath(folder.path, baseName(path))
}
