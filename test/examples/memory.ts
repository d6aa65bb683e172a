/**
 * Replaces `MicrosandboxLocal` while the programs in documents run, so that they run in memory.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import type * as MicrosandboxLocal from "../../src/MicrosandboxLocal.ts"
import * as MicrosandboxMemory from "../../src/MicrosandboxMemory.ts"
import { node } from "../Interpreter/native.ts"

/** A web server with some options of busybox's: `-p PORT -h FOLDER`. Logs the status of each answer. */
const httpd: MicrosandboxMemory.Command = ({ argv, files, listen, stderr }) => {
  const option = (name: string) => argv[argv.indexOf(name) + 1] ?? ""
  return listen(Number(option("-p")), ({ read, write }) =>
    Effect.gen(function* () {
      const request = yield* Stream.runHead(Stream.decodeText(read))
      const path = Option.getOrElse(request, () => "").split(" ")[1] ?? "/"
      const file = `${option("-h")}${path.replace(/\/$/, "/index.html")}`
      const isFound = yield* files.exists(file)
      const status = isFound ? "200 OK" : "404 Not Found"
      const body = isFound ? yield* files.readFileString(file) : ""
      yield* stderr(`response:${status.slice(0, 3)}\n`)
      yield* write(`HTTP/1.1 ${status}\r\nContent-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`)
    })
  )
}

const memory = () => MicrosandboxMemory.layer({ commands: { httpd, node } })

export const layer: typeof MicrosandboxLocal.layer = memory

export const layerConfig: typeof MicrosandboxLocal.layerConfig = memory
