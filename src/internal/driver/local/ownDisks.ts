/** Root disks that the driver makes of the disk of a snapshot, as the runtime takes a disk that the user brings. */
import * as Path from "node:path"
import * as OverlayDisk from "../overlayDisk.ts"
import * as RootDisk from "../rootDisk.ts"

export interface OwnDisks {
  readonly format: "qcow2" | "raw"
  /** The name of the disk in its folder. */
  readonly file: string
  /** Creates the folder for the disk of a sandbox. Returns the path of the disk, which does not exist yet. */
  readonly make: (folder: string, base: string) => Promise<string>
  /** Writes the disk, replacing an existing one. */
  readonly write: (disk: string) => Promise<void>
  /** Reads the disk in a folder. */
  readonly read: (folder: string) => OverlayDisk.Parts
  /** Reads the disk that the runtime has made for a sandbox. */
  readonly readOfRuntime: (home: string, sandbox: string) => Promise<OverlayDisk.Parts>
  /**
   * Use them for every launch that does not demand a copy which the runtime has made. `false`: for those that are known
   * not to need one.
   */
  readonly isUsual: boolean
}

/** Overlays on the disk of the snapshot. */
export const overlays: OwnDisks = {
  format: "qcow2",
  file: RootDisk.diskName,
  make: RootDisk.make,
  write: RootDisk.write,
  read: OverlayDisk.ofOverlay,
  readOfRuntime: async (home, sandbox) => OverlayDisk.ofFile(Path.join(home, "sandboxes", sandbox, RootDisk.diskFile)),
  isUsual: false
}
