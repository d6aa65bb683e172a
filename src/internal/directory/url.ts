/** The URL of a directory, which may have a password. */
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import { pathProblem } from "../config/schemas.ts"

export const isPostgres = (url: string): boolean => /^postgres(ql)?:\/\//.test(url)

/** The path of an SQLite file, from `sqlite:/path` or the path itself. */
export const pathOf = (url: string): string => url.replace(/^sqlite:(\/\/(?=\/))?/, "")

/** A URL without its password. */
export const shown = (url: string): string => {
  if (!isPostgres(url)) return pathOf(url)
  const parsed = URL.parse(url)
  if (parsed === null) return "the directory"
  parsed.password = ""
  parsed.search = ""
  return parsed.href
}

/** Says what is wrong with a URL, without showing a password in it. */
export const problemOf = (url: string): string | undefined => {
  if (isPostgres(url))
    return URL.canParse(url) ? undefined : "expected a URL such as postgres://user@db.example.com/fleet"
  const path = pathOf(url)
  if (/^[a-z][a-z0-9+.-]+:\/\//.test(path)) return "expected a postgres URL, or the path of an SQLite file"
  return path === "" ? "expected the path of an SQLite file, or a postgres URL" : pathProblem(path)
}

export const redacted = (url: string | Redacted.Redacted<string>): Redacted.Redacted<string> =>
  typeof url === "string" ? Redacted.make(url) : url

export const DirectoryUrl = Schema.Union([Schema.String, Schema.Redacted(Schema.String)]).check(
  Schema.makeFilter((url) => problemOf(Redacted.value(redacted(url))))
)
