/**
 * Records a build: its plan, its events and its end, as lines of JSON in the home.
 *
 * An event is written before anyone hears of it, so that a crash loses at most the line that was being written; only
 * output waits until the end of the turn, or for a second once there is much of it. Nothing is flushed: a record that a
 * power cut loses was only a record. A build that reuses its result is written at once when it ends, because it should
 * take no longer than it did.
 */
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Record from "effect/Record"
import type { BuildEvent } from "../../BuildEvent.ts"
import type { StepInputs } from "../../BuildRecord.ts"
import type { LightboxError, Reason } from "../../LightboxError.ts"
import type { PlannedStep } from "../../Plan.ts"
import { thisProgram } from "../config/schemas.ts"
import { version } from "../config/version.ts"
import * as Secrets from "../definition/secrets.ts"
import * as FailureText from "../report/failureText.ts"
import type { KeyedUnit } from "../plan/keys.ts"
import type { Line } from "../store/recordLines.ts"
import * as Records from "../store/records.ts"
import { builderVersion, type Store } from "../store/store.ts"

export interface Recording {
  /** Records an event. Never fails. */
  readonly take: (event: BuildEvent) => Effect.Effect<void>
  /** Records what was planned. */
  readonly plan: (plan: {
    readonly imageDigest: string
    readonly key: string
    readonly steps: ReadonlyArray<PlannedStep>
    readonly units: ReadonlyArray<KeyedUnit<unknown, unknown>>
  }) => void
  /** Records that the build followed another one. */
  readonly follow: (buildId: string) => void
  /** Notes why the build is about to fail. */
  readonly failing: (reason: Reason | undefined) => void
  /** Removes old records, now and then. */
  readonly tidy: Effect.Effect<void>
}

/** The build in whose step or on whose behalf another one runs. */
export const Parent = Context.Reference<string | undefined>("effect-lightbox/internal/build/recording/Parent", {
  defaultValue: () => undefined
})

/** The outermost of the builds that run for each other. */
export const Root = Context.Reference<string | undefined>("effect-lightbox/internal/build/recording/Root", {
  defaultValue: () => undefined
})

export const none: Recording = {
  take: () => Effect.void,
  plan: () => {},
  follow: () => {},
  failing: () => {},
  tidy: Effect.void
}

/** Output recorded of each attempt of a step: so much of its beginning, and of its end. */
const headLength = 256 * 1024
const tailLength = 32 * 1024

/** How much later that end may be in the file, in milliseconds. */
const draftMillis = 1000

/** Output recorded of a build, apart from the end of each attempt. */
const outputLength = 4 * 1024 * 1024

/** Further names and digests of copied files are left out. */
const maxFiles = 200

/** A line, in whose ends a list looks for it, must be short. */
const maxProblem = 16_000

/** Texts that are no one's: what they contain is made here, and a reader relies on it. */
const ownKeys = new Set([
  "_tag",
  "id",
  "buildId",
  "parent",
  "root",
  "key",
  "digest",
  "imageDigest",
  "kind",
  "phase",
  "stream",
  "status",
  "version"
])

/** Homes in which a build could not be recorded, of which one warning is enough. */
const warned = new Set<string>()

/** When this process last removed old records of a home. */
const tidied = new Map<string, number>()

const tidyMillis = 60_000

/** The events after which a build does more than look. */
const isQuick = ({ _tag }: BuildEvent): boolean =>
  _tag === "Planned" || _tag === "StepCached" || _tag === "Committed" || _tag === "Finished" || _tag === "Failed"

/** As the schema of events encodes it, in a tenth of the time. */
export const plain = (event: BuildEvent): object => {
  const at = DateTime.toEpochMillis(event.at)
  if (!("duration" in event)) return { ...event, at }
  const { duration, ...rest } = event
  return { ...rest, at, durationMillis: Math.round(Duration.toMillis(duration)) }
}

export const make = (options: {
  readonly id: string
  readonly parent: string | undefined
  readonly root: string | undefined
  readonly snapshot: string
  readonly family: string
  readonly image: string
  readonly declaredAt: string | undefined
  readonly startedAt: number
  readonly home: string
  readonly store: Store
  readonly secrets: ReadonlyArray<Secrets.SecretValue>
}): Recording => {
  const { family, home, id, snapshot, startedAt, store } = options
  // A script is recorded as JSON, in which a secret is quoted as well.
  const secrets = options.secrets.flatMap(({ name, value }) => [
    { name, value },
    ...FailureText.partsOf([value]).flatMap((part) => {
      const quoted = JSON.stringify(part).slice(1, -1)
      return quoted === part ? [] : [{ name, value: quoted }]
    })
  ])
  const hide = Secrets.redacting(secrets)
  const encode = (line: object): string =>
    `${JSON.stringify(secrets.length === 0 ? line : Secrets.redactAll(hide, line, ownKeys))}\n`

  let pending: Array<object> = []
  let file: Records.Open | undefined
  let state: "idle" | "over" | "off" = "idle"
  /** The last line may be torn. */
  let isTorn = false
  let isScheduled = false
  let drafting: NodeJS.Timeout | undefined
  let key: string | undefined
  let hits = 0
  const started = new Set<number>()
  const pulled = new Set<string>()
  let generation: number | undefined
  let reason: Reason | undefined
  const followed = new Set<string>()
  let room = outputLength
  let head = 0
  let tail: Array<Extract<BuildEvent, { readonly _tag: "StepOutput" }>> = []
  let tailSize = 0
  let omitted = 0
  let writer = 0
  let isReusing = false

  const line = (value: Line): void => void pending.push(value)

  line({
    _tag: "Build",
    id,
    snapshot,
    image: options.image,
    startedAt,
    caller: {
      ...thisProgram(),
      ...(options.declaredAt === undefined ? {} : { declaredAt: options.declaredAt })
    },
    version,
    ...(options.parent === undefined ? {} : { parent: options.parent }),
    ...(options.root === undefined || options.root === options.parent ? {} : { root: options.root })
  })

  const drain = (): string => {
    const lines = pending
    pending = []
    return lines.map(encode).join("")
  }

  /** Runs what must not fail the build: a failure is a warning. */
  const attempt = (run: () => void): Effect.Effect<void> => {
    try {
      run()
      return Effect.void
    } catch (cause) {
      return warn(cause)
    }
  }

  const warn = (cause: unknown): Effect.Effect<void> =>
    Effect.suspend(() => {
      isTorn = true
      if (warned.has(home)) return Effect.void
      warned.add(home)
      const problem = cause instanceof Error ? cause.message : String(cause)
      return Effect.logWarning(`Builds cannot be recorded in ${Records.folderOf(home)}: ${problem}`)
    })

  const flush = (): void => {
    if (file === undefined || pending.length === 0) return
    file.append(`${isTorn ? "\n" : ""}${drain()}`)
    isTorn = false
  }

  const flushSoon = (): void => {
    if (isScheduled || file === undefined) return
    isScheduled = true
    setImmediate(() => {
      isScheduled = false
      // Said with the next event.
      try {
        flush()
      } catch {
        isTorn = true
      }
    })
  }

  const omission = (): ReadonlyArray<object> =>
    omitted > 0
      ? [{ _tag: "Omitted", index: writer, length: omitted } satisfies Line, ...tail.map(plain)]
      : tail.map(plain)

  /** Writes the end of an output that goes on, for those who look meanwhile, and in case this is its end. */
  const draftSoon = (): void => {
    if (drafting !== undefined || file === undefined) return
    drafting = setTimeout(() => {
      drafting = undefined
      if (state !== "idle" || file === undefined || tail.length === 0) return
      // Said with the next event.
      try {
        flush()
        file.draft(`${isTorn ? "\n" : ""}${omission().map(encode).join("")}`)
      } catch {
        isTorn = true
      }
    }, draftMillis)
    drafting.unref()
  }

  const open = Effect.suspend(() => {
    if (file !== undefined || state !== "idle") return Effect.void
    return Effect.matchEffect(store.ownership.id, {
      onSuccess: (owner) =>
        attempt(() => {
          if (file !== undefined || state !== "idle") return
          try {
            file = Records.open(home, id, owner, drain())
          } catch (cause) {
            state = "off"
            throw cause
          }
        }),
      onFailure: (error: LightboxError) => {
        state = "off"
        return warn(error)
      }
    })
  })

  const endOutput = (): void => {
    pending.push(...omission())
    tail = []
    tailSize = omitted = head = 0
  }

  const output = (event: Extract<BuildEvent, { readonly _tag: "StepOutput" }>): void => {
    const { length } = event.text
    writer = event.index
    if (tail.length === 0 && head + length <= headLength && length <= room) {
      head += length
      room -= length
      pending.push(plain(event))
      return flushSoon()
    }
    tail.push(length > tailLength ? { ...event, text: hide(event.text).slice(-tailLength) } : event)
    if (length > tailLength) omitted += length - tailLength
    tailSize += Math.min(length, tailLength)
    while (tailSize > tailLength) {
      const first = tail.shift()?.text.length ?? 0
      tailSize -= first
      omitted += first
    }
    draftSoon()
  }

  /** Of the progress of a pull, only the beginning and the end of each part are recorded. */
  const isMilestone = ({ done, layer, phase, total }: Extract<BuildEvent, { readonly _tag: "Pulling" }>): boolean => {
    if (phase !== "Downloading" && phase !== "Unpacking") return true
    const part = `${phase} ${layer} ${done !== undefined && done === total}`
    if (pulled.has(part)) return false
    pulled.add(part)
    return true
  }

  const end = (event: Extract<BuildEvent, { readonly _tag: "Finished" | "Failed" }>): void => {
    const isReused = event._tag === "Finished" && event.stepsRun === 0 && generation === undefined
    const stepsRun = event._tag === "Finished" ? event.stepsRun : started.size
    line({
      _tag: "Ended",
      at: DateTime.toEpochMillis(event.at),
      durationMillis: Math.round(Duration.toMillis(event.duration)),
      status: isReused
        ? "unchanged"
        : event._tag === "Finished"
          ? "built"
          : event.problem === "interrupted"
            ? "interrupted"
            : "failed",
      stepsRun,
      stepsReused: event._tag === "Finished" ? event.stepsReused : hits,
      ...(generation === undefined ? {} : { generation }),
      ...(event._tag === "Failed" && event.problem !== "interrupted"
        ? {
            problem: hide(event.problem).slice(0, maxProblem),
            ...(reason === undefined ? {} : { reason: reason._tag })
          }
        : {})
    })
    if (file !== undefined) {
      try {
        flush()
      } finally {
        file.close()
      }
    } else if (event._tag === "Finished" && stepsRun === 0 && key !== undefined) {
      isReusing = true
      Records.writeReused(home, { family, key }, drain())
    } else Records.writeEnded(home, id, drain())
  }

  const take = (event: BuildEvent): Effect.Effect<void> => {
    if (state !== "idle") return Effect.void
    if (event._tag === "StepOutput") {
      output(event)
      return Effect.void
    }
    if (event._tag === "Pulling" && !isMilestone(event)) return Effect.void
    if (event._tag === "Planned") ({ hits } = event)
    if (event._tag === "StepStarted") started.add(event.index)
    if (event._tag === "Committed") ({ generation } = event)
    if ("index" in event || event._tag === "Failed") endOutput()
    pending.push(plain(event))
    if (event._tag === "Finished" || event._tag === "Failed") {
      state = "over"
      clearTimeout(drafting)
      return attempt(() => end(event))
    }
    if (file !== undefined) return attempt(flush)
    return isQuick(event) ? Effect.void : open
  }

  return {
    take: (event) => Effect.suspend(() => take(event)),
    plan: ({ imageDigest, key: last, steps, units }) => {
      key = last
      line({
        _tag: "Plan",
        imageDigest,
        key,
        builderVersion,
        steps: steps.map(({ verdict, ...step }, position) => {
          const unit = units[position]
          return {
            ...step,
            ...(verdict._tag === "Hit" ? {} : { reason: cutReason(verdict.reason) }),
            ...(unit === undefined ? {} : { inputs: inputsOf(unit, hide) })
          }
        })
      })
    },
    follow: (buildId) => {
      if (state !== "idle" || followed.has(buildId)) return
      followed.add(buildId)
      line({ _tag: "Followed", buildId })
      flushSoon()
    },
    failing: (why) => {
      reason = why
    },
    tidy: Effect.suspend(() => {
      if (state === "off") return Effect.void
      const now = performance.now()
      const since = now - (tidied.get(home) ?? Number.NEGATIVE_INFINITY)
      if (since < tidyMillis && (isReusing || !Records.isFull(home))) return Effect.void
      tidied.set(home, now)
      // No build waits for it.
      return Effect.asVoid(Effect.forkDetach(Effect.ignore(Records.prune(home))))
    })
  }
}

/** Thousands of files are no explanation. */
const cutReason = (reason: Extract<PlannedStep["verdict"], { readonly _tag: "Miss" }>["reason"]) =>
  reason._tag === "FilesChanged" ? { ...reason, files: reason.files.slice(0, maxFiles) } : reason

/** The names of variables and of files may contain a secret as well. */
const inputsOf = (
  { added, descriptor, listing }: KeyedUnit<unknown, unknown>,
  hide: (name: string) => string
): StepInputs => {
  const { arguments: rest, environment } = descriptor
  // To describe the files of a large folder takes long.
  const isLarge = (listing?.files.length ?? 0) > maxFiles
  const files =
    isLarge || (listing === undefined && added.size === 0) ? undefined : Object.entries(descriptor.files ?? {})
  return {
    arguments: rest,
    environment: Record.mapKeys(environment, hide),
    ...(files === undefined || files.length > maxFiles
      ? {}
      : { files: Object.fromEntries(files.map(([path, file]) => [hide(path), file])) })
  }
}
