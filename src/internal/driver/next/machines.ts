/**
 * What the runtime cannot record of a sandbox that was resumed or copied: a resumed one has no labels and no working
 * directory, and a copy has those of its original.
 *
 * A file is written before its sandbox is created, so that a sweep finds whose it is, and completed with its id. Until
 * then, it speaks only for a sandbox that cannot be another one with this name.
 */
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import * as FsSync from "node:fs"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import { instanceLabel } from "../../ownership/labels.ts"
import { unlessMissing } from "../../host/durable.ts"

const Strings = Schema.Record(Schema.String, Schema.String)

const Machine = Schema.Struct({
  name: Schema.String,
  /** Absent while it is being created. */
  id: Schema.optionalKey(Schema.String),
  /** The instance whose labels a copy has as well. Absent: it was resumed, and has none. */
  original: Schema.optionalKey(Schema.String),
  labels: Strings,
  cwd: Schema.optionalKey(Schema.String),
  shell: Schema.optionalKey(Schema.String),
  /** Variables for commands. */
  env: Schema.optionalKey(Strings)
})

export type Machine = typeof Machine.Type

const codec = Schema.fromJsonString(Machine)
const decode = Schema.decodeUnknownOption(codec)
const encode = Schema.encodeSync(codec)

const folderOf = (home: string): string => Path.join(home, "lightbox", "machines")

export const pathOf = (home: string, name: string): string => Path.join(folderOf(home), `${name}.json`)

export const write = async (home: string, machine: Machine): Promise<void> => {
  const path = pathOf(home, machine.name)
  await Fs.mkdir(folderOf(home), { recursive: true, mode: 0o700 })
  const staged = `${path}.${process.pid}`
  await Fs.writeFile(staged, encode(machine), { mode: 0o600, flush: true })
  await Fs.rename(staged, path)
}

export const remove = (home: string, name: string): Promise<void> => Fs.rm(pathOf(home, name), { force: true })

/** Removes what was written for a creation that has failed. */
export const removeOf = async (home: string, name: string, instance: string): Promise<void> => {
  if (read(home, name)?.labels[instanceLabel] === instance) await remove(home, name)
}

const read = (home: string, name: string): Machine | undefined => {
  try {
    return Option.getOrUndefined(decode(FsSync.readFileSync(pathOf(home, name), "utf8")))
  } catch {
    return undefined
  }
}

/** The variables that commands of a sandbox are given. Most sandboxes have no file. */
export const variablesOf = async (
  home: string,
  sandbox: { readonly name: string; readonly id: string }
): Promise<Machine["env"]> => {
  const machine = read(home, sandbox.name)
  return machine?.id === sandbox.id ? machine.env : undefined
}

/** Names of all files: of sandboxes, or of creations that were cut short. */
export const names = async (home: string): Promise<ReadonlyArray<string>> =>
  ((await unlessMissing(Fs.readdir(folderOf(home)))) ?? []).flatMap((file) => /^(.+)\.json$/.exec(file)?.[1] ?? [])

const parsed = (text: string): { readonly [key: string]: unknown } => {
  const value: unknown = JSON.parse(text)
  return Predicate.isObject(value) ? { ...value } : {}
}

const objectIn = (config: { readonly [key: string]: unknown }, key: string): { readonly [key: string]: unknown } => {
  const value = config[key]
  return Predicate.isObject(value) ? { ...value } : {}
}

/** The configuration of a sandbox, as the runtime records it, with what it could not record. */
export const completed = (home: string, sandbox: { readonly name: string; readonly id: string }, json: string) => {
  const machine = read(home, sandbox.name)
  if (machine === undefined) return json
  const config = parsed(json)
  const isOfThis =
    machine.id === undefined
      ? objectIn(config, "labels")[instanceLabel] === machine.original
      : machine.id === sandbox.id
  if (!isOfThis) return json
  const { cwd, labels, shell } = machine
  return JSON.stringify({
    ...config,
    labels,
    runtime: {
      ...objectIn(config, "runtime"),
      ...(cwd === undefined ? {} : { workdir: cwd }),
      ...(shell === undefined ? {} : { shell })
    }
  })
}
