/**
 * The inventory of lightbox 0.3: everything that it has or says, numbered, each with its proof here: a test, a
 * place in a document, or the reason for its absence.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"

const root = fileURLToPath(new URL("../..", import.meta.url))

const read = (path: string): string => Fs.readFileSync(Path.join(root, path), "utf8")

type Words = readonly [string, ...Array<string>]

type Proof =
  | { readonly _tag: "Test"; readonly path: string; readonly names: Words }
  | { readonly _tag: "Document"; readonly path: string; readonly texts: Words }
  | { readonly _tag: "Reason"; readonly reason: string }

type Entry = readonly [what: string, proof: Proof, ...more: ReadonlyArray<Proof>]

const test =
  (path: string) =>
  (...names: Words): Proof => ({ _tag: "Test", path, names })

const sandboxes = test("test/promise/sandboxes.test.ts")
const snapshots = test("test/promise/snapshots.test.ts")
const volumes = test("test/promise/volumes.test.ts")
const exec = test("test/promise/exec.test.ts")
const files = test("test/promise/files.test.ts")
const endings = test("test/promise/endings.whole.test.ts")
const presets = test("test/promise/presets.test.ts")
const packaged = test("test/package/package.whole.test.ts")
const native = test("test/promise/native.test.ts")
const microvm = test("test/promise/promise.vm.test.ts")

const guide = (...texts: Words): Proof => ({
  _tag: "Document",
  path: "examples/lightbox/README.md",
  texts
})

const reason = (reason: string): Proof => ({ _tag: "Reason", reason })

const compiles = packaged("compiles in a program without Effect with %s")

const inventory: { readonly [number: number]: Entry } = {
  // A. Package and install
  1: ["two entry points, as ES modules with types", packaged("can be imported, module by module"), compiles],
  2: [
    "can be installed straight from git, by branch or tag",
    reason("it is a package of the registry; its `prepare` script allows git as well")
  ],
  3: ["built by `prepare` on the consumer's machine", packaged("contains the build, its sources, and nothing else")],
  4: [
    "needs no other installation: npm brings the runtime",
    packaged("can be imported, module by module"),
    reason("npm brings the runtime in a package of its own; nothing is fetched at first use")
  ],
  5: [
    "runs under Node.js and Bun, on macOS and Linux",
    native("works through promises under %s, where no microVM is needed"),
    packaged("works under Bun, as .%s")
  ],
  6: ["all types can be imported from the root", compiles],

  // B. Functions
  7: [
    "defineSnapshot returns its configuration, with its narrow type",
    snapshots("returns a configuration unchanged"),
    compiles
  ],
  8: ["buildSnapshot builds a configuration under its name", snapshots("build with every option of a configuration")],
  9: ["launchSandbox boots a sandbox from a snapshot", sandboxes("boots a sandbox from a snapshot, with every option")],
  10: [
    "runInSandbox launches, calls a function, and stops",
    sandboxes("returns the callback's result, after removing the sandbox")
  ],
  11: [
    "connectToSandbox returns a running sandbox by name",
    sandboxes("is unusable once detached, but can be connected to again")
  ],
  12: ["listSnapshots returns all snapshots of the machine", snapshots("list records in lightbox's shape")],
  13: ["snapshotExists tells whether a snapshot has the name", snapshots("list records in lightbox's shape")],
  14: [
    "removeSnapshot deletes a snapshot, with `force` even if others need it",
    snapshots("can be removed, even if missing")
  ],
  15: [
    "removeSandbox deletes a sandbox, and ignores a missing one",
    sandboxes("removes a stopped sandbox, and ignores a missing one", "removes a running sandbox only with force")
  ],
  16: [
    "ensureRuntime installs the runtime once",
    native("works through promises under %s, where no microVM is needed")
  ],
  17: [
    "listVolumes returns all volumes of the machine",
    volumes("are created with quota and labels, in lightbox's shape")
  ],
  18: [
    "volumeExists tells whether a volume has the name",
    volumes("are created with quota and labels, in lightbox's shape")
  ],
  19: ["ensureVolume creates a volume unless it exists", volumes("keep their settings if they exist")],
  20: [
    "removeVolume deletes a volume with its content",
    volumes("keep and measure what sandboxes write, until they are removed")
  ],
  21: ["shell makes a step from a script", snapshots("create steps with and without descriptions")],
  22: ["exec makes a step from a program and its arguments", snapshots("create steps with and without descriptions")],
  23: ["codingAgentsPreset returns the preset's configuration", presets("matches lightbox's documentation")],
  24: ["Sandbox, Snapshot, Volume, VolumeHandle, ExecHandle and ExecOutput are exported from the root", compiles],

  // C. Types
  25: [
    "type SnapshotConfig: what a snapshot is made of",
    compiles,
    snapshots("build with every option of a configuration")
  ],
  26: ["type PresetConfig: a configuration that has steps", compiles],
  27: [
    "type SetupStep: a script, or a step of either kind",
    compiles,
    snapshots("run scripts in a login shell, and programs without one")
  ],
  28: ["type SnapshotResources: processors and memory", compiles],
  29: ["type Memory: megabytes or gigabytes, as a string", compiles],
  30: ["type BuildOptions: overwrite, debugBuilder, verbose", compiles],
  31: ["type LaunchOptions: snapshot, name and every other option", compiles],
  32: ["type Mount: a folder of the host, or a volume", compiles, sandboxes("share a host folder, in every notation")],
  33: ["type SnapshotRecord: the record of a snapshot", compiles, snapshots("list records in lightbox's shape")],
  34: [
    "type VolumeRecord: the record of a volume",
    compiles,
    volumes("are created with quota and labels, in lightbox's shape")
  ],
  35: ["type EnsureVolumeOptions: quota and labels", compiles],
  36: ["type CodingAgentsPresetOptions: name, image, resources, labels", compiles],
  37: [
    "all types are in the file `src/types.ts`",
    reason("they are in `src/promise.ts`, beside the functions that take them")
  ],

  // D. Options and defaults
  38: [
    "`overwrite` of a build is true by default",
    snapshots("are overwritten by default, and not with overwrite false")
  ],
  39: [
    "`debugBuilder` keeps the builder, and is false by default",
    snapshots("keep the running builder of a build that %s, with debugBuilder", "remove the builder by default")
  ],
  40: [
    "`verbose` of a build prints the output of steps, and is false by default",
    snapshots("print nothing by default, and events and output with verbose")
  ],
  41: [
    "`overwrite` of a launch is true by default",
    sandboxes("replaces a sandbox with the same name, unless told not to")
  ],
  42: ["`verbose` of a launch is false by default", sandboxes("prints that it launches only with verbose")],
  43: [
    "`resources` of a launch override those of the snapshot",
    sandboxes("boots a sandbox from a snapshot, with every option"),
    guide("D6. `resources` of a launch")
  ],
  44: ["`workdir` of a launch must exist", sandboxes("boots a sandbox from a snapshot, with every option")],
  45: [
    "`env`, `ports` and `mounts` of a launch",
    sandboxes("boots a sandbox from a snapshot, with every option", "accepts ports given as numeric strings")
  ],
  46: ["`force` of a removal is false by default", sandboxes("removes a running sandbox only with force")],
  47: ["codingAgentsPreset has a name, an image and resources by default", presets("matches lightbox's documentation")],
  48: [
    "the builder is named after the snapshot",
    snapshots("keep the running builder of a build that %s, with debugBuilder")
  ],

  // E. Building
  49: [
    "a build removes or refuses, makes a builder, runs steps, flushes, stops, captures, cleans up",
    snapshots("build with every option of a configuration"),
    microvm("builds, keeps the builder, runs and mounts under Node.js")
  ],
  50: ["a build can be repeated", snapshots("boot nothing when they are up to date")],
  51: ["the disk is flushed after the last step", snapshots("fail when the disk cannot be flushed")],
  52: ["the first failing step ends the build", snapshots("fail with the failed step: %j")],
  53: ["the builder is removed after a failure, too", snapshots("fail with the failed step: %j")],
  54: [
    "a builder left by an earlier run is removed",
    snapshots("keep the running builder of a build that %s, with debugBuilder"),
    endings("by process.exit in the middle of %s, leaves the rest to the next run")
  ],
  55: [
    "`resources` are the builder's, `env` is its steps', `labels` are the snapshot's",
    snapshots(
      "set variables of a configuration for its steps, not for sandboxes",
      "build with every option of a configuration"
    )
  ],
  56: ["`workdir` of a configuration is for its steps", snapshots("create the working directory of steps")],
  57: ["`setup` is optional", snapshots("can be made from an image without steps")],
  58: [
    "shell steps run in a login shell, exec steps without one",
    snapshots("run scripts in a login shell, and programs without one")
  ],
  59: [
    "descriptions of steps are printed with `verbose`",
    snapshots("print nothing by default, and events and output with verbose")
  ],
  60: ["snapshots are stored in the home, and stay", snapshots("list records in lightbox's shape")],
  61: ["the lines that `verbose` prints", snapshots("print nothing by default, and events and output with verbose")],
  62: ["a build calls the SDK 0.4", reason("they no longer exist; the driver makes those of today")],

  // F. Launching
  63: [
    "a launch replaces a sandbox with the same name",
    sandboxes("replaces a sandbox with the same name, unless told not to")
  ],
  64: [
    "a sandbox ends with the process that launched it",
    endings(
      "when nothing is left to do after %s, releases everything",
      "in the middle of %s, by %s, releases everything, with status %s"
    )
  ],
  65: [
    "detach lets a sandbox outlive its process, and consumes the handle",
    sandboxes("is unusable once detached, but can be connected to again"),
    endings("keeps detached sandboxes: %s")
  ],
  66: ["stop shuts a sandbox down", sandboxes("stops, and keeps its record until it is removed")],
  67: [
    "runInSandbox stops the sandbox whatever happens",
    sandboxes(
      "returns the callback's result, after removing the sandbox",
      "removes the sandbox when the callback rejects or throws"
    )
  ],
  68: [
    "connectToSandbox uses a sandbox launched by another process",
    microvm("works with require, reuses the snapshot, and detaches a sandbox used under Bun")
  ],
  69: [
    "many sandboxes boot at once from one snapshot",
    sandboxes("boots many at once from one snapshot, each under its own name")
  ],
  70: [
    "a sandbox lives until its process ends, or a detached one until it is removed",
    endings("keeps detached sandboxes: %s", "when nothing is left to do after %s, releases everything")
  ],
  71: ["the first use may pull the image", guide("The image is being pulled. `onEvent` shows the progress")],
  72: ["a launch calls the SDK 0.4", reason("they no longer exist; the driver makes those of today")],

  // G. The sandbox handle
  73: [
    "exec of a sandbox runs a program with arguments",
    exec("returns the output and exit status of a program", "passes arguments unchanged, with empty input")
  ],
  74: ["shell of a sandbox runs a script in a login shell", exec("runs scripts in a login shell")],
  75: ["ExecOutput has the exit code and the output", exec("returns the output and exit status of a program")],
  76: ["execStream and shellStream emit events", exec("emits events in order", "runs scripts, too")],
  77: ["ExecEvent: started, stdout, stderr, exited", exec("emits events in order")],
  78: [
    "ExecHandle receives, waits, collects, writes, signals, kills, resizes",
    exec(
      "returns events one by one, and null after the last",
      "waits for the end, or collects the rest",
      "returns a writable stdin, once",
      "sends signals and kills",
      "gives a program a terminal that can be resized",
      "kills the program at the end of %s"
    )
  ],
  79: [
    "attach and attachShell pass a terminal through",
    exec("connects this process's input and output, and returns the exit code")
  ],
  80: [
    "fs reads, writes, lists and copies files",
    files(
      "writes and reads whole files, as text and bytes",
      "reads in chunks: all, one by one, or the rest",
      "writes in chunks, in order",
      "creates, lists and removes folders",
      "returns the metadata of a file",
      "copies, renames and removes files",
      "copies from and to the host, with permissions and relative paths"
    )
  ],
  81: [
    "stop, kill, detach and stopAndWait end or release a sandbox",
    sandboxes("stops, and keeps its record until it is removed", "is killed with everything that hangs in it")
  ],
  82: ["Sandbox.get, list, remove and builder", sandboxes("is found by name and in the list, running or not")],
  83: [
    "SandboxHandle has a name and a status, and can be connected to, started and ended",
    sandboxes("can be stopped, started, killed and removed by handle")
  ],
  84: [
    "builders and patches that only the SDK has",
    sandboxes("has no raw SDK object on the twin, and says so"),
    native("works through promises under %s, where no microVM is needed")
  ],
  85: [
    "Snapshot.get and list, Volume.get and list, and their builders",
    snapshots(
      "gets, lists, opens, verifies and removes snapshots",
      "captures a stopped sandbox, through either builder",
      "exports a snapshot to an archive, and imports it under another name"
    ),
    volumes("can be managed under the SDK's names"),
    guide("without `fs()`: mount the volume")
  ],

  // H. Mounts and volumes
  86: ["a path as a mount shares a folder of the host", sandboxes("share a host folder, in every notation")],
  87: [
    "a folder to mount must exist, and a missing volume is created",
    sandboxes("names the missing folder of a mount", "create a volume on first use, share it, and keep it")
  ],

  // I. Errors
  88: ["message: setup step exited with code N", snapshots("fail with the failed step: %j")],
  89: ["message: Snapshot already exists", snapshots("are overwritten by default, and not with overwrite false")],
  90: ["message: sync failed", snapshots("fail when the disk cannot be flushed")],
  91: ["message: Invalid port mapping", sandboxes("rejects the ports %j")],
  92: [
    "message: Invalid memory string",
    snapshots("explain how to write memory when it is invalid"),
    sandboxes("explains how to write memory when it is invalid")
  ],
  93: ["message: handle consumed", sandboxes("is unusable once detached, but can be connected to again")],
  94: [
    "a sandbox that is missing or already exists is an error",
    sandboxes(
      "is found by name and in the list, running or not",
      "replaces a sandbox with the same name, unless told not to"
    )
  ],
  95: [
    "errors have types",
    sandboxes("fails for a missing snapshot, and leaves nothing"),
    test("test/package/package.whole.test.ts")("compiles in a program without Effect with %s")
  ],

  // J. Troubleshooting
  96: ["trouble: Snapshot already exists", guide("You passed `overwrite: false`.")],
  97: ["trouble: a step failed", guide("`{ debugBuilder: true }` leaves the builder running")],
  98: ["trouble: sync failed", guide("The guest's file system is read-only, or out of memory")],
  99: ["trouble: writes are missing from the snapshot", guide("Something that a step wrote is not in the snapshot")],
  100: ["trouble: a launch seems to hang", guide("createDetachedWithPullProgress()")],
  101: ["trouble: ports that are not numbers", guide("Ports are numbers")],
  102: ["trouble: a sandbox disappears with the script", guide("A sandbox disappears when the script ends")],
  103: ["trouble: a volume needs another quota or other labels", guide("A volume keeps its old quota or labels")],

  // K. Traps
  104: [
    "trap: workdir must exist",
    snapshots("create the working directory of steps"),
    guide("it must exist in the snapshot, or be a mount")
  ],
  105: ["trap: unwritten pages are lost", snapshots("fail when the disk cannot be flushed")],
  106: [
    "trap: a launch ties the sandbox to the process",
    endings("when nothing is left to do after %s, releases everything")
  ],
  107: ["trap: Bun blocks install scripts", guide("`bun pm -g untrusted` lists them")],
  108: [
    "trap: a shared cache is cold for all who start at once",
    guide("D13. A shared cache"),
    test("test/Volume.test.ts")("is primed by the first caller while the others wait")
  ],
  109: ["trap: quota and labels only count at creation", volumes("keep their settings if they exist")],
  110: ["trap: volumes stay until removed", volumes("keep and measure what sandboxes write, until they are removed")],

  // L. Presets
  111: ["the preset installs four agents", presets("matches lightbox's documentation")],
  112: ["the preset has six steps, a working directory and labels", presets("matches lightbox's documentation")],
  113: ["the preset's steps can be extended", presets("returns a new object each time, which can be extended")],

  // M. Concepts
  114: ["which Docker command is which function", guide("`docker build` is `buildSnapshot`")],
  115: ["when to use a volume, a folder or a snapshot", guide("Put what never changes into the snapshot")],
  116: ["what volumes are good for", guide("caches, models, artifacts")],
  117: [
    "quotas of volumes are in MiB, labels tell them apart",
    volumes("are created with quota and labels, in lightbox's shape")
  ],

  // N. Migration
  118: ["how to migrate from 0.1 to 0.2", guide("## From 0.1 and 0.2")],
  119: ["how to migrate from 0.2 to 0.3", guide("Lightbox 0.3 added mounts and volumes")],
  120: ["what the functions of 0.1 were called", guide("`launchSandboxDetached(options)`")],

  // O. Repository
  121: [
    "folders: the library, examples, and documents as a site",
    reason("sources in `src`, programs to run in `examples`; documents are beside them, not a site")
  ]
}

/** The names of the tests in a file: the first argument of a call whose next is a function. */
const testsOf = (path: string): ReadonlySet<string> =>
  new Set(
    [...read(path).matchAll(/(?<!describe)\(\s*"((?:[^"\\]|\\.)*)",\s*(?:(?:\{[^{}]*\}|\w+),\s*)?(?:async )?\(/g)].map(
      ([, name = ""]) => name
    )
  )

const collapsed = (text: string): string => text.replaceAll(/\s+/g, " ")

describe("the inventory of lightbox 0.3", () => {
  it("has no number missing", () => {
    assert.deepStrictEqual(
      Object.keys(inventory).map(Number),
      Array.from({ length: 121 }, (_, index) => index + 1)
    )
  })

  it("describes each item, once", () => {
    const titles = Object.values(inventory).map(([what]) => what)
    assert.deepStrictEqual([...new Set(titles)], titles)
  })

  const claims = Object.entries(inventory).flatMap(([number, [what, ...proofs]]) => {
    const shown = proofs.flatMap((proof) => (proof._tag === "Reason" ? [] : [proof]))
    return shown.length === 0 ? [] : [{ number, what, shown }]
  })
  it.each(claims)("$number: $what", ({ shown }) => {
    for (const proof of shown) {
      if (proof._tag === "Test") assert.includeMembers([...testsOf(proof.path)], [...proof.names], proof.path)
      else for (const text of proof.texts) assert.include(collapsed(read(proof.path)), text)
    }
  })
})
