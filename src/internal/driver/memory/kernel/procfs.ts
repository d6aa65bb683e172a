/** The guest's `/proc`. */
import { fromText, toBytes } from "./byteString.ts"
import { errno } from "./errno.ts"
import { type Actor, type OpenFile, openWith, type Stat, Vnode, type Volume } from "./vnode.ts"

export interface ProcessInfo {
  readonly pid: number
  readonly parent: number
  readonly group: number
  readonly name: string
  readonly argv: ReadonlyArray<string>
  readonly env: ReadonlyMap<string, string>
  readonly cwd: string
  readonly actor: Omit<Actor, "pid">
}

export interface MachineInfo {
  readonly bootedAt: number
  readonly now: () => number
  readonly cpus: number
  /** Bytes. */
  readonly memory: number
  readonly processInfo: (pid: number) => ProcessInfo | undefined
  readonly pids: () => ReadonlyArray<number>
  readonly mountTable: () => string
}

export const kernelRelease = "6.12.99"

/** The file system of `/proc`. */
export class ProcFs implements Volume {
  readonly source = "proc"
  readonly type = "proc"
  readonly options = "rw,nosuid,nodev,noexec,relatime"
  readonly isReadonly = false
  readonly root: Vnode

  constructor(machine: MachineInfo) {
    this.root = new ProcFolder(this, machine, "/", rootEntries(machine))
  }

  usage(): { readonly total: number; readonly used: number } {
    return { total: 0, used: 0 }
  }
}

type Content =
  | { readonly _tag: "File"; readonly text: () => string }
  | { readonly _tag: "Link"; readonly target: (actor: Actor) => string }
  | { readonly _tag: "Folder"; readonly entries: Entries }

interface Entries {
  readonly list: () => ReadonlyArray<string>
  readonly get: (name: string) => Content | undefined
}

const file = (text: () => string): Content => ({ _tag: "File", text })

const fixed = (entries: { readonly [name: string]: Content }): Entries => ({
  list: () => Object.keys(entries),
  get: (name) => (Object.hasOwn(entries, name) ? entries[name] : undefined)
})

const rootEntries = (machine: MachineInfo): Entries => {
  const uptime = () => ((machine.now() - machine.bootedAt) / 1000).toFixed(2)
  const kilobytes = machine.memory / 1024
  const entries = fixed({
    cmdline: file(() => "reboot=k panic=-1\n"),
    cpuinfo: file(() =>
      Array.from({ length: machine.cpus }, (_, cpu) => `processor\t: ${cpu}\nmodel name\t: memory\n\n`).join("")
    ),
    filesystems: file(() => "nodev\tproc\nnodev\ttmpfs\n\text4\nnodev\toverlay\nnodev\tvirtiofs\n"),
    loadavg: file(() => `0.00 0.00 0.00 1/${machine.pids().length} ${Math.max(...machine.pids())}\n`),
    meminfo: file(
      () =>
        `MemTotal:       ${kilobytes} kB\nMemFree:        ${kilobytes >> 1} kB\nMemAvailable:   ${kilobytes >> 1} kB\n`
    ),
    mounts: file(machine.mountTable),
    self: { _tag: "Link", target: ({ pid }) => String(pid) },
    stat: file(
      () => `cpu  0 0 0 0\nbtime ${Math.floor(machine.bootedAt / 1000)}\nprocesses ${machine.pids().length}\n`
    ),
    sys: {
      _tag: "Folder",
      entries: fixed({
        kernel: {
          _tag: "Folder",
          entries: fixed({ osrelease: file(() => `${kernelRelease}\n`), ostype: file(() => "Linux\n") })
        }
      })
    },
    uptime: file(() => `${uptime()} ${uptime()}\n`),
    version: file(() => `Linux version ${kernelRelease}\n`)
  })
  return {
    list: () => [...machine.pids().map(String), ...entries.list()],
    get: (name) => {
      const info = /^[1-9]\d*$/.test(name) ? machine.processInfo(Number(name)) : undefined
      return info === undefined ? entries.get(name) : { _tag: "Folder", entries: processEntries(machine, info) }
    }
  }
}

const processEntries = (machine: MachineInfo, info: ProcessInfo): Entries => {
  const { actor, argv, cwd, env, group, name, parent, pid } = info
  return fixed({
    cmdline: file(() => argv.map((word) => `${word}\0`).join("")),
    comm: file(() => `${name.slice(0, 15)}\n`),
    cwd: { _tag: "Link", target: () => cwd },
    environ: file(() => [...env].map(([key, value]) => `${key}=${value}\0`).join("")),
    exe: { _tag: "Link", target: () => argv[0] ?? "" },
    mounts: file(machine.mountTable),
    stat: file(() => `${pid} (${name}) S ${parent} ${group} ${group} 0 -1\n`),
    status: file(() => {
      const ids = (id: number) => `${id}\t${id}\t${id}\t${id}`
      return `Name:\t${name}\nState:\tS (sleeping)\nPid:\t${pid}\nPPid:\t${parent}\nUid:\t${ids(actor.uid)}\nGid:\t${ids(actor.gid)}\n`
    })
  })
}

class ProcNode extends Vnode {
  readonly volume: ProcFs
  readonly id: string
  protected readonly machine: MachineInfo
  protected readonly content: Content

  constructor(volume: ProcFs, machine: MachineInfo, path: string, content: Content) {
    super()
    this.volume = volume
    this.machine = machine
    this.id = path
    this.content = content
  }

  stat(): Stat {
    const now = this.machine.now()
    const { _tag } = this.content
    return {
      kind: _tag === "Folder" ? "Directory" : _tag === "Link" ? "Symlink" : "File",
      size: 0,
      mode: _tag === "Folder" ? 0o555 : _tag === "Link" ? 0o777 : 0o444,
      uid: 0,
      gid: 0,
      modifiedAt: now,
      accessedAt: now,
      links: 1
    }
  }

  override readLink(actor: Actor): string {
    if (this.content._tag !== "Link") throw errno("EINVAL")
    return this.content.target(actor)
  }

  override open(): OpenFile {
    if (this.content._tag !== "File") throw errno("EISDIR")
    const bytes = toBytes(this.content.text())
    return openWith(this, {
      read: (offset, length) => bytes.slice(offset, offset + length),
      setAttributes: () => {},
      truncate: () => {}
    })
  }
}

class ProcFolder extends ProcNode {
  private readonly entries: Entries

  constructor(volume: ProcFs, machine: MachineInfo, path: string, entries: Entries) {
    super(volume, machine, path, { _tag: "Folder", entries })
    this.entries = entries
  }

  override lookup(name: string): Vnode | undefined {
    const content = this.entries.get(name)
    const path = `${this.id}/${name}`
    if (content === undefined) return undefined
    return content._tag === "Folder"
      ? new ProcFolder(this.volume, this.machine, path, content.entries)
      : new ProcNode(this.volume, this.machine, path, content)
  }

  override list(): ReadonlyArray<string> {
    return this.entries.list()
  }

  /** Nothing can be created here. */
  override make(): Vnode {
    throw errno("ENOENT")
  }
}

/** Formats a line of the mount table, which escapes spaces in octal. */
export const mountLine = (source: string, path: string, type: string, options: string): string =>
  `${escapeMountPoint(fromText(source))} ${escapeMountPoint(path)} ${type} ${options} 0 0\n`

const escapeMountPoint = (path: string): string =>
  path.replace(/[\s\\]/g, (character) => `\\${character.charCodeAt(0).toString(8).padStart(3, "0")}`)
