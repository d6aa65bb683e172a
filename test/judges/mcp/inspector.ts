/** The inspector's command line, which connects anew for each call. */
import * as Assert from "node:assert/strict"
import * as Path from "node:path"
import { command, judge, run, startHttp, token, work } from "./support.ts"

const inspector = Path.join(
  import.meta.dirname,
  "node_modules/@modelcontextprotocol/inspector/clients/launcher/build/index.js"
)

const http = await startHttp()

/** A method on a server over standard input and output, or over HTTP. */
const over = {
  // An end of flags, as the server has its own.
  stdio: (...flags: ReadonlyArray<string>) => [...flags, "--", ...command],
  http: (...flags: ReadonlyArray<string>) => [
    "--server-url",
    http.url,
    "--transport",
    "http",
    "--header",
    `Authorization: Bearer ${token}`,
    ...flags
  ]
}

const inspect = async (args: ReadonlyArray<string>): Promise<unknown> => {
  const catalog = Path.join(work, "catalog.json")
  process.env["MCP_CATALOG_PATH"] = catalog
  const { status, stderr, stdout } = await run([inspector, "--cli", "--connect-timeout", "120000", ...args])
  Assert.equal(status, 0, `${stdout}\n${stderr}`)
  return JSON.parse(stdout)
}

const casesOf = (name: keyof typeof over): { readonly [title: string]: () => Promise<void> } => ({
  // Ends with another status if a schema is not portable.
  [`${name}: tools/list, strictly`]: async () => {
    Assert.match(JSON.stringify(await inspect(over[name]("--method", "tools/list", "--strict"))), /"snapshot"/)
  },
  [`${name}: tools/call`]: async () => {
    const result = await inspect(
      over[name]("--method", "tools/call", "--tool-name", "run", "--tool-arg", "script=echo hi; exit 3")
    )
    Assert.match(JSON.stringify(result), /"exitCode":3,"output":"hi\\n"/)
  },
  [`${name}: resources/list`]: async () => {
    Assert.match(JSON.stringify(await inspect(over[name]("--method", "resources/list"))), /lightbox:\/\/jobs/)
  },
  [`${name}: resources/templates/list`]: async () => {
    const templates = await inspect(over[name]("--method", "resources/templates/list"))
    Assert.match(JSON.stringify(templates), /lightbox:\/\/files\/\{path\}/)
  },
  [`${name}: resources/read`]: async () => {
    const resource = await inspect(over[name]("--method", "resources/read", "--uri", "lightbox://jobs"))
    Assert.match(JSON.stringify(resource), /"text":"\[\]"/)
  }
})

try {
  await judge("@modelcontextprotocol/inspector", { ...casesOf("stdio"), ...casesOf("http") })
} finally {
  http.stop()
}
