import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as Secrets from "../../../src/internal/definition/secrets.ts"
import * as FailureText from "../../../src/internal/report/failureText.ts"
import { Lines } from "../../../src/internal/build/stepRunner.ts"
import * as Snapshot from "../../../src/Snapshot.ts"

const secret = (value: string): Secrets.SecretValue => ({ name: "TOKEN", value })

const Value = Schema.String.check(Schema.isMinLength(4))

describe("secrets", () => {
  it.effect.prop("redacts a secret everywhere", [Value, Schema.Array(Schema.String)], ([value, texts]) =>
    Effect.sync(() => {
      const shown = Secrets.redact([secret(value)], texts.join(value))
      // The replacement or the text around it may happen to contain the secret.
      if (!`${texts.join(" ")}<redacted>`.includes(value)) assert.notInclude(shown.replaceAll("<redacted>", " "), value)
    })
  )

  it.effect.prop("leaves text without secrets unchanged", [Schema.String], ([text]) =>
    Effect.sync(() => assert.strictEqual(Secrets.redact([secret(`not in ${text}`)], text), text))
  )

  it("redacts each line of a multi-line secret, except short ones", () => {
    const key = "-----BEGIN KEY-----\nabcdef\n}\n-----END KEY-----\n"
    const shown = Secrets.redact([secret(key)], `${key}|abcdef|}|-----END KEY-----`)
    assert.strictEqual(shown, "<redacted>|<redacted>|}|<redacted>")
  })

  it("searches for secrets without surrounding space, and line by line", () => {
    const searched = (value: string) => Secrets.searched([secret(value)]).map(({ value }) => value)
    assert.deepStrictEqual(searched("token-7890\r\n"), ["token-7890"])
    assert.deepStrictEqual(searched("abc\n"), [])
    const key = "-----BEGIN KEY-----\r\nfirst-line-of-it\r\nsecond-line-of-it\r\n-----END KEY-----\r\n"
    assert.deepStrictEqual(searched(key), [key.trim(), "first-line-of-it", "second-line-of-it"])
    assert.strictEqual(Secrets.redact([secret("token-7890\r\n")], "{token-7890}"), "{<redacted>}")
  })

  it("shows no part of a secret where a text was cut", () => {
    assert.strictEqual(FailureText.withoutSplit(["abcdef"], "def rest"), " rest")
    assert.strictEqual(FailureText.withoutSplit(["abcdef"], "rest"), "rest")
  })

  it("redacts the longer of two overlapping secrets completely", () => {
    const shown = Secrets.redact([secret("pass"), secret("password")], "password pass")
    assert.notInclude(shown, "pass")
    assert.notInclude(shown, "word")
  })

  it("redacts several secrets in one text, and treats none as a pattern", () => {
    assert.strictEqual(Secrets.redact([secret("a.*c"), secret("$&")], "a.*c abc $& $1"), "<redacted> abc <redacted> $1")
  })

  /** What is shown of output that arrives in chunks. */
  const shownOf = (secrets: ReadonlyArray<Secrets.SecretValue>, pieces: ReadonlyArray<string>) => {
    const lines = new Lines(secrets)
    const shown = [...pieces.map((piece) => lines.push(new TextEncoder().encode(piece))), lines.end()].join("")
    return { shown, tail: lines.tail }
  }

  /** Longer than what is held back until its line ends. */
  const long = "-".repeat(9000)

  it("shows no part of a secret in an endless line, wherever its pieces are cut", () => {
    const value = "kept-to-itself-4711"
    for (let before = 0; before <= value.length; before++) {
      for (let after = 0; after <= value.length + 1; after++) {
        const pieces = [`${long}${value.slice(0, before)}`, `${value.slice(before)}${"+".repeat(after)}`, "+"]
        const { shown, tail } = shownOf([secret(value)], pieces)
        assert.strictEqual(shown, `${long}<redacted>${"+".repeat(after + 1)}`)
        assert.strictEqual(tail, shown.slice(-tail.length))
        assert.strictEqual(shownOf([secret(value)], [pieces.join("")]).shown, shown)
      }
    }
  })

  it("shows no part of a secret's line, and continues after an endless one", () => {
    assert.strictEqual(shownOf([secret("ab\ncd")], ["ab\n", "cd\n"]).shown, "<redacted>\n")
    const { shown } = shownOf([secret("0000")], ["0".repeat(10_000), "0".repeat(10_000), "1"])
    assert.match(shown, /^(<redacted>)+0{0,3}1$/)
  })

  const Word = Schema.Array(Schema.Literals(["x", "y"]))

  it.effect.prop(
    "redacts several secrets, however they overlap and are split",
    [Schema.NonEmptyArray(Word), Schema.Array(Word)],
    ([values, pieces]) =>
      Effect.sync(() => {
        const secrets = values.map((letters) => secret(["x", ...letters].join("")))
        const { shown, tail } = shownOf(secrets, [long, ...pieces.map((letters) => letters.join(""))])
        for (const { value } of secrets) assert.notInclude(`${shown}${tail}`.replaceAll("<redacted>", " "), value)
      })
  )

  it("finds the secrets of all steps, including redacted arguments", () => {
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

  it("passes a secret as a variable by default", () => {
    const value = Redacted.make("x")
    assert.deepStrictEqual(Secrets.normalize(value), { value: "x", as: "env" })
    assert.deepStrictEqual(Secrets.normalize({ value }), { value: "x", as: "env" })
    assert.deepStrictEqual(Secrets.normalize({ value, as: "file" }), { value: "x", as: "file" })
  })
})
