import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Effect from "effect/Effect"
import type { PlatformError } from "effect/PlatformError"
import * as ChildProcess from "effect/process/ChildProcess"
import * as Stream from "effect/Stream"
import { fileURLToPath } from "node:url"

const folder = fileURLToPath(new URL("project", import.meta.url))

const tar = ChildProcess.make("tar", ["-c", "-f", "-", "-C", folder, "install.sh", "slug", "test.sh"])

/** The project beside this file, packed on the host as it is read. */
export const archive: Stream.Stream<Uint8Array, PlatformError> = Stream.unwrap(
  Effect.map(tar, ({ stdout }) => stdout)
).pipe(Stream.provide(NodeServices.layer))
