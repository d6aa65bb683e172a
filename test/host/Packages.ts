/** Debian packages that something needs. */
import * as Array from "effect/Array"
import * as Effect from "effect/Effect"
import * as Cache from "./Cache.ts"
import * as Host from "./Host.ts"
import { HostUnavailable } from "./HostError.ts"
import * as Machine from "./Machine.ts"
import { run, type ToolFailed } from "./Subprocess.ts"

const installed = (packages: ReadonlyArray<string>) =>
  // Its status is 1 when it does not know one of them, with the others printed all the same.
  run("sh", [
    "-c",
    'dpkg-query --show --showformat "\\${Package} \\${db:Status-Status}\\n" "$@" 2>&1 || [ $? = 1 ]',
    "sh",
    ...packages
  ]).pipe(
    Effect.map((text) =>
      text
        .split("\n")
        .filter((line) => line.endsWith(" installed"))
        .map((line) => line.slice(0, line.indexOf(" ")))
    )
  )

const notDebian = (purpose: string, packages: ReadonlyArray<string>) =>
  new HostUnavailable({ message: `${purpose} needs Debian and its packages ${packages.join(" ")}` })

const update = run("apt-get", ["update", "--quiet"], { env: { DEBIAN_FRONTEND: "noninteractive" } })

const missingOf = Effect.fnUntraced(function* (purpose: string, packages: ReadonlyArray<string>) {
  const present = yield* Effect.mapError(installed(packages), () => notDebian(purpose, packages))
  return Array.difference(packages, present)
})

/**
 * Makes sure that Debian packages are installed, installing the missing ones if this process may.
 *
 * **Details**
 *
 * `purpose` completes the sentence "… needs the Debian packages …".
 */
export const ensure = Effect.fnUntraced(function* (purpose: string, packages: ReadonlyArray<string>) {
  const missing = yield* missingOf(purpose, packages)
  if (missing.length === 0) return
  const install = ["install", "--no-install-recommends", ...missing]
  if (!Machine.isRoot) {
    return yield* new HostUnavailable({
      message: `${purpose} needs the Debian packages ${missing.join(" ")}. Install them with: sudo apt-get ${install.join(" ")}`
    })
  }
  yield* Effect.gen(function* () {
    // Another run may have installed them meanwhile.
    if ((yield* missingOf(purpose, missing)).length === 0) return
    yield* Host.say(`installing the Debian packages ${missing.join(" ")}, which ${purpose} needs`)
    yield* update
    yield* run("apt-get", [...install, "--quiet", "--yes"], { env: { DEBIAN_FRONTEND: "noninteractive" } })
  }).pipe(Cache.withLock(yield* Cache.folder()))
})

/** Puts the file of a Debian package into a folder, which takes no installing. */
export const download = Effect.fnUntraced(function* (purpose: string, name: string, folder: string) {
  const file = run("apt-get", ["download", name], { cwd: folder })
  const tryAgain = Effect.fnUntraced(function* ({ message }: ToolFailed) {
    if (!Machine.isRoot) {
      return yield* new HostUnavailable({
        message: `${purpose} needs Debian's package ${name}, which apt-get could not get. A new machine needs this first: sudo apt-get update\n${message}`
      })
    }
    // A new Debian has no lists of packages.
    yield* update
    return yield* file
  })
  yield* file.pipe(
    Effect.catchTag("ToolFailed", tryAgain),
    Effect.catchTag("PlatformError", () => notDebian(purpose, [name]))
  )
})
