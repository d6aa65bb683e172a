/** Completes words in a shell: commands, flags, and the names of what exists. */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Completions from "effect/cli/Completions"
import * as GlobalFlag from "effect/cli/GlobalFlag"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type { Services } from "../../Driver.ts"
import * as Image from "../../Image.ts"
import type { LightboxError } from "../../LightboxError.ts"
import type { SandboxStatus } from "../../Microsandbox.ts"
import * as BuildRecord from "../../BuildRecord.ts"
import * as Sandbox from "../../Sandbox.ts"
import * as SandboxRecord from "../../SandboxRecord.ts"
import * as Snapshot from "../../Snapshot.ts"
import * as Volume from "../../Volume.ts"
import { clean } from "../report/terminalText.ts"
import { bytes, Driver, machine, remote } from "./environment.ts"

// =============================================================================
// Words
// =============================================================================

/** Where a word of a command line stands, given the words before it. */
export interface Place {
  readonly level: Completions.CommandDescriptor
  /** The names of the commands, without the program's. */
  readonly path: ReadonlyArray<string>
  readonly operands: ReadonlyArray<string>
  readonly flags: ReadonlyArray<string>
  /** The flag whose value the word is. */
  readonly flag: Completions.FlagDescriptor | undefined
  /** After `--`. */
  readonly isEnded: boolean
}

export const first = (level: Completions.CommandDescriptor): Place => ({
  level,
  path: [],
  operands: [],
  flags: [],
  flag: undefined,
  isEnded: false
})

const globalFlag = (
  name: string,
  description: string,
  type: Completions.FlagType = { _tag: "Boolean" },
  aliases: ReadonlyArray<string> = []
): Completions.FlagDescriptor => ({ name, aliases, description, type, negation: false })

/** Effect leaves them out of the descriptions of commands. */
const globalFlags = [
  globalFlag("help", "Show help information", undefined, ["h"]),
  globalFlag("version", "Show version information"),
  globalFlag("json", "Print results, progress and errors as JSON"),
  globalFlag("quiet", "Hide progress, and print only the names in lists", undefined, ["q"]),
  globalFlag("home", "Folder for all data", { _tag: "Path", pathType: "directory" }),
  globalFlag("host", "Use the machine that runs lightbox host there", { _tag: "String" }),
  globalFlag("log-level", "Sets the minimum log level", {
    _tag: "Choice",
    values: ["all", "trace", "debug", "info", "warning", "error", "fatal", "none"]
  })
]

const flagsAt = ({ level }: Place): ReadonlyArray<Completions.FlagDescriptor> => [...level.flags, ...globalFlags]

const flagOf = (place: Place, word: string): Completions.FlagDescriptor | undefined => {
  // Of several short flags in one word, only the last can take a value.
  const name = word.startsWith("--") ? word.slice(2) : word.slice(-1)
  return flagsAt(place).find((flag) => flag.name === name || flag.aliases.includes(name))
}

const isFlag = ({ flag, isEnded }: Place, word: string): boolean =>
  flag === undefined && !isEnded && word.startsWith("-") && word !== "-"

/** Whether the next word, which is no flag, is the first of a command for the guest. */
const beginsCommand = ({ flags, level, operands }: Place): boolean => {
  const place = level.arguments.findIndex(({ name }) => name === "command")
  // With an image, `run` takes no snapshot.
  const isImage = flags.some((flag) => /^--image(?:=|$)/.test(flag))
  return place >= 0 && operands.length === (isImage ? 0 : place)
}

/** The place after a word. */
const next = (place: Place, word: string): Place => {
  if (place.flag !== undefined) return { ...place, flag: undefined }
  if (word === "--" && !place.isEnded) return { ...place, isEnded: true }
  if (isFlag(place, word)) {
    const flag = word.includes("=") ? undefined : flagOf(place, word)
    const takesValue = flag !== undefined && flag.type._tag !== "Boolean"
    return { ...place, flags: [...place.flags, word], flag: takesValue ? flag : undefined }
  }
  const inner = place.operands.length === 0 ? innerOf(place, word) : undefined
  return inner === undefined
    ? { ...place, operands: [...place.operands, word] }
    : { ...place, level: inner, path: [...place.path, word] }
}

const innerOf = ({ level }: Place, word: string) => level.subcommands.find(({ name }) => name === word)

/** Ends the flags where the command for a guest begins, as docker does: `exec web ls -l` is `exec web -- ls -l`. */
export const endFlags = (root: Completions.CommandDescriptor, args: ReadonlyArray<string>): ReadonlyArray<string> => {
  let place = first(root)
  for (const [index, word] of args.entries()) {
    if (place.flag === undefined && !isFlag(place, word) && beginsCommand(place)) {
      return [...args.slice(0, index), "--", ...args.slice(index)]
    }
    place = next(place, word)
    if (place.isEnded) return args
  }
  return args
}

// =============================================================================
// Names
// =============================================================================

interface Candidate {
  readonly text: string
  readonly description?: string | undefined
}

type Names = Effect.Effect<ReadonlyArray<Candidate>, LightboxError, Services>

/** Lets the shell complete a path. */
const files: Candidate = { text: ":files" }

const sandboxes = (...statuses: ReadonlyArray<SandboxStatus>): Names =>
  Effect.map(Sandbox.list(), (found) =>
    found
      .filter(({ status }) => statuses.length === 0 || statuses.includes(status))
      .map(({ name, status }) => ({ text: name, description: status }))
  )

const snapshots: Names = Effect.map(Snapshot.list(), (found) =>
  found.map(({ image, name }) => ({ text: name, description: `snapshot of ${image}` }))
)

const volumes: Names = Effect.map(Volume.list(), (found) =>
  found.map(({ kind, name }) => ({ text: name, description: `volume, ${kind}` }))
)

const images: Names = Effect.map(Image.list(), (found) =>
  found.map(({ reference, size }) => ({ text: reference, description: `image, ${bytes(size)}` }))
)

const builds: Names = Effect.map(BuildRecord.list(), (found) =>
  found.map(({ id, snapshot, status }) => ({ text: id, description: `build of ${snapshot}, ${status}` }))
)

const ended: Names = Effect.map(SandboxRecord.list(), (found) =>
  found.map(({ cause, id, name }) => ({ text: id, description: `sandbox ${name}, ${cause}` }))
)

const jobsOf = (sandbox: string): Names =>
  Effect.scoped(Effect.flatMap(Sandbox.connect(sandbox), ({ jobs }) => jobs)).pipe(
    Effect.map((found) => found.map(({ argv, id }) => ({ text: id, description: argv.join(" ") })))
  )

const all = (...names: ReadonlyArray<Names>): Names =>
  Effect.map(
    Effect.forEach(names, (one) => Effect.orElseSucceed(one, () => [])),
    (found) => found.flat()
  )

const kinds = {
  build: () => builds,
  ended: () => ended,
  any: () => all(sandboxes(), snapshots, volumes, images),
  file: () => Effect.succeed([files]),
  image: () => images,
  job: ({ operands: [sandbox = ""] }: Place) => jobsOf(sandbox),
  paused: () => sandboxes("paused"),
  running: () => sandboxes("running"),
  sandbox: () => sandboxes(),
  snapshot: () => snapshots,
  stopped: () => sandboxes("stopped", "crashed"),
  volume: () => volumes,
  /** A path of this machine, or the beginning of one in a sandbox. */
  copied: (_: Place, word: string) =>
    word.includes(":")
      ? Effect.succeed([])
      : Effect.map(sandboxes("running"), (found) => [...found.map(({ text }) => ({ text: `${text}:/` })), files]),
  removed: ({ flags }: Place) => (flags.includes("--snapshot") ? snapshots : sandboxes())
} satisfies { readonly [kind: string]: (place: Place, word: string) => Names }

type Kind = keyof typeof kinds

/** What the arguments of the commands name. */
const operands: { readonly [command: string]: ReadonlyArray<Kind> } = {
  build: ["file"],
  "builds compare": ["build", "build"],
  "builds export": ["build"],
  "builds show": ["build"],
  commit: ["running"],
  cp: ["copied", "copied"],
  diff: ["any", "any"],
  "ended show": ["ended"],
  exec: ["running"],
  fork: ["running"],
  history: ["snapshot"],
  "image load": ["file"],
  "image pull": ["image"],
  "image rm": ["image"],
  init: ["file"],
  inspect: ["any"],
  "job attach": ["running", "job"],
  "job ls": ["running"],
  "job kill": ["running", "job"],
  "image inspect": ["image"],
  "job logs": ["running", "job"],
  "job rm": ["running", "job"],
  "job start": ["running"],
  "job wait": ["running", "job"],
  "job write": ["running", "job"],
  jobs: ["running"],
  kill: ["running"],
  load: ["file"],
  logs: ["sandbox"],
  ls: ["snapshot"],
  pause: ["running"],
  plan: ["file"],
  port: ["running"],
  pull: ["image"],
  restart: ["sandbox"],
  resume: ["paused"],
  rm: ["removed"],
  rmi: ["image"],
  rollback: ["snapshot"],
  run: ["snapshot"],
  save: ["snapshot", "file"],
  shell: ["running"],
  start: ["stopped"],
  stats: ["running"],
  stop: ["running"],
  tag: ["snapshot"],
  top: ["running"],
  up: ["file"],
  "volume inspect": ["volume"],
  "volume rm": ["volume"],
  wait: ["running"]
}

const flagValues: { readonly [flag: string]: Kind } = {
  image: "image",
  "env-file": "file",
  "token-file": "file",
  mount: "file",
  output: "file"
}

const kindOf = ({ level, operands: before, path }: Place): Kind | undefined => {
  const at = level.arguments[before.length] === undefined ? level.arguments.length - 1 : before.length
  const argument = level.arguments[at]
  if (argument === undefined || (at < before.length && !argument.variadic)) return undefined
  return operands[path.join(" ")]?.[at]
}

const valuesOf = (flag: Completions.FlagDescriptor, place: Place): Names => {
  if (flag.type._tag === "Choice") return Effect.succeed(flag.type.values.map((text) => ({ text })))
  if (flag.type._tag === "Path") return kinds.file()
  if (flag.name === "volume") return Effect.map(volumes, (found) => found.map(({ text }) => ({ text: `${text}:/` })))
  const kind = flagValues[flag.name]
  return kind === undefined ? Effect.succeed([]) : kinds[kind](place, "")
}

const candidates = (place: Place, word: string): Names => {
  if (place.flag !== undefined) return valuesOf(place.flag, place)
  if (!place.isEnded && word.startsWith("-")) {
    const at = word.indexOf("=")
    const flag = at < 0 ? undefined : flagOf(place, word.slice(0, at))
    if (flag !== undefined) {
      return Effect.map(valuesOf(flag, place), (values) =>
        values.map((value) => (value === files ? files : { ...value, text: `${word.slice(0, at + 1)}${value.text}` }))
      )
    }
    return Effect.succeed(flagsAt(place).map(({ description, name }) => ({ text: `--${name}`, description })))
  }
  if (place.level.subcommands.length > 0) {
    return Effect.succeed(place.level.subcommands.map(({ description, name }) => ({ text: name, description })))
  }
  if (place.isEnded || beginsCommand(place)) return Effect.succeed([])
  const kind = kindOf(place)
  return kind === undefined ? Effect.succeed([]) : kinds[kind](place, word)
}

// =============================================================================
// Commands
// =============================================================================

/** A shell must not wait long. */
const patience = "3 seconds"

/** The command that the scripts call with all words up to the cursor. */
export const complete = (root: () => Completions.CommandDescriptor) =>
  Command.make(
    "__complete",
    { words: Argument.String("words").pipe(Argument.variadic()) },
    Effect.fnUntraced(function* ({ words }) {
      const word = words.at(-1) ?? ""
      const before = words.slice(0, -1)
      const place = before.reduce(next, first(root()))
      const layer = yield* Driver
      const valueOf = (flag: string) => (before.includes(flag) ? before[before.indexOf(flag) + 1] : undefined)
      const home = valueOf("--home")
      const chosen = Effect.flatMap(machine(valueOf("--host"), valueOf("--context")), (other) =>
        other === undefined ? Effect.succeed(layer({ sweep: false, home })) : remote(other, home)
      )
      const found = yield* candidates(place, word).pipe(
        Effect.provide(Layer.unwrap(chosen)),
        Effect.timeout(patience),
        // Nobody reads a message here.
        Effect.catchCause(() => Effect.succeed([]))
      )
      const lines = found
        .filter(({ text }) => text === files.text || (text.startsWith(word) && !/\s/.test(text)))
        .map(({ description, text }) => (description === undefined ? text : `${text}\t${clean(description)}`))
      if (lines.length > 0) yield* Console.log(lines.join("\n"))
    })
  ).pipe(Command.withDescription("Complete words for a shell"), Command.unlisted)

/** Bash replaces only what follows the last of its word breaks. */
const bash = `# lightbox --completions bash >> ~/.bashrc
_lightbox() {
  local line="\${COMP_LINE:0:COMP_POINT}" words word candidate path
  read -ra words <<< "$line"
  [[ "$line" == *[[:space:]] ]] && words+=("")
  word="\${words[\${#words[@]}-1]}"
  COMPREPLY=()
  while IFS=$'\\t' read -r candidate _; do
    if [[ "$candidate" == :files ]]; then
      while IFS= read -r path; do
        [[ -d "$path" ]] && path+=/
        COMPREPLY+=("$path")
      done < <(compgen -f -- "$2")
    else
      COMPREPLY+=("\${candidate#"\${word%"$2"}"}")
    fi
  done < <("\${words[0]}" __complete -- "\${words[@]:1}" 2> /dev/null)
  # More follows a folder, or the name of a sandbox.
  [[ \${#COMPREPLY[@]} == 1 && "\${COMPREPLY[0]}" == *[/=] ]] && compopt -o nospace 2> /dev/null
}
complete -F _lightbox lightbox
`

const zsh = `#compdef lightbox
# lightbox --completions zsh > a folder of $fpath, as _lightbox
_lightbox() {
  local line
  local -a found
  for line in "\${(@f)$("\${words[1]}" __complete -- "\${(@)words[2,CURRENT]}" 2> /dev/null)}"; do
    case "$line" in
      '') ;;
      :files) _files ;;
      *$'\\t'*) found+=("\${\${line%%$'\\t'*}//:/\\\\:}:\${line#*$'\\t'}") ;;
      *) found+=("\${line//:/\\\\:}") ;;
    esac
  done
  (( \${#found} )) && _describe lightbox found
}
if [[ "\${zsh_eval_context[-1]}" == loadautofunc ]]; then
  _lightbox "$@"
else
  compdef _lightbox lightbox
fi
`

const fish = `# lightbox --completions fish > ~/.config/fish/completions/lightbox.fish
function __lightbox_complete
  set -l words (commandline -opc)
  for line in (command $words[1] __complete -- $words[2..-1] (commandline -ct) 2> /dev/null)
    if test "$line" = :files
      __fish_complete_path (commandline -ct)
    else
      echo $line
    end
  end
end
complete -c lightbox -f -a '(__lightbox_complete)'
`

const scripts = { bash, zsh, fish }

/** Replaces the scripts of Effect, which know no names. */
export const Scripts = GlobalFlag.Action({
  flag: GlobalFlag.Completions.flag,
  run: Effect.fnUntraced(function* (shell, { command }) {
    if (Option.isNone(shell)) return
    yield* Console.log(
      shell.value === "powershell"
        ? Completions.generate("lightbox", "powershell", Completions.fromCommand(command))
        : scripts[shell.value]
    )
  })
})
