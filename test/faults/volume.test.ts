/** Volumes, with everything that can go wrong. */
import * as Effect from "effect/Effect"
import * as Volume from "../../src/Volume.ts"
import { matrix } from "./matrix.ts"

const there = Volume.ensure("cache", { quota: 64 })

matrix("Volume", [
  { name: "ensure", run: there },
  { name: "ensure of one that is there", given: there, run: there },
  { name: "get", given: there, run: Volume.get("cache") },
  { name: "list", given: there, run: Volume.list },
  { name: "exists", given: there, run: Volume.exists("cache") },
  { name: "remove", given: there, run: Volume.remove("cache") },
  { name: "layer", run: Effect.provide(Effect.asVoid(Volume.Volume), Volume.layer("cache")) }
])
