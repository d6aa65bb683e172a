/** Writing a captured disk to a file system that becomes full. */
import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Path from "node:path"
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as OverlayDisk from "../../../src/internal/driver/overlayDisk.ts"
import { run } from "../../host/Subprocess.ts"
import { temporary } from "../../support.ts"

it.live("a captured disk that does not fit is a failure, also if part of its last block did", () =>
  Effect.gen(function* () {
    const root = yield* temporary
    // The last block is written in part.
    yield* Effect.acquireRelease(run("mount", ["-t", "tmpfs", "-o", "size=1060k", "tmpfs", root]), () =>
      Effect.orDie(run("umount", [root]))
    )
    const block = Buffer.alloc(65_536, 1)
    async function* parts() {
      for (let index = 0; index < 17; index++) yield { position: index * block.length, bytes: block }
    }
    const writing = Effect.tryPromise((signal) => OverlayDisk.write(parts(), Path.join(root, "disk"), signal))
    const { cause } = yield* Effect.flip(writing)
    assert.propertyVal(cause, "code", "ENOSPC")
  }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))
)
