/** Every error of the SDK that is distinguished, in its own words, without a microVM. */
import { assert, describe, it } from "@effect/vitest"
import { fromSdk, reasons, type Subject } from "../../src/internal/driver/sdk/errors.ts"
import { LightboxError, NotFound, type Reason } from "../../src/LightboxError.ts"

const sandbox: Subject = { sandbox: "one" }
const snapshot: Subject = { snapshot: "tools" }
const volume: Subject = { volume: "cache" }
const image: Subject = { image: "node:22" }
const path: Subject = { sandbox: "one", path: "/etc/hosts" }

interface Expected {
  readonly _tag: Reason["_tag"]
  readonly [field: string]: unknown
}

const rows: ReadonlyArray<readonly [message: string, subject: Subject, expected: Expected]> = [
  ["[SandboxNotFound] sandbox not found: one", sandbox, { _tag: "NotFound", resource: "sandbox", name: "one" }],
  ["[SnapshotNotFound] snapshot not found: /x", snapshot, { _tag: "NotFound", resource: "snapshot", name: "tools" }],
  ["[VolumeNotFound] volume not found: cache", volume, { _tag: "NotFound", resource: "volume", name: "cache" }],
  // Several may be meant: the text names the one.
  ["[VolumeNotFound] volume not found: other", sandbox, { _tag: "NotFound", resource: "volume", name: "other" }],
  [
    "[ImageNotFound] image not found: node:20",
    { path: "/tmp/saved" },
    { _tag: "NotFound", resource: "image", name: "node:20" }
  ],
  ["[ImageNotFound] image not found: sha256:0", image, { _tag: "NotFound", resource: "image", name: "node:22" }],
  [
    "[SandboxAlreadyExists] sandbox already exists: one",
    sandbox,
    { _tag: "AlreadyExists", resource: "sandbox", name: "one" }
  ],
  [
    "[SnapshotAlreadyExists] snapshot already exists: /x",
    snapshot,
    { _tag: "AlreadyExists", resource: "snapshot", name: "tools" }
  ],
  [
    "[VolumeAlreadyExists] volume already exists: other",
    {},
    { _tag: "AlreadyExists", resource: "volume", name: "other" }
  ],
  ["[SandboxStillRunning] sandbox still running: one", sandbox, { _tag: "StillRunning", name: "one" }],
  [
    "[SnapshotSandboxRunning] snapshot source sandbox 'one' is not stopped",
    sandbox,
    { _tag: "StillRunning", name: "one" }
  ],
  ["[SandboxNotRunning] sandbox 'one' is stopped", sandbox, { _tag: "NotRunning", name: "one" }],
  ["[SandboxReplaced] sandbox was replaced: one", sandbox, { _tag: "Replaced", name: "one" }],
  // The SDK names rows of its database.
  ["[ImageInUse] image in use by sandbox(es): 3, 4", image, { _tag: "InUse", resource: "image", usedBy: [] }],
  [
    "[Database] database error: Execution Error: FOREIGN KEY constraint failed",
    image,
    { _tag: "InUse", resource: "image", name: "node:22" }
  ],
  [
    '[InvalidConfig] invalid config: volume "cache" is attached to active sandbox "one"',
    volume,
    { _tag: "InUse", resource: "volume", name: "cache", usedBy: ["one"] }
  ],
  [
    '[InvalidConfig] invalid config: disk image "/data/disk.raw" is already attached with an incompatible disk mode',
    sandbox,
    { _tag: "InUse", resource: "volume", name: "/data/disk.raw", usedBy: [] }
  ],
  [
    "[InvalidConfig] invalid config: volume 'cache' is referenced by 'one' and 'two'",
    volume,
    { _tag: "InUse", resource: "volume", name: "cache", usedBy: ["one", "two"] }
  ],
  [
    "[InvalidConfig] invalid config: workdir /x does not exist",
    sandbox,
    { _tag: "InvalidConfig", field: "cwd", problem: "workdir /x does not exist" }
  ],
  [
    "[InvalidConfig] invalid config: disk named volumes require .size(...) / --size",
    volume,
    { _tag: "InvalidConfig", field: "quota" }
  ],
  ["[InvalidConfig] invalid config: image not set", sandbox, { _tag: "InvalidConfig", field: "options" }],
  ["[NetworkBuilder] network builder: no direction", sandbox, { _tag: "InvalidConfig", field: "network" }],
  ["[PatchFailed] patch failed: /etc/motd exists", sandbox, { _tag: "InvalidConfig", field: "patches" }],
  ["[InvalidCursor] invalid cursor: abc", sandbox, { _tag: "InvalidConfig", field: "after" }],
  ["invalid fromCursor: abc", sandbox, { _tag: "InvalidConfig", field: "after" }],
  ["[Custom] cannot apply modification: memory requires restart", sandbox, { _tag: "InvalidConfig", field: "memory" }],
  ["[Custom] cannot apply modification: label requires restart", sandbox, { _tag: "InvalidConfig", field: "labels" }],
  [
    "[Custom] cannot apply modification: root disk size 1 GiB is smaller than the current 4 GiB",
    sandbox,
    { _tag: "InvalidConfig", field: "disk" }
  ],
  ["[Custom] image size is too small for ext4 formatting", volume, { _tag: "InvalidConfig", field: "quota" }],
  ["[Custom] image size is too small for ext4 formatting", sandbox, { _tag: "InvalidConfig", field: "resources.disk" }],
  ["[Custom] archive has no manifest", snapshot, { _tag: "SnapshotDamaged", name: "tools" }],
  ["[Custom] something else", sandbox, { _tag: "Unknown", tag: "Custom", problem: "something else" }],
  ["[SnapshotImageMissing] snapshot image missing from cache: x", snapshot, { _tag: "SnapshotDamaged", name: "tools" }],
  ["[SnapshotIntegrity] snapshot integrity check failed: x", snapshot, { _tag: "SnapshotDamaged", name: "tools" }],
  ["[SnapshotMigration] snapshot artifact migration failed", snapshot, { _tag: "SnapshotDamaged", name: "tools" }],
  [
    "[Image] image error: manifest unknown",
    image,
    { _tag: "ImageUnavailable", reference: "node:22", problem: "manifest unknown", kind: "NotFound" }
  ],
  [
    "[Image] image error: registry error: Not authorized: url x",
    image,
    { _tag: "ImageUnavailable", kind: "Unauthorized" }
  ],
  ["[Image] image error: image not cached: node:22", image, { _tag: "ImageUnavailable", kind: "NotCached" }],
  ["[Http] http error: connection refused", image, { _tag: "ImageUnavailable", reference: "node:22" }],
  ["[Image] image error: no index", { path: "/a.tar" }, { _tag: "ImageUnavailable", reference: "/a.tar" }],
  ["[Http] http error: connection refused", sandbox, { _tag: "Unknown", tag: "Http" }],
  ["[CloudHttp] cloud HTTP 401: unauthorized", sandbox, { _tag: "InvalidConfig", field: "apiKey" }],
  ["[CloudHttp] cloud HTTP 429: too many", sandbox, { _tag: "NoCapacity" }],
  ["[CloudHttp] cloud HTTP 500: internal", sandbox, { _tag: "Unknown", tag: "CloudHttp" }],
  [
    "[Unsupported] Sandbox::create is not supported by this backend: the ca_certs option is not accepted here",
    sandbox,
    { _tag: "Unsupported", feature: "ca_certs" }
  ],
  ["[UnsupportedOperation] needs a newer agent", sandbox, { _tag: "Unsupported", feature: "this operation" }],
  ["[MetricsDisabled] metrics disabled for sandbox: one", sandbox, { _tag: "Unsupported", feature: "metrics" }],
  ["[MetricsUnavailable] metrics unavailable for sandbox: one", sandbox, { _tag: "StoreBusy" }],
  ["[Database] database error: (code: 5) database is locked", sandbox, { _tag: "StoreBusy" }],
  ["[Database] database error: connection pool timed out", sandbox, { _tag: "StoreBusy" }],
  [
    "[Database] database error: database schema is newer than this msb binary",
    sandbox,
    { _tag: "Unsupported", feature: "this home directory" }
  ],
  ["[Database] database error: no such table", sandbox, { _tag: "Unknown", tag: "Database" }],
  [
    "[Runtime] runtime error: microsandbox install operation in progress until 12:00; retry after it completes",
    sandbox,
    { _tag: "StoreBusy" }
  ],
  ["[Runtime] runtime error: msb binary not found", sandbox, { _tag: "RuntimeMissing" }],
  ["[LibkrunfwNotFound] libkrunfw not found: /lib", sandbox, { _tag: "RuntimeMissing" }],
  ["[Runtime] runtime error: sandbox process exited", sandbox, { _tag: "BootFailed", name: "one", lastLines: [] }],
  ["[Runtime] runtime error: session is gone", sandbox, { _tag: "Unknown", tag: "Runtime" }],
  [
    '[BootStart] failed to start "one": no init',
    { ...sandbox, lastLines: ["panic"] },
    { _tag: "BootFailed", name: "one", lastLines: ["panic"] }
  ],
  ['[BootStart] failed to start "one": open /dev/kvm: No such file', sandbox, { _tag: "NoVirtualization" }],
  [
    '[BootStart] failed to start "one": exit 1',
    { ...sandbox, lastLines: ["kvm: Permission denied"] },
    { _tag: "NoVirtualization" }
  ],
  [
    "[SandboxFsOps] sandbox fs error: stat: No such file or directory (os error 2)",
    path,
    { _tag: "FileError", path: "/etc/hosts", code: "ENOENT" }
  ],
  ["[Io] io error: Permission denied (os error 13)", path, { _tag: "FileError", code: "EACCES" }],
  ["[Nix] nix error: EINVAL: Invalid argument (os error 22)", path, { _tag: "FileError", code: "EINVAL" }],
  ["[Io] io error: Permission denied (os error 13)", sandbox, { _tag: "Unknown", tag: "Io" }],
  ["[Io] io error: No space left on device (os error 28)", path, { _tag: "NoSpace" }],
  ["[Image] image error: Disk quota exceeded (os error 122)", image, { _tag: "NoSpace" }],
  ["[Database] database error: (code: 13) database or disk is full", sandbox, { _tag: "NoSpace" }],
  ["[AgentClient] agent client error: early eof", sandbox, { _tag: "GuestLost", name: "one" }],
  ["[NeverHeardOf] something", sandbox, { _tag: "Unknown", tag: "NeverHeardOf", problem: "something" }],
  ["cpus out of u8 range", sandbox, { _tag: "Unknown", problem: "cpus out of u8 range" }]
]

describe("an error of the SDK", () => {
  it.each(rows)("%s", (message, subject, expected) => {
    const cause = new Error(message)
    const { method, reason } = fromSdk("Sandbox.launch", subject, cause)
    assert.deepInclude<object>(reason, { ...expected, cause })
    assert.strictEqual(method, "Sandbox.launch")
  })

  it("is covered by a row here, whatever its tag", () => {
    const toldApart = Object.keys(reasons)
    assert.isAbove(toldApart.length, 30)
    assert.includeMembers(
      rows.map(([message]) => /^\[(\w+)\]/.exec(message)?.[1]),
      toldApart
    )
  })

  it("is recognized by the tag in its cause when the SDK has a class for it", () => {
    const cause = new Error("sandbox not found: one", { cause: new Error("[SandboxNotFound] sandbox not found: one") })
    assert.deepInclude(fromSdk("Sandbox.get", sandbox, cause).reason, { _tag: "NotFound", name: "one", cause })
  })

  it("may be another value, or an error of this library", () => {
    assert.deepInclude(fromSdk("Sandbox.get", sandbox, "no reason").reason, { _tag: "Unknown", problem: "no reason" })
    const ours = new LightboxError({ method: "test", reason: new NotFound({ resource: "volume", name: "cache" }) })
    assert.strictEqual(fromSdk("Sandbox.get", sandbox, ours), ours)
  })
})
