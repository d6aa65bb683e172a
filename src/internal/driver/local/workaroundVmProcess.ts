/**
 * The processes in which the runtime runs virtual machines, found by what they
 * are called with.
 *
 * The SDK can not stop a boot: its `kill` works only once the virtual machine
 * has registered itself, and before that merely spoils the boot, which then
 * fails after running to its end. The process itself can be killed at any time,
 * and the pending `create()` then fails at once.
 */
import * as ChildProcess from "node:child_process"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"

/** A process that runs a sandbox's virtual machine. */
export interface VmProcess {
  readonly pid: number
  readonly sandbox: string
}

const ofArguments = (pid: number, words: ReadonlyArray<string>): VmProcess | undefined => {
  if (!/(^|\/)msb$/.test(words[0] ?? "") || words[1] !== "sandbox") return undefined
  const sandbox = words[words.indexOf("--name") + 1]
  return words.includes("--name") && sandbox !== undefined ? { pid, sandbox } : undefined
}

/** Children of this process that run virtual machines. */
export const children = (): ReadonlyArray<VmProcess> =>
  process.platform === "linux" ? linuxChildren() : listed((parent) => parent === process.pid)

const linuxChildren = (): ReadonlyArray<VmProcess> => {
  const found: Array<VmProcess> = []
  for (const thread of Fs.readdirSync("/proc/self/task")) {
    for (const pid of read(`/proc/self/task/${thread}/children`).split(" ")) {
      if (pid === "") continue
      const vm = ofArguments(Number(pid), read(`/proc/${pid}/cmdline`).split("\0"))
      if (vm !== undefined) found.push(vm)
    }
  }
  return found
}

const listed = (isWanted: (parent: number) => boolean): ReadonlyArray<VmProcess> => {
  const { stdout } = ChildProcess.spawnSync("ps", ["-axo", "pid=,ppid=,args="], { encoding: "utf8" })
  return (stdout ?? "").split("\n").flatMap((line) => {
    const [pid, parent, ...words] = line.trim().split(/\s+/)
    const vm = isWanted(Number(parent)) ? ofArguments(Number(pid), words) : undefined
    return vm === undefined ? [] : [vm]
  })
}

/** All processes of this machine that run virtual machines. */
const all = (): ReadonlyArray<VmProcess> =>
  process.platform === "linux"
    ? Fs.readdirSync("/proc").flatMap((pid) => {
        const vm = /^\d+$/.test(pid) ? ofArguments(Number(pid), read(`/proc/${pid}/cmdline`).split("\0")) : undefined
        return vm === undefined ? [] : [vm]
      })
    : listed(() => true)

/** A thread or process may end between being listed and being read. */
const read = (path: string): string => {
  try {
    return Fs.readFileSync(path, "utf8")
  } catch {
    return ""
  }
}

/** The processes of this process's virtual machines for a sandbox. */
export const pidsOf = (sandbox: string): ReadonlySet<number> =>
  new Set(children().flatMap((vm) => (vm.sandbox === sandbox ? [vm.pid] : [])))

/** Kills this process's virtual machines for a sandbox, but for some. */
export const kill = (sandbox: string, spared: ReadonlySet<number>): void => {
  for (const pid of pidsOf(sandbox)) {
    if (spared.has(pid)) continue
    const folders = bootFolders(pid)
    try {
      process.kill(pid, "SIGKILL")
    } catch {
      // It ended by itself in the meantime.
    }
    for (const folder of folders) removeBootFolder(folder)
  }
}

// =============================================================================
// What virtual machines leave
// =============================================================================

/** What the guest makes in the folder that it boots from, before it changes to its own root. */
const bootFolderEntries = [".msb", "dev", "newroot", "proc", "sys"]

const isBootFolderName = (path: string): boolean => /^\.tmp\w{6}$/.test(Path.basename(path))

/** The temporary folders that a virtual machine boots from, which the runtime never removes. */
const bootFolders = (pid: number): ReadonlyArray<string> => {
  try {
    return Fs.readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
      const path = readLink(`/proc/${pid}/fd/${fd}`)
      return isBootFolderName(path) ? [path] : []
    })
  } catch {
    return []
  }
}

const readLink = (path: string): string => {
  try {
    return Fs.readlinkSync(path)
  } catch {
    return ""
  }
}

/** Removes such a folder, unless it holds something else. */
const removeBootFolder = (folder: string): boolean => {
  try {
    for (const entry of Fs.readdirSync(folder)) {
      if (bootFolderEntries.includes(entry)) Fs.rmdirSync(Path.join(folder, entry))
    }
    Fs.rmdirSync(folder)
    return true
  } catch {
    return false
  }
}

/** Looks what the virtual machine of a sandbox will leave, for when it has ended. */
export const remains = (sandbox: string): { readonly remove: () => void } => {
  const folders = [...pidsOf(sandbox)].flatMap(bootFolders)
  return {
    remove: () => {
      for (const folder of folders) removeBootFolder(folder)
    }
  }
}

/** Removes what virtual machines have left that ended in other ways, and tells the folders. */
export const collectRemains = (options: { readonly dryRun: boolean }): ReadonlyArray<string> => {
  const candidates = Fs.readdirSync(Os.tmpdir())
    .filter(isBootFolderName)
    .map((name) => Path.join(Os.tmpdir(), name))
    .filter((folder) => hasEntries(folder, bootFolderEntries))
  if (candidates.length === 0) return []
  const running = all()
  // Elsewhere it can not be known which folder is whose.
  if (process.platform !== "linux" && running.length > 0) return []
  const used = new Set(running.flatMap(({ pid }) => bootFolders(pid)))
  return candidates.filter((folder) => !used.has(folder) && (options.dryRun || removeBootFolder(folder)))
}

const hasEntries = (folder: string, entries: ReadonlyArray<string>): boolean => {
  try {
    return Fs.readdirSync(folder).toSorted().join("/") === entries.join("/")
  } catch {
    return false
  }
}
