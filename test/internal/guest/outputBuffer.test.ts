import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Schema from "effect/Schema"
import * as Fs from "node:fs"
import * as Os from "node:os"
import { type Chunk, OutputBuffer, type Policy } from "../../../src/internal/guest/outputBuffer.ts"
import { GuestLost, LightboxError } from "../../../src/LightboxError.ts"

interface Watched {
  readonly buffer: OutputBuffer
  readonly source: { paused: number; resumed: number; failed: number }
}

const make = (policy: Policy): Watched => {
  const source = { paused: 0, resumed: 0, failed: 0 }
  const buffer = new OutputBuffer(policy, {
    pause: () => void source.paused++,
    resume: () => void source.resumed++,
    fail: () => void source.failed++
  })
  return { buffer, source }
}

const stdout = (text: string): Chunk => ({ _tag: "Stdout", bytes: new TextEncoder().encode(text) })

const stderr = (text: string): Chunk => ({ _tag: "Stderr", bytes: new TextEncoder().encode(text) })

const lost = new LightboxError({ method: "Guest", reason: new GuestLost({ name: "a", problem: "gone" }) })

/** Everything up to the end, in its original chunks. */
const rest = Effect.fnUntraced(function* (buffer: OutputBuffer) {
  const chunks: Array<Chunk> = []
  for (;;) {
    const exit = yield* Effect.exit(buffer.take)
    if (Exit.isFailure(exit)) {
      const error = Cause.findErrorOption(exit.cause)
      const failure = error._tag === "Some" && error.value instanceof LightboxError ? error.value : undefined
      return { chunks, failure }
    }
    chunks.push(...exit.value)
  }
})

/** Joins neighbouring chunks of one stream. */
const joined = (chunks: ReadonlyArray<Chunk>): ReadonlyArray<readonly [Chunk["_tag"], string]> => {
  const parts: Array<[Chunk["_tag"], string]> = []
  for (const { _tag, bytes } of chunks) {
    const text = Buffer.from(bytes).toString("latin1")
    const last = parts.at(-1)
    if (last !== undefined && last[0] === _tag) last[1] += text
    else if (text !== "") parts.push([_tag, text])
  }
  return parts
}

const Output = Schema.Struct({ _tag: Schema.Literals(["Stdout", "Stderr"]), bytes: Schema.Uint8Array })

/** The files that this process holds output in, as the kernel knows them. */
const spillFiles = (): ReadonlyArray<{ readonly path: string; readonly size: number }> =>
  Fs.readdirSync("/proc/self/fd").flatMap((fd) => {
    try {
      const path = Fs.readlinkSync(`/proc/self/fd/${fd}`)
      return path.includes(`lightbox-output-${process.pid}-`) ? [{ path, size: Fs.fstatSync(Number(fd)).size }] : []
    } catch {
      return []
    }
  })

/** What can be taken without waiting. */
const takeNow = Effect.fnUntraced(function* (buffer: OutputBuffer) {
  const fiber = yield* Effect.forkChild(buffer.take, { startImmediately: true })
  const exit = fiber.pollUnsafe()
  if (exit !== undefined && Exit.isSuccess(exit)) return exit.value
  yield* Fiber.interrupt(fiber)
  return []
})

describe("OutputBuffer", () => {
  it.effect.prop(
    "returns all output in order, however much fits into memory",
    [
      Schema.Array(Schema.Union([Output, Schema.Literal("take")])),
      Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 30 })),
      Schema.Literals(["spill", "suspend"])
    ],
    ([actions, memoryBytes, overflow]) =>
      Effect.gen(function* () {
        const { buffer, source } = make({ memoryBytes, overflow })
        const given: Array<Chunk> = []
        const taken: Array<Chunk> = []
        for (const action of actions) {
          if (action === "take") taken.push(...(yield* takeNow(buffer)))
          else {
            buffer.push(action)
            given.push(action)
          }
        }
        buffer.finish()
        const { chunks, failure } = yield* rest(buffer)
        assert.isUndefined(failure)
        assert.deepStrictEqual(joined([...taken, ...chunks]), joined(given))
        assert.strictEqual(source.paused, source.resumed)
        assert.strictEqual(source.failed, 0)
        buffer.dispose()
      })
  )

  it.effect("merges small chunks of one stream, up to 64 KiB", () =>
    Effect.gen(function* () {
      const { buffer } = make({ memoryBytes: 10_000_000, overflow: "spill" })
      for (let i = 0; i < 200; i++) buffer.push(stdout("x".repeat(1000)))
      buffer.push(stderr("e"))
      buffer.push(stdout("y"))
      buffer.finish()
      const { chunks } = yield* rest(buffer)
      assert.deepStrictEqual(
        chunks.map(({ _tag, bytes }) => [_tag, bytes.length]),
        [
          ["Stdout", 64_000],
          ["Stdout", 64_000],
          ["Stdout", 64_000],
          ["Stdout", 8000],
          ["Stderr", 1],
          ["Stdout", 1]
        ]
      )
    })
  )

  it("takes no more memory for many small chunks than for few large ones", () => {
    const byte = new Uint8Array(1)
    const kinds = [["Stdout"], ["Stdout", "Stderr"]] as const
    for (const tags of kinds) {
      const { buffer, source } = make({ memoryBytes: 1_000_000, overflow: "suspend" })
      let count = 0
      while (source.paused === 0) buffer.push({ _tag: tags[count++ % tags.length] ?? "Stdout", bytes: byte })
      // Alone, a piece takes some hundred bytes of a process.
      assert.isAtMost(count, tags.length === 1 ? 1_000_001 : 2_000)
      assert.isAtLeast(count, tags.length === 1 ? 900_000 : 1_500)
      buffer.dispose()
    }
  })

  it.effect("does not retain the large buffer of a small chunk", () =>
    Effect.gen(function* () {
      const { buffer } = make({ memoryBytes: 1000, overflow: "spill" })
      buffer.push({ _tag: "Stdout", bytes: new Uint8Array(65_536).subarray(7, 8) })
      const [chunk] = yield* buffer.take
      assert.isAtMost(chunk.bytes.buffer.byteLength, 2)
      buffer.dispose()
    })
  )

  it.effect("keeps only its limit in memory, and spills the rest into one unlinked file", () =>
    Effect.gen(function* () {
      const { buffer, source } = make({ memoryBytes: 1000, overflow: "spill" })
      const piece = new Uint8Array(100_000)
      for (let i = 0; i < 100; i++) buffer.push({ _tag: "Stdout", bytes: piece })
      assert.deepStrictEqual(
        spillFiles().map(({ path }) => path.endsWith(" (deleted)")),
        [true]
      )
      assert.deepStrictEqual(
        Fs.readdirSync(Os.tmpdir()).filter((name) => name.startsWith(`lightbox-output-${process.pid}-`)),
        []
      )
      assert.strictEqual(source.paused, 0)
      buffer.finish()
      const { chunks } = yield* rest(buffer)
      assert.strictEqual(
        chunks.reduce((size, { bytes }) => size + bytes.length, 0),
        10_000_000
      )
      buffer.dispose()
      assert.deepStrictEqual(spillFiles(), [])
    })
  )

  it.effect("reuses the space of the file once it is read", () =>
    Effect.gen(function* () {
      const { buffer } = make({ memoryBytes: 0, overflow: "spill" })
      const sizes: Array<number | undefined> = []
      for (let round = 0; round < 3; round++) {
        buffer.push({ _tag: "Stderr", bytes: new Uint8Array(50_000) })
        sizes.push(spillFiles()[0]?.size)
        assert.strictEqual((yield* takeNow(buffer)).length, 1)
      }
      assert.deepStrictEqual(sizes, [50_005, 50_005, 50_005])
      buffer.dispose()
    })
  )

  it.effect("gives back the space of what is read, however far behind the reader stays", () =>
    Effect.gen(function* () {
      const { buffer } = make({ memoryBytes: 0, overflow: "spill" })
      const piece = new Uint8Array(1024 * 1024)
      const sizes = new Set<number>()
      let taken = 0
      for (let round = 0; round < 80; round++) {
        buffer.push({ _tag: "Stdout", bytes: piece.fill(round) })
        if (round < 4) continue
        for (const { bytes } of yield* takeNow(buffer)) {
          assert.deepStrictEqual([bytes.length, bytes[0]], [piece.length, taken++])
        }
        sizes.add(spillFiles().reduce((sum, { size }) => sum + size, 0))
      }
      assert.strictEqual(taken, 76)
      assert.isAtMost(Math.max(...sizes), 24 * 1024 * 1024)
      buffer.finish()
      assert.strictEqual((yield* rest(buffer)).chunks[0]?.bytes[0], 76)
      buffer.dispose()
      assert.deepStrictEqual(spillFiles(), [])
    })
  )

  it.effect("pauses the source while too much is unread on disk", () =>
    Effect.gen(function* () {
      const { buffer, source } = make({ memoryBytes: 0, overflow: "spill", spillBytes: 100_000 })
      for (let index = 0; index < 4; index++) buffer.push({ _tag: "Stdout", bytes: new Uint8Array(30_000) })
      assert.deepStrictEqual([source.paused, source.resumed], [1, 0])
      yield* takeNow(buffer)
      assert.deepStrictEqual([source.paused, source.resumed], [1, 1])
      for (let index = 0; index < 4; index++) buffer.push({ _tag: "Stdout", bytes: new Uint8Array(30_000) })
      buffer.dispose()
      assert.deepStrictEqual([source.paused, source.resumed], [2, 2])
    })
  )

  it.effect("returns a chunk that is larger than its reads", () =>
    Effect.gen(function* () {
      const { buffer } = make({ memoryBytes: 0, overflow: "spill" })
      const large = new Uint8Array(700_000).map((_, index) => index % 251)
      buffer.push(stderr("first"))
      buffer.push({ _tag: "Stdout", bytes: large })
      buffer.push(stderr("last"))
      buffer.finish()
      const { chunks } = yield* rest(buffer)
      assert.deepStrictEqual(joined(chunks), [
        ["Stderr", "first"],
        ["Stdout", Buffer.from(large).toString("latin1")],
        ["Stderr", "last"]
      ])
      buffer.dispose()
    })
  )

  it.effect('pauses the source while it is full, with overflow "suspend"', () =>
    Effect.gen(function* () {
      const { buffer, source } = make({ memoryBytes: 4, overflow: "suspend" })
      buffer.push(stdout("1234"))
      assert.deepStrictEqual(source, { paused: 0, resumed: 0, failed: 0 })
      buffer.push(stdout("5"))
      buffer.push(stdout("6"))
      assert.deepStrictEqual(source, { paused: 1, resumed: 0, failed: 0 })
      assert.deepStrictEqual(joined(yield* takeNow(buffer)), [["Stdout", "123456"]])
      assert.deepStrictEqual(source, { paused: 1, resumed: 1, failed: 0 })
      assert.deepStrictEqual(spillFiles(), [])
    })
  )

  it.effect("resumes the source when it is disposed", () =>
    Effect.gen(function* () {
      const { buffer, source } = make({ memoryBytes: 0, overflow: "suspend" })
      buffer.push(stdout("x"))
      buffer.dispose()
      assert.deepStrictEqual(source, { paused: 1, resumed: 1, failed: 0 })
      buffer.push(stdout("y"))
      assert.deepStrictEqual(yield* rest(buffer), { chunks: [], failure: undefined })
    })
  )

  it.effect("wakes a waiting reader for the next chunk", () =>
    Effect.gen(function* () {
      const { buffer } = make({ memoryBytes: 10, overflow: "spill" })
      const waits = yield* Deferred.make<void>()
      const fiber = yield* Effect.forkChild(Effect.andThen(Deferred.succeed(waits, undefined), buffer.take), {
        startImmediately: true
      })
      yield* Deferred.await(waits)
      assert.isUndefined(fiber.pollUnsafe())
      buffer.push(stdout("now"))
      assert.deepStrictEqual(joined(yield* Fiber.join(fiber)), [["Stdout", "now"]])
    })
  )

  it.effect("returns what came before a failure, then the failure, on every read", () =>
    Effect.gen(function* () {
      const { buffer } = make({ memoryBytes: 2, overflow: "spill" })
      buffer.push(stdout("abc"))
      buffer.finish(lost)
      buffer.finish()
      buffer.push(stdout("too late"))
      const { chunks, failure } = yield* rest(buffer)
      assert.deepStrictEqual(joined(chunks), [["Stdout", "abc"]])
      assert.strictEqual(failure, lost)
      assert.strictEqual((yield* rest(buffer)).failure, lost)
      buffer.dispose()
    })
  )

  it.effect("fails, and stops the source, if output cannot be stored", () =>
    Effect.gen(function* () {
      const before = process.env["TMPDIR"]
      process.env["TMPDIR"] = "/nowhere"
      const { buffer, source } = make({ memoryBytes: 3, overflow: "spill" })
      try {
        buffer.push(stdout("kept"))
      } finally {
        if (before === undefined) delete process.env["TMPDIR"]
        else process.env["TMPDIR"] = before
      }
      assert.strictEqual(source.failed, 1)
      const { failure } = yield* rest(buffer)
      assert.strictEqual(failure?.reason._tag, "NoSpace")
      assert.include(failure?.message, "cannot write output to")
    })
  )
})
