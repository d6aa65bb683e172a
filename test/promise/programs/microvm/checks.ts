/** What a sandbox of the Promise adapter does, in either runtime. */
import type { ExecEvent, Sandbox } from "effect-lightbox/promise"
import * as assert from "node:assert/strict"
import * as Fs from "node:fs"

const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes)

/** Runs commands, files and signals through a sandbox that has the folder `./project` at `/work`, and a volume at `/cache`. */
export const check = async (sb: Sandbox): Promise<void> => {
  // Commands.
  const out = await sb.exec("sh", ["-c", "cat; echo $0 $GREETING >&2; pwd; exit 3", "a b"], { stdin: "typed\n" })
  assert.deepEqual([out.code, out.success, out.stdout(), out.stderr()], [3, false, "typed\n/work\n", "a b Hello\n"])
  const waiting = sb.shell("until test -e /run/there; do usleep 20000; done; echo met")
  await sb.shell("touch /run/there")
  assert.equal((await waiting).stdout(), "met\n")
  assert.equal((await sb.shell("cat /etc/baked | tr a-z A-Z")).stdout(), "BAKED\n")

  // Commands that are read while they run.
  const sort = await sb.execStream("sort", [], { pipeStdin: true })
  await using stdin = await sort.takeStdin()
  await stdin?.write("b\n")
  await stdin?.write("a\n")
  await stdin?.close()
  const events: Array<ExecEvent> = []
  for await (const event of sort) events.push(event)
  assert.deepEqual(events.at(0)?.kind, "started")
  assert.equal(events.flatMap((event) => (event.kind === "stdout" ? text(event.data) : [])).join(""), "a\nb\n")
  assert.deepEqual(events.at(-1), { kind: "exited", code: 0 })

  // Files.
  const files = sb.fs()
  await files.mkdir("/root/a/b")
  await files.write("/root/a/one", "1")
  await files.copy("/root/a/one", "/root/a/two")
  await files.rename("/root/a/two", "/root/a/b/two")
  assert.deepEqual(
    (await files.list("/root/a")).map(({ kind, path }) => [kind, path]),
    [
      ["directory", "/root/a/b"],
      ["file", "/root/a/one"]
    ]
  )
  assert.equal(await files.readToString("/root/a/b/two"), "1")
  assert.equal((await files.stat("/root/a/one")).size, 1)
  const large = new Uint8Array(3_000_000).map((_, index) => index % 251)
  {
    await using sink = await files.writeStream("/root/large")
    await sink.write(large.subarray(0, 1_000_000))
    await sink.write(large.subarray(1_000_000))
  }
  assert.ok(Buffer.from(large).equals(await (await files.readStream("/root/large")).collect()))
  await files.copyToHost("/root/large", "large")
  assert.ok(Buffer.from(large).equals(Fs.readFileSync("large")))
  await files.copyFromHost("large", "/root/larger")
  assert.equal((await sb.shell("cmp /root/large /root/larger && echo same")).stdout(), "same\n")
  await files.removeDir("/root/a")
  await files.remove("/root/large")
  assert.deepEqual([await files.exists("/root/a"), await files.exists("/root/large")], [false, false])

  // Mounts.
  assert.equal(await files.readToString("/work/from-the-host"), "from the host")
  await files.write("/work/from-the-guest", "from the guest")
  assert.equal(Fs.readFileSync("project/from-the-guest", "utf8"), "from the guest")
  await sb.shell("echo cached >> /cache/file")

  // Commands that are stopped.
  const reason = new Error("enough")
  const controller = new AbortController()
  const aborted = sb.exec("sleep", ["1111"], { signal: controller.signal })
  await sb.shell("until ps | grep -q '[s]leep 1111'; do usleep 20000; done")
  controller.abort(reason)
  await assert.rejects(aborted, (error) => error === reason)
  await sb.shell("while ps | grep -q '[s]leep 1111'; do usleep 20000; done", { timeoutMs: 60_000 })
  await assert.rejects(sb.exec("sleep", ["1000"], { timeoutMs: 100 }), /took longer than 100 ms/)

  // The SDK's own object.
  const raw = await sb.raw()
  assert.equal((await raw.exec("echo", ["raw"])).stdout(), "raw\n")
}
