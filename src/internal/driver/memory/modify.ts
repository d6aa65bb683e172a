/** Plans changes of a sandbox. */
import * as Effect from "effect/Effect"
import { InvalidConfig } from "../../../LightboxError.ts"
import type * as Microsandbox from "../../../Microsandbox.ts"
import { mebibyte } from "../../config/schemas.ts"

type Wanted = typeof Microsandbox.ModifySandbox.Type

/** The settings of a sandbox that can change. */
export interface Settings {
  readonly cpus: number
  readonly maxCpus: number
  readonly memory: number
  readonly maxMemory: number
  readonly disk: number
  readonly cwd: string | undefined
  readonly env: { readonly [name: string]: string }
  readonly labels: { readonly [key: string]: string }
}

/** A record with some entries changed; those that are undefined are removed. */
const merge = (
  record: { readonly [key: string]: string },
  entries: { readonly [key: string]: string | undefined } = {}
): { readonly [key: string]: string } => {
  const result: { [key: string]: string } = { ...record }
  for (const [key, value] of Object.entries(entries)) {
    if (value === undefined) delete result[key]
    else result[key] = value
  }
  return result
}

export const changed = (current: Settings, wanted: Wanted): Settings => {
  const { cpus = current.cpus, cwd = current.cwd, disk = current.disk, memory = current.memory } = wanted
  return {
    cpus,
    maxCpus: Math.max(wanted.maxCpus ?? current.maxCpus, cpus),
    memory,
    maxMemory: Math.max(wanted.maxMemory ?? current.maxMemory, memory),
    disk,
    cwd,
    env: merge(current.env, wanted.env),
    labels: merge(current.labels, wanted.labels)
  }
}

const shownSize = (bytes: number): string =>
  bytes % (1024 * mebibyte) === 0 ? `${bytes / (1024 * mebibyte)} GiB` : `${bytes / mebibyte} MiB`

type Change = Microsandbox.ModificationPlan["changes"][number]
type Problem = Microsandbox.ModificationPlan["warnings"][number]

const futureExecs = "applies to future execs only; running processes keep their current environment"

const noResize = "live CPU and memory resize are not available in this runtime yet"

const resources = [
  { field: "cpus", maxField: "maxCpus", maxName: "max_cpus", show: String },
  { field: "memory", maxField: "maxMemory", maxName: "max_memory", show: shownSize }
] as const

/** Plans a change. Fails if it cannot be applied, unless it is a dry run. */
export const plan = (
  wanted: Wanted,
  current: Settings,
  isRunning: boolean
): Effect.Effect<Microsandbox.ModificationPlan, InvalidConfig> =>
  Effect.suspend((): Effect.Effect<Microsandbox.ModificationPlan, InvalidConfig> => {
    const next = changed(current, wanted)
    const apply = wanted.apply ?? "now"
    const isLater = !isRunning || apply === "next-start"
    const usual: Change["disposition"] = isLater ? "next start" : "requires restart"
    const changes: Array<Change> = []
    const conflicts: Array<Problem> = []
    const warnings: Array<Problem> = []

    const add = (field: string, before?: string, after?: string, disposition: Change["disposition"] = usual) => {
      changes.push({ field, before, after, disposition })
      if ((field === "env" || field === "cwd") && isRunning && isLater) warnings.push({ field, problem: futureExecs })
    }
    // Without room to grow, the runtime cannot resize a running sandbox, not even to less.
    const isElastic = current.maxCpus > current.cpus || current.maxMemory > current.memory
    for (const { field, maxField, maxName, show } of resources) {
      const most = current[maxField]
      if (next[field] !== current[field]) {
        const isLive = !isLater && isElastic && next[field] <= most
        add(field, show(current[field]), show(next[field]), isLive ? "live" : usual)
        if (!isLive && !isLater) warnings.push({ field, problem: noResize })
      }
      const max = wanted[maxField]
      if (max !== undefined && max < next[field]) {
        const problem = `${maxName} ${show(max)} is lower than requested ${field} ${show(next[field])}`
        conflicts.push({ field: maxField, problem })
      }
      if (next[maxField] !== most) add(maxField, show(most), show(next[maxField]))
    }
    if (next.disk > current.disk) add("disk", shownSize(current.disk), shownSize(next.disk))
    else if (wanted.disk !== undefined) {
      const problem =
        next.disk === current.disk
          ? `root disk size is already ${shownSize(current.disk)}; only grow is supported`
          : `root disk size ${shownSize(next.disk)} is smaller than the current ${shownSize(current.disk)}; shrink is not supported (recreate the sandbox instead)`
      conflicts.push({ field: "disk", problem })
    }
    for (const field of ["env", "labels"] as const) {
      const record = current[field]
      const entries = Object.entries(wanted[field] ?? {}).filter(([key, value]) => value !== record[key])
      const show = (key: string, value: string | undefined) => (value === undefined ? undefined : `${key}=${value}`)
      // Removals come last.
      for (const [key, value] of entries.toSorted(
        ([, a], [, b]) => Number(a === undefined) - Number(b === undefined)
      )) {
        add(field, show(key, record[key]), show(key, value))
      }
    }
    if (next.cwd !== current.cwd) add("cwd", current.cwd, next.cwd)

    const isDryRun = wanted.dryRun === true
    const restarting = changes.find(({ disposition }) => apply === "now" && disposition === "requires restart")
    const refused =
      conflicts[0] ?? (restarting && { field: restarting.field, problem: `${restarting.field} requires restart` })
    if (refused !== undefined && !isDryRun) {
      const problem = `cannot apply modification: ${refused.problem}`
      return Effect.fail(new InvalidConfig({ field: refused.field, problem }))
    }
    return Effect.succeed({ applied: !isDryRun, changes, conflicts, warnings })
  })
