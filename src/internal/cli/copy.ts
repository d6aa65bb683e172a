/** `cp`. */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Effect from "effect/Effect"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import * as Sandbox from "../../Sandbox.ts"
import { GuestPath } from "../config/schemas.ts"
import { decoder, invalid } from "../config/validation.ts"
import { hostPathProblem, ifMissing } from "../host/fileFailure.ts"
import { driver, print } from "./environment.ts"
import { nameFlags } from "./failure.ts"
import * as Shapes from "./json.ts"

interface Place {
  /** Absent: a path of this machine. */
  readonly sandbox?: string | undefined
  readonly path: string
}

interface GuestPlace extends Place {
  readonly sandbox: string
}

const isGuest = (place: Place): place is GuestPlace => place.sandbox !== undefined

/** As in docker, a path that begins with `.` or `/` is one of this machine, even if it contains a colon. */
const parse = (text: string): Place => {
  const [, sandbox, path = text] = /^([^./:][^/:]*):(.*)$/s.exec(text) ?? []
  return { sandbox, path }
}

const argument = (name: string, metavar: string, description: string) =>
  Argument.String(name).pipe(Argument.withMetavar(metavar), Argument.withDescription(description))

/** As in docker, an existing folder is copied into, and `FOLDER/.` means the content of a folder. */
const isInside = (from: string, to: string, isFolder: { readonly from: boolean; readonly to: boolean }): boolean =>
  isFolder.from ? isFolder.to && !/(?:^|\/)\.$/.test(from) : isFolder.to || to.endsWith("/")

const copyIn = Effect.fnUntraced(function* (from: string, to: GuestPlace) {
  yield* decoder(GuestPath, "cp", "DST")(to.path)
  const source = yield* Effect.tryPromise({
    try: () => Fs.stat(from),
    catch: (cause) => invalid("cp", "SRC", hostPathProblem(from, cause))
  })
  const sandbox = yield* Sandbox.connect(to.sandbox).pipe(Effect.mapError(nameFlags({ name: "DST" })))
  const isFolder = {
    from: source.isDirectory(),
    to: (yield* ifMissing(undefined, ["ENOENT", "ENOTDIR"])(sandbox.stat(to.path)))?.type === "Directory"
  }
  const path = isInside(from, to.path, isFolder) ? Path.posix.join(to.path, Path.basename(Path.resolve(from))) : to.path
  yield* sandbox.copyIn(from, path)
  return `${to.sandbox}:${path}`
})

const copyOut = Effect.fnUntraced(function* (from: GuestPlace, to: string) {
  yield* decoder(GuestPath, "cp", "SRC")(from.path)
  const sandbox = yield* Sandbox.connect(from.sandbox).pipe(Effect.mapError(nameFlags({ name: "SRC" })))
  const isFolder = {
    from: (yield* sandbox.stat(from.path)).type === "Directory",
    to: yield* Effect.promise(() =>
      Fs.stat(to).then(
        (target) => target.isDirectory(),
        () => false
      )
    )
  }
  const path = isInside(from.path, to, isFolder) ? Path.join(to, Path.posix.basename(from.path)) : to
  yield* sandbox.copyOut(from.path, path)
  return path
})

export const cp = Command.make(
  "cp",
  {
    from: argument("source", "SRC", "File or folder to copy: a path, or NAME:/path in a sandbox"),
    to: argument("target", "DST", "Where to copy it: a path, or NAME:/path in a sandbox")
  },
  Effect.fnUntraced(function* (input) {
    if (input.from === "-" || input.to === "-") {
      const [argument, instead] =
        input.to === "-" ? ["DST", "exec NAME tar -c PATH"] : ["SRC", "exec -i NAME tar -x -C FOLDER"]
      return yield* invalid("cp", argument, `expected a path; \`lightbox ${instead}\` streams an archive`)
    }
    const from = parse(input.from)
    const to = parse(input.to)
    const copying =
      isGuest(to) && !isGuest(from)
        ? copyIn(from.path, to)
        : isGuest(from) && !isGuest(to)
          ? copyOut(from, to.path)
          : Effect.fail(invalid("cp", "DST", "either SRC or DST must be in a sandbox, as NAME:/path"))
    const copied = yield* copying
    yield* print(
      Shapes.Copied,
      { from: input.from, to: copied },
      { full: `Copied ${input.from} to ${copied}`, brief: "" }
    )
  }, Effect.scoped)
).pipe(
  Command.withDescription("Copy a file or a folder into or out of a running sandbox"),
  Command.withExamples([
    { command: "lightbox cp ./project web:/work", description: "Creates /work, or if it exists, /work/project" },
    { command: "lightbox cp ./project/. web:/work", description: "Always copies the content of the folder" },
    { command: "lightbox cp web:/var/log/messages ." }
  ]),
  Command.provide(driver())
)
