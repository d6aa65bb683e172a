/** What it costs to push a snapshot to a registry, and what moves. */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Crypto from "node:crypto"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Snapshot from "../../src/Snapshot.ts"
import * as Packages from "../host/Packages.ts"
import { run } from "../host/Subprocess.ts"
import * as Registry from "../images/Registry.ts"
import * as Row from "./Row.ts"

const mebibyte = 1024 * 1024

const size = 256 * mebibyte

/** Of every MiB, a quarter cannot be compressed. */
const makeDisk = (path: string) => {
  const file = Fs.openSync(path, "w")
  const part = Buffer.alloc(mebibyte)
  for (let position = 0; position < size; position += mebibyte) {
    Crypto.randomFillSync(part, 0, mebibyte / 4)
    for (let at = mebibyte / 4; at < mebibyte; at += 32) part.write(`${position + (at % 4099)}`.padEnd(32), at)
    Fs.writeSync(file, part, 0, mebibyte, position)
  }
  Fs.closeSync(file)
}

/** Writes 1 % of a disk anew, in pieces of 32 KiB all over it. */
const change = (path: string) => {
  const file = Fs.openSync(path, "r+")
  const piece = 32 * 1024
  const count = Math.round(size / 100 / piece)
  for (let index = 0; index < count; index++) {
    const position = Math.floor((size / 4096 / count) * index) * 4096
    Fs.writeSync(file, Crypto.randomBytes(piece), 0, piece, position)
  }
  Fs.closeSync(file)
}

/** Makes an image whose only layer is a disk. */
const makeLayout = (folder: string, disk: string) => {
  Fs.mkdirSync(`${folder}/blobs/sha256`, { recursive: true })
  const put = (content: Uint8Array | string, mediaType: string) => {
    const bytes = Buffer.from(content)
    const digest = Crypto.hash("sha256", bytes)
    Fs.writeFileSync(`${folder}/blobs/sha256/${digest}`, bytes)
    return { mediaType, digest: `sha256:${digest}`, size: bytes.length }
  }
  const type = (of: string) => `application/vnd.oci.image.${of}`
  const layer = put(Fs.readFileSync(disk), type("layer.v1.tar"))
  const rootfs = { type: "layers", diff_ids: [layer.digest] }
  const config = put(JSON.stringify({ architecture: "amd64", os: "linux", rootfs }), type("config.v1+json"))
  const mediaType = type("manifest.v1+json")
  const manifest = put(JSON.stringify({ schemaVersion: 2, mediaType, config, layers: [layer] }), mediaType)
  Fs.writeFileSync(`${folder}/oci-layout`, JSON.stringify({ imageLayoutVersion: "1.0.0" }))
  Fs.writeFileSync(`${folder}/index.json`, JSON.stringify({ schemaVersion: 2, manifests: [manifest] }))
}

/** Replaces the disk of a snapshot on the twin. */
const replaceDisk = (folder: string, disk: string) => {
  Fs.copyFileSync(disk, Path.join(folder, "upper.disk"))
  const path = Path.join(folder, "snapshot.json")
  const { checksum: _, ...descriptor } = JSON.parse(Fs.readFileSync(path, "utf8"))
  Fs.writeFileSync(path, JSON.stringify({ ...descriptor, length: size }))
}

const pushed: Row.Bench = {
  name: "push",
  place: "machine",
  rows: (n) =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const folder = yield* fs.makeTempDirectoryScoped()
      yield* Packages.ensure("the benchmark of pushes", ["skopeo"])
      const disk = `${folder}/disk`
      makeDisk(disk)
      const layout = `${folder}/layout`
      makeLayout(layout, disk)
      const { path } = yield* Snapshot.build(Snapshot.make("bench-push", "busybox").pipe(Snapshot.shell("true")))
      yield* Effect.sync(() => replaceDisk(path, disk))
      let count = 0
      // Each round has a registry of its own: nothing is there already.
      const toRegistry = <E, R>(push: (registry: string) => Effect.Effect<unknown, E, R>) =>
        Effect.scoped(
          Effect.flatMap(
            Effect.suspend(() => Registry.serve({ folder: `${folder}/registry-${count++}` })),
            (registry) => Row.millisOf(push(registry))
          )
        )
      const flags = ["--insecure-policy", "copy", "--dest-tls-verify=false"]
      const compressing = ["--dest-compress", "--dest-compress-format", "zstd"]
      const [whole = [], copied = []] = yield* Row.alternate(
        n,
        [
          toRegistry((registry) => Snapshot.push("bench-push", `${registry}/bench/disk:1`)),
          toRegistry((registry) =>
            run("skopeo", [...flags, ...compressing, `oci:${layout}`, `docker://${registry}/bench/disk:1`])
          )
        ],
        { warmUp: 1 }
      )
      const registry = yield* Registry.serve({ folder: `${folder}/registry` })
      yield* Snapshot.push("bench-push", `${registry}/bench/disk:1`)
      const shares: Array<number> = []
      for (let round = 0; round < n; round++) {
        yield* Effect.sync(() => {
          change(disk)
          replaceDisk(path, disk)
        })
        const { moved, total } = yield* Snapshot.push("bench-push", `${registry}/bench/disk:1`)
        shares.push((100 * moved) / total)
      }
      return [
        Row.make(
          "push of a disk of 256 MiB to a registry on this machine",
          { ours: ["Snapshot.push", whole], reference: ["skopeo copy of the same bytes, with zstd", copied] },
          { target: 1.5 }
        ),
        Row.make(
          "push after 1 % of a disk of 256 MiB changed, in 82 places: bytes sent",
          { ours: ["Snapshot.push", shares] },
          { unit: "% of its bytes", limit: 3 }
        )
      ]
    })
}

export const benches: ReadonlyArray<Row.Bench> = [pushed]
