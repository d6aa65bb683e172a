/** Replays on the twin, the in-memory driver, what `record.ts` has recorded of a real busybox. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Fs from "node:fs"
import * as MicrosandboxMemory from "../../src/MicrosandboxMemory.ts"
import * as Sandbox from "../../src/Sandbox.ts"

const Table = Schema.Record(
  Schema.String,
  Schema.Array(
    Schema.Struct({ script: Schema.String, status: Schema.Finite, stdout: Schema.String, stderr: Schema.String })
  )
)

const table = Schema.decodeSync(Schema.fromJsonString(Table))(
  Fs.readFileSync(new URL("busybox.json", import.meta.url), "utf8")
)

const withoutUsage = (stderr: string): string => stderr.replace(/^Usage:[^]*/m, "")

const replay = (script: string) =>
  Sandbox.run({ image: "plain" }, (sandbox) => sandbox.shell(script)).pipe(
    Effect.map(({ exitCode, stderr, stdout }) => ({
      script,
      status: exitCode,
      stdout,
      stderr: withoutUsage(stderr)
    }))
  )

describe("scripts behave as in a real busybox", () => {
  for (const [group, entries] of Object.entries(table)) {
    it.live(group, () =>
      Effect.gen(function* () {
        const found = yield* Effect.forEach(entries, ({ script }) => replay(script))
        assert.deepStrictEqual(found, entries)
      }).pipe(Effect.provide(MicrosandboxMemory.layer({ images: { plain: { workdir: "/root" } } })))
    )
  }
})
