import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Cbor from "cborg"
import { vi } from "vitest"
import * as Protocol from "../../../src/internal/guest/protocol.ts"

const greetingOf = (firstId: number, endId: number): Uint8Array => {
  const bytes = new Uint8Array(8)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, firstId)
  view.setUint32(4, endId)
  return bytes
}

/** A frame whose body is whatever the test wants. */
const frameOf = (id: number, flags: number, body: Uint8Array, length = 5 + body.length): Uint8Array => {
  const bytes = new Uint8Array(9 + body.length)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, length)
  view.setUint32(4, id)
  view.setUint8(8, flags)
  bytes.set(body, 9)
  return bytes
}

const join = (...parts: ReadonlyArray<Uint8Array>): Uint8Array => new Uint8Array(Buffer.concat(parts))

interface Received {
  greeting: Protocol.Greeting | undefined
  readonly messages: Array<Protocol.Message>
}

/** Feeds bytes in pieces of the given sizes, over and over. */
const receive = (bytes: Uint8Array, sizes: ReadonlyArray<number> = [bytes.length]): Received => {
  const received: Received = { greeting: undefined, messages: [] }
  const decoder = new Protocol.Decoder()
  for (let offset = 0, turn = 0; offset < bytes.length; turn++) {
    const size = sizes[turn % sizes.length] ?? 1
    decoder.push(
      bytes.subarray(offset, offset + size),
      (greeting) => {
        received.greeting = greeting
      },
      (message) => received.messages.push(message)
    )
    offset += size
  }
  return received
}

/** UTF-8 has no halves of characters. */
const Text = Schema.String.check(Schema.makeFilter((text) => text.isWellFormed()))

/** Whole numbers have one zero. */
const Int = Schema.Int.check(Schema.makeFilter((n) => !Object.is(n, -0)))

const Payload = Schema.Record(
  Text,
  Schema.Union([Text, Int, Schema.Boolean, Schema.Null, Schema.Uint8Array, Schema.Array(Text)])
)

const Id = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 0xffff_ffff }))

const Size = Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 40 }))

const greeting = greetingOf(100, 200)

describe("agentProtocol", () => {
  it.effect.prop(
    "decodes every message, however the bytes arrive",
    [Schema.Array(Schema.Tuple([Id, Text, Payload])), Schema.NonEmptyArray(Size)],
    ([messages, sizes]) =>
      Effect.sync(() => {
        const bytes = join(greeting, ...messages.map(([id, type, payload]) => Protocol.encode(id, type, payload)))
        const received = receive(bytes, sizes)
        assert.deepStrictEqual(received.greeting, { firstId: 100, endId: 200 })
        assert.deepStrictEqual(
          received.messages,
          messages.map(([id, type, payload]) => ({
            id,
            type,
            payload,
            isLast: false,
            generation: Protocol.generation
          }))
        )
      })
  )

  it.effect.prop("only ever rejects bytes that are not messages", [Schema.Uint8Array], ([bytes]) =>
    Effect.sync(() => {
      const received: Array<Protocol.Message> = []
      try {
        new Protocol.Decoder().push(
          join(greeting, bytes),
          () => {},
          (message) => received.push(message)
        )
      } catch (error) {
        assert.instanceOf(error, Error)
      }
      assert.isAtMost(received.length, bytes.length / 9)
    })
  )

  it("marks only the first message of a session", () => {
    const flagOf = (type: string) => Protocol.encode(1, type, {})[8]
    assert.deepStrictEqual(["core.exec.request", "core.fs.request", "core.tcp.connect"].map(flagOf), [2, 2, 2])
    assert.deepStrictEqual(["core.exec.stdin", "core.fs.data", "core.ping"].map(flagOf), [0, 0, 0])
  })

  it("omits undefined fields", () => {
    const { messages } = receive(join(greeting, Protocol.encode(1, "a", { here: 1, absent: undefined })))
    assert.deepStrictEqual(messages[0]?.payload, { here: 1 })
  })

  it("recognizes the last message of a session", () => {
    const body = Cbor.encode({ v: 7, t: "core.exec.exited", p: Cbor.encode({ code: 3 }) })
    const { messages } = receive(join(greeting, frameOf(5, 1, body)))
    assert.deepStrictEqual(messages, [
      { id: 5, type: "core.exec.exited", payload: { code: 3 }, isLast: true, generation: 7 }
    ])
  })

  it("copies the bytes of a message once, so that they do not keep what they came in", () => {
    const sent = new Uint8Array(1000).fill(7)
    const copy = vi.spyOn(Uint8Array.prototype, "slice")
    try {
      const { messages } = receive(join(greeting, Protocol.encode(1, "core.exec.stdout", { data: sent })))
      const data = messages[0]?.payload["data"]
      if (!(data instanceof Uint8Array)) return assert.fail("the message has no bytes")
      assert.deepStrictEqual([data, data.buffer.byteLength], [sent, 1000])
      const copied = copy.mock.results.map(({ value }) => (value instanceof Uint8Array ? value.length : 0))
      assert.deepStrictEqual(copied, [1000])
    } finally {
      copy.mockRestore()
    }
  })

  it("accepts a message without a payload", () => {
    const body = Cbor.encode({ v: 7, t: "core.pong", p: new Uint8Array() })
    assert.deepStrictEqual(receive(join(greeting, frameOf(5, 0, body))).messages[0]?.payload, {})
  })

  it("decodes a payload that is not a map as empty", () => {
    const body = Cbor.encode({ v: 7, t: "a", p: Cbor.encode("text") })
    assert.deepStrictEqual(receive(join(greeting, frameOf(5, 0, body))).messages[0]?.payload, {})
  })

  it("waits for the rest of a frame", () => {
    const frame = Protocol.encode(1, "core.exec.stdout", { data: new Uint8Array(1000).fill(7) })
    for (const cut of [0, 1, 3, 4, 8, 9, 10, frame.length - 1]) {
      assert.deepStrictEqual(receive(join(greeting, frame.subarray(0, cut))).messages, [])
    }
    assert.strictEqual(receive(join(greeting, frame)).messages.length, 1)
  })

  it("waits for the rest of the greeting", () => {
    assert.isUndefined(receive(greeting.subarray(0, 7)).greeting)
  })

  it("accepts a frame of the maximum size, and rejects a larger one before it has arrived", () => {
    const overhead = Protocol.encode(1, "t", { data: new Uint8Array(Protocol.maxFrameBytes / 2) }).length
    const data = new Uint8Array(Protocol.maxFrameBytes + 4 - (overhead - Protocol.maxFrameBytes / 2))
    const largest = Protocol.encode(1, "t", { data })
    assert.strictEqual(largest.length, 4 + Protocol.maxFrameBytes)
    assert.strictEqual(receive(join(greeting, largest), [65_536]).messages.length, 1)

    const head = frameOf(1, 0, new Uint8Array(), Protocol.maxFrameBytes + 1)
    assert.throws(() => receive(join(greeting, head)), /a frame of 4194305 bytes/)
  })

  it("fits a chunk of the maximum size into a frame", () => {
    const frame = Protocol.encode(1, "core.fs.data", { data: new Uint8Array(Protocol.maxChunkBytes) })
    assert.isAtMost(frame.length - 4, Protocol.maxFrameBytes)
  })

  it("rejects a frame shorter than its own header", () => {
    for (const length of [0, 4]) {
      assert.throws(() => receive(join(greeting, frameOf(1, 0, new Uint8Array(), length))), /the relay sent a frame of/)
    }
  })

  const hostile: ReadonlyArray<readonly [what: string, body: Uint8Array]> = [
    ["nothing", new Uint8Array()],
    ["a number", Cbor.encode(7)],
    ["a map without a type", Cbor.encode({ v: 7, p: new Uint8Array() })],
    ["a type that is not text", Cbor.encode({ v: 7, t: 1, p: new Uint8Array() })],
    ["a payload that is not bytes", Cbor.encode({ v: 7, t: "a", p: {} })],
    ["a version that is not a number", Cbor.encode({ v: "7", t: "a", p: new Uint8Array() })],
    ["bytes that are not CBOR", Uint8Array.of(0xff, 0x00)],
    ["text that ends too early", Uint8Array.of(0x7a, 0x00, 0xff, 0xff, 0xff, 0x61)],
    ["more than one value", join(Cbor.encode({ v: 7, t: "a", p: new Uint8Array() }), Cbor.encode(1))],
    ["a payload cut off", Cbor.encode({ v: 7, t: "a", p: Uint8Array.of(0xa1, 0x61) })]
  ]

  it.effect.each(hostile.map(([what, body]) => ({ what, body })))("rejects $what", ({ body }) =>
    Effect.sync(() => {
      assert.throws(() => receive(join(greeting, frameOf(1, 0, body))))
    })
  )

  /** Bytes of CBOR, repeated until they nearly fill the largest frame. */
  const filled = (head: ReadonlyArray<number>, unit: ReadonlyArray<number>) => {
    const count = Math.floor((Protocol.maxFrameBytes - 64) / unit.length)
    const body = new Uint8Array(head.length + count * unit.length)
    body.set(head)
    for (let i = 0; i < count; i++) body.set(unit, head.length + i * unit.length)
    return body
  }
  const endlessArray = [0x9f]
  const endlessMap = [0xbf]

  const wide: ReadonlyArray<readonly [what: string, body: Uint8Array, problem: RegExp]> = [
    ["a million empty maps", filled(endlessArray, [0xa0]), /more than 65536 values/],
    ["a million numbers", filled([0x9a, 0x00, 0x3f, 0xff, 0xc0], [0x01]), /more than 65536 values/],
    ["a million names", filled(endlessMap, [0x61, 0x61, 0x01]), /more than 65536 values/],
    ["lists in a million lists", filled([], [0x81]), /nested deeper than 16/],
    ["maps in a million maps", filled([], [0xa1, 0x61, 0x61]), /nested deeper than 16/],
    ["endless lists in endless lists", filled([], [0x9f]), /nested deeper than 16/],
    ["a million tags", filled([], [0xc1]), /tag/],
    ["a list that promises more than there can be", Uint8Array.of(0x9b, 0, 0x1f, 0xff, 0xff, 0, 0, 0, 0, 1), /entries/],
    ["bytes that promise more than there are", Uint8Array.of(0x5b, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff), /data/]
  ]

  it.effect.each(wide.map(([what, body, problem]) => ({ what, body, problem })))(
    "rejects $what in a frame and in its payload, before spending memory",
    ({ body, problem }) =>
      Effect.sync(() => {
        const inPayload = Cbor.encode({ v: 7, t: "a", p: body }).subarray(0, Protocol.maxFrameBytes - 5)
        for (const frame of [body, inPayload]) {
          const before = process.memoryUsage().heapUsed
          assert.throws(() => receive(join(greeting, frameOf(1, 0, frame))), problem)
          assert.isBelow(process.memoryUsage().heapUsed - before, 32 * 1024 * 1024)
        }
      })
  )

  it("accepts a page of 512 complete entries, and nesting up to 16", () => {
    const entry = Object.fromEntries(Array.from({ length: 30 }, (_, field) => [`field${field}`, field]))
    const list = { ok: true, data: { List: Array.from({ length: 512 }, () => entry) } }
    let nested: unknown = 1
    for (let depth = 0; depth < 15; depth++) nested = depth % 2 === 0 ? [nested, 2] : { a: nested, b: 2 }
    const { messages } = receive(
      join(greeting, Protocol.encode(1, "a", list), Protocol.encode(1, "a", { nested, after: [[], {}, [1]] }))
    )
    assert.deepStrictEqual(
      messages.map(({ payload }) => payload),
      [list, { nested, after: [[], {}, [1]] }]
    )
  })

  it("does not copy a single chunk", () => {
    const only = Uint8Array.of(1, 2)
    assert.strictEqual(Protocol.concat([only], 2), only)
    assert.deepStrictEqual(Protocol.concat([only, Uint8Array.of(3)], 3), Uint8Array.of(1, 2, 3))
    assert.deepStrictEqual(Protocol.concat([], 0), new Uint8Array())
  })
})
