/** Shells that a page has open in sandboxes. Each ends when the page leaves it. */
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import * as Stream from "effect/Stream"
import type * as Guest from "../../Guest.ts"
import type { LightboxError } from "../../LightboxError.ts"
import type * as Microsandbox from "../../Microsandbox.ts"
import * as Sandbox from "../../Sandbox.ts"
import { invalid } from "../config/validation.ts"

const method = "Page.serve"

/** Parts of the input that wait for the guest. A page waits with the next one. */
const waiting = 64

interface Terminal {
  readonly input: Queue.Queue<Uint8Array>
  readonly resize: (size: Guest.TerminalSize) => Effect.Effect<void, LightboxError>
}

export interface Terminals {
  /** Runs a shell, and streams what it writes. */
  readonly open: (
    id: string,
    name: string,
    size: Guest.TerminalSize
  ) => Stream.Stream<Uint8Array, LightboxError, Microsandbox.Microsandbox>
  readonly type: (id: string, text: string) => Effect.Effect<void, LightboxError>
  readonly resize: (id: string, size: Guest.TerminalSize) => Effect.Effect<void, LightboxError>
}

export const make = (): Terminals => {
  const terminals = new Map<string, Terminal>()
  const find = (id: string): Effect.Effect<Terminal, LightboxError> =>
    Effect.suspend(() => {
      const found = terminals.get(id)
      return found === undefined
        ? Effect.fail(invalid(method, "id", "there is no such terminal"))
        : Effect.succeed(found)
    })
  const encoder = new TextEncoder()
  return {
    open: (id, name, size) =>
      Stream.unwrap(
        Effect.gen(function* () {
          if (terminals.has(id)) {
            return yield* invalid(method, "id", "there is such a terminal already")
          }
          const sandbox = yield* Sandbox.connect(name)
          const { shell } = yield* sandbox.info
          const running = yield* sandbox.guest.spawn({
            argv: [shell],
            terminal: size,
            env: { TERM: "xterm-256color" }
          })
          const input = yield* Queue.bounded<Uint8Array>(waiting)
          yield* Effect.forkScoped(Effect.ignore(Stream.run(Stream.fromQueue(input), running.stdin)))
          yield* Effect.acquireRelease(
            Effect.sync(() => terminals.set(id, { input, resize: running.resize })),
            () => Effect.sync(() => terminals.delete(id))
          )
          return Stream.map(running.output, ({ bytes }) => bytes)
        })
      ),
    type: (id, text) =>
      Effect.flatMap(find(id), ({ input }) => Effect.asVoid(Queue.offer(input, encoder.encode(text)))),
    resize: (id, size) => Effect.flatMap(find(id), ({ resize }) => resize(size))
  }
}
