import * as Snapshot from "../../../src/Snapshot.ts"

export const one = Snapshot.make("same", "alpine:3")
export const other = Snapshot.make("same", "alpine:3").pipe(Snapshot.shell("true"))
