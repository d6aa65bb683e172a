/** Servers to judge: `lightbox mcp` on the twin. */
import * as ChildProcess from "node:child_process"
import * as Fs from "node:fs"
import * as Http from "node:http"
import * as Path from "node:path"
import { createInterface } from "node:readline"

const here = import.meta.dirname

export const work = Path.join(here, "../../../.cache/judges-mcp")

Fs.mkdirSync(work, { recursive: true })

export const token = "a-token-for-the-judges"

/** The command of a server over standard input and output. */
export const command: readonly [string, ...Array<string>] = [
  process.execPath,
  Path.join(here, "../../internal/mcp/programs/server.ts"),
  Path.join(work, "notes"),
  "--policy",
  Path.join(here, "policy.json")
]

export interface Started {
  readonly url: string
  readonly stop: () => void
}

/** Starts a server over HTTP. */
export const startHttp = async (): Promise<Started> => {
  const [program, ...args] = command
  const server = ChildProcess.spawn(program, [...args, "--http", "0", "--json"], {
    env: { ...process.env, LIGHTBOX_MCP_TOKEN: token },
    stdio: ["ignore", "pipe", "inherit"]
  })
  for await (const line of createInterface(server.stdout)) {
    const { url }: { readonly url: string } = JSON.parse(line)
    return { url, stop: () => void server.kill() }
  }
  throw new Error("the server ended")
}

/** Adds the token to all requests, for a judge that cannot. Everything else stays, but for the port. */
export const withToken = async ({ url, stop }: Started): Promise<Started> => {
  const { port } = new URL(url)
  const proxy = Http.createServer((request, response) => {
    const address = proxy.address()
    const own = typeof address === "object" && address !== null ? `:${address.port}` : ""
    const headers = Object.fromEntries(
      Object.entries(request.headers).map(([name, value]) => [
        name,
        name === "host" || name === "origin" ? String(value).replace(own, `:${port}`) : value
      ])
    )
    const forwarded = Http.request(
      {
        host: "127.0.0.1",
        port,
        path: request.url,
        method: request.method,
        headers: { ...headers, authorization: `Bearer ${token}` }
      },
      (answer) => {
        response.writeHead(answer.statusCode ?? 502, answer.headers)
        answer.pipe(response)
      }
    )
    forwarded.once("error", () => response.destroy())
    response.once("close", () => forwarded.destroy())
    request.pipe(forwarded)
  })
  await new Promise<void>((resolve) => proxy.listen(0, "127.0.0.1", resolve))
  const address = proxy.address()
  const own = typeof address === "object" && address !== null ? address.port : 0
  return {
    url: `http://127.0.0.1:${own}/mcp`,
    stop: () => {
      proxy.close()
      proxy.closeAllConnections()
      stop()
    }
  }
}

/** The version of an installed package. */
export const versionOf = (name: string): string => {
  const manifest: { readonly version: string } = JSON.parse(
    Fs.readFileSync(Path.join(here, "node_modules", name, "package.json"), "utf8")
  )
  return manifest.version
}

/** Runs a program and returns what it printed. */
export const run = (
  args: ReadonlyArray<string>
): Promise<{ readonly status: number | null; readonly stdout: string; readonly stderr: string }> =>
  new Promise((resolve, reject) => {
    const child = ChildProcess.spawn(process.execPath, args, { cwd: work, stdio: ["ignore", "pipe", "pipe"] })
    let stdout = ""
    let stderr = ""
    child.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text))
    child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text))
    child.once("error", reject)
    child.once("close", (status) => resolve({ status, stdout, stderr }))
  })

/** What a judge prints, as a line of JSON. */
export interface Verdict {
  readonly name: string
  readonly passed: number
  readonly failed: number
  /** How many of the failures are expected, for reasons that the judge's file gives. */
  readonly expected: number
}

export const report = ({ expected, failed, name, passed }: Verdict): void => {
  const verdict = { integration: "lightbox mcp", name, version: versionOf(name), passed, failed, expected }
  console.log(JSON.stringify(verdict))
  if (failed > expected) process.exitCode = 1
}

/** Runs cases one after the other, and reports them. */
export const judge = async (name: string, cases: { readonly [title: string]: () => Promise<void> }): Promise<void> => {
  let passed = 0
  let failed = 0
  for (const [title, run] of Object.entries(cases)) {
    try {
      await run()
      passed++
    } catch (error) {
      failed++
      console.error(`${name}: ${title}\n`, error)
    }
  }
  report({ name, passed, failed, expected: 0 })
}
