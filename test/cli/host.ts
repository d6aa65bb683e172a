/** Hosts that the command line serves, and variables of the environment. */
import * as Effect from "effect/Effect"
import * as Net from "node:net"
import { freePort } from "../support.ts"
import { ending } from "./support.ts"

/** Sets a variable of the environment for the scope. */
export const withVariable = (name: string, value: string | undefined) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const before = process.env[name]
      if (value === undefined) delete process.env[name]
      else process.env[name] = value
      return before
    }),
    (before) =>
      Effect.sync(() => {
        if (before === undefined) delete process.env[name]
        else process.env[name] = before
      })
  )

const connected = (port: number) =>
  Effect.callback<boolean>((resume) => {
    const socket = Net.connect(port, "127.0.0.1")
    socket.on("connect", () => resume(Effect.succeed(true)))
    socket.on("error", () => resume(Effect.succeed(false)))
    return Effect.sync(() => socket.destroy())
  })

/** Serves this machine with the token in the environment, until the scope closes. Returns the URL. */
export const serve = Effect.fnUntraced(function* () {
  const port = yield* freePort
  yield* Effect.forkScoped(ending(0)("host", "--port", String(port)))
  yield* Effect.repeat(connected(port), { until: (isConnected) => isConnected })
  return `http://localhost:${port}`
})
