/**
 * Whether this machine can run virtual machines, found out before one is asked
 * for.
 */
import * as Effect from "effect/Effect"
import * as Fs from "node:fs"
import { LightboxError, NoVirtualization } from "../../LightboxError.ts"

/** What to do where virtualization does not work. */
export const virtualizationRemedy = (): string =>
  process.platform === "darwin"
    ? "use a Mac with Apple silicon and macOS 14 or newer"
    : process.platform === "linux"
      ? "turn virtualization (Intel VT-x, AMD-V) on in the firmware or in the settings of the cloud machine, " +
        "load the module kvm_intel or kvm_amd, and let this user read and write /dev/kvm, for example by adding it to the group kvm"
      : "use Linux or macOS on Apple silicon"

const problem = (): string | undefined => {
  if (process.platform !== "linux") return undefined
  if (!Fs.existsSync("/dev/kvm")) return "there is no /dev/kvm"
  try {
    Fs.accessSync("/dev/kvm", Fs.constants.R_OK | Fs.constants.W_OK)
  } catch {
    return "this user may not read and write /dev/kvm"
  }
  // A device node alone says nothing: containers and emulators have it without the processor's help.
  if (process.arch !== "x64") return undefined
  return /^flags\s*:.*\b(vmx|svm)\b/m.test(readCpuinfo())
    ? undefined
    : "the processor does not offer hardware virtualization here (neither vmx nor svm)"
}

const readCpuinfo = (): string => {
  try {
    return Fs.readFileSync("/proc/cpuinfo", "utf8")
  } catch {
    return ""
  }
}

/** Fails with `NoVirtualization` where no virtual machine can boot. */
export const check = (method: string): Effect.Effect<void, LightboxError> =>
  Effect.suspend(() => {
    const found = problem()
    return found === undefined
      ? Effect.void
      : Effect.fail(
          new LightboxError({
            method,
            reason: new NoVirtualization({ problem: found, remedy: virtualizationRemedy() })
          })
        )
  })
