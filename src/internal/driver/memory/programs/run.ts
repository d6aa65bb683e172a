/** How a program runs another one. */
import * as Effect from "effect/Effect"
import type { Errno } from "../kernel/errno.ts"
import { codeOf, type Process } from "../kernel/process.ts"
import { fail } from "./options.ts"

export const replace = (
  process: Process,
  argv: ReadonlyArray<string>,
  describe = (name: string): string => `can't execute '${name}'`
): Effect.Effect<number, Errno> =>
  Effect.matchEffect(process.load(argv), {
    onFailure: ({ code, problem }) =>
      fail(process, `${describe(argv[0] ?? "")}: ${problem}`, code === "EACCES" ? 126 : 127),
    onSuccess: (loaded) => {
      process.argv = loaded.argv
      return loaded.program(process, loaded.argv)
    }
  })

export const runProgram = Effect.fnUntraced(function* (
  process: Process,
  argv: ReadonlyArray<string>
): Effect.fn.Return<number, Errno> {
  const child = process.fork()
  yield* child.start((started) => replace(started, argv, (name) => name))
  return codeOf(yield* child.ended)
})
