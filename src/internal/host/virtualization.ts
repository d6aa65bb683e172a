/** Checks whether this machine can run virtual machines. */
import * as Effect from "effect/Effect"
import * as Fs from "node:fs"
import { LightboxError, NoVirtualization } from "../../LightboxError.ts"

/** Remedies for missing virtualization, one per line. */
export const virtualizationRemedy = (): string =>
  (process.platform === "linux"
    ? [
        "turn on virtualization (Intel VT-x, AMD-V) in the firmware; in a cloud machine, turn on nested virtualization",
        "load the kernel module: modprobe kvm_intel, or modprobe kvm_amd",
        "give this user access to /dev/kvm: sudo usermod -aG kvm $USER, then log in again",
        "in a container, pass the device: --device /dev/kvm"
      ]
    : process.platform === "darwin"
      ? ["use a Mac with Apple silicon and macOS 14 or newer"]
      : ["use Linux, or macOS on Apple silicon"]
  ).join("\n")

const problem = (): string | undefined => {
  if (process.platform !== "linux") return undefined
  if (!Fs.existsSync("/dev/kvm")) return "/dev/kvm does not exist"
  try {
    Fs.accessSync("/dev/kvm", Fs.constants.R_OK | Fs.constants.W_OK)
  } catch {
    return "this user has no access to /dev/kvm"
  }
  // Containers and emulators may have the device without support of the processor.
  if (process.arch !== "x64") return undefined
  return /^flags\s*:.*\b(vmx|svm)\b/m.test(readCpuinfo())
    ? undefined
    : "the processor offers no hardware virtualization (neither vmx nor svm)"
}

const readCpuinfo = (): string => {
  try {
    return Fs.readFileSync("/proc/cpuinfo", "utf8")
  } catch {
    return ""
  }
}

/** Fails with `NoVirtualization` if no virtual machine can boot. */
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
