/** Device files. */
import { errno } from "./errno.ts"
import type { OpenFile, Stat } from "./vnode.ts"

export type Name = "null" | "zero" | "full" | "random" | "urandom" | "tty" | "console" | "ptmx"

const names: ReadonlyArray<Name> = ["null", "zero", "full", "random", "urandom", "tty", "console", "ptmx"]

export const all: ReadonlyArray<Name> = names

// Deterministic, not the host's.
let seed = 0x9e37_79b9

const nextRandom = (): number => {
  seed ^= seed << 13
  seed ^= seed >>> 17
  seed ^= seed << 5
  return seed & 0xff
}

const nothing = new Uint8Array()

/** The largest read of an endless device. */
const endlessBytes = 1024 * 1024

const read = (name: Name, length: number): Uint8Array => {
  switch (name) {
    case "zero":
    case "full":
      return new Uint8Array(Math.min(length, endlessBytes))
    case "random":
    case "urandom":
      return Uint8Array.from({ length: Math.min(length, endlessBytes) }, nextRandom)
    case "tty":
      throw errno("EIO")
    case "null":
    case "console":
    case "ptmx":
      return nothing
  }
}

export const open = (name: Name, stat: () => Stat): OpenFile => ({
  read: (_offset, length) => read(name, length),
  write: () => {
    if (name === "full") throw errno("ENOSPC")
  },
  stat,
  setAttributes: () => {},
  truncate: () => {},
  close: () => {}
})
