/** Converts the attributes of files: times in whole seconds since 1970, and types as bits of a mode. */
import * as DateTime from "effect/DateTime"
import type * as FileSystem from "effect/FileSystem"

/** The range of `Date`: a file system may hold any time. */
const maxSeconds = 8.64e12

export const fromSeconds = (seconds: number | undefined): DateTime.Utc | undefined =>
  seconds === undefined || Number.isNaN(seconds)
    ? undefined
    : DateTime.makeUnsafe(Math.min(Math.max(-maxSeconds, seconds), maxSeconds) * 1000)

export const toSeconds = (time: DateTime.Utc | undefined): number | undefined =>
  time === undefined ? undefined : Math.floor(time.epochMilliseconds / 1000)

const types: ReadonlyArray<readonly [type: FileSystem.File.Type, bits: number]> = [
  ["FIFO", 0o010000],
  ["CharacterDevice", 0o020000],
  ["Directory", 0o040000],
  ["BlockDevice", 0o060000],
  ["File", 0o100000],
  ["SymbolicLink", 0o120000],
  ["Socket", 0o140000]
]

export const typeOf = (mode: number): FileSystem.File.Type =>
  types.find(([, bits]) => bits === (mode & 0o170000))?.[0] ?? "Unknown"

export const bitsOf = (type: FileSystem.File.Type): number => types.find(([name]) => name === type)?.[1] ?? 0
