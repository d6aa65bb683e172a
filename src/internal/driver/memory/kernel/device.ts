/** Device files. */
import { errno } from "./errno.ts"
import type { OpenFile, Stat } from "./vnode.ts"

// Deterministic, not the host's.
let firstSeed = 0x9e37_79b9

const advance = (seed: number): number => {
  let next = seed ^ (seed << 13)
  next ^= next >>> 17
  next ^= next << 5
  return next
}

/** The random numbers of one machine. */
export class Random {
  /** Never 0. Two machines with the same seed have the same numbers. */
  seed: number

  constructor(seed?: number) {
    firstSeed = advance(firstSeed)
    this.seed = seed ?? firstSeed
  }

  readonly next = (): number => {
    this.seed = advance(this.seed)
    return this.seed & 0xff
  }

  /** Makes the next numbers depend on the bytes, too. */
  mix(bytes: Uint8Array): void {
    for (const byte of bytes) this.seed = advance(this.seed ^ byte || 1)
  }
}

/** The largest read of an endless device. */
const endlessBytes = 1024 * 1024

const nothing = () => new Uint8Array()

const zeros = (length: number) => new Uint8Array(Math.min(length, endlessBytes))

const randoms = (length: number, random: Random) => zeros(length).map(random.next)

const reads = { null: nothing, zero: zeros, full: zeros, random: randoms, urandom: randoms, console: nothing }

export type Name = keyof typeof reads | "tty"

export const all: ReadonlyArray<Name> = ["null", "zero", "full", "random", "urandom", "tty", "console"]

export const open = (name: Name, stat: () => Stat, random: Random): OpenFile => ({
  read: (_offset, length) => {
    if (name === "tty") throw errno("EIO")
    return reads[name](length, random)
  },
  write: (_offset, bytes) => {
    if (name === "full") throw errno("ENOSPC")
    if (name === "random" || name === "urandom") random.mix(bytes)
  },
  stat,
  setAttributes: () => {},
  truncate: () => {},
  close: () => {}
})
