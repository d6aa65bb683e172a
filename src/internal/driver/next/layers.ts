/** The disk of a snapshot or of a sandbox, which this runtime keeps in layers once it was captured while it ran. */
import * as Array from "effect/Array"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import { unlessMissing } from "../../host/durable.ts"

const Layer = Schema.Struct({ format: Schema.Literals(["raw", "qcow2"]), path: Schema.String })

const decodeRootDisk = Schema.decodeUnknownOption(
  Schema.fromJsonString(Schema.Struct({ layers: Schema.NonEmptyArray(Layer) }))
)

/** The layers that were captured last, while the sandbox runs: those below the one that it has been given to write to. */
export const captured = async (home: string, name: string): Promise<Array.NonEmptyReadonlyArray<string>> => {
  const [lowest, ...others] = await ofSandbox(home, name)
  if (others.length === 0) throw new Error(`the disk of sandbox "${name}" was not captured`)
  return [lowest, ...others.slice(0, -1)]
}

/** The layers of a sandbox's disk, from the lowest to the one that is written. */
export const ofSandbox = async (home: string, name: string): Promise<Array.NonEmptyReadonlyArray<string>> => {
  const folder = Path.join(home, "sandboxes", name)
  const text = await unlessMissing(Fs.readFile(Path.join(folder, "runtime", "root-disk.json"), "utf8"))
  const disk = Option.getOrUndefined(decodeRootDisk(text))
  if (disk === undefined) throw new Error(`the layers of the disk of sandbox "${name}" are unknown`)
  // Its word is taken only for files of its own.
  return Array.map(disk.layers, ({ path }) => Path.join(folder, Path.basename(path)))
}
