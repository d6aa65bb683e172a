/**
 * Unix sockets as signs of life: a process that listens on one answers as long as it lives, and no longer.
 */
import * as Predicate from "effect/Predicate"
import * as Fs from "node:fs/promises"
import * as Net from "node:net"
import * as Timers from "node:timers/promises"

/** Whether a failure has one of some codes. */
export const isCode = (cause: unknown, ...codes: ReadonlyArray<string>): boolean =>
  Predicate.hasProperty(cause, "code") && codes.some((code) => cause.code === code)

/** A socket that is listened on. */
export interface Listener {
  /** Sends a line of text to all that are connected. Those who do not read fast enough miss some. */
  readonly send: (line: string) => void
  /** The lines that those have sent who are connected. */
  readonly received: () => ReadonlyArray<string>
  /** Ends all connections, and removes the socket. */
  readonly close: () => Promise<void>
}

const slowReaderBytes = 1024 * 1024

const maxReceivedLength = 1024 * 1024

/** Listens without keeping a process alive that has nothing else to do. */
export const listen = (path: string): Promise<Listener> =>
  new Promise((resolve, reject) => {
    const readers = new Map<Net.Socket, string>()
    const server = Net.createServer((reader) => {
      readers.set(reader, "")
      reader.unref()
      reader.setEncoding("utf8")
      reader.on("data", (text: string) => {
        const received = `${readers.get(reader) ?? ""}${text}`
        if (received.length <= maxReceivedLength) readers.set(reader, received)
        else reader.destroy()
      })
      reader.on("error", () => reader.destroy())
      reader.on("close", () => readers.delete(reader))
    })
    server.unref()
    server.on("error", reject)
    server.listen(path, () =>
      resolve({
        send: (line) => {
          for (const reader of readers.keys()) {
            if (reader.writableLength < slowReaderBytes) reader.write(`${line}\n`)
          }
        },
        received: () => [...readers.values()].flatMap((text) => text.split("\n").slice(0, -1)),
        close: async () => {
          server.close()
          for (const reader of readers.keys()) reader.destroy()
          await Fs.rm(path, { force: true })
        }
      })
    )
  })

const dialOnce = (path: string): Promise<Net.Socket> =>
  new Promise((resolve, reject) => {
    const socket = Net.connect(path, () => {
      socket.off("error", reject)
      socket.on("error", () => socket.destroy())
      resolve(socket)
    })
    socket.once("error", reject)
  })

/** Connects, or gives nothing if nobody listens. */
export const dial = async (path: string): Promise<Net.Socket | undefined> => {
  try {
    return await dialOnce(path)
  } catch (cause) {
    if (isCode(cause, "ENOENT", "ECONNREFUSED", "ECONNRESET", "ENOTSOCK")) return undefined
    if (!isCode(cause, "EAGAIN")) throw cause
    // One that so many try to reach at once that its queue is full is alive.
    await Timers.setTimeout(50)
    return dial(path)
  }
}

/** Whether somebody listens. */
export const isAnswered = async (path: string): Promise<boolean> => {
  const socket = await dial(path)
  socket?.destroy()
  return socket !== undefined
}
