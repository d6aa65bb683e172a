/** Programs that mount, of which only binds and memory are there. Every export is a program, by its name. */
import { errno } from "../kernel/errno.ts"
import { FileTree } from "../kernel/fileTree.ts"
import type { Program } from "../kernel/process.ts"
import { fail, orComplain, usage, withOptions } from "./options.ts"

const units: { readonly [unit: string]: number } = { k: 1024, m: 1024 ** 2, g: 1024 ** 3 }

const sizeIn = (options: string): number => {
  const [, count = "", unit = ""] = /(?:^|,)size=(\d+)([kmg]?)(?:,|$)/i.exec(options) ?? []
  return count === "" ? Number.POSITIVE_INFINITY : Number(count) * (units[unit.toLowerCase()] ?? 1)
}

export const mount: Program = withOptions(
  "o:t:B",
  (process, options) => {
    const { actor, cwd, machine } = process
    const [source = "", target = ""] = options.operands
    const flags = options.get("o") ?? ""
    if (actor.uid !== 0) return fail(process, "permission denied (are you root?)")
    // Binds cannot be made read-only here.
    if (flags.split(",").includes("remount")) return orComplain(process, source, () => void process.resolve(source))
    if (target === "") return usage(process)
    return orComplain(process, `mounting ${source} on ${target} failed`, () => {
      if (options.has("B")) return machine.vfs.bind(target, process.resolve(source).node, cwd, actor)
      if (options.get("t") !== "tmpfs") throw errno("EINVAL")
      const limit = sizeIn(flags)
      const tree = new FileTree({
        source,
        type: "tmpfs",
        options: "rw,relatime",
        limit,
        now: () => machine.now(),
        isDisk: false
      })
      machine.vfs.bind(target, tree.root, cwd, actor)
    })
  },
  { least: 1, most: 2, long: { bind: "B" } }
)

export const umount: Program = withOptions(
  "l",
  (process, options) => {
    const [target = ""] = options.operands
    if (process.actor.uid !== 0) return fail(process, `can't unmount ${target}: Operation not permitted`)
    return orComplain(process, `can't unmount ${target}`, () =>
      process.machine.vfs.unmount(target, process.cwd, process.actor)
    )
  },
  { least: 1, most: 1 }
)
