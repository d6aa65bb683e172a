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
        "readDirectoryEntries tells what the entries themselves are",
        "stat tells type, size and mode",
        "additional descriptors carry output and input",
        "a program that is missing is so with additional descriptors too",
        "stderr, both outputs and descriptors can be piped, also to a descriptor"
      ],
      inotifyd: [
        "watch tells of what is made and removed in a folder, by name",
        "watch tells of what is changed, in a folder or alone",
        "watch tells of what is in folders below only with recursive"
      ],
      "groups of processes that outlive their leader": [
        "closing the scope ends what a process has started, though it has ended itself"
      ]
    }
  })
)

afterAll(() => console.log(Suite.table()))
