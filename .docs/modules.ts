/** The public modules, in the order and the groups of the site's navigation. A test demands every one of them. */
export const modules: ReadonlyArray<{ readonly title: string; readonly names: ReadonlyArray<string> }> = [
  {
    title: "Resources",
    names: [
      "Snapshot",
      "Sandbox",
      "Job",
      "Interpreter",
      "Probe",
      "SandboxPool",
      "SandboxRecord",
      "SandboxProxy",
      "SandboxServices",
      "SandboxTools",
      "Volume",
      "Mount",
      "Network",
      "Image",
      "Preset",
      "SandboxConfig"
    ]
  },
  { title: "Builds", names: ["Plan", "BuildEvent", "BuildRecord", "BuildReporter"] },
  {
    title: "Drivers",
    names: [
      "Microsandbox",
      "MicrosandboxLocal",
      "MicrosandboxCloud",
      "MicrosandboxRemote",
      "MicrosandboxFleet",
      "Fleet",
      "Gateway",
      "MicrosandboxMemory",
      "Driver",
      "Ownership",
      "Admission",
      "Guest"
    ]
  },
  { title: "Programs", names: ["Lightbox", "LightboxError", "Reaper", "Cleanup", "Page"] },
  { title: "Without Effect", names: ["promise", "presets"] },
  { title: "Tests", names: ["testing", "vitest"] },
  { title: "Preview", names: ["preview", "MicrosandboxPreview"] },
  { title: "Agent frameworks", names: ["ai-sdk", "claude-agent", "deepagents", "computesdk"] }
]
