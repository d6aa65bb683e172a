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

const linuxChildren = (): ReadonlyArray<VmProcess> =>
  linuxProcesses(
    Fs.readdirSync("/proc/self/task").flatMap((thread) => read(`/proc/self/task/${thread}/children`).split(" "))
  )

const linuxProcesses = (pids: ReadonlyArray<string>): ReadonlyArray<VmProcess> =>
  pids.flatMap((pid) => {
    const vm = /^\d+$/.test(pid) ? ofArguments(Number(pid), read(`/proc/${pid}/cmdline`).split("\0")) : undefined
    return vm === undefined ? [] : [vm]
  })

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
  process.platform === "linux" ? linuxProcesses(Fs.readdirSync("/proc")) : listed(() => true)

/** A process or a folder may be gone between its listing and its use. */
const orElse = <A>(run: () => A, otherwise: A): A => {
  try {
    return run()
  } catch {
    return otherwise
  }
}

const read = (path: string): string => orElse(() => Fs.readFileSync(path, "utf8"), "")

/** Virtual machines of this process for a sandbox. */
export const pidsOf = (sandbox: string): ReadonlySet<number> =>
  new Set(children().flatMap((vm) => (vm.sandbox === sandbox ? [vm.pid] : [])))

/** Kills the virtual machines of this process for a sandbox, except some. */
export const kill = (sandbox: string, spared: ReadonlySet<number>): void => {
  for (const pid of pidsOf(sandbox)) {
    if (spared.has(pid)) continue
    const folders = bootFolders(pid)
    orElse(() => process.kill(pid, "SIGKILL"), false)
    for (const folder of folders) removeBootFolder(folder)
  }
}

/** Folders that the guest creates in its boot folder before it switches to its root. */
const bootFolderEntries = [".msb", "dev", "newroot", "proc", "sys"]

const isBootFolderName = (path: string): boolean => /^\.tmp\w{6}$/.test(Path.basename(path))

/** Temporary boot folders, which the runtime never removes. */
const bootFolders = (pid: number): ReadonlyArray<string> =>
  orElse(() => Fs.readdirSync(`/proc/${pid}/fd`), [])
    .map((fd) => orElse(() => Fs.readlinkSync(`/proc/${pid}/fd/${fd}`), ""))
    .filter(isBootFolderName)

/** Removes a boot folder, unless it contains anything else. */
const removeBootFolder = (folder: string): boolean =>
  orElse(() => {
    for (const entry of Fs.readdirSync(folder)) {
      if (bootFolderEntries.includes(entry)) Fs.rmdirSync(Path.join(folder, entry))
    }
    Fs.rmdirSync(folder)
    return true
  }, false)

/** Finds what to remove after the virtual machine of a sandbox has ended. Returns a function that does. */
export const remains = (sandbox: string): (() => void) => {
  const folders = [...pidsOf(sandbox)].flatMap(bootFolders)
  return () => folders.forEach(removeBootFolder)
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

const hasEntries = (folder: string, entries: ReadonlyArray<string>): boolean =>
  orElse(() => Fs.readdirSync(folder).toSorted().join("/") === entries.join("/"), false)
