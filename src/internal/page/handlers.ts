/** Answers what the page asks. */
import * as Arr from "effect/Array"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import type * as Cleanup from "../../Cleanup.ts"
import type * as Job from "../../Job.ts"
import * as Lightbox from "../../Lightbox.ts"
import type { LightboxError } from "../../LightboxError.ts"
import * as Microsandbox from "../../Microsandbox.ts"
import * as Sandbox from "../../Sandbox.ts"
import * as SandboxRecord from "../../SandboxRecord.ts"
import * as Snapshot from "../../Snapshot.ts"
import * as Volume from "../../Volume.ts"
import { GuestPath } from "../config/schemas.ts"
import { decoder } from "../config/validation.ts"
import * as FailureText from "../report/failureText.ts"
import * as Logs from "../sandbox/logs.ts"
import * as Builds from "./builds.ts"
import * as Changes from "./changes.ts"
import * as Protocol from "./protocol.ts"
import * as Terminals from "./terminals.ts"

const method = "Page.serve"

/** Names whose generations are read at once. */
const concurrency = 8

const problemOf = (error: LightboxError): Protocol.Problem => {
  const hint = FailureText.hintFor("cli", error)
  return { problem: FailureText.what(error), reason: error.reason._tag, ...(hint === undefined ? {} : { hint }) }
}

const telling = <A, R>(effect: Effect.Effect<A, LightboxError, R>): Effect.Effect<A, Protocol.Problem, R> =>
  Effect.mapError(effect, problemOf)

const tellingAll = <A, R>(stream: Stream.Stream<A, LightboxError, R>): Stream.Stream<A, Protocol.Problem, R> =>
  Stream.mapError(stream, problemOf)

const millis = DateTime.toEpochMillis

const jobOf = ({ argv, id, startedAt, status, terminal }: Job.Info): Protocol.Job => ({
  id,
  argv,
  terminal,
  startedAt: millis(startedAt),
  status: statusOf(status),
  state:
    status._tag === "Running" ? "running" : status._tag === "Exited" && status.exitCode === 0 ? "succeeded" : "failed"
})

const statusOf = (status: Job.Status): string => {
  switch (status._tag) {
    case "Running":
      return "running"
    case "Exited":
      return `exited with ${status.exitCode}`
    case "Signaled":
      return `ended by ${typeof status.signal === "number" ? `signal ${status.signal}` : status.signal}`
    case "Lost":
      return "lost"
  }
}

const generationOf = ({ build, createdAt, generation, isCurrent, key }: Snapshot.Generation) => ({
  generation,
  key,
  isCurrent,
  createdAt: millis(createdAt),
  steps: build?.steps ?? [],
  ...(build === undefined ? {} : { image: build.image })
})

const verdictOf = ({ bytes, definition, name, reason, usedAt, verdict }: Cleanup.Verdict): Protocol.Verdict => ({
  name,
  verdict,
  reason,
  ...(definition === undefined ? {} : { definition }),
  ...(bytes === undefined ? {} : { bytes }),
  ...(usedAt === undefined ? {} : { usedAt: millis(usedAt) })
})

const volumeOf = ({ createdAt, kind, labels, name, path, quota }: Microsandbox.VolumeInfo): Protocol.Volume => ({
  name,
  kind,
  path,
  labels,
  ...(quota === undefined ? {} : { quota }),
  ...(createdAt === undefined ? {} : { createdAt: millis(createdAt) })
})

const endedOf = (record: SandboxRecord.Summary): Protocol.Ended => {
  const { by, createdAt, endedAt, id, image, name, reason, snapshot, status } = record
  return {
    id,
    name,
    status,
    reason,
    endedAt: millis(endedAt),
    ...by,
    ...(image === undefined ? {} : { image }),
    ...(snapshot === undefined ? {} : { snapshot }),
    ...(createdAt === undefined ? {} : { createdAt: millis(createdAt) })
  }
}

const decodePath = decoder(GuestPath, method, "path")

/** Does something with a sandbox, to which it is connected meanwhile. */
const within = <A>(name: string, use: (sandbox: Sandbox.Sandbox) => Effect.Effect<A, LightboxError>) =>
  telling(Effect.scoped(Effect.flatMap(Sandbox.connect(name), use)))

const streaming = <A>(name: string, use: (sandbox: Sandbox.Sandbox) => Stream.Stream<A, LightboxError>) =>
  tellingAll(Stream.unwrap(Effect.map(Sandbox.connect(name), use)))

/** Makes the layer of all operations. */
export const layer = Protocol.operations.toLayer(
  Effect.gen(function* () {
    const driver = yield* Microsandbox.Microsandbox
    const interval = yield* Changes.Interval
    const builds = yield* Builds.make(driver)
    const changes = yield* Changes.make(driver, builds)
    const terminals = Terminals.make()

    return {
      watch: () => changes,
      build: ({ id }) => tellingAll(builds.follow(id)),
      buildLog: ({ id, index }) => tellingAll(builds.log(id, index)),

      logs: ({ name, system }) =>
        tellingAll(
          Stream.unwrap(
            Effect.map(driver.getSandbox(name), (info) => {
              const decode = Logs.sessionDecoder()
              return Logs.read(driver, info, {
                follow: true,
                tail: Protocol.logTail,
                sources: system ? Microsandbox.LogEntry.fields.source.literals : undefined
              }).pipe(
                Stream.map((entry): Protocol.LogEntry => ({
                  at: millis(entry.timestamp),
                  source: entry.source,
                  text: decode(entry)
                }))
              )
            })
          )
        ).pipe(
          Stream.mapArray((entries) => Arr.chunksOf(entries, Protocol.maxRows)),
          Stream.rechunk(1)
        ),
      jobs: ({ name }) =>
        streaming(name, (sandbox) =>
          Stream.fromEffectSchedule(sandbox.jobs, Schedule.spaced(interval)).pipe(
            Stream.map((jobs) => jobs.map(jobOf)),
            Stream.changesWith((a, b) => JSON.stringify(a) === JSON.stringify(b))
          )
        ),
      jobLog: ({ id, name }) =>
        streaming(name, (sandbox) => {
          // A job keeps both of its outputs as one.
          const decoder = new TextDecoder()
          return Stream.unwrap(Effect.map(sandbox.job(id), (job) => job.logs({ follow: true }))).pipe(
            Stream.map((event) =>
              event._tag === "Output"
                ? decoder.decode(event.bytes, { stream: true })
                : `${decoder.decode()}\n[${event.bytes === 0 ? "output" : `${event.bytes} bytes`} not kept]\n`
            ),
            Stream.rechunk(1)
          )
        }),
      files: ({ name, path }) =>
        within(
          name,
          Effect.fnUntraced(function* (sandbox) {
            const found = yield* sandbox.readDirectoryEntries(yield* decodePath(path))
            return {
              isComplete: found.length <= Protocol.maxEntries,
              entries: found
                .slice(0, Protocol.maxEntries)
                .map(({ gid, mode, mtime, path, size, type, uid }): Protocol.Entry => ({
                  type,
                  size,
                  mode,
                  uid,
                  gid,
                  name: path.slice(path.lastIndexOf("/") + 1),
                  ...(mtime === undefined ? {} : { mtime: millis(mtime) })
                }))
            }
          })
        ),
      file: ({ name, path }) =>
        within(
          name,
          Effect.fnUntraced(function* (sandbox) {
            const file = yield* decodePath(path)
            if ((yield* sandbox.stat(file)).type === "Directory") {
              return { folder: yield* sandbox.realPath(file), isText: false, isComplete: true, text: "" }
            }
            const pieces = yield* Stream.runCollect(sandbox.stream(file, { bytesToRead: Protocol.maxFileBytes + 1 }))
            const bytes = Buffer.concat(pieces)
            const shown = bytes.subarray(0, Protocol.maxFileBytes)
            const isText = !shown.includes(0)
            return {
              isText,
              isComplete: bytes.length <= Protocol.maxFileBytes,
              text: isText ? shown.toString("utf8") : ""
            }
          })
        ),
      forward: ({ name, port }) =>
        streaming(name, (sandbox) =>
          Stream.unwrap(
            Effect.map(sandbox.forward(port), ({ closed, url }) =>
              Stream.concat(Stream.succeed({ url }), Stream.drain(Stream.fromEffect(closed)))
            )
          )
        ),
      terminal: ({ columns, id, name, rows }) =>
        tellingAll(terminals.open(id, name, { rows, columns })).pipe(
          Stream.map((bytes) => Buffer.from(bytes).toString("base64"))
        ),
      type: ({ id, text }) => telling(terminals.type(id, text)),
      resize: ({ columns, id, rows }) => telling(terminals.resize(id, { rows, columns })),
      // By its id: the name may be that of another one by now.
      stop: ({ id, name }) => telling(driver.stopSandbox({ name, id })),

      ended: ({ name }) => telling(Effect.map(SandboxRecord.list({ name }), (all) => all.map(endedOf))),
      endedDetail: ({ id }) =>
        telling(
          Effect.map(SandboxRecord.get(id), ({ output, system, ...summary }) => ({
            ...endedOf(summary),
            output,
            system
          }))
        ),

      snapshots: ({ keep, olderThan }) =>
        telling(
          Effect.gen(function* () {
            const [snapshots, report] = yield* Effect.all(
              [
                Snapshot.list(),
                Snapshot.prune({
                  dryRun: true,
                  keep,
                  olderThan: olderThan === undefined ? undefined : Duration.days(olderThan)
                })
              ],
              { concurrency: 2 }
            )
            const names = yield* Effect.forEach(
              snapshots,
              ({ allocated, createdAt, generation, image, labels, name, size }) =>
                Effect.map(
                  // It can be removed meanwhile, and those of other tools have none.
                  Effect.orElseSucceed(Snapshot.generations(name), () => []),
                  (generations) => ({
                    name,
                    image,
                    labels,
                    createdAt: millis(createdAt),
                    generations: generations.map(generationOf),
                    ...(generation === undefined ? {} : { generation }),
                    ...(size === undefined ? {} : { size }),
                    ...(allocated === undefined ? {} : { allocated })
                  })
                ),
              { concurrency }
            )
            return { names, verdicts: report.verdicts.map(verdictOf), freedBytes: report.freedBytes }
          })
        ),
      volumes: () => telling(Effect.map(Volume.list(), (volumes) => volumes.map(volumeOf))),
      volumeUsage: ({ name }) => telling(Effect.map(Volume.usage(name), ({ used }) => used)),
      hosts: () => telling(driver.hosts ?? Effect.succeed([])),
      doctor: () =>
        telling(Lightbox.doctor({ home: driver.home })).pipe(
          Effect.map(({ findings }) =>
            findings.map(({ found, remedy, status, topic }) => ({
              topic,
              status,
              found,
              ...(remedy === undefined || remedy === "" ? {} : { remedy })
            }))
          )
        )
    }
  })
)
