/** A fleet of hosts on the twin, and programs that use it, in one process and over real ports of this machine. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as ChildProcess from "effect/process/ChildProcess"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import * as Gateway from "../../src/Gateway.ts"
import * as MicrosandboxFleet from "../../src/MicrosandboxFleet.ts"
import * as MicrosandboxMemory from "../../src/MicrosandboxMemory.ts"
import * as Remote from "../MicrosandboxRemote/support.ts"

export const { folder, token } = Remote

/** A new directory in SQLite. */
export const directory = Effect.map(folder("d"), (path) => Path.join(path, "fleet.db"))

export interface HostOptions {
  readonly twin?: MicrosandboxMemory.Options
  readonly gateway?: Partial<Gateway.Options>
  readonly member?: Partial<Gateway.Membership>
}

/** Starts a host that is part of a fleet. It runs until `stop`, or until the scope closes. */
export const host = Effect.fnUntraced(function* (url: string, { gateway, member, twin }: HostOptions = {}) {
  const home = twin?.home ?? (yield* folder("h"))
  const machine = yield* Effect.flatMap(Effect.scope, Scope.fork)
  const context = yield* Layer.buildWithScope(MicrosandboxMemory.layer({ ...twin, home }), machine)
  const serve = Effect.fnUntraced(function* (port = 0) {
    const scope = yield* Effect.flatMap(Effect.scope, Scope.fork)
    const listening = yield* Gateway.serve({
      tokens: [{ token }],
      port,
      // Its jobs have a clock of their own: that of the database.
      directory: { url, jobs: 0, ...member },
      ...gateway
    }).pipe(Effect.provideContext(context), Scope.provide(scope))
    return { ...listening, id: listening.host ?? "", stop: Scope.close(scope, Exit.void) }
  })
  return { ...(yield* serve()), serve, home, control: Context.get(context, MicrosandboxMemory.Control) }
})

/** The layer of a program. */
export const client = Effect.fnUntraced(function* (
  directory: string,
  options: Partial<MicrosandboxFleet.Options> = {}
) {
  return MicrosandboxFleet.layer({ directory, token, home: yield* folder("c"), ...options })
})

/** Builds the layer of a program, and returns a scope that ends it. */
export const program = Effect.fnUntraced(function* (
  directory: string,
  options: Partial<MicrosandboxFleet.Options> = {}
) {
  const layer = yield* client(directory, options)
  const scope = yield* Effect.flatMap(Effect.scope, Scope.fork)
  return { scope, services: yield* Layer.buildWithScope(layer, scope), end: Scope.close(scope, Exit.void) }
})

/** Starts a host as a process, and waits until it is part of the fleet. */
export const process = Effect.fnUntraced(function* (kind: "host" | "machine", home: string, directory: string) {
  const program = fileURLToPath(new URL(`programs/${kind}.ts`, import.meta.url))
  const child = yield* ChildProcess.make(globalThis.process.execPath, [program, home, directory], {
    stdin: "ignore",
    stderr: "inherit",
    killSignal: "SIGKILL"
  })
  const lines = Stream.splitLines(Stream.decodeText(child.stdout))
  const first = yield* Stream.runHead(Stream.filter(lines, (line) => line.startsWith("host ")))
  return {
    id: Option.match(first, { onNone: () => "", onSome: (line) => line.slice("host ".length) }),
    /** Ends it, and waits for its end. */
    end: (signal: "SIGTERM" | "SIGKILL") =>
      Effect.andThen(child.kill({ killSignal: signal }), Effect.asVoid(Effect.exit(child.exitCode)))
  }
})
