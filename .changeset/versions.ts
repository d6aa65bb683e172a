/**
 * Turns changesets into a version and a section of the changelog: `npm run versions`
 *
 * Changesets keeps the changelog beside `package.json` and has no option for that. It lives in `.github`.
 */
import { execFileSync } from "node:child_process"
import { renameSync } from "node:fs"
import { fileURLToPath } from "node:url"

const root = fileURLToPath(new URL("..", import.meta.url))

const run = (command: string, args: ReadonlyArray<string>): void => {
  execFileSync(command, args, { cwd: root, stdio: "inherit" })
}

renameSync(`${root}.github/CHANGELOG.md`, `${root}CHANGELOG.md`)
try {
  run("npx", ["changeset", "version"])
} finally {
  renameSync(`${root}CHANGELOG.md`, `${root}.github/CHANGELOG.md`)
}
run("npm", ["install", "--package-lock-only", "--ignore-scripts"])
