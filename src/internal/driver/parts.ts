/** The parts of a driver, one per resource. */
import type * as Microsandbox from "../../Microsandbox.ts"

type Driver = Microsandbox.Microsandbox["Service"]

export type ImagePart = Pick<
  Driver,
  "loadImage" | "saveImages" | "listImages" | "getImage" | "removeImage" | "pruneImages"
>

export type SandboxPart = Pick<
  Driver,
  | "createSandbox"
  | "getSandbox"
  | "listSandboxes"
  | "startSandbox"
  | "stopSandbox"
  | "killSandbox"
  | "detachSandbox"
  | "removeSandbox"
  | "modifySandbox"
  | "connect"
  | "readLogs"
  | "readMetrics"
  | "searchSandbox"
>

/** Leftovers of the runtime. */
export type RemainsPart = Pick<Driver, "listGhosts" | "removeGhost" | "removeRemains">

export type SnapshotPart = Pick<
  Driver,
  | "captureSnapshot"
  | "getSnapshot"
  | "listSnapshots"
  | "listDamagedSnapshots"
  | "removeSnapshot"
  | "verifySnapshot"
  | "saveSnapshot"
  | "loadSnapshot"
  | "renameSnapshot"
  | "removeStaging"
  | "listSnapshotLinks"
  | "readSnapshotLink"
  | "linkSnapshot"
  | "unlinkSnapshot"
>

export type VolumePart = Pick<Driver, "createVolume" | "getVolume" | "listVolumes" | "removeVolume">
