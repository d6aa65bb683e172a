/**
 * Finds the processes of virtual machines by their arguments.
 *
 * The SDK cannot cancel a boot: its `kill` works only once the virtual machine has registered itself. Before that, it
 * only makes the boot fail at its end. The process can be killed at any time, and the pending `create()` then fails at
 * once.
 */
import * as ChildProcess from "node:child_process"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"

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

/** It may end between the listing and the read. */
const read = (path: string): string => {
  try {
    return Fs.readFileSync(path, "utf8")
  } catch {
    return ""
  }
}

/** Virtual machines of this process for a sandbox. */
export const pidsOf = (sandbox: string): ReadonlySet<number> =>
  new Set(children().flatMap((vm) => (vm.sandbox === sandbox ? [vm.pid] : [])))

/** Kills the virtual machines of this process for a sandbox, except some. */
export const kill = (sandbox: string, spared: ReadonlySet<number>): void => {
  for (const pid of pidsOf(sandbox)) {
    if (spared.has(pid)) continue
    const folders = bootFolders(pid)
    try {
      process.kill(pid, "SIGKILL")
    } catch {
      // It has ended meanwhile.
    }
    for (const folder of folders) removeBootFolder(folder)
  }
}

// =============================================================================
// Leftovers of virtual machines
// =============================================================================

/** Folders that the guest creates in its boot folder before it switches to its root. */
const bootFolderEntries = [".msb", "dev", "newroot", "proc", "sys"]

const isBootFolderName = (path: string): boolean => /^\.tmp\w{6}$/.test(Path.basename(path))

/** Temporary boot folders, which the runtime never removes. */
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

/** Removes a boot folder, unless it contains anything else. */
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

/** Finds what to remove after the virtual machine of a sandbox has ended. */
export const remains = (sandbox: string): { readonly remove: () => void } => {
  const folders = [...pidsOf(sandbox)].flatMap(bootFolders)
  return {
    remove: () => {
      for (const folder of folders) removeBootFolder(folder)
    }
  }
}

/** Removes leftovers of virtual machines that ended in other ways, and returns the folders. */
export const collectRemains = (options: { readonly dryRun: boolean }): ReadonlyArray<string> => {
  const candidates = Fs.readdirSync(Os.tmpdir())
    .filter(isBootFolderName)
    .map((name) => Path.join(Os.tmpdir(), name))
    .filter((folder) => hasEntries(folder, bootFolderEntries))
  if (candidates.length === 0) return []
  const running = all()
  // Other systems do not show which process uses a folder.
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
