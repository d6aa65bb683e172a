/**
 * A stand-in for Bun's image, for examples that bake coding agents: a busybox whose `bun install -g PACKAGE` makes a
 * command of the package's name that knows its version.
 */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Path from "effect/Path"
import { run } from "../host/Subprocess.ts"
import * as Busybox from "./Busybox.ts"
import * as OciArchive from "./OciArchive.ts"

const bun = `#!/bin/sh
set -eu
[ "$1 $2" = "install -g" ]
command=\${3##*/}
case $command in
  gemini-cli) command=gemini ;;
  pi-coding-agent) command=pi ;;
esac
printf '#!/bin/sh\\necho %s 1.0.0\\n' "$command" > "/usr/bin/$command"
chmod 755 "/usr/bin/$command"
`

const makeLayer = Effect.fnUntraced(function* (folder: string) {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const layer = yield* Busybox.makeLayer(folder)
  const root = path.join(folder, "bun")
  yield* fs.makeDirectory(path.join(root, "usr/bin"), { recursive: true })
  yield* fs.writeFileString(path.join(root, "usr/bin/bun"), bun)
  yield* run("tar", [
    "--append",
    "--file",
    layer,
    "--directory",
    root,
    ...OciArchive.reproducible,
    "--owner=0",
    "--group=0",
    "--mode=755",
    "./usr/bin/bun"
  ])
  return layer
})

/** The path of the archive, made at the first time. */
export const archive = OciArchive.cached(
  { name: "bun", references: ["docker.io/oven/bun:latest"], revision: 1 },
  makeLayer
)
