/**
 * What a process has open: files, pipes, terminals and connections, each counted
 * by the descriptors that stand for it.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import { concat } from "../../../guest/protocol.ts"
import { attempt, errno, type Errno } from "./errno.ts"
import type { OpenFile } from "./vnode.ts"

/** Something open. Reading gives no bytes at the end. */
export abstract class Description {
  private count = 1

  abstract read(length: number): Effect.Effect<Uint8Array, Errno>
  abstract write(bytes: Uint8Array): Effect.Effect<void, Errno>
  /** Nobody has it open any more. */
  protected abstract close(): void

  /** The file behind it, if there is one. */
  readonly file: OpenFile | undefined = undefined
  /** The terminal behind it, if there is one. */
  readonly terminal: TerminalState | undefined = undefined

  retain(): this {
    this.count++
    return this
  }

  release(): void {
    if (--this.count === 0) this.close()
  }
}

/** What a terminal looks like to the program in it. */
export interface TerminalState {
  readonly name: string
  rows: number
  columns: number
}

// =============================================================================
// Files
// =============================================================================

/** An open file with a position. */
export class FileDescription extends Description {
  override readonly file: OpenFile
  position = 0
  private readonly isAppended: boolean

  constructor(file: OpenFile, isAppended = false) {
    super()
    this.file = file
    this.isAppended = isAppended
  }

  read(length: number): Effect.Effect<Uint8Array, Errno> {
    return attempt(() => {
      const bytes = this.file.read(this.position, length)
      this.position += bytes.length
      return bytes
    })
  }

  write(bytes: Uint8Array): Effect.Effect<void, Errno> {
    return attempt(() => {
      this.file.write(this.isAppended ? undefined : this.position, bytes)
      this.position += bytes.length
    })
  }

  protected close(): void {
    this.file.close()
  }
}

/** Bytes to be read, as of a here-document. */
export class BytesDescription extends Description {
  private readonly bytes: Uint8Array
  private position = 0

  constructor(bytes: Uint8Array) {
    super()
    this.bytes = bytes
  }

  read(length: number): Effect.Effect<Uint8Array, Errno> {
    return Effect.sync(() => {
      const bytes = this.bytes.subarray(this.position, this.position + length)
      this.position += bytes.length
      return bytes
    })
  }

  write(): Effect.Effect<void, Errno> {
    return Effect.fail(errno("EBADF"))
  }

  protected close(): void {}
}

// =============================================================================
// Pipes
// =============================================================================

const pipeBytes = 64 * 1024

/** A pipe: what is written waits until it is read, and takes no more than the kernel's would. */
export class Pipe {
  private chunks: Array<Uint8Array> = []
  private size = 0
  private hasReaders = true
  private hasWriters = true
  private changed = Deferred.makeUnsafe<void>()

  readonly reader: Description = new PipeReader(this)
  readonly writer: Description = new PipeWriter(this)

  /** Wakes all who wait for the other side. */
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
      const room = pipeBytes - this.size
      if (room > 0 && bytes.length > 0) {
        const part = bytes.slice(0, room)
        this.chunks.push(part)
        this.size += part.length
        this.wake()
        if (part.length === bytes.length) return Effect.void
        return this.write(bytes.subarray(part.length))
      }
      return bytes.length === 0 ? Effect.void : Effect.andThen(Deferred.await(this.changed), this.write(bytes))
    })
  }

  closeReader(): void {
    this.hasReaders = false
    this.wake()
  }

  closeWriter(): void {
    this.hasWriters = false
    this.wake()
  }

  /** Whether somebody may still read. */
  get isRead(): boolean {
    return this.hasReaders
  }
}

class PipeReader extends Description {
  private readonly pipe: Pipe

  constructor(pipe: Pipe) {
    super()
    this.pipe = pipe
  }
  read(length: number): Effect.Effect<Uint8Array, Errno> {
    return this.pipe.read(length)
  }
  write(): Effect.Effect<void, Errno> {
    return Effect.fail(errno("EBADF"))
  }
  protected close(): void {
    this.pipe.closeReader()
  }
}

class PipeWriter extends Description {
  private readonly pipe: Pipe

  constructor(pipe: Pipe) {
    super()
    this.pipe = pipe
  }
  read(): Effect.Effect<Uint8Array, Errno> {
    return Effect.fail(errno("EBADF"))
  }
  write(bytes: Uint8Array): Effect.Effect<void, Errno> {
    return this.pipe.write(bytes)
  }
  protected close(): void {
    this.pipe.closeWriter()
  }
}

/** One end of a connection: reads from one pipe and writes to the other. */
export class SocketDescription extends Description {
  private readonly input: Description
  private readonly output: Description
  private isOutputOpen = true

  constructor(input: Pipe, output: Pipe) {
    super()
    this.input = input.reader
    this.output = output.writer
  }
  read(length: number): Effect.Effect<Uint8Array, Errno> {
    return this.input.read(length)
  }
  write(bytes: Uint8Array): Effect.Effect<void, Errno> {
    return this.output.write(bytes)
  }
  /** Tells the far end that nothing more comes. */
  endOutput(): void {
    if (!this.isOutputOpen) return
    this.isOutputOpen = false
    this.output.release()
  }
  protected close(): void {
    this.input.release()
    this.endOutput()
  }
}

// =============================================================================
// To the agent
// =============================================================================

/** Where the agent reads what a command writes. */
export class OutputDescription extends Description {
  private readonly onWrite: (bytes: Uint8Array) => Effect.Effect<void, Errno>
  private readonly onClose: () => void

  constructor(onWrite: (bytes: Uint8Array) => Effect.Effect<void, Errno>, onClose: () => void) {
    super()
    this.onWrite = onWrite
    this.onClose = onClose
  }
  read(): Effect.Effect<Uint8Array, Errno> {
    return Effect.fail(errno("EBADF"))
  }
  write(bytes: Uint8Array): Effect.Effect<void, Errno> {
    return bytes.length === 0 ? Effect.void : this.onWrite(bytes.slice())
  }
  protected close(): void {
    this.onClose()
  }
}

const interruptByte = 3
const endByte = 4
const carriageReturn = 13
const lineFeed = 10

/** A terminal between the agent and a command. */
export class TerminalDescription extends Description {
  override readonly terminal: TerminalState
  private readonly input = new Pipe()
  private readonly onWrite: (bytes: Uint8Array) => Effect.Effect<void, Errno>
  private readonly onClose: () => void
  private readonly onInterrupt: () => void

  constructor(options: {
    readonly terminal: TerminalState
    readonly onWrite: (bytes: Uint8Array) => Effect.Effect<void, Errno>
    readonly onClose: () => void
    /** Control-C was typed. */
    readonly onInterrupt: () => void
  }) {
    super()
    this.terminal = options.terminal
    this.onWrite = options.onWrite
    this.onClose = options.onClose
    this.onInterrupt = options.onInterrupt
  }

  read(length: number): Effect.Effect<Uint8Array, Errno> {
    return this.input.reader.read(length)
  }

  write(bytes: Uint8Array): Effect.Effect<void, Errno> {
    const shown: Array<number> = []
    for (const byte of bytes) {
      if (byte === lineFeed) shown.push(carriageReturn)
      shown.push(byte)
    }
    return shown.length === 0 ? Effect.void : this.onWrite(Uint8Array.from(shown))
  }

  /** Takes what is typed, and shows it. */
  type(bytes: Uint8Array): Effect.Effect<void, Errno> {
    const typed: Array<number> = []
    let isEnded = false
    for (const byte of bytes) {
      if (byte === interruptByte) this.onInterrupt()
      else if (byte === endByte) isEnded = true
      else typed.push(byte === carriageReturn ? lineFeed : byte)
    }
    const line = Uint8Array.from(typed)
    return Effect.andThen(
      this.write(line),
      Effect.andThen(
        this.input.writer.write(line),
        Effect.sync(() => (isEnded ? this.hangUp() : undefined))
      )
    )
  }

  /** Nothing more is typed. */
  hangUp(): void {
    this.input.closeWriter()
  }

  protected close(): void {
    this.input.closeReader()
    this.onClose()
  }
}
