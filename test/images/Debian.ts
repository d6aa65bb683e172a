/** The big image for tests: Debian with Python and matplotlib, Node.js and npm, and PostgreSQL, in which apt works. */
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

const packages = "ca-certificates,nodejs,npm,postgresql,python3,python3-matplotlib"

// Where this machine has its own packages from, if they are of the same Debian. Otherwise mmdebstrap knows where.
const sources = Effect.gen(function* () {
  const fs = yield* FileSystem.FileSystem
  const release = yield* fs.readFileString("/etc/os-release")
  if (!release.includes(`VERSION_CODENAME=${suite}\n`)) return []
  return yield* Effect.filter(["/etc/apt/sources.list", "/etc/apt/sources.list.d/debian.sources"], fs.exists)
})

const makeLayer = Effect.fnUntraced(function* (folder: string) {
  const path = yield* Path.Path
  yield* Packages.ensure(`the image ${reference}`, ["mmdebstrap"])
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

/** The path of the archive, made from Debian's packages at the first time, which takes some minutes. */
export const archive = OciArchive.cached(
  { name: "debian", references: [reference, ...wellKnown], revision: 4 },
  makeLayer
)
