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
  process.platform === "linux" ? linuxChildren() : listedChildren()

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

const listedChildren = (): ReadonlyArray<VmProcess> => {
  const { stdout } = ChildProcess.spawnSync("ps", ["-axo", "pid=,ppid=,args="], { encoding: "utf8" })
  return (stdout ?? "").split("\n").flatMap((line) => {
    const [pid, parent, ...words] = line.trim().split(/\s+/)
    const vm = Number(parent) === process.pid ? ofArguments(Number(pid), words) : undefined
    return vm === undefined ? [] : [vm]
  })
}

/** A thread or process may end between being listed and being read. */
const read = (path: string): string => {
  try {
    return Fs.readFileSync(path, "utf8")
  } catch {
    return ""
  }
}

/** Kills this process's virtual machine for a sandbox, and tells whether there was one. */
export const kill = (sandbox: string): boolean => {
  const vms = children().filter((vm) => vm.sandbox === sandbox)
  for (const { pid } of vms) {
    try {
      process.kill(pid, "SIGKILL")
    } catch {
      // It ended by itself in the meantime.
    }
  }
  return vms.length > 0
}
