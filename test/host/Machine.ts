/** What this machine has. */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Os from "node:os"

/** Whether microVMs boot on this machine as it is. */
export const canBoot = Effect.gen(function* () {
  const fs = yield* FileSystem.FileSystem
  switch (process.platform) {
    case "darwin":
      return process.arch === "arm64"
    case "linux": {
      // The device alone says little: it can be there, and open, on a processor that has nothing to offer.
      const device = fs.access("/dev/kvm", { readable: true, writable: true })
      const flags = fs
        .readFileString("/proc/cpuinfo")
        .pipe(Effect.map((text) => process.arch !== "x64" || /^flags\s*:.*\b(vmx|svm)\b/m.test(text)))
      return yield* device.pipe(
        Effect.andThen(flags),
        Effect.orElseSucceed(() => false)
      )
    }
    default:
      return false
  }
})

/** The processors that this process may use. */
export const cpus: number = Os.availableParallelism()

/** Memory that is free for use, in MiB. */
export const freeMemory = Effect.gen(function* () {
  const fs = yield* FileSystem.FileSystem
  const text = yield* Effect.orElseSucceed(fs.readFileString("/proc/meminfo"), () => "")
  const available = /^MemAvailable:\s+(\d+) kB/m.exec(text)?.[1]
  return Math.floor(available === undefined ? Os.freemem() / 2 ** 20 : Number(available) / 1024)
})

/** Whether this process may do what only the system administrator may. */
export const isRoot: boolean = process.getuid?.() === 0
