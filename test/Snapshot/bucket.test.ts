/** What a bucket needs before it is asked. */
import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Bucket from "../../src/internal/registry/bucket.ts"

it.effect("refuses an access key that no request can be signed with", () =>
  Effect.gen(function* () {
    const { getManifest } = yield* Bucket.open({
      bucket: "cache",
      prefix: "app",
      caCerts: undefined,
      endpoint: "http://127.0.0.1:1",
      region: "us-east-1",
      accessKeyId: "two\nlines",
      secretAccessKey: Redacted.make("secret")
    })
    const problem = yield* Effect.flip(getManifest("1"))
    assert.deepStrictEqual(problem, { kind: "Refused", problem: "the access key cannot sign a request" })
  })
)
