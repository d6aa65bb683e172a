/** Help texts that fit into the window, and answers to what people type who know other tools. */
import * as CliOutput from "effect/cli/CliOutput"
import type { NonShowHelpErrors } from "effect/cli/CliError"
import type { FlagDoc, HelpDoc } from "effect/cli/HelpDoc"
import { stripVTControlCharacters } from "node:util"
import * as Status from "./status.ts"

/** What other tools have commands for, and how it is done here. */
const commands: { readonly [typed: string]: string } = {
  attach: "`lightbox shell NAME` opens a shell, and `lightbox job attach NAME ID` returns to a job",
  bash: "`lightbox shell NAME` opens a shell",
  buildx: "it is `lightbox build` here",
  builder: "`lightbox prune` removes build results",
  compose: "`lightbox up FILE` runs a group of sandboxes",
  connect: "`lightbox shell NAME` opens a shell",
  console: "`lightbox shell NAME` opens a shell",
  container: "commands for sandboxes need no word before them: `lightbox ps`, `run`, `rm`",
  copy: "it is `lightbox cp` here",
  create: "`lightbox run --detach` makes a sandbox, and `lightbox volume create` a volume",
  delete: "it is `lightbox rm` here; `rm --snapshot`, `volume rm` and `image rm` remove the rest",
  deploy: "`lightbox run --detach` starts a sandbox that keeps running",
  destroy: "it is `lightbox rm --force` here",
  df: "`lightbox ls`, `images` and `volume ls --usage` show sizes, and `prune --dry-run` what can go",
  events: "`lightbox wait NAME` waits for a sandbox, and `lightbox logs -f NAME` follows its output",
  export: "`lightbox save` writes a snapshot to a file, and `lightbox exec NAME tar -c DIR` a folder",
  import: "`lightbox load` reads a snapshot from a file, and `lightbox image load` an image",
  info: "`lightbox doctor` checks this machine",
  install: "`lightbox pull` pulls an image",
  list: "`lightbox ps` lists sandboxes, `ls` snapshots, `images` images, and `volume ls` volumes",
  log: "it is `lightbox logs` here",
  login: "registries are logged in to with `docker login`, whose file is read",
  machine: "commands for sandboxes need no word before them: `lightbox ps`, `run`, `rm`",
  metrics: "it is `lightbox top` here",
  mount: "`lightbox run --volume` mounts volumes and folders",
  network: "`lightbox run --network` chooses the network of a sandbox",
  push: "`lightbox save NAME FILE` writes a snapshot for another machine",
  remove: "it is `lightbox rm` here; `rm --snapshot`, `volume rm` and `image rm` remove the rest",
  rename: "a sandbox keeps its name; `lightbox tag` gives a snapshot another one",
  sandbox: "commands for sandboxes need no word before them: `lightbox ps`, `run`, `rm`",
  sandboxes: "`lightbox ps` lists sandboxes",
  search: "`lightbox run --image NAME` pulls an image of any registry",
  secret: "`lightbox run --secret NAME@HOST` passes a secret to a sandbox",
  snapshot: "`lightbox ls`, `commit`, `tag`, `rollback` and `rm --snapshot` work on snapshots",
  snapshots: "`lightbox ls` lists snapshots",
  ssh: "`lightbox shell NAME` opens a shell",
  status: "`lightbox ps` lists sandboxes, and `lightbox inspect NAME` shows one",
  system: "`lightbox doctor` checks this machine; `sweep`, `prune`, `image prune` and `volume prune` make room",
  template: "`lightbox build` builds snapshots, and `lightbox ls` lists them",
  unpause: "`lightbox resume NAME` lets a paused sandbox go on",
  update: "`lightbox run` with other flags makes another sandbox",
  volumes: "`lightbox volume ls` lists volumes",
  "image build": "it is `lightbox build` here, which makes snapshots",
  "image history": "`lightbox history` shows the steps of a snapshot",
  "image push": "`lightbox save NAME FILE` writes a snapshot for another machine",
  "image save": "`lightbox save` saves a snapshot, with its image",
  "image tag": "`lightbox tag` names snapshots, and `lightbox image load --tag` an image"
}

/** Flags of other tools, by command or for all, and how it is done here. */
const flags: { readonly [typed: string]: string } = {
  "--no-trunc": "nothing is shortened; `--json` prints all fields",
  "commit --author": "`--label author=NAME` records it",
  "commit --message": "`--label note=TEXT` records it",
  "commit -a": "`--label author=NAME` records it",
  "commit -m": "`--label note=TEXT` records it",
  "cp -a": "modes and times are always kept, and what is copied into a sandbox belongs to root",
  "cp -r": "folders are always copied whole",
  "exec --detach": "`lightbox job start NAME COMMAND` runs it in the background",
  "exec -d": "`lightbox job start NAME COMMAND` runs it in the background",
  "exec --privileged": "`--user root` runs it as root",
  "image prune --filter": "it removes all images that nothing uses; `lightbox image rm` removes single ones",
  "kill --signal": "`lightbox stop` shuts a sandbox down, and `lightbox job kill -s` sends a signal to a job",
  "kill -s": "`lightbox stop` shuts a sandbox down, and `lightbox job kill -s` sends a signal to a job",
  "logs --until": "`--since` and `--tail` limit what is printed",
  "ps -n": "`lightbox ps | head` shows the newest",
  "ps -s": "`lightbox inspect NAME` shows one with everything",
  "rm --volumes": "volumes outlive sandboxes; `lightbox volume rm` removes them",
  "rm -v": "volumes outlive sandboxes; `lightbox volume rm` removes them",
  "run --cap-add": "a sandbox is a machine of its own: root may do everything in it",
  "run --entrypoint": "the words after the name are the whole command",
  "run --gpus": "sandboxes have no GPU",
  "run --hostname": "the sandbox's name is its host name; pass --name",
  "run --init": "every sandbox has a process that reaps others",
  "run --platform": "sandboxes run images of this machine's architecture",
  "run --privileged": "a sandbox is a machine of its own: root may do everything in it",
  "run --read-only": "what a sandbox writes goes with it",
  "run --restart": "services restart; see Snapshot.defaults",
  "run -P": "`-p PORT` publishes a port on a free one of this machine"
}

/** The advice for a word that does not exist. */
export const adviceFor = (error: NonShowHelpErrors): string | undefined =>
  error._tag === "UnknownSubcommand"
    ? commands[[...(error.parent ?? []).slice(1), error.subcommand].join(" ")]
    : error._tag === "UnrecognizedOption"
      ? (flags[[...(error.command ?? []).slice(1), error.option].join(" ")] ?? flags[error.option])
      : undefined

const meant = (suggestions: ReadonlyArray<string>): string =>
  suggestions.length === 0 ? "" : `. Did you mean ${suggestions.join(", ")}?`

/** Describes wrong usage in one line. */
export const problemOf = (error: NonShowHelpErrors): string => {
  const isAnswered = adviceFor(error) !== undefined
  switch (error._tag) {
    case "UnknownSubcommand": {
      const words = [...(error.parent ?? []).slice(1), error.subcommand]
      return `Unknown command "${words.join(" ")}"${isAnswered ? "" : meant(error.suggestions)}`
    }
    case "UnrecognizedOption": {
      // Any letter resembles any other.
      const suggestions = error.option.startsWith("--") ? error.suggestions.filter((flag) => flag.startsWith("--")) : []
      return `Unknown flag ${error.option} of ${(error.command ?? []).join(" ")}${isAnswered ? "" : meant(suggestions)}`
    }
    default:
      return error.message
  }
}

/** Effect lists all choices twice. */
const short = (flag: FlagDoc): FlagDoc => (flag.type.startsWith("<") ? { ...flag, type: "CHOICE" } : flag)

/** Formats a help text. */
export const format = (doc: HelpDoc, options: { readonly colors: boolean; readonly columns: number }): string => {
  const { commandPath = [], globalFlags = [] } = doc
  const text = CliOutput.defaultFormatter(options).formatHelpDoc({ ...doc, globalFlags: globalFlags.map(short) })
  const all = commandPath.length === 1 ? `${text}\n\n${Status.table}` : text
  return all
    .split("\n")
    .flatMap((line) => wrapRow(line, options.columns))
    .join("\n")
}

/** Wraps the right column of a row below itself, or below the left one where the window is narrow. */
const wrapRow = (line: string, columns: number): ReadonlyArray<string> => {
  const plain = stripVTControlCharacters(line)
  if (CliOutput.displayWidth(plain) <= columns) return [line]
  const left = /^ {2}\S.*? {2,}(?=\S)/.exec(plain)?.[0].length ?? 2
  const isNarrow = left > 0.6 * columns
  const indent = " ".repeat(isNarrow ? 6 : left)
  const lines: Array<string> = []
  let current = ""
  let width = 0
  for (const word of line.split(/(?<=\S)(?= )/)) {
    const size = CliOutput.displayWidth(stripVTControlCharacters(word))
    const begins = isNarrow && lines.length === 0 && width > 0 && width <= left && / {2}/.test(word)
    if (width > 0 && (width + size > columns || begins)) {
      lines.push(current)
      current = `${indent}${word.trimStart()}`
      width = CliOutput.displayWidth(stripVTControlCharacters(current))
    } else {
      current += word
      width += size
    }
  }
  return [...lines, current]
}
