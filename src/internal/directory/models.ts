/** What hosts say about themselves. */
import * as Schema from "effect/Schema"

export const Labels = Schema.Record(Schema.String, Schema.String)

export const Capabilities = Schema.Struct({
  snapshots: Schema.Boolean,
  images: Schema.Boolean,
  volumes: Schema.Boolean,
  volumeFiles: Schema.Boolean,
  bindMounts: Schema.Boolean,
  diskMounts: Schema.Boolean,
  patches: Schema.Boolean,
  ports: Schema.Boolean,
  kill: Schema.Boolean,
  modify: Schema.Boolean,
  logs: Schema.Boolean,
  metrics: Schema.Boolean,
  captureRunning: Schema.Boolean,
  fork: Schema.Boolean,
  memorySnapshots: Schema.Boolean,
  liveNetwork: Schema.Boolean,
  pause: Schema.Boolean
})

export const FleetHost = Schema.Struct({
  id: Schema.String,
  status: Schema.Literals(["ready", "cordoned", "stopped", "away"]),
  address: Schema.String,
  sandboxes: Schema.Finite,
  memory: Schema.Finite,
  used: Schema.Finite,
  cpus: Schema.Finite,
  architecture: Schema.String,
  labels: Labels,
  version: Schema.String,
  seenMillisAgo: Schema.Finite,
  reason: Schema.optional(Schema.String)
})
