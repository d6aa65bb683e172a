/** The files of the page. The compiler makes its modules, so that users need no build step. */
import * as Crypto from "node:crypto"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import { keyName, paths } from "./client/names.ts"

const root = fileURLToPath(new URL("../../../", import.meta.url))

const modules = Path.join(root, "dist/internal/page/client")

const styles = Path.join(root, "src/internal/page/client")

/** Modules of packages, by the names that the page imports. */
const packages = ["preact", "preact/hooks", "preact/jsx-runtime", "@xterm/xterm", "@xterm/addon-fit"]

const fileOf = (name: string): string => `${name.replaceAll(/[@/]/g, "-")}.js`

const importMap = JSON.stringify({
  imports: Object.fromEntries(packages.map((name) => [name, `${paths.assets}${fileOf(name)}`]))
})

/** Styles also come from the terminal, which makes them as it needs them. Nothing else is not a file of ours. */
const policy = [
  "default-src 'none'",
  `script-src 'self' 'sha256-${Crypto.createHash("sha256").update(importMap).digest("base64")}'`,
  "style-src 'self' 'unsafe-inline'",
  "connect-src 'self'",
  "img-src 'self' data:",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'"
].join("; ")

export const headers = {
  "Content-Security-Policy": policy,
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Resource-Policy": "same-origin",
  "Referrer-Policy": "no-referrer",
  "X-Content-Type-Options": "nosniff",
  "Cache-Control": "no-store"
} as const

const document = (head: string, body: string): string =>
  `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Lightbox</title>
<link rel="icon" href="${paths.assets}icon.svg">
${head}
</head>
<body>${body}</body>
</html>
`

const icon = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><rect x="1" y="1" width="14" height="14" rx="4" fill="#3b5bdb"/><path d="M4.5 4.5v7h7" fill="none" stroke="#fff" stroke-width="2" stroke-linecap="round" stroke-linejoin="round"/></svg>`

/** The page. */
export const page = document(
  `<link rel="stylesheet" href="${paths.assets}page.css">
<script type="importmap">${importMap}</script>
<script type="module" src="${paths.assets}main.js"></script>`,
  `<div id="page"></div><noscript>This page needs JavaScript.</noscript>`
)

/** Keeps the key of the session, and goes on to the page. */
export const login = (key: string): string =>
  document(`<meta name="${keyName}" content="${key}"><script type="module" src="${paths.assets}login.js"></script>`, "")

const types: { readonly [extension: string]: string } = {
  ".js": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".svg": "image/svg+xml"
}

export interface Asset {
  readonly type: string
  readonly body: Uint8Array | string
}

/** Resolves a module of a package. Those of the terminal have the one for browsers beside the one for Node.js. */
const moduleOf = (name: string): string => fileURLToPath(import.meta.resolve(name)).replace(/\.js$/, ".mjs")

/** Reads a file of the page. Returns nothing if there is no such file. */
export const read = async (name: string): Promise<Asset | undefined> => {
  const type = types[Path.extname(name)]
  if (type === undefined || !/^[\w.-]+$/.test(name)) return undefined
  if (name === "icon.svg") return { type, body: icon }
  if (name === "xterm.css") {
    return { type, body: await Fs.readFile(Path.join(moduleOf("@xterm/xterm"), "../../css/xterm.css")) }
  }
  const library = packages.find((one) => fileOf(one) === name)
  const path =
    library !== undefined ? moduleOf(library) : Path.join(Path.extname(name) === ".css" ? styles : modules, name)
  try {
    return { type, body: await Fs.readFile(path) }
  } catch {
    return undefined
  }
}
