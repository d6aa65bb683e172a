/** `up`. */
import * as Command from "effect/cli/Command"
import type { Environment } from "effect/cli/Command"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Stream from "effect/Stream"
import type { Services } from "../../../Driver.ts"
import type * as Job from "../../../Job.ts"
import { isLightboxError } from "../../../LightboxError.ts"
import * as Snapshot from "../../../Snapshot.ts"
import * as Sandbox from "../../../Sandbox.ts"
import { invalid } from "../../config/validation.ts"
import { endpoint } from "../../driver/ports.ts"
import * as Plain from "../../promise/definition.ts"
import { write } from "../../report/output.ts"
import { driver, Json, Outputs, printList, toJson } from "../environment.ts"
import * as Flags from "../flags.ts"
import { describe } from "../jobs.ts"
import * as Shapes from "../json.ts"
import * as Status from "../status.ts"
import { importModule } from "./definitions.ts"

interface Members {
  readonly [name: string]: Sandbox.GroupMember<unknown, Environment | Services>
}

// The group checks each member. The requirements of effects cannot be checked at runtime.
const isMembers = (u: unknown): u is Members => Predicate.isObject(u)

const encodeLine = toJson(Shapes.GroupOutput)

/** Prints the output of a service, and how it ended. */
const follow = Effect.fnUntraced(function* (member: string, job: Job.Job) {
  const isJson = yield* Json
  const { stderr, stdout } = yield* Outputs
  yield* job.logs({ follow: true }).pipe(
    Stream.flatMap((event) => (event._tag === "Output" ? Stream.succeed(event.bytes) : Stream.empty)),
    Stream.decodeText,
    Stream.splitLines,
    Stream.runForEach((line) =>
      write(stdout, isJson ? `${encodeLine({ member, service: job.id, line })}\n` : `${member}/${job.id} | ${line}\n`)
    )
  )
  if (!isJson) yield* write(stderr, `${member}/${job.id} ${describe(yield* job.wait)}\n`)
})

export const up = Command.make(
  "up",
  { file: Flags.file("JavaScript or TypeScript module whose default export has the options of each member") },
  Effect.fnUntraced(function* ({ file }) {
    const exported = yield* importModule("up", file, 0)
    const members = Predicate.hasProperty(exported, "default") ? exported.default : undefined
    if (!isMembers(members) || Snapshot.isDefinition(members) || Plain.isConfig(members)) {
      return yield* invalid(
        "up",
        "FILE",
        `${file} has no default export with members, such as { db: { snapshot: "db" } }`
      )
    }
    const launched = Object.entries(
      yield* Sandbox.group(members).pipe(
        Effect.mapError((error) => (isLightboxError(error) ? error : new Status.StepFailed({ error })))
      )
    )
    yield* printList(
      Shapes.Group,
      launched.map(([member, { name, ports }]) => ({ member, name, ports })),
      {
        columns: ["MEMBER", "SANDBOX", "PORTS"],
        row: ({ member, name, ports }) => [
          member,
          name,
          ports.map(({ guest, ...at }) => `${endpoint(at)}->${guest}`).join(", ") || "-"
        ],
        none: "The group has no members."
      }
    )
    const followed = Effect.forEach(
      launched,
      Effect.fnUntraced(function* ([member, sandbox]) {
        const jobs = yield* sandbox.jobs
        yield* Effect.forEach(jobs, ({ id }) => Effect.flatMap(sandbox.job(id), (job) => follow(member, job)), {
          concurrency: "unbounded"
        })
      }),
      { concurrency: "unbounded", discard: true }
    )
    const lost = launched.map(([, { guest }]) => Effect.flatMap(guest.lost, Effect.fail))
    return yield* Effect.raceAllFirst([Effect.andThen(followed, Effect.never), ...lost])
  }, Effect.scoped)
).pipe(
  Command.withDescription("Run a group of sandboxes that reach each other, until Ctrl+C or until one stops"),
  Command.withExamples([
    { command: "lightbox up group.ts", description: "Start the members in order, and print what their services write" }
  ]),
  Command.provide(driver())
)
