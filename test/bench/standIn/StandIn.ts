/**
 * The local driver with a stand-in instead of microVMs, to measure natively where no microVM boots.
 *
 * Library and SDK run unmodified, in a home of their own. Only the program that the SDK starts for a sandbox is another
 * one: `agent.ts`. So what is measured is the cost on this side of the socket; what the guest does takes as long for
 * both sides of a comparison.
 */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import * as Path from "effect/Path"
import Fs from "node:fs"
import { syncBuiltinESMExports } from "node:module"
import { fileURLToPath } from "node:url"
import * as Image from "../../../src/Image.ts"
import * as MicrosandboxLocal from "../../../src/MicrosandboxLocal.ts"
import { run } from "../../host/Subprocess.ts"
import { reference } from "../../images/Busybox.ts"
import * as OciArchive from "../../images/OciArchive.ts"
import { temporary } from "../../support.ts"

const agent = fileURLToPath(new URL("agent.ts", import.meta.url))

/** An image without programs, as commands are those of this machine. */
const archive = OciArchive.cached(
  { name: "empty", references: [reference], revision: 1 },
  Effect.fnUntraced(function* (folder: string) {
    const fs = yield* FileSystem.FileSystem
    const path = yield* Path.Path
    yield* fs.makeDirectory(path.join(folder, "root/etc"), { recursive: true })
    const layer = path.join(folder, "layer.tar")
    const files = ["--directory", path.join(folder, "root"), ...OciArchive.reproducible, "--owner=0", "--group=0"]
    yield* run("tar", ["--create", "--file", layer, ...files, "."])
    return layer
  })
)

/** Sets variables of this process's environment for the time of the scope. */
const withEnvironment = (variables: { readonly [name: string]: string }) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const before = Object.keys(variables).map((name) => [name, process.env[name]] as const)
      Object.assign(process.env, variables)
      return before
    }),
    (before) =>
      Effect.sync(() => {
        for (const [name, value] of before) {
          if (value === undefined) delete process.env[name]
          else process.env[name] = value
        }
      })
  )

/** Answers the driver's question whether microVMs can boot here. */
const pretendVirtualization = Effect.acquireRelease(
  Effect.sync(() => {
    const { accessSync, existsSync, readFileSync } = Fs
    const answering = <F extends (...args: Array<never>) => unknown>(real: F, path: string, answer: unknown) =>
      new Proxy(real, {
        apply: (real, self, args) => (args[0] === path ? answer : Reflect.apply(real, self, args))
      })
    Object.assign(Fs, {
      existsSync: answering(existsSync, "/dev/kvm", true),
      accessSync: answering(accessSync, "/dev/kvm", undefined),
      readFileSync: answering(readFileSync, "/proc/cpuinfo", "flags : vmx")
    })
    syncBuiltinESMExports()
    return { accessSync, existsSync, readFileSync }
  }),
  (real) =>
    Effect.sync(() => {
      Object.assign(Fs, real)
      syncBuiltinESMExports()
    })
)

/** Provides the driver. */
export const layer = Layer.unwrap(
  Effect.gen(function* () {
    const fs = yield* FileSystem.FileSystem
    const path = yield* Path.Path
    const folder = yield* temporary
    const program = path.join(folder, "msb")
    yield* fs.writeFileString(program, `#!/bin/sh\nexec "${process.execPath}" "${agent}" "$@"\n`)
    yield* fs.chmod(program, 0o755)
    // The SDK looks only whether there is such a library.
    yield* withEnvironment({ MSB_PATH: program, MSB_LIBKRUNFW_PATH: program })
    yield* pretendVirtualization
    const image = yield* archive
    return Layer.effectDiscard(Image.load(image)).pipe(
      Layer.provideMerge(MicrosandboxLocal.layer({ home: path.join(folder, "home"), memory: "256M" }))
    )
  })
)
