import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { inspect } from "node:util"
import * as LightboxError from "../src/LightboxError.ts"
import * as Sandbox from "../src/Sandbox.ts"
import * as Snapshot from "../src/Snapshot.ts"

type Reason = LightboxError.Reason

interface Row<R> {
  readonly reason: R
  readonly message: string
  readonly hint: string | undefined
  readonly isRetryable: boolean
  readonly outcome: LightboxError.Outcome
}

/** One of each, so that a new reason does not compile without a row. */
const table: { readonly [Tag in Reason["_tag"]]: Row<Extract<Reason, { readonly _tag: Tag }>> } = {
  NotFound: {
    reason: new LightboxError.NotFound({ resource: "snapshot", name: "node-ci" }),
    message: 'There is no snapshot named "node-ci"',
    hint: "Check the name, or build the snapshot first",
    isRetryable: false,
    outcome: "failed"
  },
  AlreadyExists: {
    reason: new LightboxError.AlreadyExists({ resource: "snapshot", name: "node-ci" }),
    message: 'Snapshot "node-ci" already exists',
    hint: "Pass { overwrite: true } to replace it",
    isRetryable: false,
    outcome: "failed"
  },
  StillRunning: {
    reason: new LightboxError.StillRunning({ name: "worker" }),
    message: 'Sandbox "worker" is still running',
    hint: "Stop it first",
    isRetryable: false,
    outcome: "failed"
  },
  NotRunning: {
    reason: new LightboxError.NotRunning({ name: "worker", status: "stopped" }),
    message: 'Sandbox "worker" is not running (stopped)',
    hint: "Start it first",
    isRetryable: false,
    outcome: "failed"
  },
  Replaced: {
    reason: new LightboxError.Replaced({ name: "worker" }),
    message: 'Sandbox "worker" was removed, and another one now has its name',
    hint: "Connect again by name to use the new one",
    isRetryable: false,
    outcome: "failed"
  },
  InUse: {
    reason: new LightboxError.InUse({ resource: "volume", name: "cache", usedBy: ["a", "b"] }),
    message: 'The volume "cache" is in use by "a", "b"',
    hint: "Remove what uses it first",
    isRetryable: true,
    outcome: "failed"
  },
  InvalidConfig: {
    reason: new LightboxError.InvalidConfig({ field: "resources.cpus", problem: "expected a whole number" }),
    message: "Invalid resources.cpus: expected a whole number",
    hint: undefined,
    isRetryable: false,
    outcome: "failed"
  },
  Unsupported: {
    reason: new LightboxError.Unsupported({ feature: "snapshots", problem: "not on this backend" }),
    message: "Cannot use snapshots: not on this backend",
    hint: undefined,
    isRetryable: false,
    outcome: "failed"
  },
  ImageUnavailable: {
    reason: new LightboxError.ImageUnavailable({ reference: "node:22", problem: "no route to the registry" }),
    message: 'Image "node:22" is not available: no route to the registry',
    hint: "Check the reference, the network and the credentials for the registry",
    isRetryable: true,
    outcome: "failed"
  },
  BootFailed: {
    reason: new LightboxError.BootFailed({ name: "worker", problem: "it ended", lastLines: ["one", "kernel panic"] }),
    message: 'Sandbox "worker" did not boot: it ended\n  | one\n  | kernel panic',
    hint: "Try again with more memory; `npx lightbox doctor` checks this machine",
    isRetryable: true,
    outcome: "failed"
  },
  NoVirtualization: {
    reason: new LightboxError.NoVirtualization({ problem: "/dev/kvm does not exist", remedy: "load the module" }),
    message: "This machine cannot run microVMs: /dev/kvm does not exist\nTo fix it: load the module",
    hint: "`MicrosandboxCloud` runs sandboxes on other machines",
    isRetryable: false,
    outcome: "failed"
  },
  RuntimeMissing: {
    reason: new LightboxError.RuntimeMissing({ problem: "no native module", remedy: "install it" }),
    message: "The microsandbox runtime is missing: no native module\nTo fix it: install it",
    hint: undefined,
    isRetryable: false,
    outcome: "failed"
  },
  CommandNotStarted: {
    reason: new LightboxError.CommandNotStarted({
      argv: ["pnpm", "run", "two words"],
      kind: "ProgramNotFound",
      problem: "No such file or directory",
      errno: "ENOENT"
    }),
    message: 'Could not start pnpm run "two words": No such file or directory',
    hint: "Check its name, or install it in the image or the snapshot",
    isRetryable: false,
    outcome: "failed"
  },
  CommandFailed: {
    reason: new LightboxError.CommandFailed({ argv: ["npm", "test"], exitCode: 2, stdout: "out", stderr: "a\nb\n" }),
    message: "npm test exited with code 2\n  | a\n  | b",
    hint: undefined,
    isRetryable: true,
    outcome: "failed"
  },
  OutputTooLarge: {
    reason: new LightboxError.OutputTooLarge({ argv: ["yes"], limitBytes: 1024, stdout: "", stderr: "" }),
    message: "yes wrote more than 1024 bytes and was killed",
    hint: "Stream the output, or write it to a file in the guest",
    isRetryable: false,
    outcome: "unknown"
  },
  FileError: {
    reason: new LightboxError.FileError({ operation: "stat", path: "/none", code: "ENOENT", problem: "No such file" }),
    message: "stat /none: No such file (ENOENT)",
    hint: undefined,
    isRetryable: false,
    outcome: "failed"
  },
  GuestLost: {
    reason: new LightboxError.GuestLost({ name: "worker", problem: "the connection closed" }),
    message: 'Sandbox "worker" was lost: the connection closed',
    hint: "Try again in a new sandbox, with more memory if it ran out",
    isRetryable: true,
    outcome: "unknown"
  },
  GuestBusy: {
    reason: new LightboxError.GuestBusy({ name: "worker", problem: "all connections are taken" }),
    message: 'Sandbox "worker" is busy: all connections are taken',
    hint: "Run fewer commands at once, or try again",
    isRetryable: true,
    outcome: "failed"
  },
  TimedOut: {
    reason: new LightboxError.TimedOut({ operation: "npm test", limitMillis: 60_000 }),
    message: "npm test took longer than 60000 ms and was stopped",
    hint: "Raise the time limit, or find out what it waits for",
    isRetryable: true,
    outcome: "unknown"
  },
  NotReady: {
    reason: new LightboxError.NotReady({
      job: "web",
      observation: "port 3000 is closed: Connection refused",
      lastLines: ["starting", "still starting"],
      limitMillis: 60_000
    }),
    message:
      'Job "web" is not ready after 60000 ms: port 3000 is closed: Connection refused\n  | starting\n  | still starting',
    hint: "Check the probe and the log of the job, or raise the probe's time limit",
    isRetryable: true,
    outcome: "failed"
  },
  InterpreterLost: {
    reason: new LightboxError.InterpreterLost({
      language: "python",
      problem: "exited with code 3",
      exitCode: 3,
      stdout: "",
      stderr: "bye\n"
    }),
    message: "The python interpreter exited with code 3, and its state is lost\n  | bye",
    hint: "Restart the interpreter, with more memory if it ran out",
    isRetryable: false,
    outcome: "unknown"
  },
  NoCapacity: {
    reason: new LightboxError.NoCapacity({ problem: "it waited 60000 ms" }),
    message: "There is no room for another sandbox: it waited 60000 ms",
    hint: "Run fewer sandboxes at once, or raise the budget",
    isRetryable: true,
    outcome: "failed"
  },
  Drift: {
    reason: new LightboxError.Drift({
      resource: "volume",
      name: "npm-cache",
      field: "quota",
      was: "1024 MiB",
      now: "2048 MiB"
    }),
    message: 'Volume "npm-cache" exists with a different quota: 1024 MiB instead of 2048 MiB',
    hint: "Request the volume with its current properties, or recreate it",
    isRetryable: false,
    outcome: "failed"
  },
  TransferFailed: {
    reason: new LightboxError.TransferFailed({ reference: "example.com/app:1", problem: "example.com is busy" }),
    message: 'Snapshot "example.com/app:1" could not be transferred: example.com is busy',
    hint: "Try again: it continues where it stopped",
    isRetryable: true,
    outcome: "failed"
  },
  SnapshotDamaged: {
    reason: new LightboxError.SnapshotDamaged({ name: "node-ci", problem: "the digest differs" }),
    message: 'Snapshot "node-ci" is damaged: the digest differs',
    hint: "Build it again",
    isRetryable: false,
    outcome: "failed"
  },
  SecretLeaked: {
    reason: new LightboxError.SecretLeaked({ secret: "NPM_TOKEN" }),
    message: "The value of the secret NPM_TOKEN is on the disk of the snapshot, which was discarded",
    hint: "Do not write it to the disk, not even to a file that is removed later: that erases nothing",
    isRetryable: false,
    outcome: "failed"
  },
  HostUnavailable: {
    reason: new LightboxError.HostUnavailable({
      host: "https://kvm.example.com",
      kind: "Lost",
      problem: "the connection broke"
    }),
    message: "Host https://kvm.example.com is not available: the connection broke",
    hint: "Look whether the operation took effect, then try again",
    isRetryable: true,
    outcome: "unknown"
  },
  StoreBusy: {
    reason: new LightboxError.StoreBusy({ problem: "database is locked" }),
    message: "Another process holds microsandbox's database: database is locked",
    hint: "Try again when the other process is done",
    isRetryable: true,
    outcome: "failed"
  },
  NoSpace: {
    reason: new LightboxError.NoSpace({ problem: "No space left on device" }),
    message: "The disk is full: No space left on device",
    hint: "Free disk space: `npx lightbox prune --dry-run` shows what can be removed",
    isRetryable: true,
    outcome: "failed"
  },
  Unknown: {
    reason: new LightboxError.Unknown({ problem: "what happened", tag: "Nix", cause: new Error("the original") }),
    message: "what happened [Nix]",
    hint: undefined,
    isRetryable: false,
    outcome: "unknown"
  }
}

const rows: ReadonlyArray<Row<Reason>> = Object.values(table)

const errorOf = (reason: Reason) => new LightboxError.LightboxError({ method: "Sandbox.launch", reason })

describe("LightboxError", () => {
  it.effect.each(rows.map((row) => ({ tag: row.reason._tag, row })))(
    "$tag says what happened, what to do, and whether to retry",
    ({ row }) =>
      Effect.sync(() => {
        const error = errorOf(row.reason)
        assert.strictEqual(row.reason.message, row.message)
        assert.strictEqual(error.hint, row.hint)
        const separator = row.message.includes("\n") ? "\n" : ". "
        assert.strictEqual(error.message, [row.message, ...(row.hint === undefined ? [] : [row.hint])].join(separator))
        assert.strictEqual(error.isRetryable, row.isRetryable)
        assert.strictEqual(error.outcome, row.outcome)
        assert.isTrue(LightboxError.isLightboxError(error))
        assert.isFalse(LightboxError.isLightboxError(row.reason))
      })
  )

  it.effect.each(rows.map((row) => ({ tag: row.reason._tag, row })))(
    "$tag survives a round trip through JSON",
    ({ row }) =>
      Effect.gen(function* () {
        const codec = Schema.fromJsonString(Schema.toCodecJson(LightboxError.LightboxError))
        const error = new LightboxError.LightboxError({
          method: "Snapshot.build",
          reason: row.reason,
          step: {
            definition: "node-ci",
            index: 2,
            description: "install",
            command: "npm ci",
            declaredAt: "build.ts:3",
            attempt: 1,
            durationMillis: 12.5
          },
          builder: "node-ci-builder"
        })
        const json = yield* Schema.encodeEffect(codec)(error)
        const back = yield* Schema.decodeEffect(codec)(json)
        assert.isTrue(LightboxError.isLightboxError(back))
        assert.strictEqual(back.message, error.message)
        assert.strictEqual(back.reason._tag, row.reason._tag)
        assert.deepStrictEqual(back.step, error.step)
        assert.strictEqual(back.isRetryable, row.isRetryable)
        assert.strictEqual(back.outcome, row.outcome)
        assert.strictEqual(yield* Schema.encodeEffect(codec)(back), json)
      })
  )

  for (const [kind, isRetryable, hint] of [
    ["NotFound", false, /^Check the reference/],
    ["Unauthorized", false, /^Log in with the option `registry`, or with `docker login`$/],
    ["Tls", false, /^Pass `registry.caCerts`/],
    ["Unreachable", true, /^Check the name of the registry and the network/],
    ["NotCached", false, /^Pass pullPolicy: "if-missing"$/]
  ] as const) {
    it(`says what to do about an image that is not available: ${kind}`, () => {
      const reason = new LightboxError.ImageUnavailable({ reference: "node:22", problem: "it is not", kind })
      const error = new LightboxError.LightboxError({ method: "Sandbox.launch", reason })
      assert.strictEqual(error.isRetryable, isRetryable)
      assert.match(error.hint ?? "", hint)
    })
  }

  for (const [kind, hint] of [
    ["NotFound", /Check the name/],
    ["Unauthorized", /a token of that host/],
    ["Tls", /NODE_EXTRA_CA_CERTS/],
    ["Unreachable", /`lightbox host` runs there/],
    ["Refused", /Check the snapshot on that host/],
    ["NotASnapshot", /it is not that of a host/]
  ] as const) {
    it(`says what to do about a transfer from a host that failed: ${kind}`, () => {
      const reference = "https://kvm.example.com/app"
      const reason = new LightboxError.TransferFailed({ reference, problem: "it is not", kind })
      assert.match(new LightboxError.LightboxError({ method: "Snapshot.pull", reason }).hint ?? "", hint)
    })
  }

  for (const [kind, hint] of [
    ["NotFound", /the bucket exists/],
    ["Unauthorized", /`s3.accessKeyId`/],
    ["Tls", /`registry.caCerts`/],
    ["Unreachable", /the address of the service/],
    ["Refused", /the region/],
    ["NotASnapshot", /Launch from images/]
  ] as const) {
    it(`says what to do about a transfer to a bucket that failed: ${kind}`, () => {
      const reason = new LightboxError.TransferFailed({ reference: "s3://cache/app:1", problem: "it is not", kind })
      assert.match(new LightboxError.LightboxError({ method: "Snapshot.push", reason }).hint ?? "", hint)
    })
  }

  for (const [kind, isRetryable, hint] of [
    ["NotFound", false, /Check the reference/],
    ["Unauthorized", false, /the option `registry`, or with `docker login`/],
    ["Tls", false, /`registry.caCerts`/],
    ["Unreachable", true, /it continues where it stopped/],
    ["Refused", false, /accepts OCI artifacts/],
    ["NotASnapshot", false, /Launch from images/]
  ] as const) {
    it(`says what to do about a transfer that failed: ${kind}`, () => {
      const reason = new LightboxError.TransferFailed({ reference: "example.com/app:1", problem: "it is not", kind })
      const error = new LightboxError.LightboxError({ method: "Snapshot.pull", reason })
      assert.strictEqual(error.isRetryable, isRetryable)
      assert.match(error.hint ?? "", hint)
    })
  }

  it("keeps the original cause through JSON", () => {
    const codec = Schema.toCodecJson(LightboxError.LightboxError)
    const back = Schema.decodeSync(codec)(Schema.encodeSync(codec)(errorOf(table.Unknown.reason)))
    assert.strictEqual(back.reason._tag, "Unknown")
    assert.instanceOf(back.reason.cause, Error)
    assert.strictEqual(back.reason.cause.message, "the original")
  })

  it("prints like any error, message first", () => {
    const error = errorOf(table.NotFound.reason)
    assert.isTrue(inspect(error).startsWith(`LightboxError: ${error.message}\n    at `), inspect(error))
  })

  it.each(["sandbox", "snapshot", "generation", "volume", "image"] as const)(
    "suggests only existing functions for a missing %s",
    (resource) => {
      const modules = new Map<string, object>([
        ["Sandbox", Sandbox],
        ["Snapshot", Snapshot]
      ])
      const reason = new LightboxError.NotFound({ resource, name: "a" })
      const { hint = "" } = new LightboxError.LightboxError({ method: "test", reason })
      for (const [, module = "", name = ""] of hint.matchAll(/(\w+)\.(\w+)\(/g)) {
        assert.property(modules.get(module), name, hint)
      }
    }
  )

  it("leaves out a state or users that are unknown", () => {
    assert.strictEqual(new LightboxError.NotRunning({ name: "a" }).message, 'Sandbox "a" is not running')
    const inUse = new LightboxError.InUse({ resource: "image", name: "node:22", usedBy: [] })
    assert.strictEqual(inUse.message, 'The image "node:22" is in use')
    const exists = new LightboxError.AlreadyExists({ resource: "sandbox", name: "a" })
    assert.strictEqual(exists.message, 'A sandbox named "a" already exists')
  })

  it("shows standard output when standard error is empty", () => {
    const failed = (stdout: string, stderr: string) =>
      new LightboxError.CommandFailed({ argv: ["make"], exitCode: 1, stdout, stderr }).message
    assert.strictEqual(failed("one\ntwo\n", " \n"), "make exited with code 1\n  | one\n  | two")
    assert.strictEqual(failed("", ""), "make exited with code 1")
  })

  it("names the signal that ended a command", () => {
    const failed = (more: { readonly signal?: string }) => {
      const reason = new LightboxError.CommandFailed({ argv: ["make"], exitCode: -1, stdout: "", stderr: "", ...more })
      return errorOf(reason).message
    }
    assert.strictEqual(failed({}), "make was ended by a signal")
    assert.strictEqual(failed({ signal: "SIGSEGV" }), "make was ended by SIGSEGV")
    assert.strictEqual(
      failed({ signal: "SIGKILL" }),
      "make was killed by SIGKILL (out of memory?). Give it more memory if it ran out"
    )
  })

  it("quotes the last lines of long output, and counts the lines before", () => {
    const stderr = Array.from({ length: 50 }, (_, index) => (index === 49 ? "x".repeat(1000) : `line ${index}`))
    const { message } = new LightboxError.CommandFailed({
      argv: ["make"],
      exitCode: 1,
      stdout: "",
      stderr: stderr.join("\n")
    })
    assert.deepStrictEqual(message.split("\n"), [
      "make exited with code 1",
      "  | … (30 lines before)",
      ...stderr.slice(30, 49).map((line) => `  | ${line}`),
      `  | ${"x".repeat(400)}…`
    ])
  })

  it("lists what to fix, one item per line", () => {
    const { message } = new LightboxError.NoVirtualization({ problem: "no kvm", remedy: "do this\ndo that" })
    assert.strictEqual(message, "This machine cannot run microVMs: no kvm\nTo fix it:\n  - do this\n  - do that")
  })

  it("encodes to JSON with its fields, without repeating its text", () => {
    const error = new LightboxError.LightboxError({
      method: "Snapshot.build",
      reason: new LightboxError.CommandFailed({
        argv: ["npm", "ci"],
        exitCode: 1,
        stdout: "",
        stderr: "oops",
        cause: new Error("the original")
      }),
      step: { definition: "node-ci", index: 2, description: "install", attempt: 1, durationMillis: 5 },
      builder: "b"
    })
    assert.deepStrictEqual(JSON.parse(JSON.stringify(error)), {
      _tag: "LightboxError",
      method: "Snapshot.build",
      reason: {
        _tag: "CommandFailed",
        argv: ["npm", "ci"],
        exitCode: 1,
        stdout: "",
        stderr: "oops",
        isRetryable: true,
        outcome: "failed"
      },
      step: { definition: "node-ci", index: 2, description: "install", attempt: 1, durationMillis: 5 },
      builder: "b",
      hint: 'The builder was kept: connect to sandbox "b" to look inside',
      isRetryable: true,
      outcome: "failed"
    })
  })

  it("exposes nothing to print but its message and stack", () => {
    const error = errorOf(table.CommandFailed.reason)
    assert.deepStrictEqual(Object.keys(error), ["name"])
    assert.isFalse("cause" in error)
    const shown = inspect(error, { customInspect: false })
    assert.strictEqual(shown.split("exited with code 2").length, 2, shown)
  })

  it("is retryable for a command that did not start for lack of resources", () => {
    const kinds = Object.fromEntries(
      LightboxError.StartProblem.literals.map((kind) => [
        kind,
        new LightboxError.CommandNotStarted({ argv: ["a"], kind, problem: "b" }).isRetryable
      ])
    )
    assert.deepStrictEqual(
      Object.keys(kinds).filter((kind) => kinds[kind]),
      ["ResourceLimit", "OutOfMemory"]
    )
  })

  it("names the definition, step, line and attempt of a failed build, and the kept builder", () => {
    const step = { definition: "node-ci", index: 2, description: "install", attempt: 1, durationMillis: 5 }
    const reason = new LightboxError.CommandFailed({ argv: ["sh"], exitCode: 7, stdout: "", stderr: "oops" })
    const at = (more: object) =>
      new LightboxError.LightboxError({ method: "Snapshot.build", reason, step: { ...step, ...more } }).message
    assert.strictEqual(
      at({ command: "npm ci", declaredAt: "build.ts:3", attempt: 2 }),
      'Snapshot "node-ci" failed at step 2, attempt 2, install (build.ts:3): ' +
        "setup step exited with code 7: npm ci\n  | oops\nPass keepBuilder: true to keep the builder and look inside"
    )
    assert.include(at({}), "setup step exited with code 7: install")
    const kept = new LightboxError.LightboxError({
      method: "Snapshot.build",
      reason: table.TimedOut.reason,
      step,
      builder: "node-ci-builder"
    })
    assert.strictEqual(
      kept.message,
      'Snapshot "node-ci" failed at step 2, install: npm test took longer than 60000 ms and was stopped. ' +
        'The builder was kept: connect to sandbox "node-ci-builder" to look inside'
    )
  })

  it("shortens an operation of any length", () => {
    const { message } = new LightboxError.TimedOut({ operation: "x".repeat(1_000_000), limitMillis: 5 })
    assert.strictEqual(message, `${"x".repeat(300)}… took longer than 5 ms and was stopped`)
  })

  it.effect("can be matched by reason", () =>
    Effect.gen(function* () {
      const found = yield* Effect.fail(errorOf(table.NotFound.reason)).pipe(
        Effect.catchReason("LightboxError", "NotFound", (reason) => Effect.succeed(reason.name))
      )
      assert.strictEqual(found, "node-ci")
      const other = yield* Effect.flip(
        Effect.fail(errorOf(table.StoreBusy.reason)).pipe(
          Effect.catchReason("LightboxError", "NotFound", () => Effect.succeed(""))
        )
      )
      assert.strictEqual(other.reason._tag, "StoreBusy")
    })
  )
})
