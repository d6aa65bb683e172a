/** The big images for tests: Debian with Python, Node.js and npm, in which apt works, and one that draws plots. */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Path from "effect/Path"
import * as Packages from "../host/Packages.ts"
import { run } from "../host/Subprocess.ts"
import * as OciArchive from "./OciArchive.ts"

/** The reference that tests use. */
export const reference = "lightbox.test/debian:12"

// For examples, which name images as everyone does: what they use of these is in this one.
const wellKnown = ["docker.io/library/debian:12", "docker.io/library/python:3.12-slim"]

const suite = "bookworm"

// Where this machine has its own packages from, if they are of the same Debian. Otherwise mmdebstrap knows where.
const sources = Effect.gen(function* () {
  const fs = yield* FileSystem.FileSystem
  const release = yield* fs.readFileString("/etc/os-release")
  if (!release.includes(`VERSION_CODENAME=${suite}\n`)) return []
  return yield* Effect.filter(["/etc/apt/sources.list", "/etc/apt/sources.list.d/debian.sources"], fs.exists)
})

/** An image whose Python has matplotlib, beside Node.js. */
export const plots = "lightbox.test/plots:12"

const makeLayer = Effect.fnUntraced(function* (image: string, packages: string, folder: string) {
  const path = yield* Path.Path
  yield* Packages.ensure(`the image ${image}`, ["mmdebstrap"])
  const layer = path.join(folder, "layer.tar")
  const unread = ["doc", "info", "lintian", "locale", "man"]
  yield* run(
    "mmdebstrap",
    [
      "--quiet",
      "--variant=minbase",
      `--include=${packages}`,
      ...unread.map((name) => `--dpkgopt=path-exclude=/usr/share/${name}/*`),
      // They are this machine's.
      '--customize-hook=rm "$1/etc/hostname" "$1/etc/resolv.conf"',
      suite,
      layer,
      ...(yield* sources)
    ],
    { env: { SOURCE_DATE_EPOCH: "0" } }
  )
  return layer
})

/** The path of the archive, made from Debian's packages at the first time, which takes a minute or two. */
export const archive = OciArchive.cached(
  { name: "debian", references: [reference, ...wellKnown], revision: 3 },
  (folder) => makeLayer(reference, "ca-certificates,nodejs,npm,python3", folder)
)

/** The path of the archive with matplotlib. */
export const plotsArchive = OciArchive.cached({ name: "plots", references: [plots], revision: 1 }, (folder) =>
  makeLayer(plots, "nodejs,python3-matplotlib", folder)
)
