/**
 * Root disks that are copies of the disk of a snapshot: this runtime does not follow the backing file of an overlay that
 * it has not made itself.
 */
import * as ChildProcess from "node:child_process"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import { promisify } from "node:util"
import type { OwnDisks } from "../local/ownDisks.ts"
import * as OverlayDisk from "../overlayDisk.ts"
import { baseName } from "../rootDisk.ts"
import * as Layers from "./layers.ts"

/** Node.js would fill the holes: a disk is mostly holes. Shares its blocks on file systems that can. */
export const copyDisk = async (from: string, to: string): Promise<void> => {
  await promisify(ChildProcess.execFile)("cp", ["--force", "--reflink=auto", "--sparse=auto", "--", from, to])
}

const diskName = "disk.raw"

export const copies: OwnDisks = {
  format: "raw",
  file: diskName,
  make: async (folder, base) => {
    await Fs.mkdir(folder, { recursive: true, mode: 0o700 })
    // It cannot be removed before it is copied.
    await Fs.link(base, Path.join(folder, baseName))
    return Path.join(folder, diskName)
  },
  write: (disk) => copyDisk(Path.join(Path.dirname(disk), baseName), disk),
  read: (folder) => OverlayDisk.ofFile(Path.join(folder, diskName)),
  readOfRuntime: async (home, sandbox) => OverlayDisk.ofLayers(await Layers.ofSandbox(home, sandbox)),
  isUsual: true
}
