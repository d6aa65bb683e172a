/** What is wrong with a Dockerfile, and where. */
import type { LightboxError } from "../../LightboxError.ts"
import { invalid } from "../config/validation.ts"

/** A place in a Dockerfile; both count from 1. */
export interface Position {
  readonly line: number
  readonly column: number
}

/** Thrown by the parser and the resolution. Nothing has booted then. */
export class Problem extends Error {
  readonly at: Position
  constructor(at: Position, message: string) {
    super(message)
    this.at = at
  }
}

/** Turns a problem into an error with an excerpt of the Dockerfile. */
export const errorOf = (
  method: string,
  /** The name that the excerpt shows. */
  file: string,
  text: string,
  { at: { column, line }, message }: Problem
): LightboxError => {
  const number = `${line} | `
  const shown = (text.split(/\r?\n/)[line - 1] ?? "").replaceAll("\t", " ")
  return invalid(
    method,
    "dockerfile",
    `${message} (${file}:${line}:${column})\n${number}${shown}\n${" ".repeat(number.length - 2)}| ${" ".repeat(column - 1)}^`
  )
}
