/** The processes of an emulated host: QEMU, and the server of this machine's files. */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as MutableRef from "effect/MutableRef"
import * as Path from "effect/Path"
import type * as ChildProcess from "effect/process/ChildProcess"
import type { ChildProcessHandle } from "effect/process/ChildProcessSpawner"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import * as Cache from "./Cache.ts"
import { HostCrashed } from "./HostError.ts"
import * as Subprocess from "./Subprocess.ts"

/** What to emulate. Its files are named as they are found from its folder. */
export interface Machine {
  readonly folder: string
  readonly cpus: number
  /** In MiB. */
  readonly memory: number
  readonly kernel: string
  readonly initramfs: string
  readonly disk: string
  /** What it is told on its channel `control`. */
  readonly control: Stream.Stream<Uint8Array>
}

/** A machine that runs for as long as its scope is open. */
export interface Emulator {
  /** What comes out of the channels that it has. */
  readonly control: ChildProcessHandle["stdout"]
  readonly stdout: ChildProcessHandle["stdout"]
  readonly stderr: ChildProcessHandle["stdout"]
  /** Fails when the machine ends by itself. */
  readonly crashed: Effect.Effect<never, HostCrashed>
  /** Fails, with the last words of its processes and of its console. */
  readonly giveUp: (what: string) => Effect.Effect<never, HostCrashed>
}

/** The server of this machine's files, as it comes with QEMU in Debian 12. Later ones are another, with other flags. */
export const fileServerProgram = "/usr/lib/qemu/virtiofsd"

const fileServer = (socket: string): Subprocess.Words => [
  fileServerProgram,
  ...[
    ["-f", "-o", "log_level=err", `--socket-path=${socket}`],
    // Nobody changes these files during a run, or if so, not for it to see.
    ["-o", "source=/", "-o", "sandbox=chroot", "-o", "cache=always"]
  ].flat()
]

const qemu = (machine: Machine, socket: string): Subprocess.Words => [
  "qemu-system-x86_64",
  ...[
    ["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"],
    // Linux and libc copy memory with `rep movsb` where that is said to be fast; emulated, it goes byte by byte.
    ["-cpu", "EPYC-Milan,+svm,+npt,-erms,-fsrm"],
    ["-accel", "tcg,thread=multi,tb-size=1024"],
    ["-smp", String(machine.cpus), "-m", String(machine.memory)],
    ["-object", `memory-backend-memfd,id=memory,size=${machine.memory}M,share=on`],
    // Without an HPET, and told to trust it, Linux keeps the time by the TSC, which takes no emulated device to read.
    // Loading modules and mounting wait for RCU; hurrying it saves half a second.
    ["-machine", "q35,memory-backend=memory,hpet=off"],
    [
      "-append",
      "console=ttyS0 quiet loglevel=1 panic=-1 mitigations=off nokaslr tsc=reliable rcupdate.rcu_expedited=1"
    ],
    ["-kernel", machine.kernel, "-initrd", machine.initramfs, "-serial", "file:console"],
    ["-drive", `file=${machine.disk},if=none,id=scratch,format=raw,cache=unsafe,discard=unmap`],
    ["-device", "virtio-blk-pci,drive=scratch"],
    ["-netdev", "user,id=network,ipv6=off", "-device", "virtio-net-pci,netdev=network,romfile="],
    ["-chardev", `socket,id=files,path=${socket}`, "-device", "vhost-user-fs-pci,chardev=files,tag=machine"],
    ["-device", "virtio-serial-pci"],
    ["-chardev", "socket,id=stdout,fd=3", "-device", "virtserialport,chardev=stdout,name=stdout"],
    ["-chardev", "socket,id=stderr,fd=4", "-device", "virtserialport,chardev=stderr,name=stderr"],
    ["-chardev", "socket,id=control,fd=5", "-device", "virtserialport,chardev=control,name=control"]
  ].flat()
]

/** Starts a machine. */
export const start = Effect.fnUntraced(function* (machine: Machine) {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const socket = Cache.socketOf(path.basename(machine.folder))
  const lines = MutableRef.make<ReadonlyArray<string>>([])

  const giveUp = Effect.fnUntraced(function* (what: string) {
    const console = yield* Effect.orElseSucceed(fs.readFileString(path.join(machine.folder, "console")), () => "")
    // What follows a panic says only where the kernel was.
    const [before = ""] = console.split(/(?<=Kernel panic[^\n]*)\n/)
    const last = [...MutableRef.get(lines), ...before.trim().split(/\r?\n/).slice(-20)]
    return yield* new HostCrashed({ message: [`the emulated host ${what}`, ...last].join("\n").trim() })
  })

  const startProcess = Effect.fnUntraced(function* (
    words: Subprocess.Words,
    additionalFds: Record<`fd${number}`, ChildProcess.AdditionalFdConfig>
  ) {
    const child = yield* Subprocess.spawn(Subprocess.dieWithParent(words), {
      cwd: machine.folder,
      stdin: "ignore",
      stdout: "ignore",
      additionalFds,
      // Nothing that it holds outlives the host.
      killSignal: "SIGKILL"
    })
    yield* child.stderr.pipe(
      Stream.decodeText(),
      Stream.splitLines,
      // QEMU goes through the features of the processor that it leaves out.
      Stream.filter((line) => !line.includes("TCG doesn't support requested feature")),
      Stream.runForEach((line) => Effect.sync(() => MutableRef.update(lines, (all) => [...all.slice(-20), line]))),
      Effect.ignore,
      Effect.forkScoped
    )
    return { child, ended: Effect.andThen(Effect.exit(child.exitCode), giveUp("ended before the command did")) }
  })

  const files = yield* startProcess(fileServer(socket), {})
  yield* fs
    .exists(path.join(machine.folder, socket))
    .pipe(
      Effect.repeat({ until: (exists) => exists, schedule: Schedule.spaced("10 millis") }),
      Effect.raceFirst(files.ended),
      Effect.timeoutOrElse({ duration: "10 seconds", orElse: () => giveUp("has no file server") })
    )
  const { child, ended } = yield* startProcess(qemu(machine, socket), {
    fd3: { type: "output" },
    fd4: { type: "output" },
    fd5: { type: "duplex", stream: machine.control }
  })
  const emulator: Emulator = {
    stdout: child.getOutputFd(3),
    stderr: child.getOutputFd(4),
    control: child.getOutputFd(5),
    crashed: Effect.raceFirst(ended, files.ended),
    giveUp
  }
  return emulator
})
