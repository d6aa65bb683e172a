/** Snapshots for transfers: with content that cannot be compressed, which takes several packs. */
import * as Crypto from "node:crypto"
import * as Snapshot from "../../src/Snapshot.ts"

/** Makes definitions of the versions of an app, which share so many bytes, or fewer. */
export const make = (image: string, bytes: number) => {
  const ballast = Crypto.createHash("shake256", { outputLength: bytes }).update("ballast").digest()
  return (version: number, size = bytes) =>
    Snapshot.make("app", image).pipe(
      Snapshot.write("/root/ballast", ballast.subarray(0, size)),
      Snapshot.write("/version", `${version}\n`),
      Snapshot.labels({ version: `${version}` })
    )
}
