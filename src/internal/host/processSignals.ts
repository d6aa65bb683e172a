/** Signals that end a process, with the exit status that a shell reports. */
export const exitCodes = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143 } as const

export type Signal = keyof typeof exitCodes

export const signals: ReadonlyArray<Signal> = ["SIGINT", "SIGTERM", "SIGHUP"]
