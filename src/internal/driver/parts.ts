/** The parts of a driver, one per resource. */
import type * as Microsandbox from "../../Microsandbox.ts"

type Driver = Microsandbox.Microsandbox["Service"]

/** What the runtime of today can do on this machine. */
export const localCapabilities: Microsandbox.Capabilities = {
  snapshots: true,
  images: true,
  volumes: true,
  volumeFiles: true,
  bindMounts: true,
  diskMounts: true,
  patches: true,
  ports: true,
  kill: true,
  modify: true,
  logs: true,
  metrics: true,
  captureRunning: false,
  fork: false,
  memorySnapshots: false,
  liveNetwork: false,
  pause: false
}

/** The capabilities of a driver whose `memory` is not offered to others. */
export const withoutMemory = (capabilities: Microsandbox.Capabilities): Microsandbox.Capabilities => ({
  ...capabilities,
  captureRunning: false,
  fork: false,
  memorySnapshots: false,
  pause: false
})

/** The operations with the name of a resource in theirs, and others by name. */
type Part<Resource extends string, Others extends keyof Driver = never> = Pick<
  Driver,
  Extract<keyof Driver, `${string}${Resource}${string}`> | Others
>

export type ImagePart = Part<"Image">

export type SandboxPart = Part<"Sandbox", "connect" | "readLogs" | "readMetrics">

/** Leftovers of the runtime. */
export type RemainsPart = Pick<Driver, "listGhosts" | "removeGhost" | "removeRemains">

export type SnapshotPart = Part<"Snapshot", "removeStaging">

export type VolumePart = Part<"Volume">
