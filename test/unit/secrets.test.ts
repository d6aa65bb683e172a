import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as Secrets from "../../src/internal/secrets.ts"
import * as Snapshot from "../../src/Snapshot.ts"

const secret = (value: string): Secrets.SecretValue => ({ name: "TOKEN", value })

const Value = Schema.String.check(Schema.isMinLength(4))

describe("secrets", () => {
  it.effect.prop("shows a secret nowhere", [Value, Schema.Array(Schema.String)], ([value, texts]) =>
    Effect.sync(() => {
      const shown = Secrets.redact([secret(value)], texts.join(value))
      // What is put in its place, and what is around it, may happen to be the secret.
      if (!`${texts.join(" ")}<redacted>`.includes(value)) assert.notInclude(shown.replaceAll("<redacted>", " "), value)
    })
  )

  it.effect.prop("leaves text without secrets as it is", [Schema.String], ([text]) =>
    Effect.sync(() => assert.strictEqual(Secrets.redact([secret(`not in ${text}`)], text), text))
  )

  it("hides every line of a secret of several lines, but no short ones", () => {
    const key = "-----BEGIN KEY-----\nabcdef\n}\n-----END KEY-----\n"
    const shown = Secrets.redact([secret(key)], `${key}|abcdef|}|-----END KEY-----`)
    assert.strictEqual(shown, "<redacted>|<redacted>|}|<redacted>")
  })

  it("hides the longer of two secrets whole", () => {
    const shown = Secrets.redact([secret("pass"), secret("password")], "password pass")
    assert.notInclude(shown, "pass")
    assert.notInclude(shown, "word")
  })

  it("hides several in one text, and what looks like a pattern", () => {
    assert.strictEqual(Secrets.redact([secret("a.*c"), secret("$&")], "a.*c abc $& $1"), "<redacted> abc <redacted> $1")
  })

  it("finds the secrets of all steps, words of a command line among them", () => {
    const definition = Snapshot.make("tools", "debian:12").pipe(
      Snapshot.shell("npm ci", {
        secrets: {
          A: Redacted.make("one"),
          B: { value: Redacted.make("two"), as: "file" },
          EMPTY: Redacted.make("")
        }
      }),
      Snapshot.exec("login", ["user", Redacted.make("three")]),
      Snapshot.write("/etc/motd", "four")
    )
    assert.deepStrictEqual(Secrets.ofSteps(definition.steps), [
      { name: "A", value: "one" },
      { name: "B", value: "two" },
      { name: "an argument", value: "three" }
    ])
  })

  it("gives a secret as a variable unless told", () => {
    const value = Redacted.make("x")
    assert.deepStrictEqual(Secrets.normalize(value), { value: "x", as: "env" })
    assert.deepStrictEqual(Secrets.normalize({ value }), { value: "x", as: "env" })
    assert.deepStrictEqual(Secrets.normalize({ value, as: "file" }), { value: "x", as: "file" })
  })
})
