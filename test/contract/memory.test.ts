/** The contract on the twin in memory. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import * as MicrosandboxMemory from "../../src/MicrosandboxMemory.ts"
import * as Bench from "./Bench.ts"
import { contract } from "./contract.ts"

const image = "lightbox.test/busybox:1"

const files = Effect.acquireRelease(
  Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "contract-"))),
  (folder) => Effect.sync(() => Fs.rmSync(folder, { recursive: true, force: true }))
)

contract("memory", {
  layer: Bench.layer({ image, files }).pipe(
    Layer.provide(MicrosandboxMemory.layer({ images: { [image]: { isCached: true } } }))
  ),
  timeout: 10_000
})
