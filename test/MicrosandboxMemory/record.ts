/**
 * Records `busybox.json`: runs scripts in a real busybox and stores how each ends and what it writes.
 *
 * Needs Linux, and a static busybox such as that of Debian's package `busybox-static`:
 *
 *     node test/MicrosandboxMemory/record.ts [--all] [/bin/busybox]
 *
 * To add a script, append `{ "script": "…" }` to a group of `busybox.json` and record. `--all` records everything
 * again. Each script runs with `/bin/sh -c` as root, in an empty `/root`, without input. What it writes must be the
 * same in every run: no times, process numbers, or output of two processes at once.
 *
 * One thing is not recorded as it was: the usage text after a wrong call is left out.
 */
import * as ChildProcess from "node:child_process"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"

interface Entry {
  readonly script: string
  readonly status?: number
}

const words = process.argv.slice(2)
const isAll = words.includes("--all")
const binary = words.find((word) => word !== "--all") ?? "/bin/busybox"
const table = Path.join(import.meta.dirname, "busybox.json")
const groups: { readonly [group: string]: ReadonlyArray<Entry> } = JSON.parse(Fs.readFileSync(table, "utf8"))

const root = Fs.mkdtempSync(Path.join(Os.tmpdir(), "busybox-"))
const at = (path: string) => Path.join(root, path)
for (const folder of ["bin", "dev", "etc", "proc"]) Fs.mkdirSync(at(folder))
Fs.copyFileSync(binary, at("bin/busybox"))
Fs.chmodSync(at("bin/busybox"), 0o755)
for (const applet of ChildProcess.execFileSync(binary, ["--list"], { encoding: "utf8" }).trim().split("\n")) {
  if (applet !== "busybox") Fs.symlinkSync("busybox", at(`bin/${applet}`))
}
Fs.writeFileSync(at("dev/null"), "")
Fs.writeFileSync(at("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000:app:/home/app:/bin/sh\n")
Fs.writeFileSync(at("etc/group"), "root:x:0:\napp:x:1000:\n")

// Namespaces keep process numbers, and what a script leaves running, apart from the host.
const isolated = [
  "--mount",
  "--pid",
  "--fork",
  "--kill-child",
  ...(process.getuid?.() === 0 ? [] : ["--map-root-user"])
]
const enter = `mount --bind /dev/null "$1/dev/null"; mount -t proc none "$1/proc"
exec chroot "$1" /bin/sh -c 'cd; exec /bin/sh -c "$0"' "$2"`
const env = { HOME: "/root", PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" }

const record = (entry: Entry) => {
  const { script } = entry
  if (entry.status !== undefined && !isAll) return entry
  for (const folder of ["root", "tmp"]) {
    Fs.rmSync(at(folder), { recursive: true, force: true })
    Fs.mkdirSync(at(folder))
  }
  const args = [...isolated, "sh", "-c", enter, "sh", root, script]
  const options = { encoding: "utf8", env, input: "", timeout: 10_000 } as const
  const { signal, status, stderr, stdout } = ChildProcess.spawnSync("unshare", args, options)
  if (signal !== null) throw new Error(`${script}\nended with ${signal}`)
  return { script, status, stdout, stderr: stderr.replace(/^BusyBox v[^]*?\n\n(?:Usage|No help)[^]*/m, "") }
}

const recorded = Object.entries(groups).map(([group, entries]) => [group, entries.map(record)] as const)
Fs.rmSync(root, { recursive: true, force: true })
Fs.writeFileSync(table, `${JSON.stringify(Object.fromEntries(recorded), undefined, 2)}\n`)
