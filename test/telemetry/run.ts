/**
 * Writes the lists of metrics and spans into the guide to telemetry, and the dashboard for Grafana:
 * `test/bootstrap test/telemetry/run.ts`. A test checks that both are current.
 */
import * as ChildProcess from "node:child_process"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import * as Documents from "./documents.ts"

const root = fileURLToPath(new URL("../..", import.meta.url))

const write = (path: string, text: string): void => {
  Fs.writeFileSync(Path.join(root, path), text)
  ChildProcess.execFileSync(Path.join(root, "node_modules/.bin/oxfmt"), [path], { cwd: root, stdio: "inherit" })
}

write(Documents.guide, Documents.withTables(Fs.readFileSync(Path.join(root, Documents.guide), "utf8")))
write(Documents.dashboardFile, JSON.stringify(Documents.dashboard()))
