import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Redacted from "effect/Redacted"
import * as Crypto from "node:crypto"
import * as Fs from "node:fs/promises"
import * as Http from "node:http"
import * as Path from "node:path"
import * as BuildReporter from "../../../src/BuildReporter.ts"
import * as Microsandbox from "../../../src/Microsandbox.ts"
import * as MicrosandboxMemory from "../../../src/MicrosandboxMemory.ts"
import * as Snapshot from "../../../src/Snapshot.ts"
import { Screen } from "../../Screen.ts"
import { buildCounting, disk, image, readIn, test, verdicts } from "../support.ts"

/** A folder with files, by path. */
const contextWith = Effect.fnUntraced(function* (files: { readonly [path: string]: string }) {
  const fs = yield* FileSystem.FileSystem
  const folder = yield* fs.makeTempDirectoryScoped()
  for (const [path, content] of Object.entries(files)) {
    yield* fs.makeDirectory(Path.dirname(Path.join(folder, path)), { recursive: true })
    yield* fs.writeFileString(Path.join(folder, path), content)
  }
  return folder
})

/** The reference of an image that is longer than a name of a snapshot may be. */
const deep = `registry.example.com${"/organisation".repeat(9)}/image`

const buildOf = Effect.fnUntraced(function* (
  text: string,
  files: { readonly [path: string]: string } = {},
  options: Snapshot.DockerfileOptions = {}
) {
  const context = yield* contextWith(files)
  const definition = yield* Snapshot.fromDockerfile("app", { text }, { context, ...options })
  return { context, definition, ...(yield* buildCounting(definition)) }
})

/** Times and sizes differ from run to run. */
const withoutNumbers = (lines: ReadonlyArray<string>): ReadonlyArray<string> =>
  lines.map((line) => line.replace(/ {2}[\d.]+(ms|s)?( \d+ms)?(, [\d.]+ [KM]iB)?/, "").replace(/ after .*/, ""))

describe("a build of stages, on a terminal", () => {
  test(
    "is one tree with the stage that it copies from, and the line of the Dockerfile that failed",
    Effect.gen(function* () {
      const screen = new Screen({ columns: 80, rows: 40 })
      const stages = (last: string) =>
        Effect.gen(function* () {
          const text = ["FROM debian:12 AS one", "RUN echo 1 > /one", "FROM debian:12", "COPY --from=one /one /", last]
          const definition = yield* Snapshot.fromDockerfile("app", { text: text.join("\n") })
          const onEvent = yield* BuildReporter.terminal({ output: screen, live: true, color: false })
          return yield* Effect.exit(Snapshot.build(definition, { onEvent }))
        }).pipe(Effect.scoped)
      yield* stages("RUN echo 2")
      const shown = withoutNumbers(yield* screen.lines)
      assert.deepStrictEqual(
        shown.filter((line) => !/booted|pulled|saved/.test(line)),
        [
          "✔ app built, 2 run, generation 1",
          "  ✔ app.one built, 1 run, generation 1",
          "    ✔ 1/1 RUN echo 1 > /one",
          "  ✔ 1/2 COPY --from=one /one /",
          "  ✔ 2/2 RUN echo 2"
        ]
      )
      assert.include(shown, "  ✔ saved the snapshot")
      yield* stages("RUN echo oh no; false")
      const failed = withoutNumbers(yield* screen.lines).slice(shown.length)
      assert.deepStrictEqual(failed.slice(0, 8), [
        "✖ app failed ",
        "  ✔ app.one up to date, 1 cached",
        "  ✔ booted",
        "  ✔ 1/2 COPY --from=one /one /",
        "  ✖ 2/2 RUN echo oh no; false  failed",
        '    /bin/sh -c "echo oh no; false" exited with code 1',
        "    at Dockerfile:5",
        "    │ oh no"
      ])
      // What went well is kept, and why it failed is said once.
      assert.deepStrictEqual(failed.slice(8), [
        "  ✔ booted",
        "  ✔ 1/2 COPY --from=one /one /",
        "  ✔ saved the result of step 1"
      ])
    })
  )
})

describe("Snapshot.fromDockerfile", () => {
  test(
    "builds one stage",
    Effect.gen(function* () {
      const { built, definition } = yield* buildOf(
        [
          "FROM debian:12",
          "ARG GREETING=hello",
          "ENV PLACE=world",
          "WORKDIR /app",
          'RUN echo "$GREETING $PLACE" > greeting',
          "COPY *.txt src /files/",
          "COPY --chown=7:8 --chmod=600 a.txt b.txt ./",
          "COPY <<EOF /etc/motd",
          "on $PLACE",
          "EOF",
          "USER app",
          "WORKDIR own",
          "RUN echo mine > file",
          'ENTRYPOINT ["cat"]',
          "CMD greeting"
        ].join("\n"),
        { "a.txt": "a", "b.txt": "b", "src/c/d": "d", "skip.log": "" }
      )
      const found = yield* disk(built)
      assert.deepStrictEqual(
        Object.fromEntries(Object.entries(found).filter(([path]) => /^\/(app|files|etc\/motd)/.test(path))),
        {
          "/app": "Directory 755 0:0 ",
          "/app/a.txt": "File 600 7:8 a",
          "/app/b.txt": "File 600 7:8 b",
          "/app/greeting": "File 644 0:0 hello world\n",
          "/app/own": "Directory 755 1000:1000 ",
          "/app/own/file": "File 644 1000:1000 mine\n",
          "/etc/motd": "File 644 0:0 on world\n",
          "/files": "Directory 755 0:0 ",
          "/files/a.txt": "File 644 0:0 a",
          "/files/b.txt": "File 644 0:0 b",
          "/files/c": "Directory 755 0:0 ",
          "/files/c/d": "File 644 0:0 d"
        }
      )
      assert.deepStrictEqual(definition.defaults, {
        env: { PLACE: "world" },
        cwd: "/app/own",
        user: "app",
        entrypoint: ["cat"],
        cmd: ["/bin/sh", "-c", "greeting"]
      })
    })
  )

  test(
    "copies from a stage and from an image",
    Effect.gen(function* () {
      const { built, steps } = yield* buildOf(
        [
          "FROM debian:12 AS build",
          "RUN mkdir -p /out/bin /out/empty && echo tool > /out/bin/tool && chmod 755 /out/bin/tool && touch /out/file",
          "FROM debian:12 AS unused",
          "RUN false",
          "FROM debian:12",
          "COPY --from=build --chown=5 /out/*/t* /usr/local/bin/",
          "COPY --from=build /o*/tool* /out/*/tool /by-pattern/",
          "COPY --from=build /out/*.so /none/*/x /by-pattern/",
          "COPY --from=debian:12 /etc/passwd /passwd"
        ].join("\n")
      )
      const found = yield* disk(built)
      assert.strictEqual(found["/usr/local/bin/tool"], "File 755 5:5 tool\n")
      assert.include(found["/passwd"] ?? "", "root")
      assert.deepStrictEqual(
        Object.keys(found).filter((path) => path.startsWith("/by-pattern/")),
        ["/by-pattern/tool"]
      )
      // That of the stage, then those of the snapshot. The image has none, and the other stage is not built.
      assert.deepStrictEqual(steps, [1, 1, 2, 3, 4])
      assert.deepStrictEqual(
        (yield* Snapshot.list()).map(({ name }) => name),
        ["app", "app.build"]
      )
    })
  )

  test(
    "tells images from stages and from each other, whatever their references",
    Effect.gen(function* () {
      const { built } = yield* buildOf(
        [
          "FROM debian:12 AS debian-12",
          "RUN echo stage > /who",
          "FROM debian:12",
          "COPY --from=debian:12 /who /image",
          "COPY --from=debian-12 /who /stage",
          ...[`${deep}:1`, `${deep}-1`].map((reference, index) => `COPY --from=${reference} /who /${index}`)
        ].join("\n")
      )
      const found = yield* disk(built)
      assert.deepStrictEqual(
        ["/image", "/stage", "/0", "/1"].map((path) => found[path]?.split(" ").at(-1)),
        ["debian", "stage\n", "colon", "dash"]
      )
    }),
    {
      images: {
        [image]: { isCached: true, files: { "/who": "debian" } },
        [`${deep}:1`]: { isCached: true, files: { "/who": "colon" } },
        [`${deep}-1`]: { isCached: true, files: { "/who": "dash" } }
      }
    }
  )

  test(
    "makes the folder of WORKDIR for the user of the image, which needs no look-up to plan",
    Effect.gen(function* () {
      const text = ["FROM debian:12", "WORKDIR /work/sub", "RUN touch file", "USER root", "WORKDIR /root/sub"].join(
        "\n"
      )
      const definition = yield* Snapshot.fromDockerfile("app", { text })
      const { calls } = yield* MicrosandboxMemory.Control
      assert.notInclude(
        (yield* calls).map(({ operation }) => operation),
        "getImage"
      )
      const found = yield* disk(yield* Snapshot.build(definition))
      assert.deepStrictEqual(
        ["/work", "/work/sub", "/work/sub/file", "/root/sub"].map((path) => found[path]?.split(" ")[2]),
        ["1000:1000", "1000:1000", "1000:1000", "0:0"]
      )
    }),
    { images: { [image]: { isCached: true, user: "app" } } }
  )

  test(
    "copies from a stage that begins with the same steps and arguments",
    Effect.gen(function* () {
      const { built } = yield* buildOf(
        [
          "FROM debian:12 AS base",
          "ARG WORD=other",
          "RUN echo base > /base",
          "FROM base AS other",
          "RUN echo $WORD > /other",
          "FROM base",
          "COPY --from=other /other /"
        ].join("\n")
      )
      assert.strictEqual(yield* readIn(built, "/other"), "other\n")
    })
  )

  test(
    "follows links to folders of the context, and copies what an exception keeps of an ignored folder",
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const context = yield* contextWith({
        "shared/lib/a.js": "a",
        "dir/a": "",
        "dir/b/c": "c",
        ".dockerignore": "dir\n!dir/b"
      })
      yield* fs.makeDirectory(`${context}/app`)
      yield* fs.symlink("../shared", `${context}/app/shared`)
      yield* fs.symlink("/shared/lib", `${context}/lib`)
      const { built } = yield* buildOf(
        [
          "FROM debian:12",
          "COPY app/shared/lib/a.js lib/*.js /one/",
          "COPY app/shared/lib/ /two/",
          "COPY dir /three/",
          "RUN --mount=source=lib/a.js,target=/m cat /m > /bound"
        ].join("\n"),
        {},
        { context }
      )
      const found = yield* disk(built)
      assert.deepStrictEqual(
        Object.entries(found).filter(
          ([path, text]) => /^\/(one|two|three|bound)/.test(path) && text.startsWith("File")
        ),
        [
          ["/bound", "File 644 0:0 a"],
          ["/one/a.js", "File 644 0:0 a"],
          ["/three/b/c", "File 644 0:0 c"],
          ["/two/a.js", "File 644 0:0 a"]
        ]
      )
    })
  )

  test(
    "gives a RUN its mounts, and leaves nothing of them",
    Effect.gen(function* () {
      const { built } = yield* buildOf(
        [
          "FROM debian:12",
          "RUN --mount=type=cache,target=/root/.cache/x,mode=700 echo first >> /root/.cache/x/log",
          "RUN --mount=type=cache,target=/root/.cache/x,sharing=locked cat /root/.cache/x/log > /log",
          "RUN --mount=type=secret,id=a --mount=type=secret,id=b,env=B --mount=type=secret,id=a,target=/etc/key,mode=0400 \\",
          '  --mount=type=secret,id=none test "$(cat /run/secrets/a) $B $(cat /etc/key)" = "value-a value-b value-a"',
          "RUN --mount=type=secret,id=2fa --mount=type=secret,id=x/_2fa cat /run/secrets/2fa /run/secrets/_2fa | wc -c > /length",
          "RUN --mount=type=tmpfs,target=/scratch,size=1m echo 1 > /scratch/x && cp /scratch/x /scratched",
          "RUN --mount=source=src,target=/mnt/src --mount=source=a.txt,target=/a.txt cat /mnt/src/b /a.txt > /bound"
        ].join("\n"),
        { "src/b": "b", "a.txt": "a" },
        {
          secrets: {
            a: Redacted.make("value-a"),
            b: Redacted.make("value-b"),
            "2fa": Redacted.make("second-factor"),
            "x/_2fa": Redacted.make("other")
          }
        }
      )
      const found = yield* disk(built)
      assert.deepStrictEqual(
        ["/log", "/scratched", "/bound", "/length"].map((path) => found[path]),
        ["File 644 0:0 first\n", "File 644 0:0 1\n", "File 644 0:0 ba", "File 644 0:0 18\n"]
      )
      assert.deepStrictEqual(
        Object.keys(found).filter((path) =>
          /^\/(root\/\.cache|scratch$|mnt\/src|a\.txt|etc\/key|\.lightbox-binds)/.test(path)
        ),
        []
      )
    })
  )

  test(
    "waits for locked caches in one order, and once for each",
    Effect.gen(function* () {
      const run = (...ids: ReadonlyArray<string>) =>
        [
          "FROM debian:12",
          `RUN ${ids.map((id, index) => `--mount=type=cache,id=${id},target=/c${index},sharing=locked`).join(" ")} \\`,
          "  echo $$ > /c0/file && ls /c0 /c1 /c2 > /files"
        ].join("\n")
      const definitions = yield* Effect.forEach([run("a", "b", "a"), run("b", "a", "b")], (text, index) =>
        Snapshot.fromDockerfile(`app${index}`, { text })
      )
      const [one, two] = yield* Effect.forEach(definitions, (definition) => Snapshot.build(definition), {
        concurrency: "unbounded"
      })
      assert.isDefined(one)
      assert.isDefined(two)
      assert.include(yield* readIn(two, "/files"), "/c2:\nfile\n")
    })
  )

  test(
    "runs again only what a change reaches",
    Effect.gen(function* () {
      const text = [
        "FROM debian:12",
        "RUN echo 1 > /one",
        "ARG VERSION=1",
        "COPY src /src",
        "RUN echo $VERSION > /version"
      ].join("\n")
      const { context } = yield* buildOf(text, { "src/a": "a", other: "o", ".dockerignore": "src/*.log" })
      const fs = yield* FileSystem.FileSystem
      const runs = Effect.fnUntraced(function* (text: string, options?: Snapshot.DockerfileOptions) {
        const definition = yield* Snapshot.fromDockerfile("app", { text }, { context, ...options })
        const plan = yield* Snapshot.plan(definition)
        const { built, steps } = yield* buildCounting(definition, { checkpoints: "every-step" })
        return { built, steps, reasons: verdicts(plan), places: plan.steps.map(({ declaredAt }) => declaredAt) }
      })
      // The first build kept only the last result.
      yield* runs(`${text} # 1`)
      yield* fs.writeFileString(`${context}/other`, "changed")
      yield* fs.writeFileString(`${context}/src/x.log`, "ignored")
      const same = yield* runs(`${text} # 1`)
      assert.deepStrictEqual(same.steps, [])
      const version = yield* runs(`${text} # 1`, { args: { VERSION: "2" } })
      assert.deepStrictEqual([version.steps, version.reasons], [[3], ["Hit", "Hit", "EnvironmentChanged"]])
      assert.deepStrictEqual(version.places, ["Dockerfile:2", "Dockerfile:4", "Dockerfile:5"])
      assert.strictEqual(yield* readIn(version.built, "/version"), "2\n")
      yield* fs.writeFileString(`${context}/src/a`, "b")
      const files = yield* runs(`${text} # 1`, { args: { VERSION: "2" } })
      assert.deepStrictEqual(
        [files.steps, files.reasons],
        [
          [2, 3],
          ["Hit", "FilesChanged", "EarlierChanged"]
        ]
      )
    })
  )

  test(
    "runs again when one of several binds changes, whatever the paths in the others",
    Effect.gen(function* () {
      const runs = Effect.fnUntraced(function* (first: string, file: string) {
        const text = [
          "FROM debian:12 AS one",
          `RUN mkdir /out && echo ${first} > /out/f`,
          "FROM debian:12 AS two",
          "RUN mkdir /out && echo two > /out/f",
          "FROM debian:12",
          "RUN --mount=from=one,source=out,target=/1 --mount=from=two,source=out,target=/2 --mount=source=out,target=/3 \\",
          "  cat /1/f /2/f /3/f > /all"
        ].join("\n")
        return yield* readIn((yield* buildOf(text, { "out/f": file })).built, "/all")
      })
      assert.deepStrictEqual(
        [yield* runs("one", "three"), yield* runs("1", "three"), yield* runs("1", "3")],
        ["one\ntwo\nthree", "1\ntwo\nthree", "1\ntwo\n3"]
      )
    })
  )

  test(
    "keeps files of /tmp while it builds",
    Effect.gen(function* () {
      const { built } = yield* buildOf(
        [
          "FROM debian:12 AS build",
          "COPY a.txt /tmp/",
          "WORKDIR /tmp/work",
          "RUN cat /tmp/a.txt > out",
          "FROM debian:12",
          "COPY --from=build /tmp/w*/out /tmp/",
          "RUN --network=none mv /tmp/out /out",
          "RUN ls /tmp > /left",
          "USER app",
          "RUN mktemp"
        ].join("\n"),
        { "a.txt": "a" }
      )
      assert.deepStrictEqual([yield* readIn(built, "/out"), yield* readIn(built, "/left")], ["a", ""])
    })
  )

  test(
    "needs umount in an image only for files of /tmp",
    Effect.gen(function* () {
      const { built } = yield* buildOf("FROM debian:12\nCOPY a.txt /a\nRUN cat /a > /tmp/b", { "a.txt": "a" })
      assert.strictEqual(yield* readIn(built, "/a"), "a")
      const error = yield* Effect.flip(
        buildOf("FROM debian:12\nCOPY a.txt /tmp/\nRUN cat /tmp/a.txt", { "a.txt": "a" })
      )
      assert.include(error.message, "Could not start umount /tmp")
    }),
    { images: { [image]: { isCached: true, programs: ["sh", "cat", "tar", "kill", "sync"] } } }
  )

  test(
    "gives proxies to each RUN, and keeps them out of keys and off the disk",
    Effect.gen(function* () {
      const { home } = yield* Microsandbox.Microsandbox
      const build = (password: string, declaration = "LABEL a=b") =>
        buildOf(
          ["FROM debian:12", declaration, "ENV NO_PROXY=own", 'RUN echo "${#HTTPS_PROXY} $NO_PROXY" > /seen'].join(
            "\n"
          ),
          {},
          { args: { HTTPS_PROXY: `http://user:${password}@a`, NO_PROXY: "other" } }
        )
      const { built, definition } = yield* build("hidden-1")
      assert.strictEqual(yield* readIn(built, "/seen"), "22 own\n")
      assert.notInclude(JSON.stringify(definition), "hidden-1")
      const files = yield* Effect.promise(() => Fs.readdir(home, { recursive: true, withFileTypes: true }))
      for (const file of files.filter((file) => file.isFile())) {
        assert.notInclude(
          yield* Effect.promise(() => Fs.readFile(Path.join(file.parentPath, file.name), "latin1")),
          "hidden-1"
        )
      }
      assert.deepStrictEqual((yield* build("hidden-2")).steps, [])
      assert.deepStrictEqual((yield* build("hidden-1", "ARG HTTPS_PROXY")).steps, [1])
      assert.deepStrictEqual((yield* build("hidden-2", "ARG HTTPS_PROXY")).steps, [1])
    })
  )

  test(
    "makes launch defaults, a service and labels of the rest",
    Effect.gen(function* () {
      const definition = yield* Snapshot.fromDockerfile("app", {
        text: [
          "ARG TAG=12",
          "FROM debian:$TAG AS base",
          'LABEL a=1 b="two words"',
          'CMD ["base"]',
          "FROM base",
          "LABEL a=3",
          "ENV PATH=/opt/bin:$PATH A=b",
          "WORKDIR rel",
          "USER app",
          'SHELL ["/bin/bash", "-o", "pipefail", "-c"]',
          "EXPOSE 80 8000-8001/udp 80/tcp",
          'ENTRYPOINT ["server", "--on"]',
          "CMD run me",
          "STOPSIGNAL SIGRTMIN+3",
          "VOLUME /data",
          "HEALTHCHECK --interval=0s --timeout=1s --retries=2 --start-period=1m CMD probe it"
        ].join("\n")
      })
      assert.deepStrictEqual(definition.labels, { a: "3", b: "two words" })
      assert.deepStrictEqual(definition.base, { _tag: "Image", reference: "debian:12" })
      const command = ["server", "--on", "/bin/bash", "-o", "pipefail", "-c", "run me"] as const
      assert.deepStrictEqual(definition.defaults, {
        env: { PATH: "/opt/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", A: "b" },
        cwd: "/rel",
        user: "app",
        shell: "/bin/bash",
        entrypoint: ["server", "--on"],
        cmd: ["/bin/bash", "-o", "pipefail", "-c", "run me"],
        ports: [
          { host: 0, guest: 80 },
          { host: 0, guest: 8000, protocol: "udp" },
          { host: 0, guest: 8001, protocol: "udp" }
        ],
        services: {
          main: {
            command,
            ready: {
              command: ["/bin/bash", "-o", "pipefail", "-c", "probe it"],
              interval: 1000,
              timeout: 60_000 + 2 * 31_000
            }
          }
        }
      })
    })
  )

  test(
    "shows the line of the Dockerfile where a step fails, and retries nothing",
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const context = yield* contextWith({ Dockerfile: "FROM debian:12\n\nRUN true\nRUN exit 3\n" })
      const definition = yield* Snapshot.fromDockerfile("app", `${context}/Dockerfile`)
      const error = yield* Effect.flip(Snapshot.build(definition))
      assert.strictEqual(error.step?.declaredAt, `${yield* fs.realPath(context)}/Dockerfile:4`)
      assert.strictEqual(error.step?.description, "RUN exit 3")
    })
  )

  test(
    "adds archives, URLs and runs here-documents",
    Effect.gen(function* () {
      const context = yield* contextWith({ "in/a": "a", "in/d/b": "b", "plain.gz": "no archive" })
      yield* Effect.promise(async () => {
        const { execFileSync } = await import("node:child_process")
        for (const [flag, name] of [
          ["-cf", "a.tar"],
          ["-czf", "b.tar.gz"]
        ] as const)
          execFileSync("tar", [
            flag,
            Path.join(context, name),
            "--owner=5",
            "--group=6",
            "-C",
            Path.join(context, "in"),
            "."
          ])
      })
      const server = yield* Effect.acquireRelease(
        Effect.promise(
          () =>
            new Promise<Http.Server>((resolve) => {
              const server = Http.createServer((_, response) => response.end("downloaded"))
              server.listen(0, "127.0.0.1", () => resolve(server))
            })
        ),
        (server) => Effect.sync(() => server.close())
      )
      const address = server.address()
      const url = `http://127.0.0.1:${address !== null && typeof address === "object" ? address.port : 0}`
      const sum = Crypto.hash("sha256", "downloaded")
      const text = [
        "FROM debian:12",
        "ADD a.tar b.tar.gz plain.gz /x/",
        `ADD --checksum=sha256:${sum} ${url}/file.txt /x/`,
        "RUN <<EOF",
        "echo one > /one",
        "echo two > /two",
        "EOF",
        "RUN cat <<A > /three",
        "three",
        "A",
        "RUN [ -n x ] && cat <<A > /four",
        "four",
        "A"
      ]
      const definition = yield* Snapshot.fromDockerfile("app", { text: text.join("\n") }, { context })
      const found = yield* disk(yield* Snapshot.build(definition))
      assert.deepStrictEqual(
        ["/x/a", "/x/d", "/x/d/b", "/x/plain.gz", "/x/file.txt", "/one", "/two", "/three", "/four"].map(
          (path) => found[path]
        ),
        [
          "File 644 5:6 a",
          "Directory 755 5:6 ",
          "File 644 5:6 b",
          "File 644 0:0 no archive",
          "File 600 0:0 downloaded",
          "File 644 0:0 one\n",
          "File 644 0:0 two\n",
          "File 644 0:0 three\n",
          "File 644 0:0 four\n"
        ]
      )
      const wrong = yield* Snapshot.fromDockerfile("app", {
        text: `FROM debian:12\nADD --checksum=sha256:${"0".repeat(64)} ${url}/file.txt /x/`
      })
      assert.include((yield* Effect.flip(Snapshot.build(wrong))).message, `its checksum is sha256:${sum}`)
    })
  )
})
