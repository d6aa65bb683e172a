/**
 * Makes a machine that goes on from a captured one different from it, and from other copies.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Crypto from "node:crypto"
import type * as Guest from "../../Guest.ts"
import { LightboxError, Unknown } from "../../LightboxError.ts"
import type * as Microsandbox from "../../Microsandbox.ts"
import type { SandboxConfig } from "../../SandboxConfig.ts"
import * as Execution from "../guest/execution.ts"
import { argvOf } from "./probes.ts"

/**
 * Static programs that have the kernel mix 64 bytes of their input into its random numbers, and use them at once: Linux
 * reads what is written to `/dev/urandom` up to a minute later, and only two `ioctl`s, which no shell has, hurry it.
 *
 * Both do: `open("/dev/urandom", O_RDWR)`, `read(0, pool.buf, 64)`, `ioctl(fd, RNDADDENTROPY, &pool)`,
 * `ioctl(fd, RNDRESEEDCRNG, 0)`, and `exit` with 1 if one of them fails.
 */
const reseeders: { readonly [machine: string]: string } = {
  x86_64:
    "f0VMRgIBAQAAAAAAAAAAAAIAPgABAAAAeABAAAAAAABAAAAAAAAAAAAAAAAAAAAAAAAAAEAAOAABAAAAAAAAAAEAAAAFAAAAAAAAAAAA" +
    "AAAAAEAAAAAAAAAAQAAAAAAA7QAAAAAAAADtAAAAAAAAAAAQAAAAAAAASI09YQAAAGoCXmoCWA8FicNIg+xQxwQkAAIAAMdEJARAAAAA" +
    "Mf9IjXQkCGpAWjHADwWD+EB1KYnfvgNSCEBIieJqEFgPBYXAeBaJ374HUgAAMdJqEFgPBYXAeAQx/+sDagFfajxYDwUvZGV2L3VyYW5k" +
    "b20A",
  aarch64:
    "f0VMRgIBAQAAAAAAAAAAAAIAtwABAAAAeABAAAAAAABAAAAAAAAAAAAAAAAAAAAAAAAAAEAAOAABAAAAAAAAAAEAAAAFAAAAAAAAAAAA" +
    "AAAAAEAAAAAAAAAAQAAAAAAAGQEAAAAAAAAZAQAAAAAAAAAAAQAAAAAAYAyAkoEEABBCAIDSAwCA0ggHgNIBAADU8wMAqv9DAdEBQIDS" +
    "4QMAuQEIgNLhBwC5AACA0uEjAJECCIDS6AeA0gEAANQfAAHxAQIAVOADE6phQIrSAQGo8uIDAJGoA4DSAQAA1CAB+LfgAxOq4UCK0gIA" +
    "gNKoA4DSAQAA1GAA+LcAAIDSAgAAFCAAgNKoC4DSAQAA1C9kZXYvdXJhbmRvbQA="
}

/** As the argument of `printf`. */
const escaped = (base64: string): string =>
  Array.from(Buffer.from(base64, "base64"), (byte) => `\\${byte.toString(8).padStart(3, "0")}`).join("")

/**
 * Arguments: the host name, the machine id, the seconds since 1970, and the instance id. Input: random bytes.
 *
 * - Random numbers come first: whatever starts later may need them. The program is written where its name is free, and
 *   cannot be guessed.
 * - The clock is left alone if it is right to the second: the runtime may have set it, and more precisely.
 * - Ids are only replaced where there are some. A link leads to the file that is replaced.
 * - The old host name keeps leading to this machine: programs have it.
 */
const script = String.raw`
lb_fail() {
  echo "$1" >&2
  exit 1
}
lb_reseed() {
  [ -e /proc/sys/kernel/random/entropy_avail ] || return 1
  case $(uname -m) in
${Object.entries(reseeders)
  .map(([machine, program]) => `    ${machine}) lb_program='${escaped(program)}' ;;`)
  .join("\n")}
    *) return 1 ;;
  esac
  for lb_folder in /dev/shm /run /tmp /var/tmp /root; do
    lb_file=$lb_folder/.lightbox-$1
    (set -C; umask 077; printf "$lb_program" >"$lb_file") 2>/dev/null || continue
    chmod 700 "$lb_file"
    "$lb_file" 2>/dev/null
    lb_status=$?
    rm -f "$lb_file"
    [ "$lb_status" -ne 0 ] || return 0
  done
  return 1
}
lb_reseed "$2"
cat >/dev/urandom || lb_fail "the random numbers cannot be changed"
lb_now=$(date +%s) || lb_fail "the clock cannot be read"
lb_late=$(($3 - lb_now))
if [ "$lb_late" -gt 1 ] || [ "$lb_late" -lt -1 ]; then
  date -u -s "@$3" >/dev/null || lb_fail "the clock cannot be set"
fi
{ echo "$1" >/proc/sys/kernel/hostname; } 2>/dev/null || hostname "$1" || lb_fail "the host name cannot be set"
echo "$1" >/etc/hostname
printf '127.0.0.1\t%s\n::1\t%s\n' "$1" "$1" >>/etc/hosts
for lb_file in /etc/machine-id /var/lib/dbus/machine-id; do
  if [ -s "$lb_file" ] && [ ! -L "$lb_file" ]; then echo "$2" >"$lb_file" || lb_fail "$lb_file cannot be written"; fi
done
[ ! -f /var/lib/cloud/data/instance-id ] || echo "$4" >/var/lib/cloud/data/instance-id
mkdir -p /var/lib/lightbox && echo "$4" >/var/lib/lightbox/instance-id || lb_fail "the instance id cannot be written"
`

/** For the program, and for those guests that cannot run it. */
const randomBytes = 256

const method = "Sandbox.launch"

const hostNameOf = ({ name }: Microsandbox.SandboxRef, config: SandboxConfig): string =>
  config.hostname ?? name.slice(0, 63)

/** Runs a script as root in a machine that goes on. */
const run = Effect.fnUntraced(function* (
  guest: Guest.Guest,
  argv: Guest.Command["argv"],
  input: Uint8Array
): Effect.fn.Return<void, LightboxError> {
  const { exitCode, stderr } = yield* Execution.collect(guest, method, Execution.asRoot(...argv), { input })
  if (exitCode !== 0) {
    const told = Execution.tail(stderr).trim()
    const problem = `it cannot be told apart from the captured one: ${told === "" ? `exit code ${exitCode}` : told}`
    return yield* new LightboxError({ method, reason: new Unknown({ problem }) })
  }
})

const now = Effect.map(Clock.currentTimeMillis, (millis) => String(Math.round(millis / 1000)))

/** Changes what must be different in each copy: random numbers, time, host name, and ids. */
export const renew = Effect.fnUntraced(function* (
  guest: Guest.Guest,
  info: Microsandbox.SandboxRef,
  instance: string,
  config: SandboxConfig
): Effect.fn.Return<void, LightboxError> {
  const machineId = Crypto.randomBytes(16).toString("hex")
  const argv = [
    "sh",
    "-c",
    script,
    "lightbox-resume",
    hostNameOf(info, config),
    machineId,
    yield* now,
    instance
  ] as const
  yield* run(guest, argv, Crypto.randomBytes(randomBytes))
})

/** Runs the command that a sandbox has for when it resumes. */
export const runHook = Effect.fnUntraced(function* (
  guest: Guest.Guest,
  { name, shell }: Microsandbox.SandboxInfo,
  instance: string,
  { onResume }: SandboxConfig
): Effect.fn.Return<void, LightboxError> {
  if (onResume === undefined) return
  const env = { LIGHTBOX_SANDBOX: name, LIGHTBOX_INSTANCE: instance }
  yield* Execution.collect(guest, method, { argv: argvOf(onResume, shell), env }, { check: true })
})
