/** A WebSocket as a stream of bytes. */
import { Duplex } from "node:stream"
import type { Channel } from "../../guest/connection.ts"

/** Bytes that may be buffered before writers wait. */
const highWaterBytes = 1024 * 1024

/** Interval for polling the buffer, as a WebSocket emits no event when it drains. */
const lookMillis = 5

/** The WebSocket of Node.js accepts headers; browsers and their types do not. */
const construct: (url: URL, options: { readonly headers: { readonly [name: string]: string } }) => WebSocket = (
  url,
  options
) => Reflect.construct(WebSocket, [url, options])

class WebSocketChannel extends Duplex implements Channel {
  private readonly socket: WebSocket
  /** An open WebSocket keeps the process alive. */
  readonly ref = (): void => undefined
  readonly unref = (): void => undefined

  constructor(socket: WebSocket) {
    super()
    this.socket = socket
    socket.binaryType = "arraybuffer"
    socket.addEventListener("message", ({ data }: MessageEvent<unknown>) => {
      if (data instanceof ArrayBuffer) this.push(new Uint8Array(data))
    })
    socket.addEventListener("error", (event) => {
      const problem = "message" in event && typeof event.message === "string" ? event.message : ""
      this.destroy(new Error(problem === "" ? "the connection failed" : problem))
    })
    socket.addEventListener("close", () => this.destroy())
  }

  // A WebSocket has no backpressure: unread messages are queued here.
  override _read(): void {}

  override _write(chunk: Uint8Array<ArrayBuffer>, _: BufferEncoding, callback: (error?: Error | null) => void): void {
    this.socket.send(chunk)
    const wait = (): void => {
      if (this.socket.bufferedAmount <= highWaterBytes || this.destroyed) callback()
      else setTimeout(wait, lookMillis)
    }
    wait()
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.socket.close()
    callback(error)
  }
}

export const open = (url: URL, headers: { readonly [name: string]: string }): Channel =>
  new WebSocketChannel(construct(url, { headers }))
