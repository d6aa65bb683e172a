/** The contract, on a fleet of two hosts on the twin. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Bench from "../Microsandbox/Bench.ts"
import { contract } from "../Microsandbox/contract.ts"
import * as Support from "./support.ts"

const image = "lightbox.test/busybox:1"

const images = { [image]: { isCached: true }, [Bench.alias.whole]: { isCached: true } }

const layer = Layer.unwrap(
  Effect.gen(function* () {
    const files = yield* Support.folder("contract-")
    const directory = yield* Support.directory
    const options = {
      twin: { images },
      gateway: { allowMounts: [files] },
      // Many of the cases are boots that fail.
      member: { bootFailures: { count: 1000 } }
    }
    const { home } = yield* Support.host(directory, options)
    yield* Support.host(directory, options)
    return Bench.layer({ image, files: Effect.succeed(files), home }).pipe(
      Layer.provide(yield* Support.client(directory))
    )
  })
)

contract("a fleet of two hosts on the twin", { layer, timeout: 120_000 })
