/** Plans and applies changes of a sandbox. */
import * as Effect from "effect/Effect"
import type { LightboxError } from "../../../LightboxError.ts"
import type * as Microsandbox from "../../../Microsandbox.ts"
import { mebibyte } from "../../config/schemas.ts"
import { invalid } from "../../config/validation.ts"

/** The current state of a sandbox. */
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

/** A record with some entries changed; those that are undefined are removed. */
export const merge = (
  record: { readonly [key: string]: string } | undefined,
  entries: { readonly [key: string]: string | undefined } | undefined
): { [key: string]: string } => {
  const result: { [key: string]: string } = { ...record }
  for (const [key, value] of Object.entries(entries ?? {})) {
    if (value === undefined) delete result[key]
    else result[key] = value
  }
  return result
}

const shownSize = (bytes: number): string =>
  bytes % (1024 * mebibyte) === 0 ? `${bytes / (1024 * mebibyte)} GiB` : `${bytes / mebibyte} MiB`

type Change = Microsandbox.ModificationPlan["changes"][number]
type Problem = Microsandbox.ModificationPlan["warnings"][number]

const futureExecs = "applies to future execs only; running processes keep their current environment"

const noResize = "live CPU and memory resize are not available in this runtime yet"

/** Plans a change, and applies it unless it is a dry run. */
export const plan = (
  method: string,
  wanted: typeof Microsandbox.ModifySandbox.Type,
  current: Current
): Effect.Effect<Microsandbox.ModificationPlan, LightboxError> =>
  Effect.suspend((): Effect.Effect<Microsandbox.ModificationPlan, LightboxError> => {
    const apply = wanted.apply ?? "now"
    const isLater = !current.isRunning || apply === "next-start"
    const disposition: Change["disposition"] = isLater ? "next start" : "requires restart"
    const changes: Array<Change> = []
    const conflicts: Array<Problem> = []
    const warnings: Array<Problem> = []

    const add = (
      field: string,
      before: string | undefined,
      after: string | undefined,
      when: Change["disposition"] = disposition
    ) => {
      changes.push({ field, before, after, disposition: when })
    }
    // Without room to grow, the runtime cannot resize a running sandbox, not even to less.
    const isElastic = current.maxCpus > current.cpus || current.maxMemory > current.memory
    const resize = (field: "cpus" | "memory", maxField: "maxCpus" | "maxMemory", show: (size: number) => string) => {
      const value = wanted[field]
      const now = current[field]
      const most = current[maxField]
      if (value !== undefined && value !== now) {
        const isLive = !isLater && isElastic && value <= most
        add(field, show(now), show(value), isLive ? "live" : disposition)
        if (!isLive && !isLater) warnings.push({ field, problem: noResize })
      }
      const least = value ?? now
      const max = wanted[maxField]
      if (max !== undefined && max < least) {
        const name = field === "cpus" ? "max_cpus" : "max_memory"
        const problem = `${name} ${show(max)} is lower than requested ${field} ${show(least)}`
        conflicts.push({ field: maxField, problem })
      }
      const desired = Math.max(max ?? most, least)
      if (desired !== most) add(maxField, show(most), show(desired))
    }
    resize("cpus", "maxCpus", String)
    resize("memory", "maxMemory", shownSize)
    if (wanted.disk !== undefined && wanted.disk > current.disk) {
      add("disk", shownSize(current.disk), shownSize(wanted.disk))
    } else if (wanted.disk !== undefined) {
      const problem =
        wanted.disk === current.disk
          ? `root disk size is already ${shownSize(current.disk)}; only grow is supported`
          : `root disk size ${shownSize(wanted.disk)} is smaller than the current ${shownSize(current.disk)}; shrink is not supported (recreate the sandbox instead)`
      conflicts.push({ field: "disk", problem })
    }
    const warn = (field: string) => {
      if (current.isRunning && isLater) warnings.push({ field, problem: futureExecs })
    }
    const addEntries = (field: "env" | "labels") => {
      const record = current[field]
      const change = (key: string, value: string | undefined) => {
        const show = (value: string | undefined) => (value === undefined ? undefined : `${key}=${value}`)
        add(field, show(record[key]), show(value))
        if (field === "env") warn(field)
      }
      const entries = Object.entries(wanted[field] ?? {}).filter(([key, value]) => value !== record[key])
      for (const [key, value] of entries) if (value !== undefined) change(key, value)
      for (const [key, value] of entries) if (value === undefined) change(key, value)
    }
    addEntries("env")
    addEntries("labels")
    if (wanted.cwd !== undefined && wanted.cwd !== current.workdir) {
      add("cwd", current.workdir, wanted.cwd)
      warn("cwd")
    }

    if (wanted.dryRun === true) return Effect.succeed({ applied: false, changes, conflicts, warnings })
    const refused =
      conflicts[0] ??
      changes
        .filter((one) => apply === "now" && one.disposition === "requires restart")
        .map(({ field }) => ({ field, problem: `${field} requires restart` }))[0]
    return refused === undefined
      ? Effect.succeed({ applied: true, changes, conflicts, warnings })
      : Effect.fail(invalid(method, refused.field, `cannot apply modification: ${refused.problem}`))
  })
