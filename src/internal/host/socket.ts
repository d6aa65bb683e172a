/** Unix sockets as signs of life: a process answers on its socket as long as it lives, and no longer. */
import * as Predicate from "effect/Predicate"
import * as Fs from "node:fs/promises"
import * as Net from "node:net"

export const isCode = (cause: unknown, ...codes: ReadonlyArray<string>): boolean =>
  Predicate.hasProperty(cause, "code") && codes.some((code) => cause.code === code)

export interface Listener {
  /** Sends a line to all clients. Slow readers miss lines. */
  readonly send: (line: string) => void
  /** The lines that the connected clients have sent. */
  readonly received: () => ReadonlyArray<string>
  /** Closes all connections and removes the socket. */
  readonly close: () => Promise<void>
}

const slowReaderBytes = 1024 * 1024

const maxReceivedLength = 1024 * 1024

/** Listens without keeping the process alive. */
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

/** Connects. Returns nothing if no process listens, and "busy" if one does that cannot accept another connection. */
export const dial = async (path: string): Promise<Net.Socket | "busy" | undefined> => {
  try {
    return await dialOnce(path)
  } catch (cause) {
    if (isCode(cause, "ENOENT", "ECONNREFUSED", "ECONNRESET", "ENOTSOCK")) return undefined
    if (isCode(cause, "EAGAIN")) return "busy"
    throw cause
  }
}

export const isAnswered = async (path: string): Promise<boolean> => {
  const socket = await dial(path)
  if (socket !== undefined && socket !== "busy") socket.destroy()
  return socket !== undefined
}
