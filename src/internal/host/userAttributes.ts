/** Extended attributes of users, in which the runtime records the owners and modes that guests set. */
import * as Fs from "node:fs"

/** ext2 to ext4, XFS, btrfs, F2FS, bcachefs and ZFS. With tmpfs, overlayfs, virtiofs, 9p and NFS it depends. */
const able = new Set([0xef53, 0x58465342, 0x9123683e, 0xf2f52010, 0xca451a4e, 0x2fc12fc1])

/**
 * Checks whether user attributes can surely be set on a file or folder. Node.js cannot set one to find out. Throws if
 * the path cannot be looked at.
 */
export const areTaken = (path: string): boolean => {
  if (process.platform === "linux" && !able.has(Fs.statfsSync(path).type >>> 0)) return false
  try {
    Fs.accessSync(path, Fs.constants.W_OK)
    return true
  } catch {
    return false
  }
}
