/**
 * Launches agents side by side, which go on working when this script is through.
 *
 * Build it first: presets/coding-agents.promise.ts
 */
import { launchSandbox } from "effect-lightbox/promise"

await Promise.all(["agent-1", "agent-2"].map((name) => launchSandbox({ snapshot: "lightbox", name, detached: true })))
