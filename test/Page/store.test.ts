/** What the page knows, as the server tells it. */
import { afterAll, assert, beforeAll, beforeEach, describe, it, vi } from "@effect/vitest"
import type * as Store from "../../src/internal/page/client/store.ts"
import type { Change, Sandbox } from "../../src/internal/page/protocol.ts"

/** A WebSocket to a server that the test plays. */
class Socket extends EventTarget {
  static readonly OPEN = 1
  static last: Socket | undefined
  readonly readyState = Socket.OPEN
  readonly sent: Array<{ readonly _tag: string; readonly id?: string; readonly tag?: string }> = []
  constructor() {
    super()
    Socket.last = this
  }
  send(text: string): void {
    this.sent.push(JSON.parse(text))
  }
  close(): void {}
  /** The server says something. */
  say(message: object): void {
    this.dispatchEvent(Object.assign(new Event("message"), { data: `${JSON.stringify(message)}\n` }))
  }
}

let page: typeof Store
let socket: Socket

/** The last question of the page, and how the server answers it. */
const watched = () => {
  const asked = socket.sent.filter(({ tag }) => tag === "watch")
  const requestId = asked.at(-1)?.id
  return {
    count: asked.length,
    tell: (...values: ReadonlyArray<Change>) => socket.say({ _tag: "Chunk", requestId, values }),
    exit: (exit: object) => socket.say({ _tag: "Exit", requestId, exit })
  }
}

beforeAll(async () => {
  vi.useFakeTimers({ toFake: ["setTimeout", "setInterval"] })
  vi.stubGlobal("WebSocket", Socket)
  vi.stubGlobal("location", { host: "lightbox.localhost:1" })
  vi.stubGlobal("localStorage", { getItem: () => "" })
  vi.stubGlobal("requestAnimationFrame", (draw: () => void) => draw())
  page = await import("../../src/internal/page/client/store.ts")
  const Connection = await import("../../src/internal/page/client/connection.ts")
  page.listen()
  Connection.open()
  const opened = Socket.last
  if (opened === undefined) return assert.fail("nothing was opened")
  socket = opened
})

beforeEach(() => {
  socket.dispatchEvent(new Event("open"))
  watched().tell({ _tag: "Ready" })
})

afterAll(() => {
  vi.useRealTimers()
  vi.unstubAllGlobals()
})

const sandbox = (status: Sandbox["status"]): Change => ({
  _tag: "Sandboxes",
  removed: [],
  changed: [{ id: "1", name: "box", status, cpus: 1, memory: 1, ports: [], volumes: [], labels: {}, shell: "/bin/sh" }]
})

const usage = (uptime: number, cpuPercent: number): Change => ({
  _tag: "Usages",
  removed: [],
  usages: [
    {
      id: "1",
      uptime,
      cpuPercent,
      memory: 1,
      memoryLimit: 1,
      diskRead: 0,
      diskWritten: 0,
      networkReceived: 0,
      networkSent: 0
    }
  ]
})

describe("the use of a sandbox", () => {
  it("is not shown any more when it has stopped, or is not measured", () => {
    const { tell } = watched()
    for (const end of [
      sandbox("stopped"),
      { _tag: "Usages", usages: [], removed: ["1"] },
      { _tag: "Sandboxes", changed: [], removed: ["1"] }
    ] satisfies ReadonlyArray<Change>) {
      tell(sandbox("running"), usage(1000, 5), usage(2000, 6))
      assert.deepStrictEqual(page.store.usages.get("1")?.cpu, [5, 6])
      tell(end)
      assert.isUndefined(page.store.usages.get("1"))
    }
  })

  it("begins anew with another run", () => {
    const { tell } = watched()
    tell(sandbox("running"), usage(1000, 5), usage(2000, 6), usage(500, 7))
    assert.deepStrictEqual(page.store.usages.get("1")?.cpu, [7])
  })

  it("is gone when the sandbox ended while the connection was lost", () => {
    watched().tell(sandbox("running"), usage(1000, 5))
    socket.dispatchEvent(new Event("open"))
    // Nothing flickers meanwhile.
    assert.isDefined(page.store.usages.get("1"))
    watched().tell({ _tag: "Ready" })
    assert.isUndefined(page.store.usages.get("1"))
  })
})

describe("trouble with a list", () => {
  it("is shown until it is over", () => {
    const { tell } = watched()
    tell({ _tag: "Trouble", of: "builds", problem: "no answer" })
    assert.deepStrictEqual([...page.store.trouble], [["builds", "no answer"]])
    tell({ _tag: "Recovered", of: "builds" })
    assert.deepStrictEqual([...page.store.trouble], [])
  })
})

describe("the store of the page", () => {
  it("is followed again when the server ends its changes, and says so meanwhile", () => {
    const { count, exit } = watched()
    exit({ _tag: "Failure", cause: [{ _tag: "Die", defect: "out of memory" }] })
    assert.strictEqual(page.store.stopped, "The server failed: out of memory")
    vi.advanceTimersByTime(2000)
    assert.strictEqual(watched().count, count + 1)
    watched().tell({ _tag: "Ready" })
    assert.isUndefined(page.store.stopped)
  })
})
