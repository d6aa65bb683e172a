/** A `MSB_HOME` that holds images and nothing else, made once on this machine. */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import * as Path from "effect/Path"
import * as Crypto from "node:crypto"
import { fileURLToPath } from "node:url"
import * as Cache from "./Cache.ts"
import { run } from "./Subprocess.ts"

const microsandbox = fileURLToPath(new URL("../", import.meta.resolve("microsandbox")))

// Loading boots nothing, so it runs on any machine, at the machine's own speed.
const load = Effect.fnUntraced(function* (home: string, archives: ReadonlyArray<string>) {
  const path = yield* Path.Path
  yield* Effect.forEach(archives, (archive) =>
    run(process.execPath, [path.join(microsandbox, "bin/microsandbox.cjs"), "load", "--input", archive], {
      env: { MSB_HOME: home }
    })
  )
})

// Layers are nearly all of it, and nobody writes to them. Through links, a copy of the home shares them.
const moveLayers = Effect.fnUntraced(function* (home: string, folder: string) {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  yield* fs.makeDirectory(folder)
  yield* Effect.forEach(yield* fs.glob("cache/layers/*.erofs", { root: home }), (name) => {
    const layer = path.join(home, name)
    const moved = path.join(folder, path.basename(name))
    return Effect.andThen(fs.rename(layer, moved), fs.symlink(moved, layer))
  })
})

const identify = Effect.fnUntraced(function* (file: string) {
  const fs = yield* FileSystem.FileSystem
  const info = yield* fs.stat(file)
  return [file, String(info.size), Option.getOrUndefined(info.mtime)?.getTime()] as const
})

// Tells a folder that is whole from one that someone wrote to or that was never finished, without reading it all.
const inventory = Effect.fnUntraced(function* (folder: string) {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const files = (yield* fs.readDirectory(folder, { recursive: true })).toSorted()
  return JSON.stringify(yield* Effect.forEach(files, (file) => identify(path.join(folder, file)), { concurrency: 16 }))
})

/**
 * The path of a `MSB_HOME` that holds exactly these images, and whether it was there already.
 *
 * **Details**
 *
 * It is for copying: the copy is a `MSB_HOME` as well, whose big files are this one's.
 */
export const make = Effect.fnUntraced(function* (images: ReadonlyArray<string>) {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const folders = yield* Cache.folder("images")
  const archives = [...new Set(images)].toSorted()
  const contents = [
    yield* fs.readFileString(path.join(microsandbox, "package.json")),
    yield* Effect.forEach(archives, identify)
  ]
  const key = Crypto.createHash("sha256").update(JSON.stringify(contents)).digest("hex").slice(0, 16)
  const folder = path.join(folders, key)
  const home = path.join(folder, "home")
  const list = `${folder}.json`

  return yield* Effect.gen(function* () {
    const expected = yield* Effect.option(fs.readFileString(list))
    const found = yield* Effect.option(inventory(folder))
    if (Option.isSome(expected) && Option.isSome(found) && expected.value === found.value) {
      return { path: home, state: "cached" } as const
    }
    yield* fs.remove(list, { force: true })
    yield* fs.remove(folder, { recursive: true, force: true })
    yield* fs.makeDirectory(home, { recursive: true })
    yield* load(home, archives)
    yield* moveLayers(home, path.join(folder, "layers"))
    yield* fs.writeFileString(list, yield* inventory(folder))
    return { path: home, state: Option.isSome(expected) ? "damaged, loaded again" : "loaded" } as const
  }).pipe(Cache.withLock(folders))
})
