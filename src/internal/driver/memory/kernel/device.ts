/** Device files. */
import { errno } from "./errno.ts"
import type { OpenFile, Stat } from "./vnode.ts"

// Deterministic, not the host's.
let seed = 0x9e37_79b9

const nextRandom = (): number => {
  seed ^= seed << 13
  seed ^= seed >>> 17
  seed ^= seed << 5
  return seed & 0xff
}

/** The largest read of an endless device. */
const endlessBytes = 1024 * 1024

const nothing = () => new Uint8Array()

const zeros = (length: number) => new Uint8Array(Math.min(length, endlessBytes))

const randoms = (length: number) => zeros(length).map(nextRandom)

const reads = { null: nothing, zero: zeros, full: zeros, random: randoms, urandom: randoms, console: nothing }

export type Name = keyof typeof reads | "tty"

export const all: ReadonlyArray<Name> = ["null", "zero", "full", "random", "urandom", "tty", "console"]

export const open = (name: Name, stat: () => Stat): OpenFile => ({
  read: (_offset, length) => {
    if (name === "tty") throw errno("EIO")
    return reads[name](length)
  },
  write: () => {
    if (name === "full") throw errno("ENOSPC")
  },
  stat,
  setAttributes: () => {},
  truncate: () => {},
  close: () => {}
})
