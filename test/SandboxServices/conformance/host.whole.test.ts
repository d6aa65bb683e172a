/** The behaviours that programs may expect, on the host, which sandboxes are compared with. */
import * as NodeServices from "@effect/platform-node/NodeServices"
import { layer } from "@effect/vitest"
import { afterAll } from "vitest"
import * as Suite from "./suite.ts"

layer(NodeServices.layer, { excludeTestServices: true })("on the host", (it) =>
  Suite.register(it, { name: "host", kind: "host" })
)

afterAll(() => console.log(Suite.table()))
