/** The same behaviours in a guest of the twin. */
import { layer } from "@effect/vitest"
import * as Layer from "effect/Layer"
import { afterAll } from "vitest"
import * as MicrosandboxMemory from "../../../src/MicrosandboxMemory.ts"
import * as Sandbox from "../../../src/Sandbox.ts"
import * as SandboxServices from "../../../src/SandboxServices.ts"
import * as Suite from "./suite.ts"

const guest = SandboxServices.layer.pipe(
  Layer.provide(Sandbox.layer({ image: "busybox" })),
  Layer.provide(MicrosandboxMemory.layer())
)

layer(guest, { excludeTestServices: true })("in a guest of the twin", (it) =>
  Suite.register(it, {
    name: "twin",
    kind: "guest",
    without: {
      "named pipes": [
        "readDirectoryEntries reports the type of each entry, not of its link target",
        "stat returns type, size and mode",
        "additional descriptors carry output and input",
        "a missing program fails the same way with additional descriptors",
        "stderr, both outputs and descriptors can be piped, also into a descriptor"
      ],
      "groups of processes that outlive their leader": [
        "closing the scope ends background processes, even after the process itself has ended"
      ]
    }
  })
)

afterAll(() => console.log(Suite.table()))
