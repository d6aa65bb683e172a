/**
 * Handles requests that run code of strangers: each gets a clean sandbox from a pool, without a network, and 5 seconds.
 * What the code has written until then is part of the answer.
 */
import { createPool, LightboxError } from "effect-lightbox/promise"

await using pool = await createPool({
  image: "busybox",
  network: "none",
  resources: { cpus: 1, memory: "128M" },
  min: 1,
  max: 2
})

const handle = (code: string) =>
  pool.use(async (sandbox) => {
    await sandbox.fs().write("/root/main.sh", code)
    try {
      const out = await sandbox.exec("sh", ["/root/main.sh"], { timeoutMs: 5_000, maxOutput: "1M" })
      return { status: `exit code ${out.code}`, stdout: out.stdout(), stderr: out.stderr() }
    } catch (error) {
      if (!(error instanceof LightboxError) || error.reason._tag !== "TimedOut") throw error
      const { stderr = "", stdout = "" } = error.reason
      return { status: "too slow", stdout, stderr }
    }
  })

const requests = ["echo hello; echo oops >&2; exit 3", "echo begun; sleep 1000", "echo $(ls /root)"]

for (const answer of await Promise.all(requests.map(handle))) console.log(JSON.stringify(answer))
