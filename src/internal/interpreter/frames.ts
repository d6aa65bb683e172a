/** Separates the messages of a kernel from what its code prints on the same descriptor. */

/** What a descriptor brought, in order. A message that was longer than allowed has no text. */
export type Piece =
  | { readonly _tag: "Output"; readonly bytes: Uint8Array }
  | { readonly _tag: "Message"; readonly text: string | undefined }

/** After the marker: whether the frame is the first, a middle or the last one of its message, or a single one, and its length. */
const headBytes = 5

/**
 * Reads one descriptor.
 *
 * A kernel writes each frame at once, and shorter than what a pipe keeps together, so that output of other processes is
 * never within a frame. The marker is random: only code that looks for it in its own process could imitate it, and all
 * that it could pretend are its own results.
 */
export class Frames {
  private readonly marker: Buffer
  private readonly maxBytes: () => number
  private rest: Buffer = Buffer.alloc(0)
  private parts: Array<Buffer> = []
  private size = 0

  /** `maxBytes` limits a message. */
  constructor(marker: string, maxBytes: () => number) {
    this.marker = Buffer.from(marker)
    this.maxBytes = maxBytes
  }

  push(bytes: Uint8Array): ReadonlyArray<Piece> {
    const pieces: Array<Piece> = []
    let data = this.rest.length === 0 ? Buffer.from(bytes) : Buffer.concat([this.rest, bytes])
    const print = (output: Buffer) => {
      if (output.length > 0) pieces.push({ _tag: "Output", bytes: new Uint8Array(output) })
    }
    for (;;) {
      const at = data.indexOf(this.marker)
      if (at === -1) {
        const end = data.length - this.beginningAtEnd(data)
        print(data.subarray(0, end))
        this.rest = Buffer.from(data.subarray(end))
        return pieces
      }
      print(data.subarray(0, at))
      const start = at + this.marker.length + headBytes
      const head = data.toString("latin1", start - headBytes, start)
      const length = Number(/^[FMLS](\d{4})$/.exec(head)?.[1])
      if (head.length === headBytes && Number.isNaN(length)) {
        // Not written by the kernel.
        print(data.subarray(at, start))
        data = data.subarray(start)
        continue
      }
      if (head.length < headBytes || data.length < start + length) {
        this.rest = Buffer.from(data.subarray(at))
        return pieces
      }
      // What an interrupt has cut off is without an end.
      if (/^[FS]/.test(head)) this.clear()
      this.add(data.subarray(start, start + length))
      if (/^[LS]/.test(head)) pieces.push({ _tag: "Message", text: this.message() })
      data = data.subarray(start + length)
    }
  }

  /** What is left when the descriptor was closed. */
  end(): Uint8Array {
    const rest = new Uint8Array(this.rest)
    this.rest = Buffer.alloc(0)
    return rest
  }

  private add(part: Buffer): void {
    this.size += part.length
    if (this.size <= this.maxBytes()) this.parts.push(Buffer.from(part))
    else this.parts = []
  }

  private message(): string | undefined {
    const text = this.size <= this.maxBytes() ? Buffer.concat(this.parts).toString("utf8") : undefined
    this.clear()
    return text
  }

  private clear(): void {
    this.parts = []
    this.size = 0
  }

  /** How many of the last bytes may be the beginning of a marker. */
  private beginningAtEnd(data: Buffer): number {
    const longest = Math.min(this.marker.length - 1, data.length)
    for (let length = longest; length > 0; length--) {
      if (data.subarray(data.length - length).equals(this.marker.subarray(0, length))) return length
    }
    return 0
  }
}
