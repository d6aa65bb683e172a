/** Folders of volumes. The runtime makes one before its record of the volume, and removes it after the record. */
import * as Path from "node:path"

/** Returns nothing for what can be no name of a volume, but may be a path. */
export const of = (home: string, name: string): string | undefined =>
  /^[0-9A-Za-z][\w.-]*$/.test(name) ? Path.join(home, "volumes", name) : undefined

/** The lock held while a volume is created or removed. */
export const lock = (name: string): string => `volume-folder:${name}`
