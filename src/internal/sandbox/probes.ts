/** Waits for probes in a guest. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import type * as Guest from "../../Guest.ts"
import type * as Job from "../../Job.ts"
import { isLightboxError, LightboxError, NotReady } from "../../LightboxError.ts"
import type { Probe } from "../../Probe.ts"
import { millis } from "../config/schemas.ts"
import { forMethod, invalid } from "../config/validation.ts"
import * as Execution from "../guest/execution.ts"
import { ending, redact, shortArgv } from "../report/failureText.ts"
import * as Jobs from "./jobs.ts"

/** Where to probe. */
export interface Target {
  readonly guest: Guest.Guest
  /** Path of the sandbox's shell. */
  readonly shell: string
  /** The job that is to become ready. */
  readonly job: string | undefined
  /** It was not started for this wait: the beginning of its log may be gone. */
  readonly ranBefore?: boolean
  /** Texts to hide in the last lines of the job. */
  readonly secrets?: ReadonlyArray<string>
}

/** What was seen of a condition that does not hold. */
class NotYet {
  readonly observation: string
  /** It can no longer hold. */
  readonly isFinal: boolean
  /** The time limit that has passed. */
  readonly limitMillis: number | undefined

  constructor(observation: string, options: { readonly isFinal?: boolean; readonly limitMillis?: number } = {}) {
    this.observation = observation
    this.isFinal = options.isFinal ?? false
    this.limitMillis = options.limitMillis
  }
}

type Attempt = Effect.Effect<void, NotYet | LightboxError>

const notYet = (observation: string) => Effect.fail(new NotYet(observation))

const host = "127.0.0.1"

const attemptLimit = Duration.seconds(5)

const maxOutput = 1024 * 1024

/** Makes the words of a command. */
export const argvOf = (command: string | Guest.Command["argv"], shell: string): Guest.Command["argv"] =>
  typeof command === "string" ? [shell, "-c", command] : command

const problemOf = ({ reason }: LightboxError): string => (reason._tag === "FileError" ? reason.problem : reason.message)

/** The problem of a failed attempt; only the end of the guest ends the wait. */
const observed =
  (describe: (error: LightboxError) => string) =>
  (error: NotYet | LightboxError): Attempt =>
    isLightboxError(error) && error.reason._tag !== "GuestLost" ? notYet(describe(error)) : Effect.fail(error)

const soon = (attempt: Attempt, what: string): Attempt =>
  Effect.timeoutOrElse(attempt, {
    duration: attemptLimit,
    orElse: () => notYet(`${what} within ${Duration.toSeconds(attemptLimit)} seconds`)
  })

// =============================================================================
// Conditions
// =============================================================================

const port = ({ guest }: Target, port: number): Attempt =>
  soon(Effect.scoped(Effect.asVoid(guest.connect(host, port))), `port ${port} has not accepted a connection`).pipe(
    Effect.catch(observed((error) => `port ${port} is closed: ${problemOf(error)}`))
  )

const longestHead = 16 * 1024

/** The status of an HTTP response, after those that announce it. */
const statusIn = (head: string): number | undefined => {
  const final = head.replace(/^(?:HTTP\/1\.\d 1\d\d [^]*?\r\n\r\n)*/, "")
  const status = /^HTTP\/1\.\d ([2-5]\d\d)[ \r]/.exec(final)?.[1]
  return status === undefined ? undefined : Number(status)
}

const http = ({ guest }: Target, port: number, path: string, wanted: number | undefined): Attempt => {
  const url = `http://${host}:${port}${path}`
  const request = `GET ${path} HTTP/1.1\r\nHost: localhost:${port}\r\nAccept: */*\r\nConnection: close\r\n\r\n`
  const ask = Effect.gen(function* () {
    const { read, write } = yield* guest.connect(host, port)
    // Some servers give up a request whose client has ended its side.
    const sending = Stream.run(Stream.concat(Stream.make(new TextEncoder().encode(request)), Stream.never), write)
    const head = yield* read.pipe(
      Stream.decodeText,
      Stream.scan(
        () => "",
        (head, text) => head + text
      ),
      Stream.takeUntil((head) => statusIn(head) !== undefined || head.length > longestHead),
      Stream.runLast,
      Effect.raceFirst(Effect.andThen(sending, Effect.never))
    )
    const status = statusIn(Option.getOrElse(head, () => ""))
    if (status === undefined) return yield* notYet(`GET ${url} was not answered with HTTP`)
    const isWanted = wanted === undefined ? status < 400 : status === wanted
    if (!isWanted) return yield* notYet(`GET ${url} was answered with status ${status}`)
  })
  return soon(Effect.scoped(ask), `GET ${url} was not answered`).pipe(
    Effect.catch(observed((error) => `GET ${url} was not answered: ${problemOf(error)}`))
  )
}

const file = ({ guest }: Target, path: string): Attempt =>
  Effect.asVoid(guest.stat(path)).pipe(
    Effect.catch(
      observed(({ reason }) =>
        reason._tag === "FileError" && reason.code === "ENOENT" ? `${path} does not exist` : reason.message
      )
    )
  )

const command = ({ guest }: Target, command: Guest.Command): Attempt =>
  Effect.asVoid(Execution.collect(guest, "Sandbox.waitUntil", command, { check: true, maxOutput })).pipe(
    Effect.catch(observed(({ reason }) => reason.message))
  )

/** How a job has ended. */
const endingOf = (ended: Job.Ended): string =>
  ended._tag === "Exited"
    ? ending(ended)
    : ended._tag === "Signaled"
      ? ending({ exitCode: -1, signal: String(ended.signal) })
      : "was lost"

/** Each attempt reads on where the last one ended. */
const log = ({ guest, job: own, ranBefore = false }: Target, text: string, id: string): Attempt => {
  const wanted = Buffer.from(text)
  let position = { offset: 0, last: Buffer.alloc(0) }
  return Effect.gen(function* () {
    const job = yield* Jobs.find(guest, id)
    // Before the log, which is then complete if it has ended.
    const status = yield* job.status
    let { last, offset } = position
    let isThere = false
    yield* Stream.runForEach(job.logs({ since: offset }), (event) =>
      Effect.sync(() => {
        const bytes = event._tag === "Output" ? Buffer.concat([last, event.bytes]) : Buffer.alloc(0)
        // It was ready before it dropped what it wrote first.
        const isOld = ranBefore && id === own && event._tag === "Missing" && event.offset === 0 && event.bytes > 0
        isThere ||= isOld || bytes.includes(wanted)
        last = bytes.subarray(Math.max(0, bytes.length - wanted.length + 1))
        offset = event.offset + (event._tag === "Output" ? event.bytes.length : event.bytes)
      })
    )
    if (isThere) return
    position = { offset, last }
    const problem = `no line of job "${id}" contains ${JSON.stringify(text)}`
    if (status._tag === "Running") return yield* notYet(problem)
    return yield* Effect.fail(new NotYet(`${problem}, and it ${endingOf(status)}`, { isFinal: true }))
  }).pipe(Effect.catch(observed(({ reason }) => reason.message)))
}

// =============================================================================
// Waiting
// =============================================================================

interface Watch {
  /** One attempt of each condition. */
  readonly attempt: Attempt
  /** Attempts until it succeeds or its time is over. */
  readonly wait: Attempt
}

interface Times {
  readonly interval: Duration.Duration
  readonly timeout: Duration.Duration
}

const defaults: Times = { interval: Duration.millis(100), timeout: Duration.minutes(1) }

const repeated = (attempt: Attempt, { interval, timeout }: Times, unseen: string): Watch => {
  let seen = unseen
  let isMet = false
  // Of several probes, each must succeed once.
  const once = Effect.suspend(() =>
    isMet
      ? Effect.void
      : Effect.tap(attempt, () =>
          Effect.sync(() => {
            isMet = true
          })
        )
  )
  const see = (error: NotYet | LightboxError) =>
    Effect.sync(() => {
      if (error instanceof NotYet) seen = error.observation
    })
  return {
    attempt: once,
    wait: Effect.tapError(once, see).pipe(
      Effect.retry({
        while: (error) => error instanceof NotYet && !error.isFinal,
        schedule: Schedule.spaced(interval)
      }),
      Effect.timeoutOrElse({
        duration: timeout,
        orElse: () => Effect.fail(new NotYet(seen, { limitMillis: millis(timeout) }))
      })
    )
  }
}

const every = (attempts: ReadonlyArray<Attempt>): Attempt =>
  Effect.all(attempts, { concurrency: "unbounded", discard: true })

const some = (attempts: ReadonlyArray<Attempt>): Attempt =>
  Effect.forEach(attempts, Effect.flip, { concurrency: "unbounded" }).pipe(
    Effect.flip,
    Effect.mapError(
      (errors) => errors.find(isLightboxError) ?? joined(errors.filter((error) => error instanceof NotYet))
    )
  )

const joined = (errors: ReadonlyArray<NotYet>): NotYet => {
  const limits = errors.flatMap(({ limitMillis }) => limitMillis ?? [])
  return new NotYet(errors.map(({ observation }) => observation).join("; "), {
    isFinal: errors.every(({ isFinal }) => isFinal),
    ...(limits.length === 0 ? {} : { limitMillis: Math.max(...limits) })
  })
}

const watch = (target: Target, probe: Probe, outer: Times): Watch => {
  const times = { interval: probe.interval ?? outer.interval, timeout: probe.timeout ?? outer.timeout }
  const leaf = (attempt: Attempt, unseen: string) => repeated(attempt, times, unseen)
  if ("all" in probe || "any" in probe) {
    const parts = ("all" in probe ? probe.all : probe.any).map((part) => watch(target, part, times))
    const combine = "all" in probe ? every : some
    return { attempt: combine(parts.map((part) => part.attempt)), wait: combine(parts.map((part) => part.wait)) }
  }
  if ("port" in probe) return leaf(port(target, probe.port), `port ${probe.port} has not accepted a connection`)
  if ("http" in probe) {
    const { http: at, path = "/", status } = probe
    return leaf(http(target, at, path, status), `GET http://${host}:${at}${path} was not answered`)
  }
  if ("file" in probe) return leaf(file(target, probe.file), `${probe.file} was not found`)
  if ("log" in probe) {
    const { job = target.job ?? "", log: text } = probe
    return leaf(log(target, text, job), `the log of job "${job}" was not read`)
  }
  const argv = argvOf(probe.command, target.shell)
  const { cwd, env, user } = probe
  return leaf(command(target, { argv, cwd, env, user }), `${shortArgv(argv)} has not exited`)
}

const partsOf = (probe: Probe): ReadonlyArray<Probe> => ("all" in probe ? probe.all : "any" in probe ? probe.any : [])

/** The first job whose log is probed. */
const jobOf = (probe: Probe): string | undefined =>
  "log" in probe
    ? probe.job
    : partsOf(probe)
        .map(jobOf)
        .find((job) => job !== undefined)

/** Refuses probes of a log without a job. */
export const checkJobs = (
  method: string,
  field: string,
  probe: Probe,
  job: string | undefined
): Effect.Effect<void, LightboxError> => {
  if ("log" in probe && probe.job === undefined && job === undefined) {
    return Effect.fail(invalid(method, `${field}.job`, "expected the id of a job"))
  }
  const kind = "all" in probe ? "all" : "any"
  return Effect.forEach(partsOf(probe), (part, index) => checkJobs(method, `${field}.${kind}.${index}`, part, job), {
    discard: true
  })
}

/** Waits until a probe succeeds. Fails when its time is over, or when the job has ended without it. */
export const wait = Effect.fnUntraced(function* (
  method: string,
  target: Target,
  probe: Probe
): Effect.fn.Return<void, LightboxError> {
  const { guest, job, secrets } = target
  const { attempt, wait } = watch(target, probe, defaults)
  const ended =
    job === undefined
      ? Effect.never
      : Effect.flatMap(Jobs.find(guest, job), (job) => job.wait).pipe(
          Effect.flatMap((end) =>
            // What the job did last may have been what is waited for.
            Effect.mapError(attempt, (error) =>
              error instanceof NotYet ? new NotYet(`it ${endingOf(end)}; ${error.observation}`) : error
            )
          )
        )
  yield* Effect.raceFirst(wait, ended).pipe(
    Effect.catch((error) => {
      if (!(error instanceof NotYet)) return Effect.fail(forMethod(method)(error))
      const { limitMillis, observation } = error
      const subject = job ?? jobOf(probe)
      return Effect.flatMap(
        subject === undefined ? Effect.succeed([]) : lastLines(guest, subject, secrets),
        (lastLines) =>
          Effect.fail(
            new LightboxError({
              method,
              reason: new NotReady({
                observation: redact(secrets ?? [], observation),
                lastLines,
                ...(job === undefined ? {} : { job }),
                ...(limitMillis === undefined ? {} : { limitMillis })
              })
            })
          )
      )
    })
  )
})

const lastLines = (guest: Guest.Guest, job: string, secrets: ReadonlyArray<string> = []) =>
  Jobs.lastLines(guest, job, secrets).pipe(
    Effect.timeoutOrElse({ duration: attemptLimit, orElse: () => Effect.succeed([]) }),
    Effect.orElseSucceed((): ReadonlyArray<string> => [])
  )
