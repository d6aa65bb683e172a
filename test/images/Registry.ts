/** Registries for tests: Debian's docker-registry, filled with skopeo. */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Path from "effect/Path"
import * as Stream from "effect/Stream"
import * as Cache from "../host/Cache.ts"
import * as Packages from "../host/Packages.ts"
import { dieWithParent, run, spawn } from "../host/Subprocess.ts"
import * as Busybox from "./Busybox.ts"
import * as OciArchive from "./OciArchive.ts"

const purpose = "a registry for tests"

/** The program itself: the installed package would also start a service. */
const program = Effect.gen(function* () {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const folder = yield* Cache.folder("registry")
  const file = path.join(folder, "docker-registry")
  return yield* Effect.gen(function* () {
    if (yield* fs.exists(file)) return file
    const unpacked = yield* Cache.runFolder()
    yield* Packages.download(purpose, "docker-registry", unpacked)
    yield* run("sh", ["-c", "dpkg-deb --extract docker-registry_*.deb ."], { cwd: unpacked })
    yield* fs.rename(path.join(unpacked, "usr/bin/docker-registry"), file)
    return file
  }).pipe(Effect.scoped, Cache.withLock(folder))
})

/** The images of the tag before and after it moves: busybox, and one with another file. */
export const archives = Effect.gen(function* () {
  const before = yield* Busybox.archive
  const after = yield* OciArchive.cached(
    { name: "busybox-moved", references: [Busybox.reference], revision: 1 },
    Effect.fnUntraced(function* (folder: string) {
      const fs = yield* FileSystem.FileSystem
      const layer = yield* Busybox.makeLayer(folder)
      yield* fs.writeFileString(`${folder}/moved`, "moved\n")
      const owner = ["--owner=0", "--group=0"]
      yield* run("tar", [
        "--append",
        "--file",
        layer,
        "--directory",
        folder,
        ...OciArchive.reproducible,
        ...owner,
        "moved"
      ])
      return layer
    })
  )
  return { before, after }
})

/** Serves the images in a folder on a free port until the scope closes, and returns host and port. */
export const serve = Effect.fnUntraced(function* (options: {
  readonly folder: string
  readonly tls?: { readonly certificate: string; readonly key: string } | undefined
  /** A file of logins. */
  readonly logins?: string | undefined
}) {
  const { folder, logins, tls } = options
  const fs = yield* FileSystem.FileSystem
  const config = yield* fs.makeTempFileScoped({ suffix: ".yml" })
  // JSON is YAML.
  yield* fs.writeFileString(
    config,
    JSON.stringify({
      version: "0.1",
      log: { level: "info" },
      storage: { filesystem: { rootdirectory: folder } },
      http: {
        addr: "127.0.0.1:0",
        ...(tls === undefined ? {} : { tls: { certificate: tls.certificate, key: tls.key } })
      },
      ...(logins === undefined ? {} : { auth: { htpasswd: { realm: "tests", path: logins } } })
    })
  )
  const child = yield* spawn(dieWithParent([yield* program, "serve", config]), { stdin: "ignore" })
  const port = yield* Deferred.make<string>()
  yield* Effect.forkScoped(
    Stream.runForEach(Stream.splitLines(Stream.decodeText(child.all)), (line) => {
      const [, found] = /listening on 127\.0\.0\.1:(\d+)/.exec(line) ?? []
      return found === undefined ? Effect.void : Deferred.succeed(port, found)
    })
  )
  return `localhost:${yield* Deferred.await(port)}`
})

/** Pushes an archive to a registry that serves plain HTTP without a login. */
export const push = Effect.fnUntraced(function* (archive: string, to: string) {
  yield* Packages.ensure(purpose, ["skopeo"])
  yield* run("skopeo", [
    "--insecure-policy",
    "copy",
    "--dest-tls-verify=false",
    `oci-archive:${archive}:${Busybox.reference}`,
    `docker://${to}`
  ])
})

/** The digest of an image that a registry serves on plain HTTP without a login. */
export const digestOf = (image: string) =>
  Effect.map(run("skopeo", ["inspect", "--tls-verify=false", "--format", "{{.Digest}}", `docker://${image}`]), (text) =>
    text.trim()
  )

/** A certificate for localhost, of an authority of its own. */
export const certificate = Effect.gen(function* () {
  const fs = yield* FileSystem.FileSystem
  yield* Packages.ensure(purpose, ["openssl"])
  const folder = yield* fs.makeTempDirectoryScoped()
  const openssl = (...args: ReadonlyArray<string>) => run("openssl", args, { cwd: folder })
  const key = ["-newkey", "rsa:2048", "-nodes", "-subj"]
  yield* fs.writeFileString(`${folder}/names`, "subjectAltName=DNS:localhost,IP:127.0.0.1")
  yield* openssl("req", "-x509", ...key, "/CN=Tests", "-days", "2", "-keyout", "ca.key", "-out", "ca.crt")
  yield* openssl("req", ...key, "/CN=localhost", "-keyout", "tls.key", "-out", "tls.csr")
  const signing = ["-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "names", "-days", "2"]
  yield* openssl("x509", "-req", "-in", "tls.csr", ...signing, "-out", "tls.crt")
  return { authority: `${folder}/ca.crt`, certificate: `${folder}/tls.crt`, key: `${folder}/tls.key` }
})

/** A login, and the line with its hash in a registry's file of logins. */
export const login = {
  username: "ci",
  password: "pass:word 1",
  line: "ci:$2y$05$V7d7/6R9ASOYcb5twRgeS.o4337syX4lFf0ENrDODCUaDLkMhMsVe\n"
}
