/** Bearer tokens and what they allow. */
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import { tokenProblem } from "../config/schemas.ts"
import { hashOfToken } from "../host/http.ts"

export const TokenText = Schema.Redacted(Schema.String).check(
  Schema.makeFilter((token) => tokenProblem(Redacted.value(token)))
)

export const Scopes = Schema.NonEmptyArray(Schema.Literals(["read", "write"]))

/** A token as a gateway keeps it: without its text. */
export interface Token {
  readonly name: string
  readonly hash: Buffer
  readonly scopes: ReadonlyArray<"read" | "write">
}

/** A token that may write may read. */
export const make = (options: {
  readonly name: string
  readonly token: Redacted.Redacted<string>
  readonly scopes: ReadonlyArray<"read" | "write">
}): Token => ({
  name: options.name,
  hash: hashOfToken(Redacted.value(options.token)),
  scopes: options.scopes.includes("write") ? ["read", "write"] : ["read"]
})
