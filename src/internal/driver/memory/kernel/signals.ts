/** Signals in the guest. */
import { signals } from "../../../config/signals.ts"

/** Signals without effect by default. Without job control, terminal stops are among them. */
export const ignoredByDefault: ReadonlySet<number> = new Set([
  signals.SIGCHLD,
  signals.SIGCONT,
  signals.SIGTSTP,
  signals.SIGTTIN,
  signals.SIGTTOU,
  signals.SIGURG,
  signals.SIGWINCH
])

const highest = 64

/** Parses a signal: a number, or a name with or without `SIG`. */
export const parse = (text: string): number | undefined => {
  if (/^\d+$/.test(text)) return Number(text) <= highest ? Number(text) : undefined
  const name = `SIG${text.toUpperCase().replace(/^SIG/, "")}`
  return Object.entries(signals).find(([key]) => key === name)?.[1]
}

export const nameOf = (signal: number): string | undefined =>
  Object.entries(signals)
    .find(([, value]) => value === signal)?.[0]
    .slice(3)

const endings: { readonly [signal: number]: string } = {
  [signals.SIGHUP]: "Hangup",
  [signals.SIGQUIT]: "Quit",
  [signals.SIGABRT]: "Aborted",
  [signals.SIGKILL]: "Killed",
  [signals.SIGSEGV]: "Segmentation fault",
  [signals.SIGUSR1]: "User defined signal 1",
  [signals.SIGUSR2]: "User defined signal 2",
  [signals.SIGALRM]: "Alarm clock",
  [signals.SIGTERM]: "Terminated"
}

/** The text that a shell prints when a signal ended a command. */
export const describe = (signal: number): string | undefined => endings[signal]
