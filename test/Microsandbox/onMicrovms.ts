/** The contract on real microVMs, in parts: each runs on a host of its own, and starts again alone if its host dies. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Support from "../microvm/support.ts"
import * as Bench from "./Bench.ts"
import { contract, type GroupName } from "./contract.ts"

export const onMicrovms = (...groups: ReadonlyArray<GroupName>): void =>
  contract("microVMs", {
    groups,
    layer: Bench.layer({ image: Support.image, files: Effect.map(Support.Home, ({ files }) => files) }).pipe(
      Layer.provide(Support.layer)
    ),
    timeout: 1_200_000
  })
