/** A Dockerfile on real microVMs: two stages, a cache, a secret, files in /tmp, and a change of one line. */
import { assert, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Redacted from "effect/Redacted"
import * as Plan from "../../../src/Plan.ts"
import * as Sandbox from "../../../src/Sandbox.ts"
import * as Snapshot from "../../../src/Snapshot.ts"
import * as Support from "../../microvm/support.ts"

const mounts = [
  "type=cache,target=/cache",
  "type=secret,id=token",
  "type=tmpfs,target=/scratch",
  "type=bind,target=/mnt/src"
]
  .map((mount) => `--mount=${mount}`)
  .join(" ")

const dockerfile = (greeting: string) =>
  [
    `FROM ${Support.image} AS build`,
    "COPY main.sh /tmp/",
    "WORKDIR /tmp/work",
    `RUN ${mounts} <<EOF`,
    "set -e",
    "echo built >> /cache/log",
    "touch /scratch/file",
    "echo tmp >> ../main.sh",
    "! touch /mnt/src/file 2> /dev/null",
    "mkdir /out",
    "wc -c < /run/secrets/token > /out/length",
    "cat /mnt/src/* /cache/log > /out/main.sh",
    "EOF",
    `FROM ${Support.image}`,
    "ENV PATH=/opt/bin:$PATH",
    "USER 1000:1000",
    "COPY --from=build --chown=1000:1000 --chmod=755 /out /opt/bin/",
    "COPY --from=build /tmp/main.sh /tmp/work/",
    `RUN mktemp && cat /tmp/work/main.sh > /opt/bin/copied && echo "${greeting}" > /opt/bin/greeting`
  ].join("\n")

layer(Support.layer, { excludeTestServices: true })("Dockerfiles", (it) => {
  it.effect(
    "build in stages with mounts, and rebuild by running the changed line",
    () =>
      Effect.gen(function* () {
        const fs = yield* FileSystem.FileSystem
        const context = `${(yield* Support.Home).files}/context`
        yield* fs.makeDirectory(context)
        yield* fs.writeFileString(`${context}/main.sh`, "#!/bin/sh\n")
        yield* fs.writeFileString(`${context}/ignored.log`, "")
        yield* fs.writeFileString(`${context}/.dockerignore`, "*\n!main.sh\n")
        const define = (greeting: string) =>
          Snapshot.fromDockerfile(
            "app",
            { text: dockerfile(greeting) },
            { context, secrets: { token: Redacted.make("a-very-secret-token") } }
          )
        const built = yield* Snapshot.build(yield* define("hello"), { checkpoints: "every-step" })
        assert.strictEqual(built.stepsRun, 3)
        // The runtime puts a folder of its own at the front of PATH.
        const found = yield* Sandbox.run({ snapshot: built }, (sandbox) =>
          sandbox.shell(
            "cd /opt/bin; stat -c '%n %a %u:%g' . *; cat length main.sh copied; ls -d /cache /scratch /mnt/src; echo ${PATH#/.msb/scripts:}"
          )
        )
        assert.deepStrictEqual(found.stdout.split("\n"), [
          ". 755 1000:1000",
          "copied 644 1000:1000",
          "greeting 644 1000:1000",
          "length 755 1000:1000",
          "main.sh 755 1000:1000",
          "19",
          "#!/bin/sh",
          "built",
          "#!/bin/sh",
          "tmp",
          "/opt/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
          ""
        ])
        const changed = yield* define("good day")
        const plan = yield* Snapshot.plan(changed)
        assert.deepStrictEqual(
          plan.steps.map(({ verdict }) => verdict._tag),
          ["Hit", "Hit", "Miss"],
          Plan.format(plan)
        )
        const again = yield* Snapshot.build(changed)
        assert.deepStrictEqual([again.stepsRun, again.stepsReused], [1, 2])
      }),
    900_000
  )
})
