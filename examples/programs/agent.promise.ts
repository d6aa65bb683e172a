/**
 * The tools of an agent that works in one sandbox: it runs commands, writes files, and starts a development server, which
 * is a job. A list of calls stands for the language model.
 */
import { launchSandbox, LightboxError } from "effect-lightbox/promise"

await using sandbox = await launchSandbox({ image: "busybox", name: "agent", network: "none" })

const tools = {
  run: async (command: string) => {
    try {
      const out = await sandbox.shell(command, { timeoutMs: 5_000 })
      return { exitCode: out.code, stdout: out.stdout(), stderr: out.stderr() }
    } catch (error) {
      if (!(error instanceof LightboxError) || error.reason._tag !== "TimedOut") throw error
      // The model should see how far the command came.
      return { error: "too slow", stdout: error.reason.stdout ?? "" }
    }
  },
  read: (path: string) => sandbox.fs().readToString(path),
  write: async (path: string, content: string) => {
    await sandbox.fs().write(path, content)
    return "written"
  },
  serve: async (id: string, command: string, port: number) => {
    await sandbox.start("sh", ["-c", command], { id })
    await sandbox.waitUntil({ http: port, status: 200 }, { job: id })
    return `${id} is ready`
  },
  fetch: async (port: number, path: string) => {
    await using server = await sandbox.forward(port)
    return (await (await fetch(`${server.url}${path}`)).text()).trim()
  },
  logs: async (id: string) => {
    const job = await sandbox.job(id)
    await job.signal("SIGTERM")
    await job.wait()
    let log = ""
    for await (const event of job.logs()) if (event.kind === "output") log += event.text
    return { requests: log.split("200").length - 1 }
  }
}

const calls: Record<string, () => Promise<unknown>> = {
  write: async () => {
    await tools.run("mkdir -p /srv")
    return await tools.write("/srv/index.html", "<h1>hi</h1>\n")
  },
  "read a missing file": () => tools.read("/nope"),
  fail: () => tools.run("echo no such package >&2; exit 7"),
  wait: () => tools.run("echo working; sleep 1000"),
  serve: () => tools.serve("dev", "exec httpd -f -v -p 3000 -h /srv", 3000),
  fetch: () => tools.fetch(3000, "/index.html"),
  "stop and read the log": async () => (await tools.logs("dev")).requests > 0
}

for (const [name, call] of Object.entries(calls)) {
  try {
    console.log(`${name}:`, JSON.stringify(await call()))
  } catch (error) {
    if (!(error instanceof LightboxError)) throw error
    console.log(`${name}:`, JSON.stringify({ error: error.reason._tag }))
  }
}
