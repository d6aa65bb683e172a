/**
 * Everything that lightbox 0.3 has or says, by the numbers of its inventory, and what shows that it is here: a test, a
 * place in a document, or the reason why it is not.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"

const root = fileURLToPath(new URL("../..", import.meta.url))

const read = (path: string): string => Fs.readFileSync(Path.join(root, path), "utf8")

type Proof =
  | { readonly _tag: "Test"; readonly path: string; readonly names: ReadonlyArray<string> }
  | { readonly _tag: "Document"; readonly path: string; readonly texts: ReadonlyArray<string> }
  | { readonly _tag: "Reason"; readonly reason: string }

const test =
  (path: string) =>
  (...names: ReadonlyArray<string>): Proof => ({ _tag: "Test", path, names })

const sandboxes = test("test/promise/sandboxes.test.ts")
const snapshots = test("test/promise/snapshots.test.ts")
const volumes = test("test/promise/volumes.test.ts")
const exec = test("test/promise/exec.test.ts")
const files = test("test/promise/files.test.ts")
const endings = test("test/promise/endings.test.ts")
const presets = test("test/promise/presets.test.ts")
const packaged = test("test/package/package.test.ts")
const native = test("test/promise/native.test.ts")
const microvm = test("test/promise/promise.vm.test.ts")

const guide = (...texts: ReadonlyArray<string>): Proof => ({
  _tag: "Document",
  path: "examples/lightbox/README.md",
  texts
})

const reason = (reason: string): Proof => ({ _tag: "Reason", reason })

const compiles = packaged("compiles in a program without Effect with %s")

const inventory: { readonly [number: number]: readonly [what: string, ...proofs: ReadonlyArray<Proof>] } = {
  // A. Package and install
  1: ["two entry points, as ES modules with types", packaged("can be imported, module by module"), compiles],
  2: [
    "installed straight from git",
    reason("it is a package of the registry; its `prepare` script allows git as well")
  ],
  3: ["built by `prepare` on the consumer's machine", packaged("holds what was built, its sources, and nothing else")],
  4: [
    "nothing to install beside it",
    packaged("can be imported, module by module"),
    reason("npm brings the runtime in a package of its own; nothing is fetched at first use")
  ],
  5: [
    "Node.js and Bun",
    native("is used through promises under %s, as far as no virtual machine is needed"),
    packaged("can be used under Bun, as .%s")
  ],
  6: ["all types from the root", compiles],

  // B. Functions
  7: ["defineSnapshot", snapshots("gives a configuration back as it is"), compiles],
  8: ["buildSnapshot", snapshots("builds with all that a configuration can say")],
  9: ["launchSandbox", sandboxes("boots a sandbox from a snapshot, with all that can be said about it")],
  10: ["runInSandbox", sandboxes("gives what the callback gives, when the sandbox is gone")],
  11: ["connectToSandbox", sandboxes("is of no more use once it is detached, and can be connected to")],
  12: ["listSnapshots", snapshots("says what is there in the shape that lightbox gives it")],
  13: ["snapshotExists", snapshots("says what is there in the shape that lightbox gives it")],
  14: ["removeSnapshot", snapshots("removes a snapshot, and takes it for done if there is none")],
  15: [
    "removeSandbox",
    sandboxes("removes what is stopped, and takes it for done if there is none", "removes what runs only by force")
  ],
  16: ["ensureRuntime", native("is used through promises under %s, as far as no virtual machine is needed")],
  17: ["listVolumes", volumes("makes a volume with what is said of it, in the shape that lightbox gives it")],
  18: ["volumeExists", volumes("makes a volume with what is said of it, in the shape that lightbox gives it")],
  19: ["ensureVolume", volumes("leaves one that exists as it is, whatever is said of it now")],
  20: ["removeVolume", volumes("keeps what sandboxes write, says how much that is, and is gone with it")],
  21: ["shell", snapshots("makes steps with and without descriptions")],
  22: ["exec", snapshots("makes steps with and without descriptions")],
  23: ["codingAgentsPreset", presets("is what lightbox documents")],
  24: ["Sandbox, Snapshot, Volume, VolumeHandle, ExecHandle, ExecOutput", compiles],

  // C. Types
  25: ["SnapshotConfig", compiles, snapshots("builds with all that a configuration can say")],
  26: ["PresetConfig", compiles],
  27: ["SetupStep", compiles, snapshots("runs scripts in a login shell, and programs without one")],
  28: ["SnapshotResources", compiles],
  29: ["Memory", compiles],
  30: ["BuildOptions", compiles],
  31: ["LaunchOptions", compiles],
  32: ["Mount", compiles, sandboxes("shares a folder of the host, whichever way it is written")],
  33: ["SnapshotRecord", compiles, snapshots("says what is there in the shape that lightbox gives it")],
  34: [
    "VolumeRecord",
    compiles,
    volumes("makes a volume with what is said of it, in the shape that lightbox gives it")
  ],
  35: ["EnsureVolumeOptions", compiles],
  36: ["CodingAgentsPresetOptions", compiles],
  37: ["types in `src/types.ts`", reason("they are in `src/promise.ts`, beside the functions that take them")],

  // D. Options and defaults
  38: ["overwrite of a build", snapshots("overwrites by default, and not when told not to")],
  39: [
    "debugBuilder",
    snapshots("keeps the builder of a build that %s, running, when told to", "removes the builder otherwise")
  ],
  40: [
    "verbose of a build",
    snapshots("prints nothing by default, and what happens and what steps write when told to")
  ],
  41: ["overwrite of a launch", sandboxes("takes the place of a sandbox of the name, unless told not to")],
  42: ["verbose of a launch", sandboxes("says that it launches only when told to")],
  43: [
    "resources of a launch",
    sandboxes("boots a sandbox from a snapshot, with all that can be said about it"),
    guide("D6. `resources` of a launch")
  ],
  44: ["workdir of a launch", sandboxes("boots a sandbox from a snapshot, with all that can be said about it")],
  45: [
    "env, ports and mounts of a launch",
    sandboxes(
      "boots a sandbox from a snapshot, with all that can be said about it",
      "takes ports that parse as numbers"
    )
  ],
  46: ["force, default false", sandboxes("removes what runs only by force")],
  47: ["defaults of codingAgentsPreset", presets("is what lightbox documents")],
  48: ["the builder's name", snapshots("keeps the builder of a build that %s, running, when told to")],

  // E. Building
  49: [
    "the order of a build",
    snapshots("builds with all that a configuration can say"),
    microvm("builds, keeps the builder, runs and mounts under Node.js")
  ],
  50: ["a build can be run again", snapshots("boots nothing for what is there already")],
  51: ["the disk is flushed", snapshots("fails when the disk can not be flushed")],
  52: ["a step that fails ends the build", snapshots("fails with a step that fails: %j")],
  53: ["the builder is removed after a failure", snapshots("fails with a step that fails: %j")],
  54: [
    "a builder that an earlier run has left is removed",
    snapshots("keeps the builder of a build that %s, running, when told to"),
    endings("at once, in the middle of %s: the next run removes it")
  ],
  55: [
    "resources, env and labels of a configuration",
    snapshots(
      "sets the variables of a configuration for its steps, not for sandboxes",
      "builds with all that a configuration can say"
    )
  ],
  56: ["workdir of a configuration", snapshots("makes the working directory of steps, which needs no step of its own")],
  57: ["setup is optional", snapshots("takes an image as it is, without any step")],
  58: ["shell and exec steps", snapshots("runs scripts in a login shell, and programs without one")],
  59: ["descriptions", snapshots("prints nothing by default, and what happens and what steps write when told to")],
  60: ["snapshots in the home, for ever", snapshots("says what is there in the shape that lightbox gives it")],
  61: [
    "lines of `verbose`",
    snapshots("prints nothing by default, and what happens and what steps write when told to")
  ],
  62: ["calls of the SDK 0.4", reason("they no longer exist; the driver makes those of today")],

  // F. Launching
  63: [
    "a launch replaces a sandbox of the name",
    sandboxes("takes the place of a sandbox of the name, unless told not to")
  ],
  64: [
    "a sandbox ends with its process",
    endings(
      "that has nothing more to do after %s, releases everything",
      "in the middle of %s, by %s, releases everything, with status %s"
    )
  ],
  65: [
    "detach",
    sandboxes("is of no more use once it is detached, and can be connected to"),
    endings("leaves what was detached: %s")
  ],
  66: ["stop", sandboxes("stops, and its record stays until it is removed")],
  67: [
    "runInSandbox ends the sandbox whatever happens",
    sandboxes(
      "gives what the callback gives, when the sandbox is gone",
      "ends the sandbox when the callback fails, in either way"
    )
  ],
  68: [
    "connecting to what another process has launched",
    microvm("is required, finds the snapshot built, and detaches a sandbox that another process, under Bun, uses")
  ],
  69: ["many at once from one snapshot", sandboxes("boots many at once from one snapshot, under names of their own")],
  70: [
    "how long sandboxes live",
    endings("leaves what was detached: %s", "that has nothing more to do after %s, releases everything")
  ],
  71: ["the first use may pull the image", guide("The image is pulled. `onEvent` tells how that goes")],
  72: ["calls of the SDK 0.4", reason("they no longer exist; the driver makes those of today")],

  // G. The sandbox handle
  73: ["exec", exec("gives what a program wrote and how it ended", "gives arguments as they are, and reads nothing")],
  74: ["shell", exec("runs scripts in a login shell")],
  75: ["ExecOutput", exec("gives what a program wrote and how it ended")],
  76: ["execStream, shellStream", exec("tells what happens, in order", "runs scripts as well")],
  77: ["ExecEvent", exec("tells what happens, in order")],
  78: [
    "ExecHandle",
    exec(
      "gives events one by one, and null after the last",
      "waits for the end, or collects what is left",
      "lets a program be written to, once",
      "sends signals, and kills",
      "gives a program a terminal, whose size can change",
      "kills the program at the end of %s"
    )
  ],
  79: ["attach, attachShell", exec("passes input and output of this process through, and gives the exit code")],
  80: [
    "fs",
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
    "stop, kill, detach, stopAndWait",
    sandboxes("stops, and its record stays until it is removed", "is killed with all that hangs in it")
  ],
  82: ["statics of Sandbox", sandboxes("is found by name and in the list, running or not")],
  83: ["SandboxHandle", sandboxes("can be stopped, killed, started and removed by handle")],
  84: [
    "what only the SDK has",
    sandboxes("has no SDK behind it here, and says so"),
    native("is used through promises under %s, as far as no virtual machine is needed")
  ],
  85: [
    "statics of Snapshot and Volume",
    snapshots(
      "looks snapshots up",
      "captures a stopped sandbox, said in either way",
      "writes a snapshot to an archive, and reads it under another name"
    ),
    volumes("are found by the SDK's names for that as well"),
    guide("without `fs()`: mount the volume")
  ],

  // H. Mounts and volumes
  86: ["a path mounts a folder of the host", sandboxes("shares a folder of the host, whichever way it is written")],
  87: [
    "rules of mounts",
    sandboxes("names the folder that a mount misses", "makes a volume when it is first used, shares it, and keeps it")
  ],

  // I. Errors
  88: ["setup step exited with code N", snapshots("fails with a step that fails: %j")],
  89: ["Snapshot already exists", snapshots("overwrites by default, and not when told not to")],
  90: ["sync failed", snapshots("fails when the disk can not be flushed")],
  91: ["Invalid port mapping", sandboxes("refuses the ports %j")],
  92: [
    "Invalid memory string",
    snapshots("says how memory is written when it is written otherwise"),
    sandboxes("says how memory is written when it is written otherwise")
  ],
  93: ["handle consumed", sandboxes("is of no more use once it is detached, and can be connected to")],
  94: [
    "a missing sandbox, and one that is there",
    sandboxes(
      "is found by name and in the list, running or not",
      "takes the place of a sandbox of the name, unless told not to"
    )
  ],
  95: [
    "typed errors",
    sandboxes("fails for a snapshot that is not there, and leaves nothing"),
    test("test/package/package.test.ts")("compiles in a program without Effect with %s")
  ],

  // J. Troubleshooting
  96: ["Snapshot already exists", guide("You passed `overwrite: false`.")],
  97: ["a step failed", guide("`{ debugBuilder: true }` leaves the builder running")],
  98: ["sync failed", guide("The guest's file system is read-only, or it is out of memory")],
  99: ["writes are missing", guide("Something that a step wrote is not in the snapshot")],
  100: ["a launch seems to hang", guide("createDetachedWithPullProgress()")],
  101: ["ports", guide("Ports are numbers")],
  102: ["a sandbox is gone with the script", guide("A sandbox is gone when the script ends")],
  103: ["another quota or other labels", guide("A volume keeps its old quota or labels")],

  // K. Traps
  104: [
    "workdir",
    snapshots("makes the working directory of steps, which needs no step of its own"),
    guide("it must exist in the snapshot, or be a mount")
  ],
  105: ["unwritten pages", snapshots("fails when the disk can not be flushed")],
  106: [
    "a launch ties the sandbox to the process",
    endings("that has nothing more to do after %s, releases everything")
  ],
  107: ["Bun blocks install scripts", guide("`bun pm -g untrusted` lists them")],
  108: [
    "a shared cache is cold for all who start at once",
    guide("D13. A shared cache"),
    test("test/unit/Volume.test.ts")("is filled by the first who asks, while the others wait")
  ],
  109: ["quota and labels count at creation", volumes("leaves one that exists as it is, whatever is said of it now")],
  110: ["volumes stay", volumes("keeps what sandboxes write, says how much that is, and is gone with it")],

  // L. Presets
  111: ["the four agents", presets("is what lightbox documents")],
  112: ["the preset's steps", presets("is what lightbox documents")],
  113: ["the preset can be added to", presets("gives a new object each time, to be added to")],

  // M. Concepts
  114: ["the names of Docker", guide("`docker build` is `buildSnapshot`")],
  115: ["volume, folder or snapshot", guide("What never changes belongs in the snapshot")],
  116: ["uses of volumes", guide("caches, models, artifacts to hand on")],
  117: [
    "units and labels of volumes",
    volumes("makes a volume with what is said of it, in the shape that lightbox gives it")
  ],

  // N. Migration
  118: ["0.1 to 0.2", guide("## From 0.1 and 0.2")],
  119: ["0.2 to 0.3", guide("From 0.2 to 0.3 lightbox added mounts and volumes")],
  120: ["the functions of 0.1", guide("`launchSandboxDetached(options)`")],

  // O. Repository
  121: [
    "folders of the repository",
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

  it.each(Object.entries(inventory).map(([number, [what, ...proofs]]) => ({ number, what, proofs })))(
    "$number: $what",
    ({ proofs }) => {
      assert.isNotEmpty(proofs)
      for (const proof of proofs) {
        switch (proof._tag) {
          case "Test": {
            assert.isNotEmpty(proof.names)
            assert.includeMembers([...testsOf(proof.path)], [...proof.names], proof.path)
            break
          }
          case "Document": {
            for (const text of proof.texts) assert.include(collapsed(read(proof.path)), text)
            break
          }
          case "Reason": {
            assert.isNotEmpty(proof.reason)
          }
        }
      }
    }
  )
})
