/** PostgreSQL for tests: Debian's, unpacked and not installed, because the installed package would also start a service. */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Path from "effect/Path"
import * as Net from "node:net"
import * as Cache from "../host/Cache.ts"
import * as Machine from "../host/Machine.ts"
import * as Packages from "../host/Packages.ts"
import { dieWithParent, run, spawn, type Words } from "../host/Subprocess.ts"
import { freePort } from "../support.ts"

const purpose = "a database for tests"

/** Who runs it as root, which PostgreSQL refuses. */
const nobody = 65_534

/** Of a C library and a compiler, those of this machine are used. */
const isNeeded = (name: string): boolean =>
  name.startsWith("lib") && !/^lib(c6|c-bin|gcc|stdc\+\+|llvm|crypt1)/.test(name)

/** The packages, as archives. They are kept between runs. */
const archives = Effect.gen(function* () {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const folder = yield* Cache.folder("postgres")
  return yield* Effect.gen(function* () {
    const list = path.join(folder, "complete")
    if (!(yield* fs.exists(list))) {
      const depends = yield* run("apt-cache", ["depends", "postgresql"])
      const server = /Depends: (postgresql-\d+)/.exec(depends)?.[1] ?? "postgresql-15"
      const flags = ["recommends", "suggests", "conflicts", "breaks", "replaces", "enhances"].map(
        (what) => `--no-${what}`
      )
      const all = yield* run("apt-cache", ["depends", "--recurse", ...flags, server])
      const libraries = [...new Set(all.split("\n").filter((line) => /^\S/.test(line)))].filter(isNeeded)
      yield* Packages.download(purpose, server, folder)
      yield* Packages.download(purpose, "libpq5", folder)
      const present = yield* run("dpkg-query", ["--show", "--showformat", "${Package}\n"])
      const known = new Set(present.split("\n"))
      for (const name of libraries.filter((name) => !known.has(name) && name !== "libpq5")) {
        yield* Packages.download(purpose, name, folder)
      }
      yield* fs.writeFileString(list, "")
    }
    const names = yield* fs.readDirectory(folder)
    return names.filter((name) => name.endsWith(".deb")).map((name) => path.join(folder, name))
  }).pipe(Cache.withLock(folder))
})

/** Where a server runs that others than this machine use: its address, and what runs a command there. */
export interface Place {
  readonly address: string
  readonly on: (words: Words) => Words
}

const here: Place = { address: "127.0.0.1", on: (words) => words }

/** Makes a database server on a free port. It can be started, and killed, more than once. */
export const make = Effect.fnUntraced(function* ({ address, on }: Place = here) {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  // Where others may look, too.
  const home = yield* fs.makeTempDirectoryScoped({ prefix: "pg" })
  yield* fs.chmod(home, 0o755)
  for (const archive of yield* archives) yield* run("dpkg-deb", ["--extract", archive, home])
  const versions = yield* fs.readDirectory(path.join(home, "usr/lib/postgresql"))
  const bin = path.join(home, "usr/lib/postgresql", versions[0] ?? "15", "bin")
  const multiarch = (yield* run("dpkg-architecture", ["-qDEB_HOST_MULTIARCH"]).pipe(
    Effect.orElseSucceed(() => (process.arch === "arm64" ? "aarch64-linux-gnu" : "x86_64-linux-gnu"))
  )).trim()
  const env = { LD_LIBRARY_PATH: path.join(home, "usr/lib", multiarch), HOME: home }
  const data = path.join(home, "data")
  yield* fs.makeDirectory(data)
  if (Machine.isRoot) yield* fs.chown(data, nobody, nobody)
  const asUser: Array<string> = Machine.isRoot
    ? [`--reuid=${nobody}`, `--regid=${nobody}`, "--clear-groups"]
    : ["--no-new-privs"]
  yield* run(
    "setpriv",
    [
      ...asUser,
      path.join(bin, "initdb"),
      "-D",
      data,
      "-A",
      "trust",
      "-U",
      "lightbox",
      "--no-sync",
      "--locale=C",
      "-E",
      "UTF8"
    ],
    { env, cwd: home }
  )
  yield* fs.writeFileString(path.join(data, "pg_hba.conf"), "host all all all trust\n", { flag: "a" })
  const port = yield* freePort
  /** Runs the server until the scope closes, which kills it. */
  const start = Effect.gen(function* () {
    const settings = ["fsync=off", "jit=off", "max_connections=100"].flatMap((setting) => ["-c", setting])
    const [program, ...args] = on(dieWithParent(["setpriv", ...asUser, path.join(bin, "postgres")]))
    const child = yield* spawn(
      [program, ...args, "-D", data, "-p", String(port), "-k", "", "-h", address, ...settings],
      {
        cwd: home,
        env,
        extendEnv: true,
        stdin: "ignore",
        stdout: "ignore",
        stderr: "ignore",
        // Sessions end at once, without what they have not committed.
        killSignal: "SIGQUIT",
        // One that has just been started again may wait for itself.
        forceKillAfter: "2 seconds"
      }
    )
    yield* Effect.repeat(isAnswered(address, port), { until: (is) => is })
    return child
  })
  return { url: `postgres://lightbox@${address}:${port}/postgres`, start }
})

const isAnswered = (address: string, port: number) =>
  Effect.callback<boolean>((resume) => {
    const socket = Net.connect(port, address)
    socket.on("connect", () => resume(Effect.succeed(true)))
    socket.on("error", () => setTimeout(() => resume(Effect.succeed(false)), 50))
    return Effect.sync(() => socket.destroy())
  })
