/** What `tsc` must accept: the values of each adapter where its framework takes them. */
import type { HarnessV1NetworkSandboxSession, HarnessV1SandboxProvider } from "@ai-sdk/harness"
import type { SpawnedProcess, SpawnOptions } from "@anthropic-ai/claude-agent-sdk"
import type { Experimental_SandboxSession } from "ai"
import type { defineProvider } from "@computesdk/provider"
import type { SandboxBackendProtocolV2 } from "deepagents"
import type * as AiSdk from "../../../src/ai-sdk.ts"
import type * as ClaudeAgent from "../../../src/claude-agent.ts"
import type * as ComputeSdk from "../../../src/computesdk.ts"
import type * as DeepAgents from "../../../src/deepagents.ts"
import type { Sandbox } from "../../../src/promise.ts"

type Accepts<Theirs, Ours extends Theirs> = Ours

/** Fails to compile where a framework no longer takes what an adapter makes. */
export type Accepted = [
  Accepts<Experimental_SandboxSession, AiSdk.SandboxSession>,
  Accepts<HarnessV1NetworkSandboxSession, AiSdk.NetworkSandboxSession>,
  Accepts<HarnessV1SandboxProvider, AiSdk.SandboxProvider>,
  Accepts<(options: SpawnOptions) => SpawnedProcess, ReturnType<typeof ClaudeAgent.spawnInSandbox>>,
  Accepts<SandboxBackendProtocolV2, DeepAgents.SandboxBackend>,
  Accepts<
    Parameters<
      typeof defineProvider<Sandbox, ComputeSdk.ProviderConfig, ComputeSdk.SnapshotInfo, ComputeSdk.SnapshotInfo>
    >[0],
    typeof ComputeSdk.provider
  >
]
