/** Open files, pipes, terminals and connections, counted by their descriptors. */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import { concat } from "../../../guest/protocol.ts"
import { attempt, errno, type Errno } from "./errno.ts"
import type { OpenFile } from "./vnode.ts"

type Read = (length: number) => Effect.Effect<Uint8Array, Errno>

type Write = (bytes: Uint8Array) => Effect.Effect<void, Errno>

const notOpen = () => Effect.fail(errno("EBADF"))

/** An open file description. A read at the end returns no bytes. */
export class Description {
  readonly read: Read
  readonly write: Write
  readonly terminal: TerminalState | undefined
  private readonly close: () => void
  private count = 1

  constructor(operations: {
    readonly read?: Read
    readonly write?: Write
    readonly terminal?: TerminalState
    readonly close?: () => void
  }) {
    this.read = operations.read ?? notOpen
    this.write = operations.write ?? notOpen
    this.terminal = operations.terminal
    this.close = operations.close ?? (() => {})
  }

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
  /** Signals the foreground. */
  readonly onSize: () => void
}

export const setSize = (terminal: TerminalState, { columns, rows }: Pick<TerminalState, "rows" | "columns">): void => {
  if (terminal.rows === rows && terminal.columns === columns) return
  Object.assign(terminal, { rows, columns })
  terminal.onSize()
}

export const fromFile = (file: OpenFile, isAppended = false): Description => {
  let position = 0
  return new Description({
    read: (length) =>
      attempt(() => {
        const bytes = file.read(position, length)
        position += bytes.length
        return bytes
      }),
    write: (bytes) =>
      attempt(() => {
        file.write(isAppended ? undefined : position, bytes)
        position += bytes.length
      }),
    close: file.close
  })
}

/** Bytes to read, as of a here-document. */
export const fromBytes = (bytes: Uint8Array): Description => {
  let position = 0
  return new Description({
    read: (length) => Effect.sync(() => bytes.subarray(position, (position += length)))
  })
}

const pipeBytes = 64 * 1024

/** A named pipe, which holds as much as the kernel's until it is read. */
export class Fifo {
  private chunks: Array<Uint8Array> = []
  private size = 0
  private readers = 0
  private writers = 0
  private opened = 0
  private changed = Deferred.makeUnsafe<void>()

  /** Opens one side, or both. */
  protected end(isRead: boolean, isWritten: boolean): Description {
    this.opened++
    if (isRead) this.readers++
    if (isWritten) this.writers++
    this.wake()
    return new Description({
      ...(isRead ? { read: (length) => this.read(length) } : {}),
      ...(isWritten ? { write: (bytes) => this.write(bytes) } : {}),
      close: () => {
        if (isRead) this.readers--
        if (isWritten) this.writers--
        if (this.readers === 0 && this.writers === 0) {
          this.chunks = []
          this.size = 0
        }
        this.wake()
      }
    })
  }

  /** Opens one side once the other side is opened, or both immediately. */
  open(isRead: boolean, isWritten: boolean): Effect.Effect<Description> {
    return Effect.suspend(() => {
      const description = this.end(isRead, isWritten)
      const { opened } = this
      const others = () => (isRead && isWritten) || (isRead ? this.writers : this.readers) > 0 || this.opened > opened
      const await_: Effect.Effect<void> = Effect.suspend(() =>
        others() ? Effect.void : Effect.andThen(Deferred.await(this.changed), await_)
      )
      return Effect.as(
        Effect.onInterrupt(await_, () => Effect.sync(() => description.release())),
        description
      )
    })
  }

  private wake(): void {
    const { changed } = this
    this.changed = Deferred.makeUnsafe<void>()
    Deferred.doneUnsafe(changed, Effect.void)
  }

  private read(length: number): Effect.Effect<Uint8Array, Errno> {
    return Effect.suspend(() => {
      if (this.size > 0) return Effect.succeed(this.take(length))
      if (this.writers === 0) return Effect.succeed(new Uint8Array())
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

  private write(bytes: Uint8Array): Effect.Effect<void, Errno> {
    return Effect.suspend(() => {
      if (this.readers === 0) return Effect.fail(errno("EPIPE"))
      if (bytes.length === 0) return Effect.void
      const part = bytes.slice(0, pipeBytes - this.size)
      if (part.length === 0) return Effect.andThen(Deferred.await(this.changed), this.write(bytes))
      this.chunks.push(part)
      this.size += part.length
      this.wake()
      return part.length === bytes.length ? Effect.void : this.write(bytes.subarray(part.length))
    })
  }
}

export class Pipe extends Fifo {
  readonly reader = this.end(true, false)
  readonly writer = this.end(false, true)
}

export class SocketDescription extends Description {
  /** Closes the writing side. */
  readonly endOutput: () => void

  constructor(input: Pipe, output: Pipe) {
    super({
      read: input.reader.read,
      write: output.writer.write,
      close: () => {
        input.reader.release()
        output.writer.release()
      }
    })
    this.endOutput = () => output.writer.release()
  }
}

export class OutputDescription extends Description {
  constructor(onWrite: Write, onClose: () => void) {
    super({ write: (bytes) => (bytes.length === 0 ? Effect.void : onWrite(bytes.slice())), close: onClose })
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
  readonly type: Write
  readonly hangUp: () => void

  constructor({ onClose, onInterrupt, onWrite, terminal }: TerminalOptions) {
    const { reader, writer } = new Pipe()
    super({
      read: reader.read,
      write: (bytes) => {
        const shown = [...bytes].flatMap((byte) => (byte === lineFeed ? [carriageReturn, byte] : [byte]))
        return shown.length === 0 ? Effect.void : onWrite(Uint8Array.from(shown))
      },
      close: () => {
        reader.release()
        onClose()
      }
    })
    this.terminal = terminal
    this.hangUp = () => writer.release()
    this.type = (bytes) => {
      const typed: Array<number> = []
      for (const byte of bytes) {
        if (byte === interruptByte) onInterrupt()
        else if (byte !== endByte) typed.push(byte === carriageReturn ? lineFeed : byte)
      }
      const line = Uint8Array.from(typed)
      return this.write(line).pipe(
        Effect.andThen(writer.write(line)),
        Effect.andThen(Effect.sync(() => (bytes.includes(endByte) ? this.hangUp() : undefined)))
      )
    }
  }
}
