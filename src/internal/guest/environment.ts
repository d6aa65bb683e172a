/** The environment and the program path of a command in a guest. */
import * as Effect from "effect/Effect"
import type * as ChildProcess from "effect/process/ChildProcess"
import * as Redacted from "effect/Redacted"
import { posix as Path } from "node:path"
import type * as Guest from "../../Guest.ts"
import { CommandNotStarted, LightboxError } from "../../LightboxError.ts"
import * as Execution from "./execution.ts"

/** Variables to set, and inherited ones to remove. */
export interface Environment {
  readonly set: { readonly [name: string]: Guest.Word }
  readonly unset: ReadonlyArray<string>
}

/** The kernel tools' search path if there is no PATH. */
const defaultPath = "/bin:/usr/bin"

export const inherited = (guest: Guest.Guest): Effect.Effect<ReadonlyMap<string, string>, LightboxError> =>
  Effect.map(
    Execution.collect(
      guest,
      "ChildProcess.spawn",
      { argv: ["cat", "/proc/self/environ"], cwd: "/" },
      { maxOutput: 4 * 1024 * 1024 }
    ),
    ({ stdout }) =>
      new Map(
        new TextDecoder()
          .decode(stdout)
          .split("\0")
          .flatMap((variable) => {
            const end = variable.indexOf("=")
            return end === -1 ? [] : [[variable.slice(0, end), variable.slice(end + 1)] as const]
          })
      )
  )

/**
 * Computes the environment of a command. The agent can only add variables, so unwanted ones are removed by a wrapper.
 */
export const make = <E>(
  options: ChildProcess.CommandOptions,
  inherited: Effect.Effect<ReadonlyMap<string, string>, E>
): Effect.Effect<Environment, E> => {
  const given = Object.entries(options.env ?? {})
  const set = Object.fromEntries(
    given.flatMap(([name, value]) => (value === undefined ? [] : [[name, value] as const]))
  )
  return options.env === undefined || options.extendEnv === true
    ? Effect.succeed({ set, unset: given.flatMap(([name, value]) => (value === undefined ? [name] : [])) })
    : Effect.map(inherited, (all) => ({ set, unset: [...all.keys()].filter((name) => !Object.hasOwn(set, name)) }))
}

/** Words to prepend to the command line to remove variables. */
export const wrapper = ({ unset }: Environment): ReadonlyArray<string> =>
  unset.length === 0 ? [] : ["/usr/bin/env", ...unset.flatMap((name) => ["-u", name])]

export const searchPath = <E>(
  { set, unset }: Environment,
  inherited: Effect.Effect<ReadonlyMap<string, string>, E>
): Effect.Effect<string, E> => {
  const path = set["PATH"]
  if (path !== undefined) return Effect.succeed(Redacted.isRedacted(path) ? Redacted.value(path) : path)
  if (unset.includes("PATH")) return Effect.succeed(defaultPath)
  return Effect.map(inherited, (all) => all.get("PATH") ?? defaultPath)
}

/** Finds the program of a name as `execvp` does, with the same failures. */
export const findProgram = Effect.fnUntraced(function* (
  guest: Guest.Guest,
  name: string,
  options: { readonly path: string; readonly cwd: string }
): Effect.fn.Return<string, LightboxError> {
  const candidates = name.includes("/")
    ? [Path.resolve(options.cwd, name)]
    : options.path.split(":").map((folder) => Path.resolve(options.cwd, folder, name))
  const found = yield* Effect.forEach(
    candidates,
    (path) => Effect.catchReason(guest.stat(path), "LightboxError", "FileError", () => Effect.undefined),
    { concurrency: "unbounded" }
  )
  const program = found.find((info) => info?.type === "File" && (info.mode & 0o111) !== 0)
  if (program !== undefined) return program.path
  const isThere = found.some((info) => info !== undefined)
  return yield* new LightboxError({
    method: "ChildProcess.spawn",
    reason: new CommandNotStarted({
      argv: [name],
      kind: isThere ? "PermissionDenied" : "ProgramNotFound",
      problem: isThere ? "Permission denied" : "No such file or directory",
      errno: isThere ? "EACCES" : "ENOENT"
    })
  })
})
