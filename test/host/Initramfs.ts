/** What the emulated host boots: Debian's kernel, and an initramfs made for one run. */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Path from "effect/Path"
import * as CommandLine from "effect/process/CommandLine"
import { fileURLToPath } from "node:url"
import { HostUnavailable } from "./HostError.ts"
import { run } from "./Subprocess.ts"

/** A kernel that is installed on this machine. */
export interface Kernel {
  readonly image: string
  readonly version: string
}

/** The newest of Debian's kernels for virtual machines. */
export const newestKernel = Effect.gen(function* () {
  const fs = yield* FileSystem.FileSystem
  const prefix = "vmlinuz-"
  const kernels = (yield* fs.readDirectory("/boot"))
    .filter((name) => name.startsWith(prefix) && name.endsWith("-cloud-amd64"))
    .toSorted((a, b) => a.localeCompare(b, "en", { numeric: true }))
  const newest = kernels.at(-1)
  if (newest === undefined) {
    return yield* new HostUnavailable({ message: "there is no kernel /boot/vmlinuz-*-cloud-amd64" })
  }
  const kernel: Kernel = { image: `/boot/${newest}`, version: newest.slice(prefix.length) }
  return kernel
})

/** What is particular to a run, as its guest sees it. */
export interface Contents {
  readonly command: ReadonlyArray<string>
  readonly environment: Record<string, string | undefined>
  readonly modules: ReadonlyArray<string>
  /** The variables of `guest/init` and `guest/main`. */
  readonly settings: Record<string, string>
}

const quote = (words: ReadonlyArray<string>): Effect.Effect<string> =>
  Effect.orDie(Effect.fromResult(CommandLine.join(words)))

const addBusybox = Effect.fnUntraced(function* (folder: string) {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  yield* fs.makeDirectory(folder)
  yield* fs.copyFile("/bin/busybox", path.join(folder, "busybox"))
  const applets = (yield* run("/bin/busybox", ["--list"])).trim().split("\n")
  yield* Effect.forEach(
    applets.filter((applet) => applet !== "busybox"),
    (applet) => fs.symlink("busybox", path.join(folder, applet))
  )
})

const addModules = Effect.fnUntraced(function* (folder: string, kernel: Kernel, names: ReadonlyArray<string>) {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  yield* fs.makeDirectory(folder)
  // One after another in the order of loading, each as often as something needs it.
  const lines = yield* run("modprobe", ["--show-depends", "--set-version", kernel.version, "--all", ...names])
  const files = new Set(Array.from(lines.matchAll(/^insmod (\S+)/gm), ([, file = ""]) => file))
  yield* Effect.forEach(files, (file) => fs.copyFile(file, path.join(folder, path.basename(file))))
  yield* fs.writeFileString(
    path.join(folder, "order"),
    Array.from(files, (file) => `${path.basename(file)}\n`).join("")
  )
})

const settingsFile = (settings: Record<string, string>) =>
  Effect.forEach(Object.entries(settings), ([name, value]) =>
    Effect.map(quote([value]), (word) => `${name}=${word}\n`)
  ).pipe(Effect.map((lines) => lines.join("")))

const commandFile = Effect.fnUntraced(function* (contents: Contents) {
  const variables = Object.entries(contents.environment).flatMap(([name, value]) =>
    value === undefined ? [] : [`${name}=${value}`]
  )
  return [
    "echo $$ >/sys/fs/cgroup/command/cgroup.procs",
    "echo $$ >pid",
    "ulimit -n 1048576",
    `${yield* quote(["cd", process.cwd()])} || exit`,
    // A session of its own lets signals reach all of it, and `exec` keeps the process that was written down.
    // These are the machine's tools, because busybox's would run busybox's before any other.
    `exec ${yield* quote(["/usr/bin/env", "-i", ...variables, "/usr/bin/setsid", ...contents.command])}`,
    ""
  ].join("\n")
})

/**
 * Makes an initramfs in a folder, and gives the name of its file.
 *
 * **Details**
 *
 * Making it takes less time than to tell whether an older one would do.
 */
export const make = Effect.fnUntraced(function* (folder: string, kernel: Kernel, contents: Contents) {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const root = path.join(folder, "initramfs")
  const own = path.join(root, "lightbox")
  yield* Effect.forEach(["dev", "lightbox", "machine", "proc", "root", "sys", "upper"], (name) =>
    fs.makeDirectory(path.join(root, name), { recursive: true })
  )
  yield* addBusybox(path.join(root, "bin"))
  yield* addModules(path.join(own, "modules"), kernel, contents.modules)
  const guest = fileURLToPath(new URL("guest/", import.meta.url))
  yield* fs.copyFile(path.join(guest, "init"), path.join(root, "init"))
  yield* fs.copyFile(path.join(guest, "main"), path.join(own, "main"))
  yield* fs.writeFileString(path.join(own, "settings"), yield* settingsFile(contents.settings))
  yield* fs.writeFileString(path.join(own, "command"), yield* commandFile(contents))
  const archive = "find . -print0 | cpio --null --create --format=newc --quiet >../initramfs.cpio"
  yield* run("sh", ["-c", archive], { cwd: root })
  return "initramfs.cpio"
})
