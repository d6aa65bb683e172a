/** Runs one step, as often as it may be tried. */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Pull from "effect/Pull"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import { isLightboxError, LightboxError, Unknown } from "../../LightboxError.ts"
import * as FailureText from "../report/failureText.ts"
import { failWhenFull } from "../host/diskRoom.ts"
import * as HomeFiles from "../ownership/files.ts"
import { timeLimit } from "../config/validation.ts"
import type * as Keys from "../plan/keys.ts"
import type * as LookUp from "../plan/lookUp.ts"
import type * as Units from "../plan/units.ts"
import * as Secrets from "../definition/secrets.ts"
import { stepFailures } from "../report/metrics.ts"
import * as StepRunner from "./stepRunner.ts"
import { type Context, method } from "./context.ts"
import type { Builders } from "./builders.ts"

/** Runs a step, with retries, and returns how many milliseconds the successful attempt took. */
export const runUnit = Effect.fnUntraced(function* <E, R>(
  context: Context<E, R>,
  builders: Builders<E, R>,
  planned: LookUp.Planned<E, R>,
  unit: Keys.KeyedUnit<E, R>
): Effect.fn.Return<number, LightboxError | E, R | Scope.Scope> {
  const { definition, events, secrets } = context
  const { description, index, step } = unit
  const { retry, retryFrom } = step.options
  const again = retry === undefined ? undefined : yield* Schedule.toStepWithSleep(retry)
  for (let attempt = 1; ; attempt++) {
    const builder = yield* builders.at(planned, index - 1, unit.network)
    yield* events.emit({ _tag: "StepStarted", index, description, attempt })
    const start = yield* Clock.currentTimeMillis
    const outputs = { Stdout: new StepRunner.Lines(secrets), Stderr: new StepRunner.Lines(secrets) }
    const tails = () => ({ stdout: outputs.Stdout.tail, stderr: outputs.Stderr.tail })
    const exit = yield* Effect.exit(
      StepRunner.run({
        driver: context.driver,
        sandbox: builder.sandbox,
        unit,
        secrets,
        takenFrom: context.takes.of,
        outputs,
        onOutput: (stream, text) => events.emit({ _tag: "StepOutput", index, description, stream, text })
      }).pipe(
        timeLimit(method, FailureText.shortArgv([description]), durationOf(step.options.timeout), tails),
        Effect.andThen(builders.reset(builder)),
        failWhenFull(method, HomeFiles.onThisMachine(context.driver)),
        Effect.withSpan("Snapshot.step", {
          attributes: {
            "lightbox.snapshot": definition.name,
            "lightbox.step.index": index,
            "lightbox.step.description": Secrets.redact(secrets, description),
            "lightbox.step.attempt": attempt
          }
        })
      )
    )
    const durationMillis = (yield* Clock.currentTimeMillis) - start
    if (Exit.isSuccess(exit)) {
      builder.units = index
      yield* events.emit({
        _tag: "StepFinished",
        index,
        description,
        attempt,
        duration: Duration.millis(durationMillis)
      })
      return durationMillis
    }
    const error = Cause.findErrorOption(exit.cause)
    // Defects and interruptions are not retried.
    if (Option.isNone(error)) return yield* Effect.failCause(exit.cause)
    const { declaredAt } = step
    const failure = isLightboxError(error.value)
      ? new LightboxError({
          method,
          reason: Secrets.redactReason(secrets, error.value.reason),
          step: {
            definition: definition.name,
            index,
            description: Secrets.redact(secrets, description),
            ...commandOf(step, secrets),
            ...(declaredAt === undefined ? {} : { declaredAt }),
            attempt,
            durationMillis
          },
          ...(builder.keptAs === undefined ? {} : { builder: builder.keptAs })
        })
      : new LightboxError({
          method,
          reason: new Unknown({ problem: Cause.pretty(Cause.fail(error.value)), cause: error.value })
        })
    yield* Metric.update(stepFailures, 1)
    yield* events.emit({
      _tag: "StepAttemptFailed",
      index,
      description,
      attempt,
      problem: Secrets.redact(secrets, failure.reason.message),
      ...(declaredAt === undefined ? {} : { declaredAt })
    })
    if (retryFrom !== "dirty") builder.units = dirty
    const isOver =
      again === undefined ||
      (yield* Effect.map(Effect.exit(again(failure)), (next) => Exit.isFailure(next) && Pull.isDoneCause(next.cause)))
    if (isOver) {
      builder.units = dirty
      return yield* Effect.fail(isLightboxError(error.value) ? failure : error.value)
    }
  }
})

const commandOf = (
  step: Units.DiskStep<unknown, unknown>,
  secrets: ReadonlyArray<Secrets.SecretValue>
): { readonly command?: string } =>
  step._tag === "Shell"
    ? { command: Secrets.redact(secrets, step.script) }
    : step._tag === "Exec"
      ? { command: Secrets.redact(secrets, FailureText.redactWords(step.argv).join(" ")) }
      : {}

/** Marks the disk of a builder whose step failed. */
export const dirty = -1

const durationOf = (input: Duration.Input | undefined): Duration.Duration | undefined =>
  input === undefined ? undefined : Duration.fromInputUnsafe(input)
