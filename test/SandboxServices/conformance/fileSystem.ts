/** What programs may expect of a `FileSystem`. */
import * as ByteSize from "effect/ByteSize"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import * as Path from "effect/Path"
import * as ChildProcess from "effect/process/ChildProcess"
import * as ChildProcessSpawner from "effect/process/ChildProcessSpawner"
import * as Stream from "effect/Stream"
import { type Behaviour, differs, inFolder, outcome, same } from "./Behaviour.ts"

const encode = (text: string) => new TextEncoder().encode(text)

const decode = (bytes: Option.Option<Uint8Array>) => Option.map(bytes, (bytes) => new TextDecoder().decode(bytes))

const permissions = (info: FileSystem.File.Info) => (info.mode & 0o7777).toString(8)

const sorted = (names: ReadonlyArray<string>) => names.toSorted()

const run = (command: ChildProcess.Command) =>
  ChildProcessSpawner.ChildProcessSpawner.use((spawner) => spawner.string(command))

// =============================================================================
// Whole files
// =============================================================================

const allBytes = Uint8Array.from({ length: 1024 }, (_, index) => index)

const wholeFiles: ReadonlyArray<Behaviour> = [
  same(
    "writeFile and readFile keep every byte",
    allBytes.join(),
    inFolder((fs, folder) =>
      Effect.gen(function* () {
        yield* fs.writeFile(`${folder}/file`, allBytes)
        return (yield* fs.readFile(`${folder}/file`)).join()
      })
    )
  ),
  same(
    "writeFile and readFile take files that are larger than a message",
    [2_500_000, true],
    inFolder((fs, folder) =>
      Effect.gen(function* () {
        const bytes = Uint8Array.from({ length: 2_500_000 }, (_, index) => index * 7)
        yield* fs.writeFile(`${folder}/file`, bytes)
        const read = yield* fs.readFile(`${folder}/file`)
        return [read.length, read.every((byte, index) => byte === bytes[index])]
      })
    )
  ),
  same(
    "writeFileString and readFileString are UTF-8",
    "Grüße, 世界",
    inFolder((fs, folder) =>
      Effect.andThen(fs.writeFileString(`${folder}/file`, "Grüße, 世界"), fs.readFileString(`${folder}/file`))
    )
  ),
  same(
    "writeFile overwrites without truncating with r+, appends with a, and replaces with w",
    ["xycdef", "xycdefgh", "new", ""],
    inFolder((fs, folder) => {
      const write = (text: string, flag?: FileSystem.OpenFlag) =>
        Effect.andThen(fs.writeFileString(`${folder}/file`, text, { flag }), fs.readFileString(`${folder}/file`))
      return Effect.andThen(write("abcdef"), Effect.all([write("xy", "r+"), write("gh", "a"), write("new"), write("")]))
    })
  ),
  same(
    "writeFile creates a file with wx, and fails if it exists",
    ["success", "AlreadyExists", "first"],
    inFolder((fs, folder) => {
      const write = (text: string) => outcome(fs.writeFileString(`${folder}/file`, text, { flag: "wx" }))
      return Effect.all([write("first"), write("second"), fs.readFileString(`${folder}/file`)])
    })
  ),
  same(
    "writeFile with r fails and changes nothing",
    ["Unknown", "data"],
    inFolder((fs, folder) =>
      Effect.gen(function* () {
        yield* fs.writeFileString(`${folder}/file`, "data")
        const outcomeOfWrite = yield* outcome(fs.writeFileString(`${folder}/file`, "x", { flag: "r" }))
        return [outcomeOfWrite, yield* fs.readFileString(`${folder}/file`)]
      })
    )
  ),
  same(
    "writeFile applies the umask to a new file's mode, and keeps an existing file's mode",
    ["644", "640", "640"],
    inFolder((fs, folder) =>
      Effect.gen(function* () {
        const write = (name: string, mode?: number) =>
          Effect.andThen(
            fs.writeFileString(`${folder}/${name}`, "", { mode }),
            Effect.map(fs.stat(`${folder}/${name}`), permissions)
          )
        return [yield* write("one"), yield* write("two", 0o660), yield* write("two", 0o600)]
      })
    )
  ),
  same(
    "readFile fails for a missing file, a directory and a path below a file",
    ["NotFound", "BadResource", "BadResource"],
    inFolder((fs, folder) =>
      Effect.andThen(
        fs.writeFileString(`${folder}/file`, ""),
        Effect.forEach(["missing", "", "file/below"], (name) => outcome(fs.readFile(`${folder}/${name}`)))
      )
    )
  ),
  same(
    "writeFile fails in a missing folder and for a directory",
    ["NotFound", "BadResource"],
    inFolder((fs, folder) =>
      Effect.forEach([`${folder}/missing/file`, folder], (path) => outcome(fs.writeFileString(path, "")))
    )
  ),
  same(
    "an empty path is not found, and a path with NUL is rejected",
    ["NotFound", "BadArgument"],
    inFolder((fs) => Effect.forEach(["", "a\0b"], (path) => outcome(fs.readFile(path))))
  ),
  same(
    "an error names the method and the path",
    { module: "FileSystem", method: "readFile", path: "/missing/file" },
    inFolder((fs) =>
      Effect.map(Effect.flip(fs.readFile("/missing/file")), ({ reason }) => ({
        module: reason.module,
        method: reason.method,
        path: "pathOrDescriptor" in reason ? reason.pathOrDescriptor : undefined
      }))
    )
  ),
  same(
    "many files read at the same time each return their own content or failure",
    [
      ...Array.from({ length: 30 }, (_, index) => `content ${index}`),
      "",
      "content 7",
      "NotFound",
      "BadResource",
      "BadResource"
    ],
    inFolder((fs, folder) =>
      Effect.gen(function* () {
        const names = Array.from({ length: 30 }, (_, index) => `${folder}/file ${index}`)
        yield* Effect.forEach(names, (name, index) => fs.writeFileString(name, `content ${index}`), {
          concurrency: "unbounded"
        })
        yield* fs.writeFileString(`${folder}/empty`, "")
        yield* fs.symlink(`${folder}/file 7`, `${folder}/link`)
        yield* fs.symlink("loop", `${folder}/loop`)
        const others = ["empty", "link", "missing", ".", "loop"].map((name) => `${folder}/${name}`)
        return yield* Effect.forEach(
          [...names, ...others],
          (path) =>
            Effect.match(fs.readFileString(path), {
              onFailure: ({ reason }): string => reason._tag,
              onSuccess: (content) => content
            }),
          { concurrency: "unbounded" }
        )
      })
    )
  )
]

// =============================================================================
// Open files and streams
// =============================================================================

const lorem = "lorem ipsum dolar sit amet"

const withFile = <A, E, R>(
  flag: FileSystem.OpenFlag,
  content: string,
  use: (file: FileSystem.File, fs: FileSystem.FileSystem, path: string) => Effect.Effect<A, E, R>
) =>
  inFolder((fs, folder) =>
    Effect.gen(function* () {
      const path = `${folder}/file`
      yield* fs.writeFileString(path, content)
      return yield* use(yield* fs.open(path, { flag }), fs, path)
    })
  )

const readText = (file: FileSystem.File, size: number) => Effect.map(file.readAlloc(size), decode)

const openFiles: ReadonlyArray<Behaviour> = [
  same(
    "reads continue from the last read or seek, in both directions",
    [Option.some("lorem"), Option.some(" ipsum"), Option.some("dolar"), Option.some("lar"), Option.some("lorem")],
    withFile("r", lorem, (file) =>
      Effect.gen(function* () {
        const first = yield* readText(file, 5)
        const second = yield* readText(file, 6)
        yield* file.seek(1n, "current")
        const third = yield* readText(file, 5)
        yield* file.seek(-3n, "current")
        const fourth = yield* readText(file, 3)
        yield* file.seek(0n, "start")
        return [first, second, third, fourth, yield* readText(file, 5)]
      })
    )
  ),
  same(
    "a read at a position keeps the cursor, and returns nothing past the end",
    [Option.some("ipsum"), Option.none(), 3, Option.some("lorem")],
    withFile("r", lorem, (file) =>
      Effect.gen(function* () {
        const at = (size: number, position: bigint) => Effect.map(file.readAlloc(size, { position }), decode)
        const buffer = new Uint8Array(3)
        return [
          yield* at(5, 6n),
          yield* at(5, 1000n),
          yield* file.read(buffer, { position: 2n }),
          yield* readText(file, 5)
        ]
      })
    )
  ),
  same(
    "read fills a buffer up to the end of the file",
    [4, "abcd\0\0", 0],
    withFile("r", "abcd", (file) =>
      Effect.gen(function* () {
        const buffer = new Uint8Array(6)
        const count = yield* file.read(buffer)
        return [count, new TextDecoder().decode(buffer), yield* file.read(buffer)]
      })
    )
  ),
  same(
    "negative positions and invalid sizes are rejected",
    ["BadArgument", "BadArgument", "BadArgument", "BadArgument", "BadArgument", 0n],
    withFile("r", lorem, (file) =>
      Effect.gen(function* () {
        return [
          yield* outcome(file.seek(-1n, "start")),
          yield* outcome(file.seek(-1n, "current")),
          yield* outcome(file.readAlloc(1, { position: -1n })),
          yield* outcome(file.readAlloc(-1)),
          yield* outcome(file.readAlloc(1.5)),
          yield* file.seek(0n, "current")
        ]
      })
    )
  ),
  same(
    "writes continue from the last write or seek",
    ["lorem ipsum dolor sit amet", "lorem ipsum dolor sit hello world", "lorem blabl dolor sit hello world"],
    withFile("w+", "", (file, fs, path) =>
      Effect.gen(function* () {
        const write = (text: string) => Effect.andThen(file.write(encode(text)), fs.readFileString(path))
        yield* write("lorem ipsum")
        yield* write(" ")
        const first = yield* write("dolor sit amet")
        yield* file.seek(-4n, "current")
        const second = yield* write("hello world")
        yield* file.seek(6n, "start")
        return [first, second, yield* write("blabl")]
      })
    )
  ),
  same(
    "a file opened for appending uses its cursor only for reading",
    ["foobar", Option.some("f"), "foobarbaz", Option.some("oobarbaz")],
    withFile("a+", "foo", (file, fs, path) =>
      Effect.gen(function* () {
        yield* file.write(encode("bar"))
        const first = yield* fs.readFileString(path)
        const second = yield* readText(file, 1)
        yield* file.writeAll(encode("baz"))
        return [first, second, yield* fs.readFileString(path), yield* readText(file, 10)]
      })
    )
  ),
  same(
    "write returns the number of bytes written, even none",
    [3, 0, "abc"],
    withFile("r+", "", (file, fs, path) =>
      Effect.gen(function* () {
        const count = yield* file.write(encode("abc"))
        const none = yield* file.write(new Uint8Array())
        yield* file.writeAll(new Uint8Array())
        return [count, none, yield* fs.readFileString(path)]
      })
    )
  ),
  same(
    "truncate moves the cursor only if it is past the end",
    [6n, 5n, "loremxyz"],
    withFile("r+", lorem, (file, fs, path) =>
      Effect.gen(function* () {
        yield* file.seek(6n, "start")
        yield* file.truncate(11)
        const before = yield* file.seek(0n, "current")
        yield* file.truncate(5)
        const after = yield* file.seek(0n, "current")
        yield* file.write(encode("xyz"))
        return [before, after, yield* fs.readFileString(path)]
      })
    )
  ),
  same(
    "an open file has a size, can be synced, and stays readable after it is removed",
    [26n, "File", "success", Option.some("lorem")],
    withFile("r+", lorem, (file, fs, path) =>
      Effect.gen(function* () {
        const info = yield* file.stat
        yield* fs.remove(path)
        return [ByteSize.toBigInt(info.size), info.type, yield* outcome(file.sync), yield* readText(file, 5)]
      })
    )
  ),
  same(
    "a file opened for reading cannot be written, nor one for writing read",
    ["Unknown", "Unknown"],
    inFolder((fs, folder) =>
      Effect.gen(function* () {
        const writing = yield* fs.open(`${folder}/file`, { flag: "w" })
        const reading = yield* fs.open(`${folder}/file`, { flag: "r" })
        return [yield* outcome(reading.write(encode("x"))), yield* outcome(writing.readAlloc(1))]
      })
    )
  ),
  same(
    "open creates files with w, a and x, but not with r",
    ["NotFound", "NotFound", "success", "AlreadyExists", "success", "success"],
    inFolder((fs, folder) =>
      Effect.forEach(["r", "r+", "wx", "wx+", "a", "w+"] as const, (flag) =>
        outcome(fs.open(`${folder}/file`, { flag }))
      )
    )
  ),
  differs(
    "open with noFollow",
    {
      onHost: ["success", "BadResource"],
      inGuest: ["BadArgument", "BadArgument"],
      because: "the agent has no flag for it, and looking before opening would be a race"
    },
    inFolder((fs, folder) =>
      Effect.gen(function* () {
        yield* fs.writeFileString(`${folder}/file`, "")
        yield* fs.symlink("file", `${folder}/link`)
        return yield* Effect.forEach(["file", "link"], (name) =>
          outcome(fs.open(`${folder}/${name}`, { noFollow: true }))
        )
      })
    )
  ),
  same(
    "stream returns a range in chunks of the given size",
    ["ipsum", ["lore", "m ip", "sum "], ""],
    inFolder((fs, folder) =>
      Effect.gen(function* () {
        const path = `${folder}/file`
        yield* fs.writeFileString(path, lorem)
        const range = fs.stream(path, { offset: 6, bytesToRead: 5 })
        const chunks = fs.stream(path, { chunkSize: 4, bytesToRead: 12 })
        const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes)
        return [
          yield* Stream.mkString(Stream.decodeText(range)),
          yield* Stream.runCollect(Stream.map(chunks, text)),
          yield* Stream.mkString(Stream.decodeText(fs.stream(path, { offset: 100 })))
        ]
      })
    )
  ),
  same(
    "sink replaces a file or appends to it",
    ["abcdef", "abcdefgh", "i"],
    inFolder((fs, folder) => {
      const path = `${folder}/file`
      const write = (flag: FileSystem.OpenFlag | undefined, ...pieces: ReadonlyArray<string>) =>
        Effect.andThen(
          Stream.run(Stream.map(Stream.fromIterable(pieces), encode), fs.sink(path, { flag })),
          fs.readFileString(path)
        )
      return Effect.all([write(undefined, "abc", "def"), write("a", "gh"), write("w", "i")])
    })
  )
]

// =============================================================================
// Folders
// =============================================================================

const folders: ReadonlyArray<Behaviour> = [
  same(
    "makeDirectory creates one folder, and fails if it exists or its parent does not",
    ["success", "AlreadyExists", "NotFound", "BadResource", "AlreadyExists"],
    inFolder((fs, folder) =>
      Effect.andThen(
        fs.writeFileString(`${folder}/file`, ""),
        Effect.forEach(["new", "new", "missing/new", "file/new", "file"], (name) =>
          outcome(fs.makeDirectory(`${folder}/${name}`))
        )
      )
    )
  ),
  same(
    "makeDirectory succeeds for exactly one of many callers",
    { success: 1, AlreadyExists: 7 },
    inFolder((fs, folder) =>
      Effect.map(
        Effect.forEach(Array.from({ length: 8 }), () => outcome(fs.makeDirectory(`${folder}/lock`)), {
          concurrency: "unbounded"
        }),
        (outcomes) => ({
          success: outcomes.filter((outcome) => outcome === "success").length,
          AlreadyExists: outcomes.filter((outcome) => outcome === "AlreadyExists").length
        })
      )
    )
  ),
  same(
    "makeDirectory with recursive creates parents, and accepts an existing folder",
    ["success", "success", "AlreadyExists", "BadResource"],
    inFolder((fs, folder) =>
      Effect.andThen(
        fs.writeFileString(`${folder}/file`, ""),
        Effect.forEach(["a/b/c", "a/b/c", "file", "file/below"], (name) =>
          outcome(fs.makeDirectory(`${folder}/${name}`, { recursive: true }))
        )
      )
    )
  ),
  same(
    "makeDirectory applies the umask to new folders' modes, and keeps those of existing ones",
    ["755", "750", "750", "750", "750"],
    inFolder((fs, folder) =>
      Effect.gen(function* () {
        const mode = (name: string) => Effect.map(fs.stat(`${folder}/${name}`), permissions)
        yield* fs.makeDirectory(`${folder}/default`)
        yield* fs.makeDirectory(`${folder}/one`, { mode: 0o770 })
        yield* fs.makeDirectory(`${folder}/one/two/three`, { mode: 0o770, recursive: true })
        yield* fs.makeDirectory(`${folder}/one`, { mode: 0o700, recursive: true })
        return yield* Effect.forEach(["default", "one", "one/two", "one/two/three", "one"], mode)
      })
    )
  ),
  same(
    "readDirectory returns names, and with recursive all paths below",
    [
      ["a", "file"],
      ["a", "a/b", "a/b/deep", "file"]
    ],
    inFolder((fs, folder) =>
      Effect.gen(function* () {
        yield* fs.makeDirectory(`${folder}/a/b`, { recursive: true })
        yield* fs.writeFileString(`${folder}/a/b/deep`, "")
        yield* fs.writeFileString(`${folder}/file`, "")
        return [sorted(yield* fs.readDirectory(folder)), sorted(yield* fs.readDirectory(folder, { recursive: true }))]
      })
    )
  ),
  differs(
    "readDirectory with recursive and a link to a folder",
    {
      onHost: ["folder", "folder/file", "link", "link/file"],
      inGuest: ["folder", "folder/file", "link"],
      because: "Node.js follows links to folders, even in circles"
    },
    inFolder((fs, folder) =>
      Effect.gen(function* () {
        yield* fs.makeDirectory(`${folder}/folder`)
        yield* fs.writeFileString(`${folder}/folder/file`, "")
        yield* fs.symlink("folder", `${folder}/link`)
        return sorted(yield* fs.readDirectory(folder, { recursive: true }))
      })
    )
  ),
  same(
    "readDirectory lists more entries than fit in one message",
    1200,
    inFolder((fs, folder) =>
      Effect.gen(function* () {
        yield* run(
          ChildProcess.make("sh", ["-c", 'cd "$0"; i=0; while [ $i -lt 1200 ]; do : > f$i; i=$((i+1)); done', folder])
        )
        return new Set(yield* fs.readDirectory(folder)).size
      })
    )
  ),
  same(
    "readDirectory fails for a missing folder and for a file",
    ["NotFound", "BadResource", "NotFound"],
    inFolder((fs, folder) =>
      Effect.gen(function* () {
        yield* fs.writeFileString(`${folder}/file`, "")
        return [
          yield* outcome(fs.readDirectory(`${folder}/missing`)),
          yield* outcome(fs.readDirectory(`${folder}/file`)),
          yield* outcome(fs.readDirectoryEntries(`${folder}/missing`))
        ]
      })
    )
  ),
  same(
    "readDirectoryEntries reports the type of each entry, not of its link target",
    ["Directory directory", "FIFO pipe", "File file", "SymbolicLink link"],
    inFolder((fs, folder) =>
      Effect.gen(function* () {
        yield* fs.makeDirectory(`${folder}/directory`)
        yield* fs.writeFileString(`${folder}/file`, "")
        yield* fs.symlink("directory", `${folder}/link`)
        yield* run(ChildProcess.make("mkfifo", [`${folder}/pipe`]))
        return sorted((yield* fs.readDirectoryEntries(folder)).map(({ name, type }) => `${type} ${name}`))
      })
    )
  ),
  same(
    "makeTempDirectory creates a private folder with the given parent and prefix",
    [true, true, "700", true, "NotFound"],
    inFolder((fs, folder) =>
      Effect.gen(function* () {
        const path = yield* Path.Path
        const first = yield* fs.makeTempDirectory({ directory: folder, prefix: "begin-" })
        const second = yield* fs.makeTempDirectory({ directory: folder })
        return [
          path.basename(first).startsWith("begin-") && path.dirname(first) === folder,
          path.dirname(second) === folder && second !== first,
          permissions(yield* fs.stat(first)),
          yield* fs.exists(second),
          yield* outcome(fs.makeTempDirectory({ directory: `${folder}/missing` }))
        ]
      })
    )
  ),
  same(
    "makeTempFile creates an empty file with the suffix, in its own folder",
    ["", true, true],
    inFolder((fs, folder) =>
      Effect.gen(function* () {
        const path = yield* Path.Path
        const file = yield* fs.makeTempFile({ directory: folder, prefix: "begin-", suffix: ".txt" })
        return [
          yield* fs.readFileString(file),
          file.endsWith(".txt"),
          path.dirname(path.dirname(file)) === folder && path.basename(path.dirname(file)).startsWith("begin-")
        ]
      })
    )
  ),
  same(
    "scoped temporary files and folders are removed with their scope",
    [["Directory", "File"], []],
    inFolder((fs, folder) =>
      Effect.gen(function* () {
        const inside = yield* Effect.scoped(
          Effect.gen(function* () {
            const directory = yield* fs.makeTempDirectoryScoped({ directory: folder })
            yield* fs.writeFileString(`${directory}/file`, "")
            const file = yield* fs.makeTempFileScoped({ directory: folder })
            return yield* Effect.forEach([directory, file], (path) => Effect.map(fs.stat(path), ({ type }) => type))
          })
        )
        return [inside, yield* fs.readDirectory(folder)]
      })
    )
  ),
  same(
    "relative paths start at the working directory of commands",
    ["there", true],
    inFolder((fs, folder) =>
      Effect.gen(function* () {
        const path = yield* Path.Path
        const cwd = (yield* run(ChildProcess.make("pwd"))).trimEnd()
        yield* fs.writeFileString(path.relative(cwd, `${folder}/file`), "there")
        return [yield* fs.readFileString(`${folder}/file`), path.resolve(".") === cwd]
      })
    )
  ),
  same(
    "glob finds files by pattern",
    [
      ["src/a.ts", "src/deep/b.ts"],
      ["src/a.ts", "src/c.js"],
      ["src/a.ts"],
      ["src", "src/a.ts", "src/c.js", "src/deep", "src/deep/b.ts"],
      []
    ],
    inFolder((fs, root) =>
      Effect.gen(function* () {
        yield* fs.makeDirectory(`${root}/src/deep`, { recursive: true })
        yield* Effect.forEach(["src/a.ts", "src/c.js", "src/deep/b.ts", "src/.hidden.ts"], (name) =>
          fs.writeFileString(`${root}/${name}`, "")
        )
        const glob = (pattern: string, options?: { readonly exclude: ReadonlyArray<string> }) =>
          fs.glob(pattern, { root, ...options })
        return [
          yield* glob("**/*.ts"),
          yield* glob("src/*.{ts,js}"),
          yield* glob("**/*.ts", { exclude: ["**/deep"] }),
          yield* glob("src/**"),
          yield* glob("missing/*")
        ]
      })
    )
  )
]

// =============================================================================
// Information, permissions and links
// =============================================================================

const information: ReadonlyArray<Behaviour> = [
  same(
    "stat returns type, size and mode",
    [
      ["File", 5n, (0o100640).toString(8)],
      ["Directory", (0o040751).toString(8)],
      ["FIFO", "CharacterDevice"]
    ],
    inFolder((fs, folder) =>
      Effect.gen(function* () {
        yield* fs.writeFileString(`${folder}/file`, "12345")
        yield* fs.chmod(`${folder}/file`, 0o640)
        yield* fs.makeDirectory(`${folder}/directory`)
        yield* fs.chmod(`${folder}/directory`, 0o751)
        yield* run(ChildProcess.make("mkfifo", [`${folder}/pipe`]))
        const file = yield* fs.stat(`${folder}/file`)
        const directory = yield* fs.stat(`${folder}/directory`)
        return [
          [file.type, ByteSize.toBigInt(file.size), file.mode.toString(8)],
          [directory.type, directory.mode.toString(8)],
          [(yield* fs.stat(`${folder}/pipe`)).type, (yield* fs.stat("/dev/null")).type]
        ]
      })
    )
  ),
  same(
    "stat follows links, lstat does not",
    ["File", "SymbolicLink", "NotFound", "SymbolicLink", "NotFound"],
    inFolder((fs, folder) =>
      Effect.gen(function* () {
        yield* fs.writeFileString(`${folder}/file`, "")
        yield* fs.symlink("file", `${folder}/link`)
        yield* fs.symlink("nowhere", `${folder}/broken`)
        return [
          (yield* fs.stat(`${folder}/link`)).type,
          (yield* fs.lstat(`${folder}/link`)).type,
          yield* outcome(fs.stat(`${folder}/broken`)),
          (yield* fs.lstat(`${folder}/broken`)).type,
          yield* outcome(fs.lstat(`${folder}/missing`))
        ]
      })
    )
  ),
  differs(
    "stat returns device, inode, link count and birth time",
    {
      onHost: [true, true, true],
      inGuest: [false, false, false],
      because: "the agent does not report dev, ino, nlink and birthtime"
    },
    inFolder((fs, folder) =>
      Effect.gen(function* () {
        yield* fs.writeFileString(`${folder}/file`, "")
        const info = yield* fs.stat(`${folder}/file`)
        return [info.dev !== 0n, Option.isSome(info.ino) && Option.isSome(info.nlink), Option.isSome(info.birthtime)]
      })
    )
  ),
  same(
    "utimes sets times in whole seconds, as dates or numbers",
    [
      ["2001-02-03T04:05:06.000Z", "2011-12-13T14:15:16.000Z"],
      ["1970-01-01T00:01:40.000Z", "1970-01-01T00:03:20.000Z"],
      "NotFound",
      "BadArgument"
    ],
    inFolder((fs, folder) =>
      Effect.gen(function* () {
        const path = `${folder}/file`
        yield* fs.writeFileString(path, "")
        const times = Effect.map(fs.stat(path), ({ atime, mtime }) =>
          [atime, mtime].map((time) => Option.getOrThrow(time).toISOString())
        )
        yield* fs.utimes(path, new Date("2001-02-03T04:05:06Z"), new Date("2011-12-13T14:15:16Z"))
        const first = yield* times
        yield* fs.utimes(path, 100, 200)
        return [
          first,
          yield* times,
          yield* outcome(fs.utimes(`${folder}/missing`, 100, 200)),
          yield* outcome(fs.utimes(path, Number.NaN, 200))
        ]
      })
    )
  ),
  differs(
    "utimes sets times to the millisecond",
    {
      onHost: "2001-02-03T04:05:06.789Z",
      inGuest: "2001-02-03T04:05:06.000Z",
      because: "the agent's times are whole seconds"
    },
    inFolder((fs, folder) =>
      Effect.gen(function* () {
        const time = new Date("2001-02-03T04:05:06.789Z")
        yield* fs.writeFileString(`${folder}/file`, "")
        yield* fs.utimes(`${folder}/file`, time, time)
        return Option.getOrThrow((yield* fs.stat(`${folder}/file`)).mtime).toISOString()
      })
    )
  ),
  same(
    "exists follows links",
    [true, true, false, false, "BadResource"],
    inFolder((fs, folder) =>
      Effect.gen(function* () {
        yield* fs.writeFileString(`${folder}/file`, "")
        yield* fs.symlink("nowhere", `${folder}/broken`)
        return [
          yield* fs.exists(folder),
          yield* fs.exists(`${folder}/file`),
          yield* fs.exists(`${folder}/missing`),
          yield* fs.exists(`${folder}/broken`),
          yield* outcome(fs.exists(`${folder}/file/below`))
        ]
      })
    )
  ),
  same(
    "access succeeds for existing files with the requested permissions",
    ["success", "success", "success", "NotFound", "NotFound"],
    inFolder((fs, folder) =>
      Effect.gen(function* () {
        yield* fs.writeFileString(`${folder}/file`, "")
        return [
          yield* outcome(fs.access(`${folder}/file`, { ok: true })),
          yield* outcome(fs.access(`${folder}/file`, { readable: true, writable: true })),
          yield* outcome(fs.access(folder, { writable: true })),
          yield* outcome(fs.access(`${folder}/missing`)),
          yield* outcome(fs.access(`${folder}/missing`, { writable: true }))
        ]
      })
    )
  ),
  same(
    "chmod and chown change a file, and fail for a missing one",
    ["4755", "success", "NotFound", "NotFound"],
    inFolder((fs, folder) =>
      Effect.gen(function* () {
        const path = `${folder}/file`
        yield* fs.writeFileString(path, "")
        yield* fs.chmod(path, 0o4755)
        const { gid, mode, uid } = yield* fs.stat(path)
        const owner = [Option.getOrThrow(uid), Option.getOrThrow(gid)] as const
        return [
          (mode & 0o7777).toString(8),
          yield* outcome(fs.chown(path, ...owner)),
          yield* outcome(fs.chmod(`${folder}/missing`, 0o644)),
          yield* outcome(fs.chown(`${folder}/missing`, ...owner))
        ]
      })
    )
  ),
  same(
    "truncate shortens, extends with zeros, and empties",
    ["abc", "abc\0\0", "", "NotFound", "BadResource"],
    inFolder((fs, folder) =>
      Effect.gen(function* () {
        const path = `${folder}/file`
        yield* fs.writeFileString(path, "abcdef")
        const truncate = (length?: number) => Effect.andThen(fs.truncate(path, length), fs.readFileString(path))
        return [
          yield* truncate(3),
          yield* truncate(5),
          yield* truncate(),
          yield* outcome(fs.truncate(`${folder}/missing`)),
          yield* outcome(fs.truncate(folder))
        ]
      })
    )
  ),
  same(
    "symbolic links are created as given, read and resolved",
    ["file", "nowhere", "through", true, "AlreadyExists", "Unknown", "NotFound", "NotFound"],
    inFolder((fs, folder) =>
      Effect.gen(function* () {
        yield* fs.writeFileString(`${folder}/file`, "through")
        yield* fs.symlink("file", `${folder}/link`)
        yield* fs.symlink("nowhere", `${folder}/broken`)
        return [
          yield* fs.readLink(`${folder}/link`),
          yield* fs.readLink(`${folder}/broken`),
          yield* fs.readFileString(`${folder}/link`),
          (yield* fs.realPath(`${folder}/./link`)) === `${yield* fs.realPath(folder)}/file`,
          yield* outcome(fs.symlink("file", `${folder}/link`)),
          yield* outcome(fs.readLink(`${folder}/file`)),
          yield* outcome(fs.realPath(`${folder}/missing`)),
          yield* outcome(fs.realPath(`${folder}/broken`))
        ]
      })
    )
  ),
  same(
    "hard links share one file",
    ["written through one", "AlreadyExists", "AlreadyExists", "NotFound", "NotFound", "PermissionDenied"],
    inFolder((fs, folder) =>
      Effect.gen(function* () {
        const link = (from: string, to: string) => outcome(fs.link(`${folder}/${from}`, `${folder}/${to}`))
        yield* fs.writeFileString(`${folder}/one`, "")
        yield* fs.makeDirectory(`${folder}/directory`)
        yield* fs.link(`${folder}/one`, `${folder}/two`)
        yield* fs.writeFileString(`${folder}/one`, "written through one")
        return [
          yield* fs.readFileString(`${folder}/two`),
          yield* link("one", "two"),
          yield* link("one", "directory"),
          yield* link("missing", "three"),
          yield* link("one", "missing/three"),
          yield* link("directory", "three")
        ]
      })
    )
  )
]

// =============================================================================
// Moving, copying and removing
// =============================================================================

const changes: ReadonlyArray<Behaviour> = [
  same(
    "rename moves and replaces, and fails where the kernel does",
    ["moved", "NotFound", "BadResource", "Unknown", "BadResource"],
    inFolder((fs, folder) =>
      Effect.gen(function* () {
        const rename = (from: string, to: string) => outcome(fs.rename(`${folder}/${from}`, `${folder}/${to}`))
        yield* fs.writeFileString(`${folder}/one`, "moved")
        yield* fs.writeFileString(`${folder}/two`, "")
        yield* fs.makeDirectory(`${folder}/full/of`, { recursive: true })
        yield* fs.makeDirectory(`${folder}/other`)
        yield* rename("one", "two")
        return [
          yield* fs.readFileString(`${folder}/two`),
          yield* rename("missing", "three"),
          yield* rename("two", "other"),
          yield* rename("other", "full"),
          yield* rename("other", "two")
        ]
      })
    )
  ),
  same(
    "remove removes a link, not its target; folders need recursive, missing paths force",
    ["success", "NotFound", "success", "Unknown", "success", ["kept"]],
    inFolder((fs, folder) =>
      Effect.gen(function* () {
        const remove = (name: string, options?: { readonly recursive?: boolean; readonly force?: boolean }) =>
          outcome(fs.remove(`${folder}/${name}`, options))
        yield* fs.makeDirectory(`${folder}/directory/deep`, { recursive: true })
        yield* fs.makeDirectory(`${folder}/kept`)
        yield* fs.writeFileString(`${folder}/kept/file`, "")
        yield* fs.symlink("kept", `${folder}/link`)
        return [
          yield* remove("link", { recursive: true }),
          yield* remove("missing"),
          yield* remove("missing", { force: true }),
          yield* remove("directory"),
          yield* remove("directory", { recursive: true }),
          yield* fs.readDirectory(folder)
        ]
      })
    )
  ),
  same(
    "copyFile copies content and mode, and replaces the target",
    ["content", "755", "NotFound", "NotFound"],
    inFolder((fs, folder) =>
      Effect.gen(function* () {
        yield* fs.writeFileString(`${folder}/one`, "content")
        yield* fs.chmod(`${folder}/one`, 0o755)
        yield* fs.writeFileString(`${folder}/two`, "longer than the content")
        yield* fs.copyFile(`${folder}/one`, `${folder}/two`)
        return [
          yield* fs.readFileString(`${folder}/two`),
          permissions(yield* fs.stat(`${folder}/two`)),
          yield* outcome(fs.copyFile(`${folder}/missing`, `${folder}/two`)),
          yield* outcome(fs.copyFile(`${folder}/one`, `${folder}/missing/two`))
        ]
      })
    )
  ),
  same(
    "copy copies a folder with its content and modes, and creates parents",
    [["deep", "deep/program", "empty", "file"], "content", "755", "666", "700"],
    inFolder((fs, folder) =>
      Effect.gen(function* () {
        yield* fs.makeDirectory(`${folder}/from/deep`, { recursive: true })
        yield* fs.makeDirectory(`${folder}/from/empty`)
        yield* fs.chmod(`${folder}/from/empty`, 0o700)
        yield* fs.writeFileString(`${folder}/from/deep/program`, "content")
        yield* fs.chmod(`${folder}/from/deep/program`, 0o755)
        yield* fs.writeFileString(`${folder}/from/file`, "")
        yield* fs.chmod(`${folder}/from/file`, 0o666)
        yield* fs.copy(`${folder}/from`, `${folder}/new/to`)
        const mode = (name: string) => Effect.map(fs.stat(`${folder}/new/to/${name}`), permissions)
        return [
          sorted(yield* fs.readDirectory(`${folder}/new/to`, { recursive: true })),
          yield* fs.readFileString(`${folder}/new/to/deep/program`),
          yield* mode("deep/program"),
          yield* mode("file"),
          yield* mode("empty")
        ]
      })
    )
  ),
  same(
    "copy merges into an existing folder, and replaces files only with overwrite",
    [["deep", "deep/new", "deep/old", "file"], "old", "new"],
    inFolder((fs, folder) =>
      Effect.gen(function* () {
        yield* fs.makeDirectory(`${folder}/from/deep`, { recursive: true })
        yield* fs.makeDirectory(`${folder}/to/deep`, { recursive: true })
        yield* fs.writeFileString(`${folder}/from/deep/new`, "")
        yield* fs.writeFileString(`${folder}/to/deep/old`, "")
        yield* fs.writeFileString(`${folder}/from/file`, "new")
        yield* fs.writeFileString(`${folder}/to/file`, "old")
        yield* fs.copy(`${folder}/from`, `${folder}/to`)
        const merged = sorted(yield* fs.readDirectory(`${folder}/to`, { recursive: true }))
        const kept = yield* fs.readFileString(`${folder}/to/file`)
        yield* fs.copy(`${folder}/from`, `${folder}/to`, { overwrite: true })
        return [merged, kept, yield* fs.readFileString(`${folder}/to/file`)]
      })
    )
  ),
  same(
    "copy copies one file, and fails for a missing source, itself or another type",
    ["content", "NotFound", "Unknown", "Unknown", "Unknown", "Unknown"],
    inFolder((fs, folder) =>
      Effect.gen(function* () {
        const copy = (from: string, to: string) =>
          outcome(fs.copy(`${folder}/${from}`, `${folder}/${to}`, { overwrite: true }))
        yield* fs.makeDirectory(`${folder}/directory`)
        yield* fs.writeFileString(`${folder}/file`, "content")
        yield* fs.copy(`${folder}/file`, `${folder}/new/file`)
        return [
          yield* fs.readFileString(`${folder}/new/file`),
          yield* copy("missing", "three"),
          yield* copy("directory", "directory/below"),
          yield* copy("file", "file"),
          yield* copy("directory", "file"),
          yield* copy("file", "directory")
        ]
      })
    )
  ),
  same(
    "copy keeps times only with preserveTimestamps",
    ["1970-01-01T00:03:20.000Z", true],
    inFolder((fs, folder) =>
      Effect.gen(function* () {
        yield* fs.makeDirectory(`${folder}/from`)
        yield* fs.writeFileString(`${folder}/from/file`, "content")
        yield* fs.utimes(`${folder}/from/file`, 100, 200)
        yield* fs.copy(`${folder}/from`, `${folder}/kept`, { preserveTimestamps: true })
        yield* fs.copy(`${folder}/from`, `${folder}/fresh`)
        const time = (name: string) =>
          Effect.map(fs.stat(`${folder}/${name}/file`), ({ mtime }) => Option.getOrThrow(mtime))
        return [(yield* time("kept")).toISOString(), (yield* time("fresh")).getTime() > 1_000_000]
      })
    )
  ),
  differs(
    "copy of a relative link",
    {
      onHost: "it leads to the original",
      inGuest: "it is as it was",
      because: "Node.js makes it absolute; FileSystem.copy says that it is cp -r, which does not"
    },
    inFolder((fs, folder) =>
      Effect.gen(function* () {
        yield* fs.makeDirectory(`${folder}/from`)
        yield* fs.writeFileString(`${folder}/from/file`, "")
        yield* fs.symlink("file", `${folder}/from/link`)
        yield* fs.copy(`${folder}/from`, `${folder}/to`)
        const target = yield* fs.readLink(`${folder}/to/link`)
        return target === "file"
          ? "it is as it was"
          : target === `${folder}/from/file`
            ? "it leads to the original"
            : target
      })
    )
  )
]

// =============================================================================
// Watching
// =============================================================================

/** The first event of a name that a change makes, once the watcher is ready. */
const firstEvent = Effect.fnUntraced(function* (
  fs: FileSystem.FileSystem,
  path: string,
  options: { readonly recursive?: boolean },
  change: Effect.Effect<unknown, unknown>
) {
  const ready = yield* Deferred.make<void>()
  const events = fs.watch(path, { ...options, onReady: () => Deferred.doneUnsafe(ready, Effect.void) })
  const changed = Effect.andThen(Deferred.await(ready), change)
  const [event] = yield* Effect.all([Stream.runHead(events), changed], { concurrency: "unbounded" })
  return Option.getOrThrow(event)
})

const watching: ReadonlyArray<Behaviour> = [
  same(
    "watch reports what is created and removed in a folder, by name",
    [
      { _tag: "Create", path: "new" },
      { _tag: "Remove", path: "new" }
    ],
    inFolder((fs, folder) =>
      Effect.gen(function* () {
        const path = `${folder}/new`
        return [
          yield* firstEvent(fs, folder, {}, fs.writeFileString(path, "")),
          yield* firstEvent(fs, folder, {}, fs.remove(path))
        ]
      })
    )
  ),
  same(
    "watch reports changes, in a folder or of one file",
    [
      { _tag: "Update", path: "file" },
      { _tag: "Update", path: "file" }
    ],
    inFolder((fs, folder) =>
      Effect.gen(function* () {
        const path = `${folder}/file`
        yield* fs.writeFileString(path, "old")
        return [
          yield* firstEvent(fs, folder, {}, fs.writeFileString(path, "new")),
          yield* firstEvent(fs, path, {}, fs.writeFileString(path, "old"))
        ]
      })
    )
  ),
  same(
    "watch reports changes in subfolders only with recursive",
    ["direct", "nested/file"],
    inFolder((fs, folder) =>
      Effect.gen(function* () {
        yield* fs.makeDirectory(`${folder}/nested`)
        const flat = yield* firstEvent(
          fs,
          folder,
          {},
          Effect.andThen(fs.writeFileString(`${folder}/nested/other`, ""), fs.writeFileString(`${folder}/direct`, ""))
        )
        const deep = yield* firstEvent(fs, folder, { recursive: true }, fs.writeFileString(`${folder}/nested/file`, ""))
        return [flat.path, deep.path]
      })
    )
  ),
  same(
    "watch fails for a missing path",
    "NotFound",
    inFolder((fs, folder) => outcome(Stream.runHead(fs.watch(`${folder}/missing`))))
  )
]

export const behaviours: ReadonlyArray<Behaviour> = [
  ...wholeFiles,
  ...openFiles,
  ...folders,
  ...information,
  ...changes,
  ...watching
]
