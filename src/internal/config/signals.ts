/** The signals of the guest's kernel. The guest is always Linux, so the host's numbers do not apply. */
export const signals = {
  SIGHUP: 1,
  SIGINT: 2,
  SIGQUIT: 3,
  SIGILL: 4,
  SIGTRAP: 5,
  SIGABRT: 6,
  SIGIOT: 6,
  SIGBUS: 7,
  SIGFPE: 8,
  SIGKILL: 9,
  SIGUSR1: 10,
  SIGSEGV: 11,
  SIGUSR2: 12,
  SIGPIPE: 13,
  SIGALRM: 14,
  SIGTERM: 15,
  SIGSTKFLT: 16,
  SIGCHLD: 17,
  SIGCONT: 18,
  SIGSTOP: 19,
  SIGTSTP: 20,
  SIGTTIN: 21,
  SIGTTOU: 22,
  SIGURG: 23,
  SIGXCPU: 24,
  SIGXFSZ: 25,
  SIGVTALRM: 26,
  SIGPROF: 27,
  SIGWINCH: 28,
  SIGIO: 29,
  SIGPOLL: 29,
  SIGPWR: 30,
  SIGSYS: 31,
  SIGUNUSED: 31
} as const

/** The names of {@link signals}, one per number. */
export type SignalName = Exclude<keyof typeof signals, "SIGIOT" | "SIGPOLL" | "SIGUNUSED">

const isName = (name: string): name is SignalName =>
  name in signals && !["SIGIOT", "SIGPOLL", "SIGUNUSED"].includes(name)

export const signalNames: ReadonlyArray<SignalName> = Object.keys(signals).filter(isName)

/** Returns the name of a signal, or its number if it has none. */
export const named = (signal: SignalName | number): SignalName | number =>
  signalNames.find((name) => name === signal || signals[name] === signal) ?? signal

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
