/** The size of the package: what is downloaded, and what an installation takes. */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Path from "effect/Path"
import { run } from "../host/Subprocess.ts"
import * as Sources from "../package/sources.ts"
import * as Row from "./Row.ts"

const mib = 2 ** 20

/** The bytes of all files below a folder, in MiB. */
const sizeOf = Effect.fnUntraced(function* (folder: string) {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const names = yield* fs.readDirectory(folder, { recursive: true })
  const sizes = yield* Effect.forEach(names, (name) =>
    Effect.map(fs.stat(path.join(folder, name)), (info) => (info.type === "File" ? Number(info.size) : 0))
  )
  return sizes.reduce((total, size) => total + size, 0) / mib
})

export const benches: ReadonlyArray<Row.Bench> = [
  {
    name: "size",
    place: "machine",
    rows: () =>
      Effect.gen(function* () {
        const fs = yield* FileSystem.FileSystem
        const path = yield* Path.Path
        const folder = yield* fs.makeTempDirectoryScoped()
        yield* run("npm", ["pack", "--ignore-scripts", "--pack-destination", folder], { cwd: Sources.root })
        const [name = ""] = yield* fs.readDirectory(folder)
        const tarball = path.join(folder, name)
        const packed = Number((yield* fs.stat(tarball)).size) / mib
        yield* fs.writeFileString(path.join(folder, "package.json"), JSON.stringify({ private: true }))
        const options = ["--no-audit", "--no-fund", "--prefer-offline"]
        yield* run("npm", ["install", ...options, tarball], { cwd: folder })
        const modules = path.join(folder, "node_modules")
        const unpacked = yield* sizeOf(path.join(modules, "effect-lightbox"))
        const installed = yield* sizeOf(modules)
        const runtime =
          (yield* sizeOf(path.join(modules, "microsandbox"))) + (yield* sizeOf(path.join(modules, "@superradcompany")))
        return [
          Row.make("size, tarball", { ours: ["effect-lightbox", [packed]] }, { unit: "MiB" }),
          Row.make("size, unpacked", { ours: ["effect-lightbox", [unpacked]] }, { unit: "MiB" }),
          Row.make(
            "size, all that it installs",
            { ours: ["with dependencies and effect", [installed]], reference: ["microsandbox alone", [runtime]] },
            { unit: "MiB" }
          )
        ]
      })
  }
]
