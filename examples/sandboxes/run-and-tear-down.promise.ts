/**
 * Asks four agents for their versions in a sandbox that is always removed afterwards.
 *
 * Build it first: presets/coding-agents.promise.ts
 */
import { runInSandbox } from "effect-lightbox/promise"

const versions = await runInSandbox({ snapshot: "lightbox", name: "scratch" }, async (sb) => {
  const versions: Record<string, string> = {}
  for (const cli of ["copilot", "gemini", "codex", "pi"]) {
    const out = await sb.shell(`${cli} --version 2>&1 | head -1`)
    versions[cli] = out.stdout().trim()
  }
  return versions
})
console.log(versions)
