/**
 * Buffers unread output of a command.
 *
 * One connection delivers the output of all commands of a sandbox in order. Pausing it would block every other command,
 * and buffering in memory could exhaust the memory of a slow reader. So beyond a limit, output is written to unnamed
 * files (removed by the kernel when the process exits), or, if the caller chose so, the whole connection is paused. It is
 * also paused when the files hold too much.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import type * as Guest from "../../Guest.ts"
import { LightboxError, NoSpace } from "../../LightboxError.ts"
import { concat } from "./protocol.ts"

export interface Chunk {
  readonly _tag: "Stdout" | "Stderr"
  readonly bytes: Uint8Array
}

export interface Policy {
  readonly memoryBytes: number
  readonly overflow: "spill" | "suspend"
  /** Unread bytes on disk beyond which the source is paused. */
  readonly spillBytes?: number | undefined
}

/** Unread output in a file. */
interface Spill {
  readonly fd: number
  written: number
  read: number
}

/** Makes a buffer for the scope. */
export const make = (source: Source, policy?: Guest.OutputPolicy): Effect.Effect<OutputBuffer, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const overflow = policy?.overflow === "suspend" ? "suspend" : "spill"
      return new OutputBuffer({ memoryBytes: policy?.memoryBytes ?? 4 * 1024 * 1024, overflow }, source)
    }),
    (buffer) => Effect.sync(() => buffer.dispose())
  )

/** Pauses and resumes the source of the output. */
export interface Source {
  readonly pause: () => void
  readonly resume: () => void
  /** Called once, if the output cannot be buffered. */
  readonly fail: () => void
}

/** A buffered piece: `bytes` has capacity beyond the first `length`. */
interface Held {
  readonly tag: Chunk["_tag"]
  bytes: Uint8Array
  length: number
}

/** Waiting pieces are merged up to this size. */
const mergedBytes = 16 * 1024

/** Overhead of a piece beyond its bytes. Measured: up to 600 bytes of process memory. */
const pieceBytes = 512

const recordHeaderBytes = 5
/** Size from which the next file is used, so that the space of what is read is freed. */
const spillFileBytes = 16 * 1024 * 1024
const readBatchBytes = 256 * 1024
const coalesceBytes = 64 * 1024

export class OutputBuffer {
  private readonly policy: Policy
  private readonly source: Source
  private memory: Array<Held> = []
  private memoryBytes = 0
  private spills: Array<Spill> = []
  private spilledBytes = 0
  private isPaused = false
  private isDisposed = false
  private end: { readonly error: LightboxError | undefined } | undefined
  private wake: (() => void) | undefined

  constructor(policy: Policy, source: Source) {
    this.policy = policy
    this.source = source
  }

  push(chunk: Chunk): void {
    if (this.isDisposed || this.end !== undefined) return
    const target = this.mergeTargetOf(chunk)
    const cost = chunk.bytes.length + (this.memory.length === 0 || target !== undefined ? 0 : pieceBytes)
    const fits = this.memoryBytes + cost <= this.policy.memoryBytes || this.policy.overflow === "suspend"
    if (fits && this.spilledBytes === 0) {
      this.hold(chunk, target)
      this.memoryBytes += cost
    } else {
      this.writeSpill(chunk)
    }
    this.pauseIfFull()
    this.notify()
  }

  /** Ends the output, with an error or normally. */
  finish(error?: LightboxError): void {
    if (this.end !== undefined) return
    this.end = { error }
    this.notify()
  }

  /** Releases all buffers; later chunks are dropped. */
  dispose(): void {
    if (this.isDisposed) return
    this.isDisposed = true
    this.memory = []
    this.memoryBytes = 0
    this.spilledBytes = 0
    this.pauseIfFull()
    for (const { fd } of this.spills) Fs.closeSync(fd)
    this.spills = []
    this.finish()
  }

  /** Takes the next output in order, in pieces of up to 64 KiB; ends with `Done`. Supports one reader. */
  readonly take: Effect.Effect<[Chunk, ...Array<Chunk>], LightboxError | Cause.Done> = Effect.suspend(() => {
    const next = this.takeMemory() ?? this.readSpill()
    if (next !== undefined) return Effect.succeed(next)
    if (this.end !== undefined) return this.end.error === undefined ? Cause.done() : Effect.fail(this.end.error)
    return Effect.andThen(
      Effect.callback<void>((resume) => {
        this.wake = () => resume(Effect.void)
        return Effect.sync(() => {
          this.wake = undefined
        })
      }),
      this.take
    )
  })

  readonly stream: Stream.Stream<Chunk, LightboxError> = Stream.fromPull(Effect.succeed(this.take))

  private notify(): void {
    const wake = this.wake
    this.wake = undefined
    wake?.()
  }

  private pauseIfFull(): void {
    const { memoryBytes, spillBytes = 1024 ** 3 } = this.policy
    const isPaused = this.memoryBytes > memoryBytes || this.spilledBytes > spillBytes
    if (this.isPaused === isPaused) return
    this.isPaused = isPaused
    if (isPaused) this.source.pause()
    else this.source.resume()
  }

  /** The piece to append a chunk to, if any. */
  private mergeTargetOf({ _tag: tag, bytes }: Chunk): Held | undefined {
    const last = this.memory.at(-1)
    return last?.tag === tag && last.length + bytes.length <= mergedBytes ? last : undefined
  }

  /** Appends small pieces to larger ones, and keeps no buffer larger than twice its content. */
  private hold({ _tag: tag, bytes }: Chunk, target: Held | undefined): void {
    if (target === undefined) {
      const own = bytes.buffer.byteLength > 2 * bytes.length ? new Uint8Array(bytes) : bytes
      this.memory.push({ tag, bytes: own, length: bytes.length })
      return
    }
    const length = target.length + bytes.length
    if (length > target.bytes.length) {
      const grown = new Uint8Array(Math.min(2 * length, mergedBytes))
      grown.set(target.bytes.subarray(0, target.length))
      target.bytes = grown
    }
    target.bytes.set(bytes, target.length)
    target.length = length
  }

  private takeMemory(): [Chunk, ...Array<Chunk>] | undefined {
    const chunks = coalesce(
      this.memory.map(({ bytes, length, tag }) => ({ _tag: tag, bytes: bytes.subarray(0, length) }))
    )
    this.memory = []
    this.memoryBytes = 0
    this.pauseIfFull()
    return chunks
  }

  private writeSpill(chunk: Chunk): void {
    try {
      let spill = this.spills.at(-1)
      if (spill === undefined || spill.written >= spillFileBytes) {
        spill = { fd: openNameless(), written: 0, read: 0 }
        this.spills.push(spill)
      }
      const header = new Uint8Array(recordHeaderBytes)
      const view = new DataView(header.buffer)
      view.setUint8(0, chunk._tag === "Stdout" ? 1 : 2)
      view.setUint32(1, chunk.bytes.length)
      this.writeAt(spill.fd, spill.written, header, chunk.bytes)
      spill.written += header.length + chunk.bytes.length
      this.spilledBytes += header.length + chunk.bytes.length
    } catch (cause) {
      this.finish(
        new LightboxError({
          method: "Sandbox.spawn",
          reason: new NoSpace({ problem: `cannot write output to ${Os.tmpdir()}`, cause })
        })
      )
      this.source.fail()
    }
  }

  private readSpill(): [Chunk, ...Array<Chunk>] | undefined {
    const spill = this.spills[0]
    if (spill === undefined || spill.read === spill.written) return undefined
    let bytes = this.readAt(spill.fd, spill.read, Math.min(readBatchBytes, spill.written - spill.read))
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    const first = recordHeaderBytes + view.getUint32(1)
    if (first > bytes.length) bytes = this.readAt(spill.fd, spill.read, first)
    const chunks: Array<Chunk> = []
    let offset = 0
    while (offset + recordHeaderBytes <= bytes.length) {
      const record = new DataView(bytes.buffer, bytes.byteOffset + offset)
      const length = record.getUint32(1)
      if (offset + recordHeaderBytes + length > bytes.length) break
      const start = offset + recordHeaderBytes
      chunks.push({
        _tag: record.getUint8(0) === 1 ? "Stdout" : "Stderr",
        bytes: bytes.subarray(start, start + length)
      })
      offset = start + length
    }
    spill.read += offset
    this.spilledBytes -= offset
    if (spill.read === spill.written) {
      if (this.spills.length > 1) {
        Fs.closeSync(spill.fd)
        this.spills.shift()
      } else {
        Fs.ftruncateSync(spill.fd, 0)
        spill.read = 0
        spill.written = 0
      }
    }
    this.pauseIfFull()
    return coalesce(chunks)
  }

  private writeAt(fd: number, position: number, header: Uint8Array, bytes: Uint8Array): void {
    for (let written = 0; written < header.length + bytes.length;) {
      const rest =
        written < header.length ? [header.subarray(written), bytes] : [bytes.subarray(written - header.length)]
      written += Fs.writevSync(fd, rest, position + written)
    }
  }

  private readAt(fd: number, position: number, length: number): Uint8Array {
    const bytes = new Uint8Array(length)
    for (let offset = 0; offset < length;) {
      const count = Fs.readSync(fd, bytes, offset, length - offset, position + offset)
      if (count === 0) throw new Error("the spill file is shorter than what was written to it")
      offset += count
    }
    return bytes
  }
}

const openNameless = (): number => {
  const path = Path.join(Os.tmpdir(), `lightbox-output-${process.pid}-${Math.random().toString(36).slice(2)}`)
  const fd = Fs.openSync(path, "wx+", 0o600)
  Fs.unlinkSync(path)
  return fd
}

const coalesce = (chunks: ReadonlyArray<Chunk>): [Chunk, ...Array<Chunk>] | undefined => {
  const [first, ...others] = chunks
  if (first === undefined) return undefined
  const result: [Chunk, ...Array<Chunk>] = [first]
  let current: { tag: Chunk["_tag"]; parts: Array<Uint8Array>; size: number } = {
    tag: first._tag,
    parts: [first.bytes],
    size: first.bytes.length
  }
  const close = () => {
    result[result.length - 1] = { _tag: current.tag, bytes: concat(current.parts, current.size) }
  }
  for (const { _tag: tag, bytes } of others) {
    if (tag === current.tag && current.size + bytes.length <= coalesceBytes) {
      current.parts.push(bytes)
      current.size += bytes.length
    } else {
      close()
      current = { tag, parts: [bytes], size: bytes.length }
      result.push({ _tag: tag, bytes })
    }
  }
  close()
  return result
}
