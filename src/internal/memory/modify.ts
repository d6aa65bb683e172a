/**
 * What a change to a sandbox does, and when.
 */
import * as Effect from "effect/Effect"
import { InvalidConfig, LightboxError } from "../../LightboxError.ts"
import type * as Microsandbox from "../../Microsandbox.ts"

/** A sandbox as it is. Sizes in MiB. */
export interface Current {
  readonly isRunning: boolean
  readonly cpus: number
  readonly maxCpus: number
  readonly memory: number
  readonly maxMemory: number
  readonly disk: number
  readonly workdir: string | undefined
  readonly env: { readonly [name: string]: string }
  readonly labels: { readonly [key: string]: string }
}

interface Entries {
  readonly [key: string]: string | undefined
}

/** A record with some entries changed; those that are undefined are removed. */
export const merge = (
  record: { readonly [key: string]: string } | undefined,
  entries: Entries | undefined
): { [key: string]: string } => {
  const result: { [key: string]: string } = { ...record }
  for (const [key, value] of Object.entries(entries ?? {})) {
    if (value === undefined) delete result[key]
    else result[key] = value
  }
  return result
}

const shownSize = (mebibytes: number): string =>
  mebibytes % 1024 === 0 ? `${mebibytes / 1024} GiB` : `${mebibytes} MiB`

type Change = Microsandbox.ModificationPlan["changes"][number]
type Problem = Microsandbox.ModificationPlan["warnings"][number]

const futureExecs = "applies to future execs only; running processes keep their current environment"

const noResize = "live CPU and memory resize are not available in this runtime yet"

/** The plan for a change, which is applied unless it is only asked for. */
export const plan = (
  method: string,
  wanted: Microsandbox.ModifySandbox,
  current: Current
): Effect.Effect<Microsandbox.ModificationPlan, LightboxError> =>
  Effect.suspend((): Effect.Effect<Microsandbox.ModificationPlan, LightboxError> => {
    const apply = wanted.apply ?? "now"
    const isLater = !current.isRunning || apply === "next-start"
    const disposition = isLater ? "next start" : "requires restart"
    const changes: Array<Change> = []
    const conflicts: Array<Problem> = []
    const warnings: Array<Problem> = []

    const add = (field: string, before: string | undefined, after: string | undefined, when = disposition) => {
      changes.push({ field, before, after, disposition: when })
    }
    const resize = (
      field: "cpus" | "memory",
      value: number | undefined,
      now: number,
      most: number,
      show: (size: number) => string
    ) => {
      if (value === undefined || value === now) return
      const fits = value <= most
      add(field, show(now), show(value), isLater ? "next start" : fits ? "live" : "requires restart")
      if (fits) return
      add(`max_${field}`, show(most), show(value))
      if (!isLater) warnings.push({ field, problem: noResize })
    }
    resize("cpus", wanted.cpus, current.cpus, current.maxCpus, String)
    if (wanted.maxCpus !== undefined && wanted.maxCpus !== current.maxCpus) {
      add("max_cpus", String(current.maxCpus), String(wanted.maxCpus))
    }
    resize("memory", wanted.memory, current.memory, current.maxMemory, shownSize)
    if (wanted.maxMemory !== undefined && wanted.maxMemory !== current.maxMemory) {
      add("max_memory", shownSize(current.maxMemory), shownSize(wanted.maxMemory))
    }
    if (wanted.disk !== undefined && wanted.disk < current.disk) {
      const problem = `root disk size ${shownSize(wanted.disk)} is smaller than the current ${shownSize(current.disk)}; shrink is not supported (recreate the sandbox instead)`
      conflicts.push({ field: "root_disk_size", problem })
    } else if (wanted.disk !== undefined && wanted.disk !== current.disk) {
      add("root_disk_size", shownSize(current.disk), shownSize(wanted.disk))
    }
    const isForFutureExecs = current.isRunning && isLater
    const addEntries = (field: string, entries: Entries | undefined, record: { readonly [key: string]: string }) => {
      let isChanged = false
      const set = Object.entries(entries ?? {}).filter(([key, value]) => value !== undefined && record[key] !== value)
      for (const [key, value] of set) {
        isChanged = true
        add(field, record[key] === undefined ? undefined : `${key}=${record[key]}`, `${key}=${value}`)
      }
      for (const [key, value] of Object.entries(entries ?? {})) {
        if (value !== undefined || record[key] === undefined) continue
        isChanged = true
        add(field, `${key}=${record[key]}`, undefined)
      }
      return isChanged
    }
    if (addEntries("env", wanted.env, current.env) && isForFutureExecs) {
      warnings.push({ field: "env", problem: futureExecs })
    }
    addEntries("label", wanted.labels, current.labels)
    if (wanted.workdir !== undefined && wanted.workdir !== current.workdir) {
      add("workdir", current.workdir, wanted.workdir)
      if (isForFutureExecs) warnings.push({ field: "workdir", problem: futureExecs })
    }

    if (wanted.dryRun === true) return Effect.succeed({ applied: false, changes, conflicts, warnings })
    const refused =
      conflicts[0] ??
      changes
        .filter((one) => apply === "now" && one.disposition === "requires restart")
        .map(({ field }) => ({ field, problem: `cannot apply modification: ${field} requires restart` }))[0]
    return refused === undefined
      ? Effect.succeed({ applied: true, changes, conflicts, warnings })
      : Effect.fail(new LightboxError({ method, reason: new InvalidConfig(refused) }))
  })
