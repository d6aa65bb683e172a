import * as Effect from "effect/Effect"
import { errno, type Errno } from "../kernel/errno.ts"
import type { Process } from "../kernel/process.ts"
import { signals } from "../../../guest/signals.ts"
import * as Signals from "../kernel/signals.ts"

/** `kill` with a signal, for processes, groups (`-PID`), or all (`-1`). */
export const kill = (process: Process, argv: ReadonlyArray<string>): Effect.Effect<number, Errno> =>
  Effect.gen(function* () {
    const words = argv.slice(1)
    let signal: number | undefined = signals.SIGTERM
    const first = words[0] ?? ""
    if (first === "-l") {
      yield* process.print(`${Object.keys(signals).join("\n")}\n`)
      return 0
    }
    if (first === "-s") {
      signal = Signals.parse(words[1] ?? "")
      words.splice(0, 2)
    } else if (/^-./.test(first) && first !== "--") {
      signal = Signals.parse(first.slice(1))
      words.shift()
    }
    if (words[0] === "--") words.shift()
    if (signal === undefined) {
      yield* process.complain(`sh: bad signal name '${first.slice(1)}'`)
      return 1
    }
    let status = 0
    for (const word of words) {
      const pid = Number(word)
      if (!/^-?\d+$/.test(word)) {
        yield* process.complain(`sh: invalid number '${word}'`)
        status = 1
        continue
      }
      const problem = send(process, pid, signal)
      if (problem !== undefined) {
        yield* process.complain(`sh: can't kill pid ${word}: ${problem.problem}`)
        status = 1
      }
    }
    // A process that has killed itself goes no further.
    yield* Effect.yieldNow
    return status
  })

const send = (process: Process, pid: number, signal: number): Errno | undefined => {
  const { actor, machine } = process
  if (pid === -1) {
    machine.signalAll(actor, signal)
    return undefined
  }
  if (pid <= 0) {
    const group = pid === 0 ? process.group : -pid
    if (!machine.pids().some((pid) => machine.process(pid)?.group === group)) return errno("ESRCH")
    machine.signalGroup(group, signal)
    return undefined
  }
  const target = machine.process(pid)
  // Nothing that is sent to process 1 has an effect.
  if (target === undefined) return pid === 1 ? undefined : errno("ESRCH")
  if (actor.uid !== 0 && actor.uid !== target.actor.uid) return errno("EPERM")
  target.signal(signal)
  return undefined
}
