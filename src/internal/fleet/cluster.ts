/**
 * Effect's cluster in the database of a directory. It decides which host conducts a job, and gives it to another when that
 * one dies.
 *
 * Hosts do not speak to each other for that. All messages are rows, which hosts poll, so no port is opened that would need
 * tokens and certificates of its own. Whether a host lives is known from its beats in the directory.
 */
import * as NodeCrypto from "@effect/platform-node-shared/NodeCrypto"
import * as Cause from "effect/Cause"
import * as ClusterSchema from "effect/cluster/ClusterSchema"
import * as ClusterWorkflowEngine from "effect/cluster/ClusterWorkflowEngine"
import * as EntityAddress from "effect/cluster/EntityAddress"
import * as EntityId from "effect/cluster/EntityId"
import * as EntityType from "effect/cluster/EntityType"
import * as MessageStorage from "effect/cluster/MessageStorage"
import * as RunnerAddress from "effect/cluster/RunnerAddress"
import * as RunnerHealth from "effect/cluster/RunnerHealth"
import * as Runners from "effect/cluster/Runners"
import * as Sharding from "effect/cluster/Sharding"
import * as ShardingConfig from "effect/cluster/ShardingConfig"
import * as SqlMessageStorage from "effect/cluster/SqlMessageStorage"
import * as SqlRunnerStorage from "effect/cluster/SqlRunnerStorage"
import type * as Digest from "effect/crypto/Digest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as LogLevel from "effect/LogLevel"
import * as Option from "effect/Option"
import * as References from "effect/References"
import * as Schema from "effect/Schema"
import * as SqlClient from "effect/sql/SqlClient"
import * as Workflow from "effect/workflow/Workflow"
import type * as WorkflowEngine from "effect/workflow/WorkflowEngine"
import { HostUnavailable, LightboxError, Unsupported } from "../../LightboxError.ts"
import { isAlive, type Directory } from "../directory/directory.ts"
import type { JobRow } from "../directory/jobs.ts"

/** Hosts of other architectures cannot conduct a job: they would place it among their own kind. */
export const architectures: ReadonlyArray<string> = ["x64", "arm64"]

/** What all members of a fleet must agree on. With another number of shards, a message waits where nobody looks. */
const settings = { version: 1, shards: 64, groups: ["default", ...architectures], prefix: "lightbox_cluster" }

const limit = Duration.seconds(10)

/** The services of the cluster in a program. */
export type Services = WorkflowEngine.WorkflowEngine | Sharding.Sharding | MessageStorage.MessageStorage | Digest.Digest

const makeWorkflow = (architecture: string) =>
  Workflow.make(`Job/${architecture}`, {
    payload: { id: Schema.String, execution: Schema.String },
    idempotencyKey: ({ execution }) => execution
  }).annotate(ClusterSchema.ShardGroup, () => architecture)

const workflows = new Map(architectures.map((architecture) => [architecture, makeWorkflow(architecture)]))

/** The workflow of a job on hosts of an architecture. A record of the directory says what is to be done. */
export const workflowOf = (architecture: string) => workflows.get(architecture) ?? makeWorkflow(architecture)

/** Refuses a fleet whose members have agreed on something else. */
export const agree = Effect.fnUntraced(function* (
  method: string,
  directory: Directory
): Effect.fn.Return<void, LightboxError> {
  const own = JSON.stringify(settings)
  if ((yield* directory.agree("cluster", own)) === own) return
  const problem = "its hosts are of another version of this library, which runs jobs in another way"
  return yield* new LightboxError({ method, reason: new Unsupported({ feature: "jobs of this fleet", problem }) })
})

/** Reads the beats of hosts. What cannot be read is no reason to take a job from its host. */
const healthOf = (directory: Directory): RunnerHealth.RunnerHealth["Service"] => ({
  isAlive: ({ host }) =>
    directory.hosts.pipe(
      Effect.map((all) => all.some((other) => other.id === host && isAlive(other))),
      Effect.orElseSucceed(() => true)
    )
})

/**
 * Joins the cluster: with `host`, as a host of an architecture that conducts jobs, else as a program that asks for them.
 *
 * Locks are rows with a time, because the server's own locks count by the position of a group among those that a host knows.
 */
export const layer = (
  directory: Directory,
  member?: { readonly host: string; readonly architecture: string }
): Layer.Layer<Services, LightboxError> => {
  const config = ShardingConfig.layer({
    runnerAddress: member === undefined ? Option.none() : Option.some(RunnerAddress.make(member.host, 1)),
    availableShardGroups: settings.groups,
    // The cluster's own work is in the first one.
    assignedShardGroups: member === undefined ? [] : ["default", member.architecture],
    shardsPerGroup: settings.shards,
    shardLockDisableAdvisory: true,
    shardLockRefreshInterval: Duration.seconds(5),
    shardLockExpiration: Duration.seconds(20),
    entityMessagePollInterval: Duration.seconds(1),
    refreshAssignmentsInterval: Duration.seconds(1),
    runnerHealthCheckInterval: Duration.seconds(5),
    // A host that stops ends its sandboxes: another may begin at once.
    entityTerminationTimeout: Duration.seconds(1),
    simulateRemoteSerialization: false
  })
  const prefix = { prefix: settings.prefix }
  const storage = Layer.mergeAll(SqlMessageStorage.layerWith(prefix), SqlRunnerStorage.layerWith(prefix))
  const problem = (cause: { readonly message: string }) =>
    new LightboxError({
      method: "Fleet",
      reason: new HostUnavailable({
        host: directory.url,
        kind: "Unreachable",
        problem: `the directory cannot be used for jobs: ${cause.message}`,
        cause
      })
    })
  const cluster = ClusterWorkflowEngine.layer.pipe(
    Layer.provideMerge(Sharding.layer),
    Layer.provide(Layer.mergeAll(Runners.layerNoop, Layer.succeed(RunnerHealth.RunnerHealth, healthOf(directory)))),
    Layer.provideMerge(storage),
    Layer.provide(config),
    Layer.provide(Layer.succeed(SqlClient.SqlClient, directory.sql)),
    Layer.provideMerge(NodeCrypto.layerDigest),
    Layer.catchCause((cause) => Layer.effectContext(Effect.fail(problem(new Error(Cause.pretty(cause))))))
  )
  // Hosts say themselves that the directory is away, once. The cluster would say so every second.
  return Layer.unwrap(
    Effect.map(References.MinimumLogLevel, (level) =>
      Layer.provide(
        cluster,
        Layer.succeed(References.MinimumLogLevel, LogLevel.isGreaterThan("Info", level) ? level : "Error")
      )
    )
  )
}

/** Has a host conduct a job, unless one does. The directory keeps the order if it answers. */
export const dispatch = (
  method: string,
  url: string,
  job: Pick<JobRow, "id" | "execution" | "architecture">
): Effect.Effect<void, LightboxError, WorkflowEngine.WorkflowEngine | Digest.Digest> => {
  const lost = (problem: string) =>
    new LightboxError({ method, reason: new HostUnavailable({ host: url, kind: "Lost", problem }) })
  return workflowOf(job.architecture)
    .execute({ id: job.id, execution: job.execution }, { discard: true })
    .pipe(
      // It waits for a database that is away.
      Effect.timeoutOrElse({
        duration: limit,
        orElse: () => Effect.fail(lost(`the directory has not answered for ${Duration.toSeconds(limit)} s`))
      }),
      Effect.catchDefect((defect) =>
        Effect.fail(lost(`the directory failed: ${defect instanceof Error ? defect.message : String(defect)}`))
      ),
      Effect.asVoid
    )
}

/** Removes what the cluster has of a job that the directory has forgotten. */
export const forget = Effect.fnUntraced(function* (job: Pick<JobRow, "execution" | "architecture">) {
  const workflow = workflowOf(job.architecture)
  const sharding = yield* Sharding.Sharding
  const storage = yield* MessageStorage.MessageStorage
  const entityId = EntityId.make(yield* workflow.executionId({ id: "", execution: job.execution }))
  yield* storage.clearAddress(
    EntityAddress.make({
      entityType: EntityType.make(`Workflow/${workflow._tag}`),
      entityId,
      shardId: sharding.getShardId(entityId, job.architecture)
    })
  )
})
