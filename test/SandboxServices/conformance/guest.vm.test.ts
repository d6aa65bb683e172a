/** The behaviours that programs may expect, in guests of a small and of a big image. */
import { layer } from "@effect/vitest"
import * as Layer from "effect/Layer"
import { afterAll } from "vitest"
import * as Sandbox from "../../../src/Sandbox.ts"
import * as SandboxServices from "../../../src/SandboxServices.ts"
import * as Busybox from "../../images/Busybox.ts"
import * as Debian from "../../images/Debian.ts"
import * as Support from "../../microvm/support.ts"
import * as Suite from "./suite.ts"

layer(Support.layer, { excludeTestServices: true })("conformance in a guest", (it) => {
  for (const [name, image] of [
    ["busybox", Busybox.reference],
    ["debian", Debian.reference]
  ] as const) {
    it.layer(Layer.provide(SandboxServices.layer, Sandbox.layer({ image, cwd: "/root" })))(`of ${name}`, (it) =>
      Suite.register(it, { name, kind: "guest" })
    )
  }

  it.effect("leaves nothing behind", () => Support.assertNothingLeft())
})

afterAll(() => console.log(Suite.table()))
