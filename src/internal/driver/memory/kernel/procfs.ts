/** The guest's `/proc`. */
import { fromText, toBytes } from "./byteString.ts"
import { errno } from "./errno.ts"
import type { Machine } from "./machine.ts"
import type { Process } from "./process.ts"
import { type Actor, type Kind, type OpenFile, openWith, type Stat, Vnode, type Volume } from "./vnode.ts"

export type ProcessInfo = Pick<
  Process,
  "pid" | "parent" | "group" | "name" | "argv" | "env" | "cwd" | "actor" | "startedAt"
>

export const kernelRelease = "6.12.99"

export class ProcFs implements Volume {
  readonly info = { source: "proc", type: "proc", options: "rw,nosuid,nodev,noexec,relatime" }
  readonly isReadonly = false
  readonly root: Vnode

  constructor(machine: Machine) {
    this.root = new ProcNode(this, machine, rootFolder(machine))
  }

  usage(): { readonly total: number; readonly used: number } {
    return { total: 0, used: 0 }
  }
}

interface Content {
  readonly kind: Kind
  readonly text?: () => string
  readonly target?: (actor: Actor) => string
  readonly list?: () => ReadonlyArray<string>
  readonly get?: (name: string) => Content | undefined
}

const file = (text: () => string): Content => ({ kind: "File", text })

const link = (target: (actor: Actor) => string): Content => ({ kind: "Symlink", target })

const folder = (entries: { readonly [name: string]: Content }) => ({
  kind: "Directory" as const,
  list: () => Object.keys(entries),
  get: (name: string) => (Object.hasOwn(entries, name) ? entries[name] : undefined)
})

const rootFolder = (machine: Machine): Content => {
  const uptime = () => ((machine.now() - machine.bootedAt) / 1000).toFixed(2)
  const kilobytes = machine.memory / 1024
  const fixed = folder({
    cpuinfo: file(() =>
      Array.from({ length: machine.cpus }, (_, cpu) => `processor\t: ${cpu}\nmodel name\t: memory\n\n`).join("")
    ),
    meminfo: file(
      () =>
        `MemTotal:       ${kilobytes} kB\nMemFree:        ${kilobytes >> 1} kB\nMemAvailable:   ${kilobytes >> 1} kB\n`
    ),
    mounts: file(() => mountTable(machine)),
    self: link(({ pid }) => String(pid)),
    sys: folder({
      kernel: folder({
        random: folder({ boot_id: file(() => `${machine.bootId}\n`) }),
        osrelease: file(() => `${kernelRelease}\n`),
        ostype: file(() => "Linux\n")
      })
    }),
    uptime: file(() => `${uptime()} ${uptime()}\n`),
    version: file(() => `Linux version ${kernelRelease}\n`)
  })
  return {
    kind: "Directory",
    list: () => [...machine.pids().map(String), ...fixed.list()],
    get: (name) => {
      const info = /^[1-9]\d*$/.test(name) ? machine.processInfo(Number(name)) : undefined
      return info === undefined ? fixed.get(name) : processFolder(machine, info)
    }
  }
}

const processFolder = (machine: Machine, info: ProcessInfo): Content => {
  const { actor, argv, cwd, env, group, name, parent, pid, startedAt } = info
  return folder({
    cmdline: file(() => argv.map((word) => `${word}\0`).join("")),
    comm: file(() => `${name.slice(0, 15)}\n`),
    cwd: link(() => cwd),
    environ: file(() => [...env].map(([key, value]) => `${key}=${value}\0`).join("")),
    exe: link(() => argv[0] ?? ""),
    mounts: file(() => mountTable(machine)),
    stat: file(() => `${pid} (${name}) S ${parent} ${group} ${group} 0 -1${" 0".repeat(13)} ${startedAt}\n`),
    status: file(() => {
      const ids = (id: number) => `${id}\t${id}\t${id}\t${id}`
      return `Name:\t${name}\nState:\tS (sleeping)\nPid:\t${pid}\nPPid:\t${parent}\nUid:\t${ids(actor.uid)}\nGid:\t${ids(actor.gid)}\n`
    })
  })
}

const modes: { readonly [kind in Kind]?: number } = { Directory: 0o555, Symlink: 0o777 }

class ProcNode extends Vnode {
  readonly volume: ProcFs
  private readonly machine: Machine
  private readonly content: Content

  constructor(volume: ProcFs, machine: Machine, content: Content) {
    super()
    this.volume = volume
    this.machine = machine
    this.content = content
  }

  stat(): Stat {
    const now = this.machine.now()
    const { kind } = this.content
    return {
      kind,
      inode: 1,
      size: 0,
      mode: modes[kind] ?? 0o444,
      uid: 0,
      gid: 0,
      modifiedAt: now,
      accessedAt: now,
      links: 1
    }
  }

  readLink(actor: Actor): string {
    if (this.content.target === undefined) throw errno("EINVAL")
    return this.content.target(actor)
  }

  open(): OpenFile {
    if (this.content.text === undefined) throw errno("EISDIR")
    const bytes = toBytes(this.content.text())
    return openWith(this, {
      read: (offset, length) => bytes.slice(offset, offset + length),
      setAttributes: () => {},
      truncate: () => {}
    })
  }

  lookup(name: string): Vnode | undefined {
    const content = this.content.get?.(name)
    return content && new ProcNode(this.volume, this.machine, content)
  }

  list(): ReadonlyArray<string> {
    return this.content.list?.() ?? []
  }

  make(): Vnode {
    throw errno("ENOENT")
  }
}

/** The mount table, which escapes spaces in octal. */
const mountTable = ({ vfs }: Machine): string =>
  vfs
    .mounted()
    .map(
      ({
        path,
        volume: { info }
      }) => `${escaped(fromText(info.source))} ${escaped(path)} ${info.type} ${info.options} 0 0
`
    )
    .join("")

const escaped = (path: string): string =>
  path.replace(/[\s\\]/g, (character) => `\\${character.charCodeAt(0).toString(8).padStart(3, "0")}`)
