/**
 * The captured memory of a machine, and how another one goes on with it.
 *
 * A fiber cannot be copied. Of processes, the table is kept: ids, arguments, environment and start times. Those of
 * declared commands, and of `sleep`, start anew with what they were started with. Others are there and wait for signals;
 * one that waited for a child ends with the child.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Cbor from "cborg"
import { fromBytes as textOf, toBytes } from "./byteString.ts"
import { fromBytes, OutputDescription } from "./description.ts"
import { attempt } from "./errno.ts"
import { FileTree } from "./fileTree.ts"
import type { Machine } from "./machine.ts"
import { codeOf, type Process, type Program, restartable } from "./process.ts"
import { root } from "./vnode.ts"

const Words = Schema.Uint8Array

const StoredProcess = Schema.Struct({
  pid: Schema.Int,
  parent: Schema.Int,
  group: Schema.Int,
  /** Words that end with NUL, as in `/proc`. */
  argv: Words,
  env: Words,
  cwd: Words,
  uid: Schema.Int,
  gid: Schema.Int,
  groups: Schema.Array(Schema.Int),
  umask: Schema.Int,
  startedAt: Schema.Finite,
  limits: Schema.Record(Schema.String, Schema.Struct({ soft: Schema.Finite, hard: Schema.Finite }))
})

const Memory = Schema.Struct({
  hostname: Schema.String,
  bootId: Schema.String,
  cpus: Schema.Int,
  /** Bytes of the machine. */
  size: Schema.Finite,
  /** Milliseconds since the boot. */
  uptime: Schema.Finite,
  /** The guest's time, in milliseconds since 1970. */
  clock: Schema.Finite,
  seed: Schema.Int,
  nextPid: Schema.Int,
  processes: Schema.Array(StoredProcess),
  /** File systems in memory, by path. */
  trees: Schema.Array(Schema.Struct({ path: Schema.String, limit: Schema.Finite, content: Schema.Uint8Array }))
})

export type Memory = typeof Memory.Type

const decodeMemory = Schema.decodeUnknownOption(Memory)

const toWords = (words: Iterable<string>): Uint8Array => toBytes(Array.from(words, (word) => `${word}\0`).join(""))

const ofWords = (bytes: Uint8Array): ReadonlyArray<string> => textOf(bytes).split("\0").slice(0, -1)

const isTmpfs = (volume: unknown): volume is FileTree => volume instanceof FileTree && volume.info.type === "tmpfs"

/** Captures the memory of a machine, which goes on running. */
export const capture = (machine: Machine): Memory => ({
  hostname: machine.currentHostname,
  bootId: machine.bootId,
  cpus: machine.cpus,
  size: machine.memory,
  uptime: machine.now() - machine.bootedAt,
  clock: machine.guestNow(),
  seed: machine.random.seed,
  nextPid: machine.lastPid + 1,
  processes: machine.all().map((process) => ({
    pid: process.pid,
    parent: process.parent,
    group: process.group,
    argv: toWords(process.argv),
    env: toWords(Array.from(process.env, ([name, value]) => `${name}=${value}`)),
    cwd: toWords([process.cwd]),
    uid: process.actor.uid,
    gid: process.actor.gid,
    groups: process.actor.groups,
    umask: process.umask,
    startedAt: process.startedAt,
    limits: Object.fromEntries(process.limits)
  })),
  trees: machine.vfs.mounted().flatMap(({ path, volume }) => {
    if (!isTmpfs(volume)) return []
    volume.sync()
    return [{ path, limit: volume.limit, content: volume.encode() }]
  })
})

export const encode = (memory: Memory): Uint8Array => Cbor.encode(memory)

/** Decodes a captured memory. Returns `undefined` if the bytes are something else. */
export const decode = (bytes: Uint8Array): Memory | undefined => {
  try {
    return Option.getOrUndefined(decodeMemory(Cbor.decode(bytes)))
  } catch {
    return undefined
  }
}

/** Restores the file systems in memory, and mounts those that are missing. Throws `Errno`. */
const restoreTrees = ({ vfs }: Machine, { trees }: Memory, now: () => number): void => {
  for (const { content, limit, path } of trees) {
    const found = vfs.mounted().find((mount) => mount.path === path)?.volume
    const options = { source: "tmpfs", type: "tmpfs", options: "rw,relatime", limit, now, isDisk: false }
    const tree = isTmpfs(found) ? found : new FileTree(options)
    tree.decode(content)
    if (tree !== found) vfs.mount(path, tree.root, root)
  }
}

/** Waits for the first child to end, and takes the others along. */
const waiting: Program = (process) =>
  Effect.suspend(() => {
    const children = process.machine.all().filter(({ parent }) => parent === process.pid)
    if (children.length === 0) return Effect.never
    return Effect.map(Effect.raceAllFirst(children.map(({ ended }) => ended)), (status) => {
      for (const child of children) child.signal(9)
      return codeOf(status)
    })
  })

const programOf = (process: Process): Effect.Effect<Program> =>
  process.load(process.argv).pipe(
    Effect.map(({ program }) => (restartable.has(program) ? program : waiting)),
    Effect.orElseSucceed(() => waiting)
  )

/** Makes the processes of a captured memory, and lets them go on. */
export const revive = Effect.fnUntraced(function* (machine: Machine, memory: Memory): Effect.fn.Return<void> {
  const processes = memory.processes.map(({ argv, cwd, env, gid, groups, limits, pid, uid, ...fields }) =>
    machine.makeProcess({
      ...fields,
      argv: ofWords(argv),
      env: new Map(
        ofWords(env).map((entry) => [entry.slice(0, entry.indexOf("=")), entry.slice(entry.indexOf("=") + 1)])
      ),
      cwd: ofWords(cwd)[0] ?? "/",
      actor: { uid, gid, groups },
      limits: new Map(Object.entries(limits)),
      descriptors: new Map([
        [0, fromBytes(new Uint8Array())],
        [
          1,
          new OutputDescription(
            () => Effect.void,
            () => {}
          )
        ],
        [
          2,
          new OutputDescription(
            () => Effect.void,
            () => {}
          )
        ]
      ]),
      pid,
      isResumed: true
    })
  )
  for (const process of processes) yield* process.start(yield* programOf(process))
})

/** Restores what a machine can have before its processes. */
export const restore = (machine: Machine, memory: Memory) => attempt(() => restoreTrees(machine, memory, machine.now))
