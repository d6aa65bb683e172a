/** The contract, on the twin behind a gateway. */
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
    const { home, url } = yield* Support.host({ images }, { allowMounts: [files] })
    return Bench.layer({ image, files: Effect.succeed(files), home }).pipe(Layer.provide(yield* Support.client(url)))
  })
)

contract("the twin behind a gateway", { layer, timeout: 30_000 })
