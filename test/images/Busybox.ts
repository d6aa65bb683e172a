/** The small image for tests: Debian's static busybox under all of its names. */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Path from "effect/Path"
import * as Packages from "../host/Packages.ts"
import { run } from "../host/Subprocess.ts"
import * as OciArchive from "./OciArchive.ts"

/** The reference that tests use. */
export const reference = "lightbox.test/busybox:1"

// For examples, which name the image as everyone does.
const wellKnown = "docker.io/library/busybox:latest"

// The installed package's file, or that of the package itself, which takes no installing.
const binary = Effect.fnUntraced(function* (folder: string) {
  const path = yield* Path.Path
  const installed = yield* Effect.option(run("dpkg-query", ["--listfiles", "busybox-static"]))
  if (installed._tag === "Some") return "/bin/busybox"
  yield* Packages.download(`the image ${reference}`, "busybox-static", folder)
  yield* run("sh", ["-c", "dpkg-deb --extract busybox-static_*.deb package"], { cwd: folder })
  return path.join(folder, "package/bin/busybox")
})

/** Makes the layer in a folder. */
export const makeLayer = Effect.fnUntraced(function* (folder: string) {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const root = path.join(folder, "root")
  const inRoot = (name: string) => path.join(root, name)
  const add = Effect.fnUntraced(function* (name: string, mode: number, content?: string) {
    yield* content === undefined ? fs.makeDirectory(inRoot(name)) : fs.writeFileString(inRoot(name), content)
    yield* fs.chmod(inRoot(name), mode)
  })
  const folders = ["", "bin", "etc", "home", "home/app", "proc", "sbin", "sys", "usr", "usr/bin", "usr/sbin", "var"]
  yield* Effect.forEach(folders, (name) => add(name, 0o755))
  yield* add("root", 0o700)
  yield* add("tmp", 0o1777)
  yield* add("etc/passwd", 0o644, "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000:app:/home/app:/bin/sh\n")
  yield* add("etc/group", 0o644, "root:x:0:\napp:x:1000:\n")

  const busybox = yield* binary(folder)
  yield* fs.copyFile(busybox, inRoot("bin/busybox"))
  yield* fs.chmod(inRoot("bin/busybox"), 0o755)
  const names = (yield* run(busybox, ["--list-full"]))
    .trim()
    .split("\n")
    .filter((name) => name !== "bin/busybox")
  yield* Effect.forEach(names, (name) => fs.symlink("/bin/busybox", inRoot(name)))

  const layer = path.join(folder, "layer.tar")
  const tar = (mode: string, id: number, ...args: ReadonlyArray<string>) =>
    run("tar", [
      mode,
      "--file",
      layer,
      "--directory",
      root,
      ...OciArchive.reproducible,
      `--owner=${id}`,
      `--group=${id}`,
      ...args
    ])
  yield* tar("--create", 0, "--exclude=./home/app", ".")
  yield* tar("--append", 1000, "./home/app")
  return layer
})

/** The path of the archive, made from Debian's package at the first time: the same bytes wherever the package is the same. */
export const archive = OciArchive.cached(
  { name: "busybox", references: [reference, wellKnown], revision: 2 },
  makeLayer
)
