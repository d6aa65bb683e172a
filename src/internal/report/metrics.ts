import * as Metric from "effect/Metric"

export const bootRetries = Metric.counter("lightbox_boot_retries", {
  description: "Boots that exceeded the boot time limit and were tried again",
  incremental: true
})

export const sdkRetries = Metric.counter("lightbox_sdk_retries", {
  description: "Calls of the SDK repeated after a transient failure",
  incremental: true
})

export const stepsRun = Metric.counter("lightbox_build_steps_run", {
  description: "Build steps that were run",
  incremental: true
})

export const stepsReused = Metric.counter("lightbox_build_steps_reused", {
  description: "Build steps whose result was reused",
  incremental: true
})

export const waitingLaunches = Metric.gauge("lightbox_launches_waiting", {
  description: "Launches that wait for room in the budget of this process"
})
