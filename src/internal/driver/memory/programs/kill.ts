import * as Effect from "effect/Effect"
import { errno, type Errno } from "../kernel/errno.ts"
import type { Process } from "../kernel/process.ts"
import * as Signals from "../kernel/signals.ts"
import { fail, forEach } from "./options.ts"

/** Sends a signal to processes, groups (`-PID`), or everything (`-1`). */
export const kill = Effect.fnUntraced(function* (
  process: Process,
  argv: ReadonlyArray<string>
): Effect.fn.Return<number, Errno> {
  const words = argv.slice(1)
  const [first = "", second] = words
  const isNamed = /^-./.test(first) && first !== "--"
  const name = first === "-s" ? (second ?? "") : isNamed ? first.slice(1) : "TERM"
  words.splice(0, first === "-s" ? 2 : isNamed ? 1 : 0)
  if (words[0] === "--") words.shift()
  const signal = Signals.parse(name)
  if (signal === undefined) return yield* fail(process, `bad signal name '${name}'`)
  if (words.length === 0) return yield* fail(process, "you need to specify whom to kill")
  const status = yield* forEach(words, (word) => {
    if (!/^-?\d+$/.test(word)) return fail(process, `invalid number '${word}'`)
    const problem = send(process, Number(word), signal)
    return problem === undefined ? Effect.succeed(0) : fail(process, `can't kill pid ${word}: ${problem.problem}`)
  })
  // A process that has killed itself stops here.
  yield* Effect.yieldNow
  return status
})

const send = ({ actor, group: ownGroup, machine }: Process, pid: number, signal: number): Errno | undefined => {
  if (pid === -1) {
    machine.signalAll(actor, signal)
    return undefined
  }
  if (pid <= 0) {
    const group = pid === 0 ? ownGroup : -pid
    if (!machine.pids().some((pid) => machine.process(pid)?.group === group)) return errno("ESRCH")
    machine.signalGroup(group, signal)
    return undefined
  }
  const target = machine.process(pid)
  // Signals to process 1 have no effect.
  if (target === undefined) return pid === 1 ? undefined : errno("ESRCH")
  if (actor.uid !== 0 && actor.uid !== target.actor.uid) return errno("EPERM")
  target.signal(signal)
  return undefined
}
