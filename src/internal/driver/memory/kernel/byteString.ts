/**
 * Text as the guest has it: strings in which every character is one byte.
 *
 * Names, arguments, variables and what commands write need not be UTF-8 in
 * Linux, and the programs of a small guest look at bytes. So everything inside
 * the guest is a byte string, and is converted where it enters or leaves.
 */

/** A byte string of a text's UTF-8. */
export const fromText = (text: string): string => Buffer.from(text, "utf8").toString("latin1")

/** The text that a byte string is the UTF-8 of; what is not UTF-8 is replaced. */
export const toText = (bytes: string): string => Buffer.from(bytes, "latin1").toString("utf8")

export const fromBytes = (bytes: Uint8Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("latin1")

export const toBytes = (bytes: string): Uint8Array => Buffer.from(bytes, "latin1")
