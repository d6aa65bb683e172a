/**
 * How objects with functions or bytes in them are logged and encoded as JSON.
 */

/** Makes `console.log` and `JSON.stringify` show only the given fields of an object, or of a class by its prototype. */
export const printable = <A extends object>(target: A, name: string, fieldsOf: (self: A) => object): A =>
  Object.defineProperties(target, {
    toJSON: {
      configurable: true,
      value(this: A) {
        return fieldsOf(this)
      }
    },
    [Symbol.for("nodejs.util.inspect.custom")]: {
      configurable: true,
      value(this: A, _depth: number, options: object, inspect: (value: object, options: object) => string) {
        return `${name} ${inspect(fieldsOf(this), options)}`
      }
    }
  })

/** Encodes the bigint `sizeBytes` of an object, or of a class by its prototype, as a number: JSON has no bigint. */
export const encodable = <A extends { readonly sizeBytes: bigint | null }>(target: A): A =>
  Object.defineProperty(target, "toJSON", {
    configurable: true,
    value(this: A) {
      return { ...this, sizeBytes: this.sizeBytes === null ? null : Number(this.sizeBytes) }
    }
  })

/** Escapes what a terminal could take for more than text. */
export const escapeJson = (json: string): string =>
  json.replace(/[\u007f-\u009f\p{Cf}\p{Zl}\p{Zp}]/gu, (character) =>
    character
      .split("")
      .map((unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`)
      .join("")
  )
