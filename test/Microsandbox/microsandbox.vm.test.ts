/** The contract on real microVMs. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Support from "../microvm/support.ts"
import * as Bench from "./Bench.ts"
import { contract } from "./contract.ts"

contract("microVMs", {
  layer: Bench.layer({ image: Support.image, files: Effect.map(Support.Home, ({ files }) => files) }).pipe(
    Layer.provide(Support.layer)
  ),
  timeout: 600_000
})
