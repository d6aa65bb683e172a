/** Open files, pipes, terminals and connections, counted by their descriptors. */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import { concat } from "../../../guest/protocol.ts"
import { attempt, errno, type Errno } from "./errno.ts"
import type { OpenFile } from "./vnode.ts"

type Write = (bytes: Uint8Array) => Effect.Effect<void, Errno>

const notOpen = Effect.fail(errno("EBADF"))

/** An open file description. A read at the end returns no bytes. */
export class Description {
  private count = 1

  readonly terminal: TerminalState | undefined = undefined

  read(_length: number): Effect.Effect<Uint8Array, Errno> {
    return notOpen
  }

  write(_bytes: Uint8Array): Effect.Effect<void, Errno> {
    return notOpen
  }

  protected close(): void {}

  retain(): this {
    this.count++
    return this
  }

  release(): void {
    if (--this.count === 0) this.close()
  }
}

export interface TerminalState {
  readonly name: string
  rows: number
  columns: number
}

export class FileDescription extends Description {
  private readonly file: OpenFile
  private readonly isAppended: boolean
  private position = 0

  constructor(file: OpenFile, isAppended = false) {
    super()
    this.file = file
    this.isAppended = isAppended
  }

  override read(length: number): Effect.Effect<Uint8Array, Errno> {
    return attempt(() => {
      const bytes = this.file.read(this.position, length)
      this.position += bytes.length
      return bytes
    })
  }

  override write(bytes: Uint8Array): Effect.Effect<void, Errno> {
    return attempt(() => {
      this.file.write(this.isAppended ? undefined : this.position, bytes)
      this.position += bytes.length
    })
  }

  protected override close(): void {
    this.file.close()
  }
}

/** Bytes to read, as of a here-document. */
export class BytesDescription extends Description {
  private rest: Uint8Array

  constructor(bytes: Uint8Array) {
    super()
    this.rest = bytes
  }

  override read(length: number): Effect.Effect<Uint8Array, Errno> {
    return Effect.sync(() => {
      const bytes = this.rest.subarray(0, length)
      this.rest = this.rest.subarray(bytes.length)
      return bytes
    })
  }
}

const pipeBytes = 64 * 1024

/** A pipe, which holds as much as the kernel's until it is read. */
export class Pipe {
  private chunks: Array<Uint8Array> = []
  private size = 0
  private hasReaders = true
  private hasWriters = true
  private changed = Deferred.makeUnsafe<void>()

  readonly reader: Description = new PipeEnd(this, "reader")
  readonly writer: Description = new PipeEnd(this, "writer")

  private wake(): void {
    const { changed } = this
    this.changed = Deferred.makeUnsafe<void>()
    Deferred.doneUnsafe(changed, Effect.void)
  }

  read(length: number): Effect.Effect<Uint8Array, Errno> {
    return Effect.suspend(() => {
      if (this.size > 0) return Effect.succeed(this.take(length))
      if (!this.hasWriters) return Effect.succeed(new Uint8Array())
      return Effect.andThen(Deferred.await(this.changed), this.read(length))
    })
  }

  private take(length: number): Uint8Array {
    const all = concat(this.chunks, this.size)
    const taken = all.subarray(0, length)
    const rest = all.subarray(taken.length)
    this.chunks = rest.length === 0 ? [] : [rest]
    this.size = rest.length
    this.wake()
    return taken
  }

  write(bytes: Uint8Array): Effect.Effect<void, Errno> {
    return Effect.suspend(() => {
      if (!this.hasReaders) return Effect.fail(errno("EPIPE"))
      if (bytes.length === 0) return Effect.void
      const part = bytes.slice(0, pipeBytes - this.size)
      if (part.length === 0) return Effect.andThen(Deferred.await(this.changed), this.write(bytes))
      this.chunks.push(part)
      this.size += part.length
      this.wake()
      return part.length === bytes.length ? Effect.void : this.write(bytes.subarray(part.length))
    })
  }

  closeEnd(end: "reader" | "writer"): void {
    if (end === "reader") this.hasReaders = false
    else this.hasWriters = false
    this.wake()
  }
}

class PipeEnd extends Description {
  private readonly pipe: Pipe
  private readonly end: "reader" | "writer"

  constructor(pipe: Pipe, end: "reader" | "writer") {
    super()
    this.pipe = pipe
    this.end = end
  }

  override read(length: number): Effect.Effect<Uint8Array, Errno> {
    return this.end === "reader" ? this.pipe.read(length) : super.read(length)
  }

  override write(bytes: Uint8Array): Effect.Effect<void, Errno> {
    return this.end === "writer" ? this.pipe.write(bytes) : super.write(bytes)
  }

  protected override close(): void {
    this.pipe.closeEnd(this.end)
  }
}

export class SocketDescription extends Description {
  private readonly input: Description
  private readonly output: Description
  private isOutputOpen = true

  constructor(input: Pipe, output: Pipe) {
    super()
    this.input = input.reader
    this.output = output.writer
  }

  override read(length: number): Effect.Effect<Uint8Array, Errno> {
    return this.input.read(length)
  }

  override write(bytes: Uint8Array): Effect.Effect<void, Errno> {
    return this.output.write(bytes)
  }

  /** Closes the writing side. */
  endOutput(): void {
    if (this.isOutputOpen) this.output.release()
    this.isOutputOpen = false
  }

  protected override close(): void {
    this.input.release()
    this.endOutput()
  }
}

export class OutputDescription extends Description {
  private readonly onWrite: Write
  private readonly onClose: () => void

  constructor(onWrite: Write, onClose: () => void) {
    super()
    this.onWrite = onWrite
    this.onClose = onClose
  }

  protected override close(): void {
    this.onClose()
  }

  override write(bytes: Uint8Array): Effect.Effect<void, Errno> {
    return bytes.length === 0 ? Effect.void : this.onWrite(bytes.slice())
  }
}

const interruptByte = 3
const endByte = 4
const carriageReturn = 13
const lineFeed = 10

interface TerminalOptions {
  readonly terminal: TerminalState
  readonly onWrite: Write
  readonly onClose: () => void
  readonly onInterrupt: () => void
}

/** A terminal between the agent and a command. */
export class TerminalDescription extends Description {
  override readonly terminal: TerminalState
  private readonly input = new Pipe()
  private readonly options: TerminalOptions

  constructor(options: TerminalOptions) {
    super()
    this.terminal = options.terminal
    this.options = options
  }

  override read(length: number): Effect.Effect<Uint8Array, Errno> {
    return this.input.read(length)
  }

  override write(bytes: Uint8Array): Effect.Effect<void, Errno> {
    const shown = [...bytes].flatMap((byte) => (byte === lineFeed ? [carriageReturn, byte] : [byte]))
    return shown.length === 0 ? Effect.void : this.options.onWrite(Uint8Array.from(shown))
  }

  type(bytes: Uint8Array): Effect.Effect<void, Errno> {
    const typed: Array<number> = []
    for (const byte of bytes) {
      if (byte === interruptByte) this.options.onInterrupt()
      else if (byte !== endByte) typed.push(byte === carriageReturn ? lineFeed : byte)
    }
    const line = Uint8Array.from(typed)
    return this.write(line).pipe(
      Effect.andThen(this.input.write(line)),
      Effect.andThen(Effect.sync(() => (bytes.includes(endByte) ? this.hangUp() : undefined)))
    )
  }

  hangUp(): void {
    this.input.closeEnd("writer")
  }

  protected override close(): void {
    this.input.closeEnd("reader")
    this.options.onClose()
  }
}
