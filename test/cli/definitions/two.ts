import * as Snapshot from "../../../src/Snapshot.ts"

export const tools = Snapshot.make("tools", "alpine:3").pipe(
  Snapshot.shell("echo one", { description: "say one" }),
  Snapshot.shell("echo tools > /etc/name")
)

/** As written in a program without Effect. */
export const plain = { name: "plain", image: "alpine:3", setup: ["echo plain > /etc/name"] }

export const notADefinition = 42

export default tools
