/** What it costs to push a snapshot to a registry, and what moves. */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as ChildProcess from "node:child_process"
import * as Crypto from "node:crypto"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Snapshot from "../../src/Snapshot.ts"
import * as Packages from "../host/Packages.ts"
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
      yield* Packages.ensure("the benchmark of pushes", ["zstd"])
      const registry = yield* Registry.serve({ folder: `${folder}/registry` })
      const disk = `${folder}/disk`
      makeDisk(disk)
      const { path } = yield* Snapshot.build(Snapshot.make("bench-push", "busybox").pipe(Snapshot.shell("true")))
      yield* Effect.sync(() => replaceDisk(path, disk))
      let repository = 0
      const [whole = [], compressed = []] = yield* Row.alternate(
        n,
        [
          Row.costOf(Effect.suspend(() => Snapshot.push("bench-push", `${registry}/bench/${repository++}:1`))),
          Row.costOf(Effect.sync(() => ChildProcess.execFileSync("zstd", ["-3", "-T1", "-qfo", "/dev/null", disk])))
        ],
        { warmUp: 1 }
      )
      const shares: Array<number> = []
      for (let round = 0; round < n; round++) {
        yield* Effect.sync(() => {
          change(disk)
          replaceDisk(path, disk)
        })
        const { moved, total } = yield* Snapshot.push("bench-push", `${registry}/bench/0:1`)
        shares.push((100 * moved) / total)
      }
      const millis = (costs: ReadonlyArray<Row.Cost>) => costs.map((cost) => cost.millis)
      return [
        Row.make(
          "push of a disk of 256 MiB to a registry on this machine",
          {
            ours: ["Snapshot.push", millis(whole)],
            reference: ["zstd -3 of the disk, to nowhere", millis(compressed)]
          },
          { target: 3 }
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
