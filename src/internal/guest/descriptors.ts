/**
 * File descriptors from 3 on for a process in a guest.
 *
 * The agent connects only three streams. The others are named pipes: a `cat` next to the process connects each to the
 * agent, and a shell opens them before it executes the process.
 */
import * as Effect from "effect/Effect"
import type { PlatformError } from "effect/PlatformError"
import * as ChildProcess from "effect/process/ChildProcess"
import type * as Scope from "effect/Scope"
import * as Sink from "effect/Sink"
import * as Stream from "effect/Stream"
import * as Crypto from "node:crypto"
import type * as Guest from "../../Guest.ts"
import type { LightboxError } from "../../LightboxError.ts"
import * as Execution from "./execution.ts"
import { type Operation, refusal, toPlatformError } from "./platformErrors.ts"

export interface Descriptors {
  /** Words to prepend to the command line. */
  readonly wrapper: ReadonlyArray<string>
  readonly inputs: ReadonlyMap<number, Sink.Sink<void, Uint8Array, never, PlatformError>>
  readonly outputs: ReadonlyMap<number, Stream.Stream<Uint8Array, PlatformError>>
}

/** A shell only supports redirections of one digit. */
const highest = 9

const wanted = (options: ChildProcess.CommandOptions) =>
  Object.entries(options.additionalFds ?? {}).flatMap(([name, config]) => {
    const fd = ChildProcess.parseFdName(name)
    return fd === undefined ? [] : [{ fd, config }]
  })

/** Describes a requested descriptor that a guest cannot provide. */
export const problemOf = (options: ChildProcess.CommandOptions): string | undefined => {
  for (const { config, fd } of wanted(options)) {
    if (config.type === "duplex") return `fd${fd}: in a guest, a descriptor is either for input or for output`
    if (fd > highest) return `fd${fd}: in a guest, descriptors go up to ${highest}`
  }
  return undefined
}

export const make = Effect.fnUntraced(function* (
  guest: Guest.Guest,
  operation: Operation,
  options: ChildProcess.CommandOptions,
  feed: (
    stream: Stream.Stream<Uint8Array, PlatformError>,
    sink: Sink.Sink<void, Uint8Array, never, PlatformError>
  ) => Effect.Effect<unknown, never, Scope.Scope>
): Effect.fn.Return<Descriptors, LightboxError | PlatformError, Scope.Scope> {
  const inputs = new Map<number, Sink.Sink<void, Uint8Array, never, PlatformError>>()
  const outputs = new Map<number, Stream.Stream<Uint8Array, PlatformError>>()
  const all = wanted(options)
  if (all.length === 0) return { wrapper: [], inputs, outputs }

  const folder = `/tmp/.fd-${Crypto.randomUUID()}`
  yield* Effect.addFinalizer(() => Effect.ignore(guest.removeDirectory(folder, { recursive: true })))
  const script = 'mkdir -m 700 "$0" && cd "$0" && mkfifo -m 600 "$@"'
  const { exitCode } = yield* Execution.collect(guest, "ChildProcess.spawn", {
    argv: ["/bin/sh", "-c", script, folder, ...all.map(({ fd }) => String(fd))]
  })
  if (exitCode !== 0) return yield* refusal(operation, "additional descriptors need the program mkfifo in the guest")

  for (const { config, fd } of all) {
    const pipe = `${folder}/${fd}`
    const failure = toPlatformError({ ...operation, method: `fd${fd}` })
    if (config.type === "input") {
      const { stdin } = yield* guest.spawn({ argv: ["/bin/sh", "-c", 'exec cat > "$0"', pipe] })
      const sink = Sink.mapError(stdin, failure)
      inputs.set(fd, sink)
      if (config.stream !== undefined) yield* feed(config.stream, sink)
    } else {
      const { output } = yield* guest.spawn({ argv: ["cat", pipe] })
      const stream = Stream.mapError(
        Stream.map(output, ({ bytes }) => bytes),
        failure
      )
      outputs.set(fd, config.sink === undefined ? stream : Stream.transduce(stream, config.sink))
    }
  }
  const redirections = all.map(({ config, fd }) => `${fd}${config.type === "input" ? "<" : ">"}"$0/${fd}"`)
  return { wrapper: ["/bin/sh", "-c", `exec "$@" ${redirections.join(" ")}`, folder], inputs, outputs }
})
