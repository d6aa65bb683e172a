import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as MicrosandboxMemory from "../../../src/MicrosandboxMemory.ts"
import * as Snapshot from "../../../src/Snapshot.ts"
import { test } from "../support.ts"

/** Refused at their last line, which the message shows. */
const refused: { readonly [lines: string]: string } = {
  "RUN x": "RUN before FROM",
  "FROM scratch": "FROM scratch is not supported: a sandbox boots from a disk with programs",
  "FROM $NONE": "$NONE is empty",
  "FROM a b": "expected FROM image, or FROM image AS name",
  "FROM a AS 1": "1 is not a name for a stage",
  "FROM a AS b\nFROM c AS B": "there are two stages named b",
  "FROM --platform=linux/s390x a": "the platform linux/s390x is not supported: this machine runs linux/",
  "FROM a\nMAINTAINER me": "MAINTAINER is not supported: use LABEL maintainer=…",
  "FROM a\nONBUILD RUN x": "ONBUILD is not supported: a snapshot has no triggers for later builds",
  "FROM a\nCOPY --parents x /y/": "the flag --parents of COPY is not supported",
  "FROM a\nRUN --device=x y": "the flag --device of RUN is not supported",
  "FROM a\nRUN --mount=type=ssh x": "mounts of the type ssh are not supported",
  "FROM a\nRUN --mount=type=cache x": "a cache mount needs a target",
  "FROM a\nRUN --mount=type=cache,target=/x,sharing=private y": "sharing=private is not supported",
  "FROM a\nRUN --mount=type=cache,target=/x,from=b y": "the option from of a cache mount is not supported",
  "FROM a\nRUN --mount=type=secret,id=x,required y": "the secret x is required, but not given",
  "FROM a\nRUN --mount=type=tmpfs,target=/ y": "cannot mount over the root",
  "FROM a\nRUN --network=host x": "--network=host is not supported, only none and default",
  "FROM a\nRUN --security=insecure x": "--security=insecure is not supported",
  "FROM a\nCOPY missing /": "missing does not exist in the build context",
  "FROM a\nCOPY secret.txt /": "secret.txt is left out by the ignore file",
  "FROM a\nCOPY ignored /x/": "ignored is left out by the ignore file",
  "FROM a\nCOPY loop/x /": "the symbolic links of loop/x have no end",
  "FROM a\nCOPY out/passwd /": "out/passwd does not exist in the build context",
  "FROM a\nCOPY link /": "link is a symbolic link, which is not supported as a source",
  "FROM a\nCOPY a[z-b] /x/": "a[z-b] is not a pattern: its brackets have no end, or a wrong range",
  "FROM a\nCOPY file.txt file.txt /x": "the destination of several sources must end with a slash",
  "FROM a\nWORKDIR /tmp/x": "a sandbox cannot begin in /tmp/x: its /tmp is in memory",
  "FROM a\nCOPY /x": "expected COPY source destination",
  "FROM a\nCOPY --chmod=u+x file.txt /": "--chmod=u+x is not supported: expected an octal mode such as 755",
  "FROM a\nCOPY --from=3 x /": "there is no stage 3 before this one",
  "FROM a AS b\nCOPY --from=b x /": "there is no stage b before this one",
  "FROM a\nADD https://x.test/y.git /": "ADD of a git repository is not supported: use RUN git clone",
  "FROM a\nADD --checksum=md5:1 https://x.test/y /": "expected --checksum=sha256:… and a URL",
  "FROM a\nADD http:// /x/": "http:// is not a URL",
  'FROM a\nUSER ""': 'expected a user such as app or 1000:1000, not ""',
  "FROM a\nCOPY --chown=a:b:c file.txt /": 'expected a user such as app or 1000:1000, not "a:b:c"',
  'FROM a\nENV ""=x': 'expected a variable name without "=" or NUL',
  "FROM a\nLABEL lightbox.x=y": 'labels that begin with "lightbox." are reserved',
  "FROM a\nRUN --mount=type=tmpfs,target=/x,size=abc y": "size=abc is not a size such as 64m",
  "FROM a\nENV x": "expected ENV name=value",
  "FROM a\nENV x=1 y": "expected ENV name=value, not y",
  'FROM a\nENV x="': 'a " has no end',
  "FROM a\nENV x=${y^}": "the modifier of ${y} is not supported",
  "FROM a\nSHELL /bin/sh": 'expected SHELL ["program", "argument"]',
  "FROM a\nEXPOSE web": "expected a port such as 80, 53/udp or 8000-8010, not web",
  "FROM a\nSTOPSIGNAL SIGX": "SIGX is not a signal",
  "FROM a\nHEALTHCHECK curl x": "expected HEALTHCHECK CMD command, or HEALTHCHECK NONE",
  "FROM a\nHEALTHCHECK --interval=5 CMD x": "expected a duration such as 30s or 1m30s, not 5"
}

describe("Snapshot.fromDockerfile", () => {
  test(
    "refuses what it does not support by line, before anything boots",
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const context = yield* fs.makeTempDirectoryScoped()
      yield* fs.writeFileString(`${context}/file.txt`, "")
      yield* fs.writeFileString(`${context}/secret.txt`, "")
      yield* fs.writeFileString(`${context}/.dockerignore`, "secret.*\nignored\n!other")
      yield* fs.makeDirectory(`${context}/ignored/folder`, { recursive: true })
      yield* fs.symlink("loop", `${context}/loop`)
      yield* fs.symlink("/etc", `${context}/out`)
      yield* fs.symlink("file.txt", `${context}/link`)
      for (const [text, expected] of Object.entries(refused)) {
        const error = yield* Effect.flip(Snapshot.fromDockerfile("app", { text }, { context }))
        const lines = text.split("\n")
        assert.strictEqual(error.reason._tag, "InvalidConfig", text)
        assert.include(error.message, `Invalid dockerfile: ${expected}`, text)
        const number = `${lines.length} | `
        assert.include(
          error.message,
          `(Dockerfile:${lines.length}:1)\n${number}${lines.at(-1)}\n${" ".repeat(number.length - 2)}| ^`,
          text
        )
      }
      const { calls } = yield* MicrosandboxMemory.Control
      assert.deepStrictEqual(
        (yield* calls).filter(({ operation }) => operation === "createSandbox"),
        []
      )
    })
  )

  test(
    "names options that are wrong",
    Effect.gen(function* () {
      const text = "FROM debian:12"
      const fs = yield* FileSystem.FileSystem
      const context = yield* fs.makeTempDirectoryScoped()
      yield* fs.writeFileString(`${context}/.dockerignore`, "# [\n[a-z]\n[z-a]\n")
      const problems = yield* Effect.forEach(
        [
          Snapshot.fromDockerfile("a b", { text }),
          Snapshot.fromDockerfile("app", "/no/Dockerfile"),
          Snapshot.fromDockerfile("app", { text }, { context: "/no" }),
          Snapshot.fromDockerfile("app", { text }, { context: "/dev/null" }),
          Snapshot.fromDockerfile("app", { text }, { context }),
          Snapshot.fromDockerfile("app", { text }, { target: "x" }),
          Snapshot.fromDockerfile("app", { text }, { args: { X: "1" } }),
          Snapshot.fromDockerfile("app", { text: `${text}\nCOPY x /` }),
          Snapshot.fromDockerfile("app", { text: `${text}\nCOPY a\0 /` }),
          Snapshot.fromDockerfile("app", { text: "# nothing" })
        ],
        (effect) => Effect.map(Effect.flip(effect), ({ message }) => message.split("\n")[0] ?? "")
      )
      assert.deepStrictEqual(
        problems.map((problem) => problem.replace(/^Snapshot.fromDockerfile: /, "")),
        [
          "Invalid name: expected 1 to 128 letters, digits, dots, dashes and underscores, starting with a letter or digit",
          "Invalid dockerfile: /no/Dockerfile does not exist on this host",
          "Invalid context: /no does not exist on this host",
          "Invalid context: /dev/null is not a folder",
          `Invalid context: [z-a] is not a pattern: its brackets have no end, or a wrong range (${context}/.dockerignore:3)`,
          'Invalid dockerfile: there is no stage "x", only 0 (Dockerfile:1:1)',
          "Invalid dockerfile: there is no ARG X (Dockerfile:1:1)",
          "Invalid dockerfile: it copies from the build context, but none is given (Dockerfile:2:1)",
          "Invalid dockerfile: expected no NUL character (Dockerfile:2:7)",
          "Invalid dockerfile: there is no FROM (Dockerfile:1:1)"
        ]
      )
    })
  )
})
