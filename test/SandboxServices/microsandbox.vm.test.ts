/** The examples of SandboxServices in one microVM. */
import { layer } from "@effect/vitest"
import * as Support from "../microvm/support.ts"
import * as Examples from "./examples.ts"

layer(Support.layer, { excludeTestServices: true })("examples of SandboxServices", (it) => {
  it.layer(Examples.sandbox)("in a microVM", Examples.register)

  it.effect("leave nothing behind", () => Support.assertNothingLeft())
})
