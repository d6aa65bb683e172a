/** `fleet run` and `fleet jobs`. */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Console from "effect/Console"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Stream from "effect/Stream"
import * as Crypto from "node:crypto"
import * as Fs from "node:fs/promises"
import type * as Fleet from "../../../Fleet.ts"
import type { LightboxError } from "../../../LightboxError.ts"
import { decoder, invalid } from "../../config/validation.ts"
import * as Models from "../../fleet/models.ts"
import { fileFailure } from "../../host/fileFailure.ts"
import { directoryVariable, Json, Outputs, printList, Quiet, toJson } from "../environment.ts"
import { command } from "../exec.ts"
import { nameFlags } from "../failure.ts"
import * as Flags from "../flags.ts"
import * as Shapes from "../json.ts"
import * as Status from "../status.ts"

const method = "fleet"

const directory = Flags.text("directory", "URL", `The directory of the fleet (default: $${directoryVariable})`)

const architecture = Flags.choice(
  "arch",
  ["x64", "arm64"],
  "Architecture of the hosts (default: that of all; required if they have several)"
)

/** The jobs of a fleet. Effect's cluster is loaded for them only. */
const fleetOf = Effect.fnUntraced(function* (given: string | undefined, architecture?: "x64" | "arm64") {
  const url = given ?? process.env[directoryVariable]
  if (url === undefined) {
    return yield* invalid(method, "--directory", `expected the directory of a fleet, here or in $${directoryVariable}`)
  }
  const module = yield* Effect.promise(() => import("../../../Fleet.ts"))
  const context = yield* Layer.build(
    module.layer({ directory: Redacted.make(url), ...(architecture === undefined ? {} : { architecture }) })
  ).pipe(
    Effect.mapError(
      nameFlags({ directory: given === undefined ? directoryVariable : "--directory", architecture: "--arch" })
    )
  )
  return { module, context }
})

const stateOf = (result: Fleet.JobResult): string =>
  result._tag === "Failed"
    ? "failed"
    : result.signal === undefined
      ? `exited (${result.exitCode})`
      : `ended by ${typeof result.signal === "number" ? `signal ${result.signal}` : result.signal}`

const isSuccess = (result: Fleet.JobResult): boolean => result._tag === "Exited" && result.exitCode === 0

const decodeJob = decoder(Models.Job, method, "job")

/** Reads jobs, one on each line. The library checks what they are. */
const readJobs = Effect.fnUntraced(function* (path: string): Effect.fn.Return<ReadonlyArray<Fleet.Job>, LightboxError> {
  const text = yield* Effect.tryPromise({
    try: () => Fs.readFile(path === "-" ? "/dev/stdin" : path, "utf8"),
    catch: fileFailure(method, "read", path)
  })
  const jobs: Array<Fleet.Job> = []
  for (const [index, line] of text.split("\n").entries()) {
    if (line.trim() === "") continue
    const wrong = (problem: string) => invalid(method, "--jobs", `line ${index + 1}: ${problem}`)
    const value = yield* Effect.try({ try: (): unknown => JSON.parse(line), catch: () => wrong("expected JSON") })
    jobs.push(
      yield* Effect.mapError(decodeJob(value), ({ reason }) =>
        wrong(reason._tag === "InvalidConfig" ? `${reason.field}: ${reason.problem}` : reason.message)
      )
    )
  }
  return jobs
})

export const run = Command.make(
  "run",
  {
    command: command.pipe(Argument.withDescription("Command and arguments of one job")),
    jobs: Flags.text("jobs", "FILE", "Jobs as JSON, one on each line, instead of one command; - is standard input"),
    id: Flags.text("id", "ID", "Id of the job: asking again returns its result (default: a new one)"),
    image: Flags.text("image", "IMAGE", "Boot an image"),
    snapshot: Flags.text("snapshot", "SNAPSHOT", "Boot a snapshot"),
    env: Flags.running.env.pipe(
      Flag.withDescription(
        "Set a variable; a name alone copies its current value. It is stored in the directory: no secrets"
      )
    ),
    envFile: Flags.running.envFile,
    workdir: Flags.running.workdir,
    user: Flags.running.user,
    cpus: Flags.count("cpus", "COUNT", "Number of processors (default: 1)"),
    memory: Flags.text("memory", "SIZE", "Memory, such as 2G (default: 512M)").pipe(Flag.withAlias("m")),
    timeout: Flags.duration("timeout", "Time limit of each run (default: 1h)"),
    retries: Flags.count("retries", "COUNT", "Run it again after a failure, this often (default: 0)"),
    concurrency: Flags.count("concurrency", "COUNT", "Jobs that are given to the fleet at once (default: 64)"),
    wait: Flags.duration("wait", "Stop waiting for a job after this time; it goes on (default: no limit)"),
    architecture,
    directory
  },
  Effect.fnUntraced(function* (input) {
    const own = { command: input.command.length > 0, id: input.id, image: input.image, snapshot: input.snapshot }
    if (input.jobs === undefined && !own.command) return yield* invalid(method, "COMMAND", "pass a command, or --jobs")
    if (input.jobs !== undefined && Object.values(own).some((value) => value !== undefined && value !== false)) {
      return yield* invalid(method, "--jobs", "cannot be combined with a command, --id, --image or --snapshot")
    }
    const ofOne = {
      "--env": Object.keys(input.env).length > 0,
      "--env-file": Object.keys(input.envFile).length > 0,
      "--workdir": input.workdir !== undefined,
      "--user": input.user !== undefined,
      "--cpus": input.cpus !== undefined,
      "--memory": input.memory !== undefined,
      "--timeout": input.timeout !== undefined,
      "--retries": input.retries !== undefined
    }
    const ignored = Object.entries(ofOne).find(([, isGiven]) => isGiven)
    if (input.jobs !== undefined && ignored !== undefined) {
      return yield* invalid(method, ignored[0], "cannot be combined with --jobs, whose lines say it for each job")
    }
    const [program = "", ...args] = input.command
    const single = Effect.gen(function* (): Effect.fn.Return<Fleet.Job, LightboxError> {
      return {
        id: input.id ?? `cli-${Crypto.randomBytes(9).toString("base64url")}`,
        image: input.image,
        snapshot: input.snapshot,
        command: [program, ...args],
        env: Flags.variables(input),
        cwd: input.workdir,
        user: input.user,
        resources: { cpus: input.cpus, memory: yield* Flags.bytesOf("--memory", input.memory) },
        timeout: input.timeout,
        retries: input.retries
      }
    })
    const jobs = input.jobs === undefined ? [yield* single] : yield* readJobs(input.jobs)
    const { context, module } = yield* fleetOf(input.directory, input.architecture)
    const isJson = yield* Json
    const isQuiet = yield* Quiet
    const { stderr, stdout } = yield* Outputs
    const encode = toJson(module.JobResult)
    const shown = (result: Fleet.JobResult) => {
      if (isJson) return Console.log(encode(result))
      if (input.jobs !== undefined) {
        const more = result._tag === "Failed" ? result.error.message : `${result.runs} runs, on ${result.host}`
        return isQuiet ? Console.log(result.id) : Console.log(`${result.id}  ${stateOf(result)}  ${more}`)
      }
      if (result._tag === "Failed") return Effect.fail(result.error)
      return Effect.sync(() => {
        stdout.write(result.stdout)
        stderr.write(result.stderr)
        if (!isQuiet) stderr.write(`job ${result.id} ${stateOf(result)} on ${result.host}\n`)
      })
    }
    const failures = yield* module.runMany(jobs, { concurrency: input.concurrency, timeout: input.wait }).pipe(
      Stream.tap(shown),
      Stream.runFold(
        () => 0,
        (count, result) => count + (isSuccess(result) ? 0 : 1)
      ),
      Effect.provideContext(context),
      Effect.mapError(
        nameFlags({
          "jobs.0.id": "--id",
          "jobs.0.image": "--image",
          "jobs.0.snapshot": input.image === undefined && input.snapshot === undefined ? "--image" : "--snapshot",
          "jobs.0.command": "COMMAND",
          "jobs.0.env": "--env",
          "jobs.0.cwd": "--workdir",
          "jobs.0.user": "--user",
          "jobs.0.resources.cpus": "--cpus",
          "jobs.0.resources.memory": "--memory",
          "jobs.0.timeout": "--timeout",
          "jobs.0.retries": "--retries",
          architecture: "--arch",
          concurrency: "--concurrency",
          timeout: "--wait"
        })
      )
    )
    if (failures > 0) return yield* new Status.Ended({ status: 1 })
  }, Effect.scoped)
).pipe(
  Command.withDescription("Run jobs on a fleet, whatever host dies meanwhile, and print their results"),
  Command.withExamples([
    {
      command: "lightbox fleet run --id tests-4f2a --snapshot node-ci -- npm test",
      description: "Run a command; again with the same id, print its result"
    },
    { command: "lightbox fleet run --jobs jobs.jsonl --json", description: "Run many, and print results as JSON lines" }
  ])
)

export const jobs = Command.make(
  "jobs",
  {
    limit: Flags.count("limit", "COUNT", "Only the jobs that were submitted last (default: 100)"),
    directory,
    ...Flags.listing
  },
  Effect.fnUntraced(function* ({ directory: url, limit, ...listing }) {
    const { context, module } = yield* fleetOf(url)
    const all = yield* module
      .jobs({ limit })
      .pipe(Effect.provideContext(context), Effect.mapError(nameFlags({ limit: "--limit" })))
    yield* printList(
      Shapes.FleetJobs,
      all.map(({ endedAt, result, startedAt, ...job }) => ({
        ...job,
        ...(startedAt === undefined ? {} : { startedAt }),
        ...(endedAt === undefined ? {} : { endedAt }),
        ...(result === undefined
          ? {}
          : result._tag === "Exited"
            ? { exitCode: result.exitCode, host: result.host, durationMillis: Duration.toMillis(result.duration) }
            : { problem: result.error.message })
      })),
      {
        columns: ["JOB", "STATE", "EXIT", "RUNS", "SUBMITTED", "HOST", "SOURCE", "COMMAND"],
        row: ({ command, exitCode, host, id, problem, runs, source, state, submittedAt }) => [
          id,
          problem === undefined ? state : "failed",
          exitCode === undefined ? undefined : String(exitCode),
          String(runs),
          submittedAt,
          host,
          source,
          command.join(" ")
        ],
        none: "The fleet has no jobs. Run one: lightbox fleet run --image IMAGE -- COMMAND"
      },
      listing
    )
  }, Effect.scoped)
).pipe(Command.withDescription("List the jobs of a fleet, the latest first"))
