/** How signals end the commands of a guest. */
import * as Schema from "effect/Schema"
import { type SignalName, signals } from "../config/signals.ts"

export { signals }

const isName = (name: string): name is SignalName =>
  name in signals && !["SIGIOT", "SIGPOLL", "SIGUNUSED"].includes(name)

export const SignalSchema = Schema.Union([Schema.Literals(Object.keys(signals).filter(isName)), Schema.Int])

/** Returns the name of a signal, or its number if it has none. */
export const named = (signal: SignalName | number): SignalName | number =>
  Object.keys(signals)
    .filter(isName)
    .find((name) => name === signal || signals[name] === signal) ?? signal

const harmless: ReadonlySet<SignalName | number> = new Set<SignalName>([
  "SIGCHLD",
  "SIGCONT",
  "SIGSTOP",
  "SIGTSTP",
  "SIGTTIN",
  "SIGTTOU",
  "SIGURG",
  "SIGWINCH"
])

/** Whether a signal ends a process by default. */
export const endsProcess = (signal: SignalName | number): boolean => !harmless.has(named(signal))

/** How the kernel logs the processes that it ends itself. */
const kernelLines: ReadonlyArray<readonly [line: (pid: number) => RegExp, signal: SignalName]> = [
  [(pid) => new RegExp(`Killed process ${pid}\\b`), "SIGKILL"],
  [(pid) => new RegExp(`\\[${pid}\\]: segfault\\b|\\[${pid}\\] general protection\\b`), "SIGSEGV"],
  [(pid) => new RegExp(`\\[${pid}\\] trap invalid opcode\\b`), "SIGILL"],
  [(pid) => new RegExp(`\\[${pid}\\] trap divide error\\b`), "SIGFPE"],
  [(pid) => new RegExp(`\\[${pid}\\] trap int3\\b`), "SIGTRAP"]
]

/** Returns the signal with which the kernel ended a process, according to its log. */
export const fromKernelLog = (log: string, pid: number): SignalName | undefined =>
  kernelLines.find(([line]) => line(pid).test(log))?.[1]

/**
 * Returns the exit status as a shell does: 128 plus the signal's number if a signal ended the command, or 255 if
 * unknown.
 */
export const statusOf = ({
  exitCode,
  signal
}: {
  readonly exitCode: number
  readonly signal?: SignalName | number | undefined
}): number => {
  if (exitCode >= 0) return exitCode
  return signal === undefined ? 255 : 128 + (typeof signal === "number" ? signal : signals[signal])
}
