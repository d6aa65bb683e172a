/**
 * The inventory of lightbox 0.3: everything that it has or says, numbered, each with what shows that it is here: a test, a
 * place in a document, or the reason why it is not.
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
  3: ["built by `prepare` on the consumer's machine", packaged("holds what was built, its sources, and nothing else")],
  4: [
    "needs nothing installed beside it: the runtime comes by itself",
    packaged("can be imported, module by module"),
    reason("npm brings the runtime in a package of its own; nothing is fetched at first use")
  ],
  5: [
    "runs under Node.js and Bun, on macOS and Linux",
    native("is used through promises under %s, as far as no virtual machine is needed"),
    packaged("can be used under Bun, as .%s")
  ],
  6: ["all types can be imported from the root", compiles],

  // B. Functions
  7: [
    "defineSnapshot gives a configuration back, with its narrow type",
    snapshots("gives a configuration back as it is"),
    compiles
  ],
  8: ["buildSnapshot builds a configuration under its name", snapshots("builds with all that a configuration can say")],
  9: [
    "launchSandbox boots a sandbox from a snapshot",
    sandboxes("boots a sandbox from a snapshot, with all that can be said about it")
  ],
  10: [
    "runInSandbox launches, calls a function, and stops",
    sandboxes("gives what the callback gives, when the sandbox is gone")
  ],
  11: [
    "connectToSandbox gives a sandbox that runs, by its name",
    sandboxes("is of no more use once it is detached, and can be connected to")
  ],
  12: [
    "listSnapshots gives all snapshots of the machine",
    snapshots("says what is there in the shape that lightbox gives it")
  ],
  13: [
    "snapshotExists tells whether there is one of a name",
    snapshots("says what is there in the shape that lightbox gives it")
  ],
  14: [
    "removeSnapshot deletes one, with `force` although others need it",
    snapshots("removes a snapshot, and takes it for done if there is none")
  ],
  15: [
    "removeSandbox deletes one, and is done if there is none",
    sandboxes("removes what is stopped, and takes it for done if there is none", "removes what runs only by force")
  ],
  16: [
    "ensureRuntime installs the runtime once",
    native("is used through promises under %s, as far as no virtual machine is needed")
  ],
  17: [
    "listVolumes gives all volumes of the machine",
    volumes("makes a volume with what is said of it, in the shape that lightbox gives it")
  ],
  18: [
    "volumeExists tells whether there is one of a name",
    volumes("makes a volume with what is said of it, in the shape that lightbox gives it")
  ],
  19: [
    "ensureVolume makes one unless it is there",
    volumes("leaves one that exists as it is, whatever is said of it now")
  ],
  20: [
    "removeVolume deletes one with what is in it",
    volumes("keeps what sandboxes write, says how much that is, and is gone with it")
  ],
  21: ["shell makes a step of a script", snapshots("makes steps with and without descriptions")],
  22: ["exec makes a step of a program and its arguments", snapshots("makes steps with and without descriptions")],
  23: ["codingAgentsPreset makes the configuration of the preset", presets("is what lightbox documents")],
  24: ["Sandbox, Snapshot, Volume, VolumeHandle, ExecHandle and ExecOutput come from the root", compiles],

  // C. Types
  25: [
    "type SnapshotConfig: what a snapshot is made of",
    compiles,
    snapshots("builds with all that a configuration can say")
  ],
  26: ["type PresetConfig: a configuration whose steps are there", compiles],
  27: [
    "type SetupStep: a script, or a step of either kind",
    compiles,
    snapshots("runs scripts in a login shell, and programs without one")
  ],
  28: ["type SnapshotResources: processors and memory", compiles],
  29: ["type Memory: megabytes or gigabytes, as a string", compiles],
  30: ["type BuildOptions: overwrite, debugBuilder, verbose", compiles],
  31: ["type LaunchOptions: snapshot, name, and all that a launch can say", compiles],
  32: [
    "type Mount: a folder of the host, or a volume",
    compiles,
    sandboxes("shares a folder of the host, whichever way it is written")
  ],
  33: [
    "type SnapshotRecord: what is known of a snapshot",
    compiles,
    snapshots("says what is there in the shape that lightbox gives it")
  ],
  34: [
    "type VolumeRecord: what is known of a volume",
    compiles,
    volumes("makes a volume with what is said of it, in the shape that lightbox gives it")
  ],
  35: ["type EnsureVolumeOptions: quota and labels", compiles],
  36: ["type CodingAgentsPresetOptions: name, image, resources, labels", compiles],
  37: [
    "all types are in the file `src/types.ts`",
    reason("they are in `src/promise.ts`, beside the functions that take them")
  ],

  // D. Options and defaults
  38: ["`overwrite` of a build is true by default", snapshots("overwrites by default, and not when told not to")],
  39: [
    "`debugBuilder` keeps the builder, and is false by default",
    snapshots("keeps the builder of a build that %s, running, when told to", "removes the builder otherwise")
  ],
  40: [
    "`verbose` of a build shows what steps write, and is false by default",
    snapshots("prints nothing by default, and what happens and what steps write when told to")
  ],
  41: [
    "`overwrite` of a launch is true by default",
    sandboxes("takes the place of a sandbox of the name, unless told not to")
  ],
  42: ["`verbose` of a launch is false by default", sandboxes("says that it launches only when told to")],
  43: [
    "`resources` of a launch come before those of the snapshot",
    sandboxes("boots a sandbox from a snapshot, with all that can be said about it"),
    guide("D6. `resources` of a launch")
  ],
  44: [
    "`workdir` of a launch has to exist",
    sandboxes("boots a sandbox from a snapshot, with all that can be said about it")
  ],
  45: [
    "`env`, `ports` and `mounts` of a launch",
    sandboxes(
      "boots a sandbox from a snapshot, with all that can be said about it",
      "takes ports that parse as numbers"
    )
  ],
  46: ["`force` of a removal is false by default", sandboxes("removes what runs only by force")],
  47: ["codingAgentsPreset has a name, an image and resources by default", presets("is what lightbox documents")],
  48: [
    "the builder is called after the snapshot",
    snapshots("keeps the builder of a build that %s, running, when told to")
  ],

  // E. Building
  49: [
    "a build removes or refuses, makes a builder, runs steps, flushes, stops, captures, cleans up",
    snapshots("builds with all that a configuration can say"),
    microvm("builds, keeps the builder, runs and mounts under Node.js")
  ],
  50: ["a build can be run again", snapshots("boots nothing for what is there already")],
  51: ["the disk is flushed after the last step", snapshots("fails when the disk can not be flushed")],
  52: ["the first step that fails ends the build", snapshots("fails with a step that fails: %j")],
  53: ["the builder is removed after a failure, too", snapshots("fails with a step that fails: %j")],
  54: [
    "a builder that an earlier run has left is removed",
    snapshots("keeps the builder of a build that %s, running, when told to"),
    endings("at once, in the middle of %s: the next run removes it")
  ],
  55: [
    "`resources` are the builder's, `env` is its steps', `labels` are the snapshot's",
    snapshots(
      "sets the variables of a configuration for its steps, not for sandboxes",
      "builds with all that a configuration can say"
    )
  ],
  56: [
    "`workdir` of a configuration is for its steps",
    snapshots("makes the working directory of steps, which needs no step of its own")
  ],
  57: ["`setup` is optional", snapshots("takes an image as it is, without any step")],
  58: [
    "shell steps run in a login shell, exec steps without one",
    snapshots("runs scripts in a login shell, and programs without one")
  ],
  59: [
    "descriptions of steps are printed when told to",
    snapshots("prints nothing by default, and what happens and what steps write when told to")
  ],
  60: ["snapshots are in the home, and stay", snapshots("says what is there in the shape that lightbox gives it")],
  61: [
    "the lines that `verbose` prints",
    snapshots("prints nothing by default, and what happens and what steps write when told to")
  ],
  62: ["a build calls the SDK 0.4", reason("they no longer exist; the driver makes those of today")],

  // F. Launching
  63: [
    "a launch replaces a sandbox of the name",
    sandboxes("takes the place of a sandbox of the name, unless told not to")
  ],
  64: [
    "a sandbox ends with the process that launched it",
    endings(
      "that has nothing more to do after %s, releases everything",
      "in the middle of %s, by %s, releases everything, with status %s"
    )
  ],
  65: [
    "detach lets a sandbox outlive its process, and consumes the handle",
    sandboxes("is of no more use once it is detached, and can be connected to"),
    endings("leaves what was detached: %s")
  ],
  66: ["stop shuts a sandbox down", sandboxes("stops, and its record stays until it is removed")],
  67: [
    "runInSandbox ends the sandbox whatever happens",
    sandboxes(
      "gives what the callback gives, when the sandbox is gone",
      "ends the sandbox when the callback fails, in either way"
    )
  ],
  68: [
    "connectToSandbox uses what another process has launched",
    microvm("is required, finds the snapshot built, and detaches a sandbox that another process, under Bun, uses")
  ],
  69: [
    "many sandboxes boot at once from one snapshot",
    sandboxes("boots many at once from one snapshot, under names of their own")
  ],
  70: [
    "a sandbox lives until its process ends, or a detached one until it is removed",
    endings("leaves what was detached: %s", "that has nothing more to do after %s, releases everything")
  ],
  71: ["the first use may pull the image", guide("The image is being pulled. `onEvent` shows the progress")],
  72: ["a launch calls the SDK 0.4", reason("they no longer exist; the driver makes those of today")],

  // G. The sandbox handle
  73: [
    "exec of a sandbox runs a program with arguments",
    exec("gives what a program wrote and how it ended", "gives arguments as they are, and reads nothing")
  ],
  74: ["shell of a sandbox runs a script in a login shell", exec("runs scripts in a login shell")],
  75: ["ExecOutput has the exit code and what was written", exec("gives what a program wrote and how it ended")],
  76: ["execStream and shellStream give events", exec("tells what happens, in order", "runs scripts as well")],
  77: ["ExecEvent: started, stdout, stderr, exited", exec("tells what happens, in order")],
  78: [
    "ExecHandle receives, waits, collects, writes, signals, kills, resizes",
    exec(
      "gives events one by one, and null after the last",
      "waits for the end, or collects what is left",
      "lets a program be written to, once",
      "sends signals, and kills",
      "gives a program a terminal, whose size can change",
      "kills the program at the end of %s"
    )
  ],
  79: [
    "attach and attachShell pass a terminal through",
    exec("passes input and output of this process through, and gives the exit code")
  ],
  80: [
    "fs reads, writes, lists and copies files",
    files(
      "writes and reads files whole, as text and as bytes",
      "reads in pieces: all of them, one by one, or what is left",
      "writes in pieces, one after the other",
      "makes, lists and removes folders",
      "says what a file is",
      "copies, renames and removes files",
      "copies from and to the host, with permissions, and by relative paths"
    )
  ],
  81: [
    "stop, kill, detach and stopAndWait end a sandbox, or let it go",
    sandboxes("stops, and its record stays until it is removed", "is killed with all that hangs in it")
  ],
  82: ["Sandbox.get, list, remove and builder", sandboxes("is found by name and in the list, running or not")],
  83: [
    "SandboxHandle has a name and a status, and can be connected to, started and ended",
    sandboxes("can be stopped, killed, started and removed by handle")
  ],
  84: [
    "builders and patches that only the SDK has",
    sandboxes("has no SDK behind it here, and says so"),
    native("is used through promises under %s, as far as no virtual machine is needed")
  ],
  85: [
    "Snapshot.get and list, Volume.get and list, and their builders",
    snapshots(
      "looks snapshots up",
      "captures a stopped sandbox, said in either way",
      "writes a snapshot to an archive, and reads it under another name"
    ),
    volumes("are found by the SDK's names for that as well"),
    guide("without `fs()`: mount the volume")
  ],

  // H. Mounts and volumes
  86: [
    "a path as a mount shares a folder of the host",
    sandboxes("shares a folder of the host, whichever way it is written")
  ],
  87: [
    "a folder to mount has to be there, a volume is made when it is not",
    sandboxes("names the folder that a mount misses", "makes a volume when it is first used, shares it, and keeps it")
  ],

  // I. Errors
  88: ["message: setup step exited with code N", snapshots("fails with a step that fails: %j")],
  89: ["message: Snapshot already exists", snapshots("overwrites by default, and not when told not to")],
  90: ["message: sync failed", snapshots("fails when the disk can not be flushed")],
  91: ["message: Invalid port mapping", sandboxes("refuses the ports %j")],
  92: [
    "message: Invalid memory string",
    snapshots("says how memory is written when it is written otherwise"),
    sandboxes("says how memory is written when it is written otherwise")
  ],
  93: ["message: handle consumed", sandboxes("is of no more use once it is detached, and can be connected to")],
  94: [
    "a sandbox that is missing, or that is there already, is an error",
    sandboxes(
      "is found by name and in the list, running or not",
      "takes the place of a sandbox of the name, unless told not to"
    )
  ],
  95: [
    "errors have types",
    sandboxes("fails for a snapshot that is not there, and leaves nothing"),
    test("test/package/package.whole.test.ts")("compiles in a program without Effect with %s")
  ],

  // J. Troubleshooting
  96: ["trouble: Snapshot already exists", guide("You passed `overwrite: false`.")],
  97: ["trouble: a step failed", guide("`{ debugBuilder: true }` leaves the builder running")],
  98: ["trouble: sync failed", guide("The guest's file system is read-only, or out of memory")],
  99: ["trouble: writes are missing from the snapshot", guide("Something that a step wrote is not in the snapshot")],
  100: ["trouble: a launch seems to hang", guide("createDetachedWithPullProgress()")],
  101: ["trouble: ports that are not numbers", guide("Ports are numbers")],
  102: ["trouble: a sandbox is gone with the script", guide("A sandbox disappears when the script ends")],
  103: ["trouble: a volume needs another quota or other labels", guide("A volume keeps its old quota or labels")],

  // K. Traps
  104: [
    "trap: workdir has to exist",
    snapshots("makes the working directory of steps, which needs no step of its own"),
    guide("it must exist in the snapshot, or be a mount")
  ],
  105: ["trap: pages that are not written yet are lost", snapshots("fails when the disk can not be flushed")],
  106: [
    "trap: a launch ties the sandbox to the process",
    endings("that has nothing more to do after %s, releases everything")
  ],
  107: ["trap: Bun blocks install scripts", guide("`bun pm -g untrusted` lists them")],
  108: [
    "trap: a shared cache is cold for all who start at once",
    guide("D13. A shared cache"),
    test("test/Volume.test.ts")("is filled by the first who asks, while the others wait")
  ],
  109: [
    "trap: quota and labels count at creation only",
    volumes("leaves one that exists as it is, whatever is said of it now")
  ],
  110: [
    "trap: volumes stay until they are removed",
    volumes("keeps what sandboxes write, says how much that is, and is gone with it")
  ],

  // L. Presets
  111: ["the preset installs four agents", presets("is what lightbox documents")],
  112: ["the preset has six steps, a working directory and labels", presets("is what lightbox documents")],
  113: ["the preset's steps can be added to", presets("gives a new object each time, to be added to")],

  // M. Concepts
  114: ["which command of Docker is which function", guide("`docker build` is `buildSnapshot`")],
  115: ["when to take a volume, a folder or a snapshot", guide("Put what never changes into the snapshot")],
  116: ["what volumes are good for", guide("caches, models, artifacts")],
  117: [
    "quotas of volumes are in MiB, labels tell them apart",
    volumes("makes a volume with what is said of it, in the shape that lightbox gives it")
  ],

  // N. Migration
  118: ["how to get from 0.1 to 0.2", guide("## From 0.1 and 0.2")],
  119: ["how to get from 0.2 to 0.3", guide("Lightbox 0.3 added mounts and volumes")],
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

  it("says of each what it is, once", () => {
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
