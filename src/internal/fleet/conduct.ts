/**
 * Conducts the jobs of a fleet on a host: each one in a sandbox of its own, which is placed like all sandboxes of the fleet,
 * until its result is recorded.
 *
 * A job may be conducted by two hosts for a moment, when one of them was believed dead. Only the one with the lock of the job
 * begins a run or records a result, and the sandbox has a name that no other in the fleet has.
 */
import * as Cause from "effect/Cause"
import type * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FiberMap from "effect/FiberMap"
import * as Layer from "effect/Layer"
import * as References from "effect/References"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import * as Stream from "effect/Stream"
import * as Activity from "effect/workflow/Activity"
import * as Crypto from "node:crypto"
import type { Services } from "../../Driver.ts"
import type * as Fleet from "../../Fleet.ts"
import { GuestLost, isLightboxError, LightboxError, NoCapacity, Unknown } from "../../LightboxError.ts"
import * as Microsandbox from "../../Microsandbox.ts"
import * as Sandbox from "../../Sandbox.ts"
import { type Directory, lockMillis } from "../directory/directory.ts"
import * as JobsTable from "../directory/jobs.ts"
import * as Execution from "../guest/execution.ts"
import { randomId } from "../ownership/labels.ts"
import * as Cluster from "./cluster.ts"
import * as Models from "./models.ts"

type Job = Pick<JobsTable.JobRow, "id" | "execution">

const method = "Fleet.run"

/** A job whose runs were lost so often takes its hosts with it. */
const maxLost = 5

/** Results are kept for so long. */
export const keptMillis = 7 * 24 * 3_600_000

/** How much of the end of each output a result has. */
const tailBytes = 64 * 1024

/** As UTF-8, from the first whole character on. */
const textOf = ({ last, total }: Execution.Tail): string => {
  let start = 0
  if (total > last.length) while (start < 3 && ((last[start] ?? 0) & 0xc0) === 0x80) start += 1
  return new TextDecoder().decode(last.subarray(start))
}

const lookInterval = Duration.seconds(1)

/** How often a job that finds no room asks again. */
const waitInterval = Duration.seconds(5)

const decodeSpec = Schema.decodeEffect(Models.Spec)
const encodeResult = Schema.encodeEffect(Models.Recorded)

const hashOf = (id: string): string => Crypto.hash("sha256", id).slice(0, 24)

/** The name of the sandbox of a job. */
export const sandboxOf = (id: string): string => `job-${hashOf(id)}`

const label = "fleet-job"

/** What became of a run. */
type Outcome =
  | { readonly _tag: "Result"; readonly result: Fleet.JobResult; readonly isFailure: boolean }
  /** It says nothing about the job. */
  | { readonly _tag: "Lost"; readonly error: LightboxError }
  /** It has not begun. */
  | { readonly _tag: "Waits"; readonly error: LightboxError }

export interface Options {
  readonly directory: Directory
  readonly host: string
  readonly architecture: string
  /** Jobs that the host conducts at once. */
  readonly slots: number
  /** The fleet as the host sees it. */
  readonly services: Effect.Effect<Context.Context<Services>, LightboxError>
}

/** Tries again until the directory answers. */
const eventually = <A, R>(effect: Effect.Effect<A, LightboxError, R>): Effect.Effect<A, never, R> =>
  effect.pipe(
    Effect.tapError((error) => Effect.logWarning(`A job of the fleet waits: ${error.message}`)),
    Effect.retry(Schedule.spaced("2 seconds")),
    Effect.orDie
  )

/** Removes the sandbox that an earlier run has left, on whichever host it is. */
const removeEarlier = Effect.fnUntraced(function* (
  driver: Microsandbox.Microsandbox["Service"],
  id: string
): Effect.fn.Return<void, LightboxError> {
  const found = yield* driver
    .getSandbox(sandboxOf(id))
    .pipe(Effect.catchReason("LightboxError", "NotFound", () => Effect.undefined))
  if (found === undefined) return
  if (found.labels[label] !== hashOf(id)) {
    const problem = `the sandbox "${found.name}" has the name that this job needs`
    return yield* new LightboxError({ method, reason: new Unknown({ problem }) })
  }
  yield* driver.removeSandbox(found, { force: true })
})

/** A host that does not answer, or a creation that was left half done, has the name until the directory gives it up. */
const stillThere = (error: LightboxError): LightboxError =>
  error.isRetryable || error.reason._tag === "AlreadyExists"
    ? new LightboxError({
        method,
        reason: new NoCapacity({ problem: `the sandbox of an earlier run cannot be removed yet: ${error.message}` })
      })
    : error

/** Runs a job once. `check` fails if another host may run it by now, and `begin` is called before the command begins. */
const runOnce = (
  id: string,
  spec: Models.Spec,
  check: Effect.Effect<void, LightboxError>,
  begin: () => void
): Effect.Effect<Omit<Fleet.Exited, "runs">, LightboxError, Services> =>
  Effect.scoped(
    Effect.gen(function* () {
      const driver = yield* Microsandbox.Microsandbox
      const { env, image, resources, snapshot } = spec
      const common = {
        name: sandboxOf(id),
        labels: { [label]: hashOf(id) },
        ...(resources === undefined ? {} : { resources })
      }
      const launch: Effect.Effect<Sandbox.Sandbox, LightboxError, Services | Scope.Scope> = Sandbox.launch(
        snapshot === undefined ? { ...common, image: image ?? "" } : { ...common, snapshot }
      )
      const sandbox = yield* launch.pipe(
        Effect.catchReason("LightboxError", "AlreadyExists", () =>
          check.pipe(
            Effect.andThen(Effect.mapError(removeEarlier(driver, id), stillThere)),
            Effect.andThen(check),
            Effect.andThen(
              Effect.mapError(launch, (error) => (error.reason._tag === "AlreadyExists" ? stillThere(error) : error))
            )
          )
        )
      )
      yield* check
      const stdout = new Execution.Tail(tailBytes)
      const stderr = new Execution.Tail(tailBytes)
      let ended: { readonly exitCode: number; readonly signal?: Fleet.Exited["signal"] } = { exitCode: -1 }
      const options = {
        ...(env === undefined ? {} : { env }),
        ...(spec.cwd === undefined ? {} : { cwd: spec.cwd }),
        ...(spec.user === undefined ? {} : { user: spec.user }),
        timeout: spec.timeout
      }
      const { command } = spec
      const events =
        typeof command === "string"
          ? sandbox.shellStream(command, options)
          : sandbox.execStream(command[0], command.slice(1), options)
      begin()
      const [duration] = yield* Effect.timed(
        Stream.runForEach(events, (event) =>
          Effect.sync(() => {
            if (event._tag === "Stdout") stdout.push(event.bytes)
            else if (event._tag === "Stderr") stderr.push(event.bytes)
            else if (event._tag === "Exited") ended = event
          })
        )
      )
      return {
        _tag: "Exited" as const,
        id,
        exitCode: ended.exitCode,
        ...(ended.signal === undefined ? {} : { signal: ended.signal }),
        stdout: textOf(stdout),
        stderr: textOf(stderr),
        isTruncated: stdout.total > tailBytes || stderr.total > tailBytes,
        host: sandbox.id.split("~")[0] ?? "",
        duration: Duration.millis(Math.round(Duration.toMillis(duration)))
      }
    })
  )

/** What an error says about a job. */
const judge = (id: string, runs: number, error: LightboxError, hasBegun: boolean): Outcome => {
  const { reason } = error
  // Which hosts there are, and what they do, is no fault of the job.
  if (!hasBegun && error.isRetryable && (reason._tag === "NoCapacity" || reason._tag === "HostUnavailable")) {
    return { _tag: "Waits", error }
  }
  const isTimeLimit = hasBegun && reason._tag === "TimedOut"
  return isTimeLimit || !error.isRetryable
    ? { _tag: "Result", result: { _tag: "Failed", id, error, runs }, isFailure: isTimeLimit }
    : { _tag: "Lost", error }
}

/** Joins the cluster as a host that conducts jobs, until the scope closes. */
export const conduct = Effect.fnUntraced(function* (
  options: Options
): Effect.fn.Return<void, LightboxError, Scope.Scope> {
  const { directory, host, services } = options
  const jobs = JobsTable.of(directory)
  yield* Cluster.agree("Gateway.serve", directory)
  const scope = yield* Effect.scope
  const slots = Semaphore.makeUnsafe(options.slots)

  const isOver = (job: Job, row: JobsTable.JobRow | undefined): boolean =>
    row === undefined || row.ended !== null || row.execution !== job.execution

  /** Records a result once the directory answers. Returns whether the job has ended: another host may have begun it again. */
  const record = Effect.fnUntraced(function* (job: Job, holder: string, result: Fleet.JobResult) {
    const text = yield* Effect.orDie(encodeResult(result))
    const recorded = Effect.gen(function* () {
      if (yield* jobs.end(job, holder, text)) return true
      // The lock ran out, such as while the directory was away.
      if (!(yield* directory.lock(JobsTable.lockOf(job.id), holder))) return false
      const row = yield* jobs.get(job.id)
      if (isOver(job, row)) return true
      return row?.runs === result.runs && (yield* jobs.end(job, holder, text))
    })
    return yield* eventually(recorded)
  })

  /** Runs a job while this host has its lock. Returns whether it has ended. */
  const attempt = Effect.fnUntraced(function* (job: Job, holder: string) {
    const lost = yield* Deferred.make<never, LightboxError>()
    const lose = Deferred.fail(
      lost,
      new LightboxError({
        method,
        reason: new GuestLost({ name: sandboxOf(job.id), problem: "its job may be on another host by now" })
      })
    )
    yield* Effect.forkScoped(keep(job, holder, lose))
    const check = Effect.flatMap(directory.areLocked([holder]), (isHeld) =>
      isHeld ? Effect.void : Effect.andThen(lose, Deferred.await(lost))
    )
    const row = yield* jobs.get(job.id)
    if (row === undefined || isOver(job, row)) return true
    if (row.runs - row.failures >= maxLost) {
      // The hosts that lost it did not live to say so.
      const problem = `${maxLost} runs of its job were lost, and their hosts may have died of it`
      const error = new LightboxError({ method, reason: new GuestLost({ name: sandboxOf(job.id), problem }) })
      return yield* record(job, holder, { _tag: "Failed", id: job.id, error, runs: row.runs })
    }
    // What waits for a lock, for room, or for its next run has no slot.
    const ran = yield* slots.withPermit(
      Effect.gen(function* () {
        const begun = yield* jobs.begin(job, host, holder)
        if (begun === undefined) return undefined
        const { failures, runs } = begun
        const spec = yield* Effect.exit(decodeSpec(row.spec))
        let hasBegun = false
        const once = Effect.gen(function* () {
          if (Exit.isFailure(spec)) {
            const reason = new Unknown({ problem: "the record of the job is of another version" })
            return judge(job.id, runs, new LightboxError({ method, reason }), false)
          }
          const { retries = 0 } = spec.value
          const context = yield* services
          const begin = () => {
            hasBegun = true
          }
          const exit = yield* Effect.exit(
            Effect.raceFirst(
              Effect.provideContext(runOnce(job.id, spec.value, check, begin), context),
              Deferred.await(lost)
            )
          )
          if (Exit.isSuccess(exit)) {
            const result = { ...exit.value, runs }
            const isFailure = result.exitCode !== 0 && failures < retries
            return { _tag: "Result", result, isFailure } satisfies Outcome
          }
          if (Cause.hasInterrupts(exit.cause)) return yield* Effect.interrupt
          const squashed = Cause.squash(exit.cause)
          const error = isLightboxError(squashed)
            ? squashed
            : new LightboxError({ method, reason: new Unknown({ problem: String(squashed), cause: squashed }) })
          const outcome = judge(job.id, runs, error, hasBegun)
          return outcome._tag === "Result" && outcome.isFailure && failures >= retries
            ? { ...outcome, isFailure: false }
            : outcome
        })
        const outcome = yield* once.pipe(
          // The host stops before the command has begun: this was no fault of the job.
          Effect.onInterrupt(() => (hasBegun ? Effect.void : Effect.ignore(jobs.takeBack(job, holder))))
        )
        return { failures, outcome, runs }
      })
    )
    if (ran === undefined) return false
    const { failures, outcome, runs } = ran
    if (outcome._tag === "Result" && !outcome.isFailure) {
      return yield* record(job, holder, outcome.result)
    }
    if (outcome._tag === "Result") {
      yield* jobs.fail(job, holder)
      yield* pause(failures)
      return false
    }
    if (outcome._tag === "Waits") {
      yield* Effect.logDebug(`Job "${job.id}" waits: ${outcome.error.message}`)
      yield* jobs.takeBack(job, holder)
      yield* Effect.sleep(waitInterval)
      return false
    }
    const lostRuns = runs - failures
    if (lostRuns < maxLost) {
      yield* Effect.logWarning(`A run of job "${job.id}" was lost: ${outcome.error.message}`)
      yield* pause(lostRuns - 1)
      return false
    }
    const result: Fleet.JobResult = { _tag: "Failed", id: job.id, error: outcome.error, runs }
    return yield* record(job, holder, result)
  }, Effect.scoped)

  const pause = (count: number) => Effect.sleep(Duration.seconds(Math.min(30, 2 ** count)))

  /** Extends the lock of a job until that fails, or could not be done for as long as it lasts. */
  const keep = (job: Job, holder: string, lose: Effect.Effect<unknown>) =>
    Effect.gen(function* () {
      let failed = 0
      const period = lockMillis / 5
      for (;;) {
        yield* Effect.sleep(Duration.millis(period))
        const isHeld = yield* Effect.orElseSucceed(
          directory.keepLock(JobsTable.lockOf(job.id), holder),
          () => undefined
        )
        failed = isHeld === undefined ? failed + 1 : 0
        // A statement that hangs takes as long as a period.
        if (isHeld === false || failed >= 2) return yield* lose
      }
    })

  /** Gives a lock back, later if the directory is away: nobody is to wait until it runs out. */
  const release = (job: Job, holder: string) => {
    const unlock = directory.unlock(JobsTable.lockOf(job.id), holder)
    const again = Effect.retry(unlock, {
      schedule: Schedule.spaced(lookInterval),
      times: Math.ceil(lockMillis / Duration.toMillis(lookInterval))
    })
    return unlock.pipe(Effect.catch(() => Effect.asVoid(Effect.forkIn(Effect.ignore(again), scope))))
  }

  /** Conducts a job until it has ended. */
  const run = (job: Job): Effect.Effect<void> => {
    const turn = Effect.acquireUseRelease(
      Effect.suspend(() => {
        const holder = randomId()
        return Effect.map(directory.lock(JobsTable.lockOf(job.id), holder), (isHeld) => ({ holder, isHeld }))
      }),
      ({ holder, isHeld }) =>
        isHeld
          ? attempt(job, holder)
          : // Another host has it, or had until it died.
            Effect.flatMap(jobs.get(job.id), (row) =>
              isOver(job, row) ? Effect.succeed(true) : Effect.as(Effect.sleep(lookInterval), false)
            ),
      ({ holder, isHeld }) => (isHeld ? release(job, holder) : Effect.void)
    )
    return Effect.asVoid(Effect.repeat(eventually(turn), { until: (isDone) => isDone }))
  }

  const level = yield* References.MinimumLogLevel
  const workflow = Cluster.workflowOf(options.architecture)
  const context = yield* Layer.build(Cluster.layer(directory, { host, architecture: options.architecture }))

  /**
   * The executions that this host has in hand, in fibers of their own: the cluster interrupts what it has given to a host,
   * and may give it to another, when the directory fails for a moment. That one waits for the lock of the job.
   */
  const inHand = yield* FiberMap.make<string, void>()
  const conducted = Effect.fnUntraced(function* (job: Job) {
    const conducting = Effect.provideService(run(job), References.MinimumLogLevel, level)
    const fiber = yield* FiberMap.run(inHand, job.execution, conducting, { onlyIfMissing: true })
    const exit = yield* Fiber.await(fiber)
    // This host stops, and has not ended the job.
    if (Exit.isFailure(exit) && Cause.hasInterrupts(exit.cause)) return yield* Effect.never
    return yield* exit
  })
  yield* Layer.build(workflow.toLayer((job) => Activity.make({ name: "run", execute: conducted(job) }))).pipe(
    Effect.provideContext(context)
  )

  // By itself: however long the rest takes, nobody else is to get these jobs.
  const touch = Effect.suspend(() => jobs.touch(Array.from(inHand, ([execution]) => execution)))
  yield* touch.pipe(
    Effect.ignore,
    Effect.delay(Duration.millis(JobsTable.touchMillis)),
    Effect.forever,
    Effect.forkScoped
  )

  // What a program or a host has left half done.
  const tend = Effect.gen(function* () {
    for (const job of yield* jobs.abandoned(options.architecture)) {
      const execution = randomId()
      if (yield* jobs.revive(job, execution)) yield* Cluster.dispatch(method, directory.url, { ...job, execution })
    }
    const forgotten = yield* jobs.forgetEnded(keptMillis)
    yield* Effect.forEach(forgotten, (job) => Effect.ignore(Cluster.forget(job)), { discard: true })
  })
  yield* tend.pipe(
    Effect.provideContext(context),
    Effect.ignore,
    Effect.delay(Duration.millis(JobsTable.touchMillis)),
    Effect.forever,
    Effect.forkScoped
  )
})
