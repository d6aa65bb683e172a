/** What steps become in the guest: their arguments, their files and their network. */
import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import { describe } from "vitest"
import * as Microsandbox from "../../src/Microsandbox.ts"
import type * as MicrosandboxMemory from "../../src/MicrosandboxMemory.ts"
import * as Sandbox from "../../src/Sandbox.ts"
import * as Snapshot from "../../src/Snapshot.ts"
import * as Support from "./support.ts"

/** Programs that only record their arguments. */
const noting = () => {
  const called: Array<ReadonlyArray<string>> = []
  const note = ({ argv }: MicrosandboxMemory.Invocation) => Effect.sync(() => (called.push(argv), 0))
  const commands = { "apt-get": note, npm: note, python3: note, git: note }
  return { called, commands }
}

const { called, commands } = noting()

describe("a step", () => {
  Support.test(
    "of a package manager passes each name as one argument, whatever it contains",
    Effect.gen(function* () {
      yield* Snapshot.build(
        Snapshot.make("tools", Support.image).pipe(
          Snapshot.apt(["git", "libc6=2.*", "a b"]),
          Snapshot.npm(["typescript@>=5 <6", "$(id)"]),
          Snapshot.pip(["numpy>=2,<3", "it's"]),
          Snapshot.gitClone("https://example.com/a b.git", "/srv/app", { ref: "v1 $x" }),
          Snapshot.gitClone("--upload-pack=id", "/srv/other")
        )
      )
      assert.deepStrictEqual(called, [
        ["apt-get", "update"],
        ["apt-get", "install", "-y", "--no-install-recommends", "git", "libc6=2.*", "a b"],
        ["npm", "install", "--global", "--no-fund", "--no-audit", "typescript@>=5 <6", "$(id)"],
        ["python3", "-m", "pip", "install", "--no-cache-dir", "numpy>=2,<3", "it's"],
        ["git", "clone", "--depth", "1", "--branch", "v1 $x", "--", "https://example.com/a b.git", "/srv/app"],
        ["git", "clone", "--depth", "1", "--", "--upload-pack=id", "/srv/other"]
      ])
    }),
    { commands }
  )

  Support.test(
    "that copies applies its ignore patterns, mode and owner",
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const folder = yield* fs.makeTempDirectoryScoped()
      yield* fs.makeDirectory(`${folder}/node_modules`)
      yield* fs.writeFileString(`${folder}/node_modules/huge`, "huge")
      yield* fs.writeFileString(`${folder}/debug.log`, "log")
      yield* fs.writeFileString(`${folder}/app`, "#!/bin/sh\n")
      yield* Snapshot.build(
        Snapshot.make("copied", Support.image).pipe(
          Snapshot.copy(folder, "/srv/app", {
            ignore: ["node_modules", "*.log"],
            mode: 0o750,
            owner: { uid: 1234, gid: 5678 }
          })
        )
      )
      yield* Sandbox.run({ snapshot: "copied" }, (sandbox) =>
        Effect.gen(function* () {
          assert.deepStrictEqual(
            (yield* sandbox.readDirectoryEntries("/srv/app")).map(({ path }) => path),
            ["/srv/app/app"]
          )
          assert.deepInclude(yield* sandbox.stat("/srv/app/app"), { mode: 0o750, uid: 1234, gid: 5678 })
        })
      )
    })
  )

  Support.test(
    "with its own network runs in a builder with that network, from the result before it",
    Effect.gen(function* () {
      const driver = yield* Microsandbox.Microsandbox
      const networks: Array<unknown> = []
      const watched: Microsandbox.Microsandbox["Service"] = {
        ...driver,
        createSandbox: (request) => {
          networks.push(request.config.network)
          return driver.createSandbox(request)
        }
      }
      const definition = Snapshot.make("offline", Support.image).pipe(
        Snapshot.shell("echo 1 >> /root/lines"),
        Snapshot.shell("echo 2 >> /root/lines", { network: "none" }),
        Snapshot.shell("echo 3 >> /root/lines", { network: "none" }),
        Snapshot.shell("echo 4 >> /root/lines")
      )
      yield* Effect.provideService(Snapshot.build(definition), Microsandbox.Microsandbox, watched)
      assert.deepStrictEqual(networks, [undefined, "none", undefined])
      assert.strictEqual(yield* Support.readIn("offline", "/root/lines"), "1\n2\n3\n4\n")
    })
  )
})
