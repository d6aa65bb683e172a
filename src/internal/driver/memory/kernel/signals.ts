/**
 * What signals do in the guest.
 */
import { signals } from "../../../guest/signals.ts"

/** Those that do nothing by default. Without a shell that controls jobs, the terminal's stops are among them. */
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

/** The number of a signal that is given by number or name, with or without `SIG`. */
export const parse = (text: string): number | undefined => {
  if (/^\d+$/.test(text)) return Number(text) <= highest ? Number(text) : undefined
  const name = `SIG${text.toUpperCase().replace(/^SIG/, "")}`
  return Object.entries(signals).find(([key]) => key === name)?.[1]
}

/** What a shell says when a signal has ended a command. */
export const describe = (signal: number): string | undefined => {
  switch (signal) {
    case signals.SIGHUP:
      return "Hangup"
    case signals.SIGQUIT:
      return "Quit"
    case signals.SIGABRT:
      return "Aborted"
    case signals.SIGKILL:
      return "Killed"
    case signals.SIGSEGV:
      return "Segmentation fault"
    case signals.SIGUSR1:
      return "User defined signal 1"
    case signals.SIGUSR2:
      return "User defined signal 2"
    case signals.SIGALRM:
      return "Alarm clock"
    case signals.SIGTERM:
      return "Terminated"
    default:
      return undefined
  }
}
