/** A Dockerfile on real microVMs: two stages, a cache, a secret, and a change of one line. */
import { assert, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Redacted from "effect/Redacted"
import * as Plan from "../../../src/Plan.ts"
import * as Sandbox from "../../../src/Sandbox.ts"
import * as Snapshot from "../../../src/Snapshot.ts"
import * as Support from "../../microvm/support.ts"

const dockerfile = (greeting: string) =>
  [
    `FROM ${Support.image} AS build`,
    "WORKDIR /src",
    "COPY . .",
    "RUN --mount=type=cache,target=/cache --mount=type=secret,id=token --mount=type=tmpfs,target=/scratch <<EOF",
    "set -e",
    "echo built >> /cache/log",
    "touch /scratch/file",
    "mkdir /out",
    "wc -c < /run/secrets/token > /out/length",
    "cat main.sh /cache/log > /out/main.sh",
    "EOF",
    `FROM ${Support.image}`,
    "ENV PATH=/opt/bin:$PATH",
    "USER 1000:1000",
    "WORKDIR /opt/app",
    "COPY --from=build --chown=1000:1000 --chmod=755 /out /opt/bin/",
    "RUN --mount=type=bind,from=build,source=/src,target=/mnt/src cp /mnt/src/main.sh copied",
    `RUN echo "${greeting}" > greeting`
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
        const built = yield* Snapshot.build(yield* define("hello"))
        assert.strictEqual(built.stepsRun, 4)
        const found = yield* Sandbox.run({ snapshot: built }, (sandbox) =>
          sandbox.shell(
            "stat -c '%n %a %u:%g' . copied ../bin/*; cat ../bin/length ../bin/main.sh; ls -d /cache /scratch /mnt; echo $PATH"
          )
        )
        assert.deepStrictEqual(found.stdout.split("\n"), [
          ". 755 1000:1000",
          "copied 644 1000:1000",
          "../bin/length 755 1000:1000",
          "../bin/main.sh 755 1000:1000",
          "19",
          "#!/bin/sh",
          "built",
          "/opt/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
          ""
        ])
        const changed = yield* define("good day")
        const plan = yield* Snapshot.plan(changed)
        assert.strictEqual(plan.steps.filter(({ verdict }) => verdict._tag === "Miss").length, 1, Plan.format(plan))
        const again = yield* Snapshot.build(changed)
        assert.deepStrictEqual([again.stepsRun, again.stepsReused], [1, 3])
      }),
    900_000
  )
})
