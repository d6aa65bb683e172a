/** What tests of the preview on real microVMs share. */
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import { fileURLToPath } from "node:url"
import * as Microsandbox from "../../src/Microsandbox.ts"
import * as MicrosandboxPreview from "../../src/MicrosandboxPreview.ts"
import * as Busybox from "../images/Busybox.ts"

/** The runtime, which `npm ci` in `runtime` has installed. */
export const runtime = fileURLToPath(new URL("./runtime/node_modules/microsandbox-next", import.meta.url))

/** The home of a test file. It holds sockets, whose paths must be short. */
export class Home extends Context.Service<Home, { readonly path: string; readonly files: string }>()(
  "effect-lightbox/test/MicrosandboxPreview/support/Home"
) {
  static readonly layer = Layer.effect(
    Home,
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const folder = yield* fs.makeTempDirectoryScoped({ prefix: "p" })
      const home = { path: `${folder}/msb`, files: `${folder}/files` }
      yield* fs.makeDirectory(home.files)
      return home
    })
  )
}

// In emulation, a few boots in a thousand hang until our limit.
const driver = Layer.unwrap(
  Effect.map(Home, ({ path }) =>
    MicrosandboxPreview.layer({ home: path, runtime, memory: "256M", bootTimeout: "100 seconds" })
  )
)

const loaded = Layer.effectDiscard(
  Effect.gen(function* () {
    const { loadImage } = yield* Microsandbox.Microsandbox
    yield* loadImage(yield* Busybox.archive)
  })
)

/** The driver on this file's own home, with the small image. */
export const layer = loaded.pipe(
  Layer.provideMerge(driver),
  Layer.provideMerge(Home.layer),
  Layer.provideMerge(NodeServices.layer)
)
