/** Grades a program that somebody has written, as `program.ts` does, with promises. */
import { LightboxError, runInSandbox } from "effect-lightbox/promise"

export const grade = async (source: string): Promise<"right" | "wrong"> => {
  const run = () =>
    runInSandbox({ image: "node:22" }, async (sandbox) => {
      await sandbox.fs().write("/answer.js", source)
      return await sandbox.exec("node", ["/answer.js"])
    })
  // A machine that dies says nothing about the answer.
  const out = await run().catch((error: unknown) => {
    if (error instanceof LightboxError && error.isRetryable) return run()
    throw error
  })
  return out.stdout().trim() === "42" ? "right" : "wrong"
}
