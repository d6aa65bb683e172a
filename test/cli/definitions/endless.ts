import * as Snapshot from "../../../src/Snapshot.ts"

export const endless = Snapshot.make("endless", "alpine:3").pipe(
  Snapshot.shell("echo begun; sleep 100000", { description: "never end" })
)
