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

/** The name of a signal's number, or the number of a name. */
export const translate = (text: string): string | undefined => {
  const number = parse(text)
  if (number === undefined || !/^\d+$/.test(text)) return number === undefined ? undefined : String(number)
  return Object.entries(signals)
    .find(([, value]) => value === number)?.[0]
    .slice(3)
}

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

/** What a shell says when a signal has ended a command. */
export const describe = (signal: number): string | undefined => endings[signal]
