/** What every kind of host is asked for. */
import * as Console from "effect/Console"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Path from "effect/Path"
import { TimeLimitReached } from "./HostError.ts"
import type { Words } from "./Subprocess.ts"

/** What to run, and on what. */
export interface Options {
  readonly command: Words
  readonly cpus: number
  /** In MiB. */
  readonly memory: number
  readonly fileSystem: "ext4" | "xfs"
  /** For the command. Starting the host does not count. */
  readonly timeout: Duration.Duration
  /** How long an emulated host may show no life. */
  readonly stall: Duration.Duration
  /** The folder that is the same inside and outside. */
  readonly out: string
}

/** What the messages of this run begin with. */
export const Name = Context.Reference<string>("effect-lightbox/test/host/Name", { defaultValue: () => "host" })

/** Says something on standard error that is not the command's. */
export const say = (message: string): Effect.Effect<void> =>
  Effect.flatMap(Name, (name) => Console.error(`${name}: ${message}`))

/** How long a command that was asked to end may take. */
export const grace = "5 seconds"

/** Interrupts the command at its time limit. */
export const withinTime = <A, E, R>(
  options: Options,
  command: Effect.Effect<A, E, R>
): Effect.Effect<A, E | TimeLimitReached, R> =>
  Effect.timeoutOrElse(command, {
    duration: options.timeout,
    orElse: () => new TimeLimitReached({ message: `stopped at its time limit of ${Duration.format(options.timeout)}` })
  })

/** The environment of the command: this process's, with what a host sets. */
export const environment = Effect.fnUntraced(function* (host: {
  readonly kind: "native" | "emulated"
  readonly home: string
  readonly temporary: string
  readonly out: string
}) {
  const path = yield* Path.Path
  const variables: Record<string, string | undefined> = {
    ...process.env,
    PATH: `${path.dirname(process.execPath)}:${process.env.PATH ?? "/usr/bin:/bin"}`,
    MSB_HOME: host.home,
    TMPDIR: host.temporary,
    LIGHTBOX_HOST: host.kind,
    LIGHTBOX_OUT: host.out
  }
  return variables
})
