/** Text inside the guest: strings in which every character is one byte, for Linux names need not be UTF-8. */

export const fromText = (text: string): string => Buffer.from(text, "utf8").toString("latin1")

/** Decodes UTF-8, replacing what is not UTF-8. */
export const toText = (bytes: string): string => Buffer.from(bytes, "latin1").toString("utf8")

export const fromBytes = (bytes: Uint8Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("latin1")

export const toBytes = (bytes: string): Uint8Array => Buffer.from(bytes, "latin1")
