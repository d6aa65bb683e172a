/** A host for microVMs on a machine that can't boot them: Linux under QEMU, which emulates AMD's SVM in software. */
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import * as Path from "effect/Path"
import * as Queue from "effect/Queue"
import * as Schema from "effect/Schema"
import type * as Sink from "effect/Sink"
import * as Stdio from "effect/Stdio"
import * as Stream from "effect/Stream"
import * as Os from "node:os"
import * as Cache from "./Cache.ts"
import * as Emulator from "./Emulator.ts"
import * as Host from "./Host.ts"
import { HostUnavailable } from "./HostError.ts"
import * as Initramfs from "./Initramfs.ts"
import * as Interrupt from "./Interrupt.ts"
import * as Machine from "./Machine.ts"
import * as Packages from "./Packages.ts"
import * as Subprocess from "./Subprocess.ts"

const purpose = "an emulated host"

const scratchDisk = {
  ext4: {
    package: "e2fsprogs",
    modules: [],
    // No journal, for the disk does not outlive the host.
    format: ["mkfs.ext4", "-q", "-m", "0", "-O", "^has_journal", "-i", "65536"],
    mount: "noatime,noinit_itable"
  },
  xfs: {
    package: "xfsprogs",
    modules: ["xfs"],
    format: ["mkfs.xfs", "-q", "-m", "reflink=1"],
    mount: "noatime"
  }
} as const

/** Fails when this machine can't emulate a host, after installing what it misses if that is allowed. */
export const prepare = Effect.fnUntraced(function* (options: Pick<Host.Options, "fileSystem">) {
  if (process.platform !== "linux" || process.arch !== "x64") {
    return yield* new HostUnavailable({
      message: `microVMs can't boot here, and ${purpose} needs Linux on x64, not ${process.platform} on ${process.arch}`
    })
  }
  yield* Packages.ensure(purpose, [
    "qemu-system-x86",
    "qemu-system-common",
    "linux-image-cloud-amd64",
    "busybox-static",
    "cpio",
    "kmod",
    scratchDisk[options.fileSystem].package
  ])
  const fs = yield* FileSystem.FileSystem
  if (!(yield* fs.exists(Emulator.fileServerProgram))) {
    return yield* new HostUnavailable({
      message: `${purpose} needs Debian 12, where the package qemu-system-common has ${Emulator.fileServerProgram}`
    })
  }
  if (!Machine.isRoot) {
    return yield* new HostUnavailable({
      message: `${purpose} shares the files of this machine, which only root may do`
    })
  }
})

const makeScratchDisk = Effect.fnUntraced(function* (folder: string, { fileSystem }: Host.Options) {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const disk = path.join(folder, "scratch.img")
  yield* fs.writeFile(disk, new Uint8Array())
  // Sparse: it takes what is written to it.
  yield* fs.truncate(disk, 64 * 2 ** 30)
  const [program, ...args] = scratchDisk[fileSystem].format
  yield* Subprocess.run(program, [...args, disk])
  return path.basename(disk)
})

const drivers = [
  "virtio_pci",
  "virtio_blk",
  "virtio_net",
  "virtio_console",
  "virtiofs",
  "overlay",
  "loop",
  "kvm_amd",
  "tun"
]

const makeInitramfs = Effect.fnUntraced(function* (
  folder: string,
  kernel: Initramfs.Kernel,
  options: Host.Options,
  images: string
) {
  const { modules, mount } = scratchDisk[options.fileSystem]
  return yield* Initramfs.make(folder, kernel, {
    command: options.command,
    environment: {
      NODE_COMPILE_CACHE: yield* Cache.folder("compiled"),
      ...(yield* Host.environment({
        kind: "emulated",
        home: "/lightbox/scratch/msb",
        temporary: "/lightbox/scratch/tmp",
        out: options.out
      })),
      // Below /run, which is the host's own.
      XDG_RUNTIME_DIR: undefined
    },
    modules: [...drivers, ...modules],
    settings: {
      CACHE: yield* Cache.folder(),
      IMAGES: images,
      MACHINE_NAME: Os.hostname(),
      OUT: options.out,
      SCRATCH_OPTIONS: mount,
      SCRATCH_TYPE: options.fileSystem
    }
  })
})

const Count = Schema.FiniteFromString

// What `guest/main` says at the end: the status, and how many bytes went out before.
const Ended = Schema.TemplateLiteralParser(["exit ", Count, " ", Count, " ", Count])

// Passes on as many bytes as it is told that there are, for a channel has no end of its own.
const deliver = <E, E2>(
  source: Stream.Stream<Uint8Array, E>,
  length: Effect.Effect<number, E2>,
  target: Sink.Sink<void, string | Uint8Array, never, E>
) =>
  Stream.merge(source, Stream.fromEffect(length)).pipe(
    Stream.mapAccum(
      () => ({ seen: 0, length: Infinity }),
      (state, item) => {
        const next =
          typeof item === "number" ? { ...state, length: item } : { ...state, seen: state.seen + item.length }
        const bytes = typeof item === "number" ? new Uint8Array() : item
        return [next, [{ bytes, complete: next.seen >= next.length }]]
      }
    ),
    Stream.takeUntil(({ complete }) => complete),
    Stream.map(({ bytes }) => bytes),
    Stream.run(target)
  )

// The guest's side of it is `guest/main`.
const converse = Effect.fnUntraced(function* (emulator: Emulator.Emulator, stall: Duration.Duration) {
  const stdio = yield* Stdio.Stdio
  const ready = yield* Deferred.make<void>()
  const ended = yield* Deferred.make<typeof Ended.Type, Schema.SchemaError>()
  // Now and then an emulated processor misses what it waits for, or the emulated kernel goes round in circles.
  const standsStill = Stream.fromEffect(emulator.giveUp(`stood still for ${Duration.format(stall)}`))
  const heard = yield* emulator.control.pipe(
    Stream.decodeText(),
    Stream.splitLines,
    Stream.timeoutOrElse({ duration: stall, orElse: () => standsStill }),
    Stream.runForEach((line) =>
      line === "alive"
        ? Deferred.succeed(ready, undefined)
        : Deferred.complete(ended, Schema.decodeUnknownEffect(Ended)(line))
    ),
    Effect.forkScoped
  )
  // Without the channel, it has ended.
  const stoodStill = Fiber.join(heard).pipe(
    Effect.catchTag("PlatformError", () => Effect.void),
    Effect.andThen(Effect.never)
  )
  const item = (index: 1 | 3 | 5) => Effect.map(Deferred.await(ended), (parts) => parts[index])
  // Not part of what an interruption stops: what the command prints in its last seconds counts as well.
  const done = yield* Effect.all(
    [item(1), deliver(emulator.stdout, item(3), stdio.stdout()), deliver(emulator.stderr, item(5), stdio.stderr())],
    { concurrency: "unbounded" }
  ).pipe(
    Effect.map(([status]) => status),
    Effect.forkScoped
  )
  return { ready: Deferred.await(ready), done, stoodStill } as const
})

/**
 * Runs a command in an emulated host, and gives its exit status.
 *
 * **Details**
 *
 * The command sees the files of this machine at their own paths. What it writes goes to memory, or below `MSB_HOME`
 * and `TMPDIR` to a scratch disk, and is gone with the host; except for `LIGHTBOX_OUT` and the cache folder, which
 * are this machine's, and for `/lightbox/machine`, which is all of it.
 *
 * When it is interrupted, the command gets the signal and some time to end.
 */
export const run = Effect.fnUntraced(function* (options: Host.Options, images: string) {
  const folder = yield* Cache.runFolder()
  const kernel = yield* Initramfs.newestKernel
  const [initramfs, disk] = yield* Effect.all(
    [makeInitramfs(folder, kernel, options, images), makeScratchDisk(folder, options)],
    { concurrency: "unbounded" }
  )
  const signals = yield* Queue.unbounded<string>()
  const emulator = yield* Emulator.start({
    folder,
    cpus: options.cpus,
    memory: options.memory,
    kernel: kernel.image,
    initramfs,
    disk,
    control: Stream.encodeText(Stream.fromQueue(signals))
  })
  const { done, ready, stoodStill } = yield* converse(emulator, options.stall)
  yield* ready.pipe(
    Effect.raceFirst(emulator.crashed),
    Effect.timeoutOrElse({ duration: "2 minutes", orElse: () => emulator.giveUp("did not start") })
  )
  const command = Fiber.join(done).pipe(
    Effect.raceFirst(emulator.crashed),
    Effect.raceFirst(stoodStill),
    Effect.onInterrupt(() =>
      Interrupt.signal.pipe(
        // What was running tells why it took too long.
        Effect.map(Option.match({ onNone: () => "processes\nTERM\n", onSome: (signal) => `${signal.slice(3)}\n` })),
        Effect.flatMap((words) => Queue.offer(signals, words)),
        Effect.andThen(Fiber.await(done)),
        Effect.timeoutOption(Host.grace)
      )
    )
  )
  return yield* Host.withinTime(options, command)
}, Effect.scoped)
