/**
 * The public spans of the library, as the guide to telemetry lists them. `telemetry.test.ts` compares them with the code,
 * and with what runs on the twin emit.
 */

/** Operations of `Sandbox` that are those of a file system. */
const files = [
  "readFile",
  "readFileString",
  "stream",
  "writeFile",
  "writeFileString",
  "makeDirectory",
  "readDirectory",
  "readDirectoryEntries",
  "exists",
  "stat",
  "rename",
  "copyFile",
  "realPath",
  "readLink",
  "symlink"
]

/** Operations by module: each has a span of its name. */
export const operations: { readonly [module: string]: ReadonlyArray<string> } = {
  Snapshot: [
    "build",
    "buildScoped",
    "step",
    "plan",
    "fromDockerfile",
    "capture",
    "diff",
    "list",
    "get",
    "exists",
    "tag",
    "generations",
    "rollback",
    "remove",
    "prune",
    "save",
    "load",
    "push",
    "pull"
  ],
  Sandbox: [
    "launch",
    "group",
    "connect",
    "getOrCreate",
    "fork",
    "start",
    "restart",
    "stop",
    "kill",
    "pause",
    "resume",
    "remove",
    "list",
    "get",
    "waitFor",
    "exec",
    "execStream",
    "spawn",
    "attach",
    "jobs",
    "job",
    "waitUntil",
    "forward",
    "copyIn",
    "copyOut",
    "info",
    "metrics",
    "modify",
    "growRootDisk",
    "ping",
    "touch",
    "detach",
    "detachFor",
    ...files
  ],
  Job: ["info", "status", "logs", "wait", "signal", "write", "endInput", "resize", "attach", "remove"],
  SandboxPool: ["make", "acquire"],
  Interpreter: ["make", "run", "runStream", "interrupt", "restart"],
  Volume: ["ensure", "scoped", "exclusive", "prime", "files", "usage", "list", "get", "exists", "remove", "prune"],
  Image: ["load", "save", "list", "get", "remove", "prune"],
  BuildRecord: ["list", "get"],
  SandboxRecord: ["list", "get"],
  Reaper: ["sweep"],
  Lightbox: ["doctor"],
  SandboxProxy: ["make"],
  Gateway: ["serve"],
  Fleet: ["run", "jobs"],
  Page: ["serve"]
}

/** Those of `Sandbox` whose spans do not name a sandbox: they have several, or move files. */
const unnamed = new Set(["group", "fork", "list", "forward", ...files])

const named = (operations["Sandbox"] ?? []).filter((name) => !unnamed.has(name)).map((name) => `Sandbox.${name}`)

/** An attribute, and the spans that can have it. */
export interface Attribute {
  readonly name: string
  readonly spans: ReadonlyArray<string>
  /** The spans, in words, if they are many. */
  readonly on?: string
  readonly meaning: string
}

export const attributes: ReadonlyArray<Attribute> = [
  {
    name: "lightbox.snapshot",
    spans: ["Snapshot.build", "Snapshot.step", "Sandbox.launch"],
    meaning: "name of the snapshot, or of the result that is booted"
  },
  {
    name: "lightbox.image",
    spans: ["Snapshot.build", "Sandbox.launch"],
    meaning: "reference of the image it starts from"
  },
  { name: "lightbox.steps", spans: ["Snapshot.build"], meaning: "steps of the definition" },
  { name: "lightbox.steps.run", spans: ["Snapshot.build"], meaning: "steps that were run; only if the build succeeds" },
  { name: "lightbox.steps.reused", spans: ["Snapshot.build"], meaning: "steps whose result was reused; likewise" },
  { name: "lightbox.step.index", spans: ["Snapshot.step"], meaning: "position of the step, from 1" },
  {
    name: "lightbox.step.description",
    spans: ["Snapshot.step"],
    meaning: "what the step does, as in a plan; secrets of the build are replaced"
  },
  { name: "lightbox.step.attempt", spans: ["Snapshot.step"], meaning: "1, and more when a step is retried" },
  {
    name: "lightbox.sandbox",
    spans: [...named, "SandboxPool.acquire"],
    on: "`SandboxPool.acquire`, and those of `Sandbox` except for `group`, `fork`, `list`, `forward` and files",
    meaning: "name of the sandbox"
  },
  {
    name: "lightbox.resumed",
    spans: ["Sandbox.launch"],
    meaning: "`memory`, if it resumed the machine of a snapshot instead of booting"
  },
  {
    name: "lightbox.exit_code",
    spans: ["Sandbox.exec"],
    meaning: "exit code of the command, unless the operation fails"
  },
  { name: "lightbox.swept.removed", spans: ["Reaper.sweep"], meaning: "what dead processes left, and is removed now" },
  { name: "lightbox.swept.failed", spans: ["Reaper.sweep"], meaning: "what could not be removed" }
]
