/** `run`, `port`, `ps` and `rm`. */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { LightboxError, NotFound } from "../../LightboxError.ts"
import type { Options } from "../../SandboxConfig.ts"
import type { PublishedPort, PullProgress } from "../../Microsandbox.ts"
import * as Sandbox from "../../Sandbox.ts"
import * as SandboxProxy from "../../SandboxProxy.ts"
import * as Snapshot from "../../Snapshot.ts"
import { defaultBind } from "../config/schemas.ts"
import { invalid, timeLimit } from "../config/validation.ts"
import { isFound } from "../host/fileFailure.ts"
import { endpoint } from "../driver/ports.ts"
import { driver, Json, mebibytes, Outputs, Quiet, print, printList, printRemoved } from "./environment.ts"
import { command, expectTerminal, ownFailure, runIn } from "./exec.ts"
import { namedArgument, nameFlags } from "./failure.ts"
import * as Flags from "./flags.ts"
import * as Shapes from "./json.ts"

export const run = Command.make(
  "run",
  {
    snapshot: Argument.String("snapshot").pipe(
      Argument.withMetavar("SNAPSHOT"),
      Argument.withDescription("Name of the snapshot; omit it with --image"),
      Argument.optional
    ),
    command: command.pipe(
      Argument.withDescription("Command and arguments (default: that of the snapshot, else a shell)")
    ),
    image: Flags.text("image", "IMAGE", "Boot an image; all words are then its command"),
    name: Flags.text("name", "NAME", "Name of the sandbox (default: a generated name)"),
    cpus: Flags.count("cpus", "COUNT", "Number of processors (default: 1)"),
    memory: Flags.text("memory", "SIZE", "Memory, such as 2G (default: 512M)").pipe(Flag.withAlias("m")),
    disk: Flags.text("disk", "SIZE", "Size of the root disk, only with --image (default: 4G)"),
    rootDisk: Flags.choice(
      "root-disk",
      ["auto", "copy", "overlay"],
      "Copy the snapshot's disk, or lay an overlay on it (default: auto)"
    ),
    ...Flags.running,
    mounts: Flags.mounts,
    volumes: Flags.volumes,
    ports: Flags.ports,
    network: Flags.choice("network", ["public", "all", "none"], "Network access (default: public)").pipe(
      Flag.withAlias("net")
    ),
    pullPolicy: Flags.pullPolicy,
    secrets: Flags.secrets,
    labels: Flags.labels.pipe(Flag.withAlias("l")),
    services: Flags.services,
    ready: Flags.ready,
    interactive: Flags.toggle("interactive", "Pass on standard input, as it does anyway").pipe(Flag.withAlias("i")),
    tty: Flags.toggle("tty", "Fail unless this is a terminal, which the command gets anyway").pipe(Flag.withAlias("t")),
    remove: Flags.toggle("rm", "Remove the sandbox afterwards, as it does anyway"),
    timeout: Flags.duration("timeout", "End the command after this time, with status 124, or a detached sandbox"),
    maxDuration: Flags.duration("max-duration", "End the sandbox after this time"),
    detach: Flags.toggle("detach", "Leave the sandbox running and print its name; a command becomes its job main").pipe(
      Flag.withAlias("d")
    ),
    detachFor: Flags.duration("detach-for", "Like --detach, but a later sweep removes the sandbox after this time"),
    reuse: Flags.toggle(
      "reuse",
      "Use the sandbox named by --name, starting or launching it if needed; it keeps running"
    )
  },
  Effect.fnUntraced(
    function* (input) {
      const snapshot = Option.getOrUndefined(input.snapshot)
      const { detachFor, image } = input
      if (image === undefined && snapshot === undefined) {
        return yield* invalid("run", "SNAPSHOT", "pass the name of a snapshot, or --image")
      }
      // With an image, the first word belongs to the command.
      const words = image === undefined || snapshot === undefined ? input.command : [snapshot, ...input.command]
      const isDetached = input.detach || detachFor !== undefined
      const kept = isDetached ? (input.detach ? "--detach" : "--detach-for") : input.reuse ? "--reuse" : undefined
      if (input.remove && kept !== undefined) {
        return yield* invalid("run", "--rm", `cannot be combined with ${kept}, which keeps the sandbox`)
      }
      if (input.tty && isDetached) return yield* invalid("run", "--tty", `cannot be combined with ${kept}`)
      if (input.tty) yield* expectTerminal("run")
      const mounts = [...input.mounts, ...input.volumes]
      const second = mounts.findIndex(([path], index) => mounts.findIndex((other) => other[0] === path) < index)
      if (second !== -1) {
        const flag = second < input.mounts.length ? "--mount" : "--volume"
        return yield* invalid("run", `${flag} ${mounts[second]?.[0]}`, "only one mount per path is allowed")
      }
      const unknown = input.ready.find((ready) => !Object.hasOwn(input.services, ready.name))
      if (unknown !== undefined) {
        return yield* invalid("run", `--ready ${unknown.typed}`, `there is no --service ${unknown.name}`)
      }
      const typedServices = Object.entries(input.services).map(([name, command]) => {
        const probes = input.ready.filter((ready) => ready.name === name)
        return { name, command, probes }
      })
      const main = isDetached ? mainOf(words) : {}
      if ("main" in main && Object.hasOwn(input.services, "main")) {
        return yield* invalid("run", "--service main", "is the name that the command of a detached sandbox gets")
      }
      const services: NonNullable<Options["services"]> = {
        ...Object.fromEntries(
          typedServices.map(({ command, name, probes }) => [
            name,
            { command, ready: probes.length === 0 ? undefined : { all: probes.map(({ probe }) => probe) } }
          ])
        ),
        ...main
      }
      const { name, reuse } = input
      if (reuse && name === undefined) return yield* invalid("run", "--reuse", "needs --name")
      if (reuse && detachFor !== undefined) {
        return yield* invalid("run", "--reuse", "cannot be combined with --detach-for")
      }
      const options = {
        ...(image === undefined ? { snapshot: snapshot ?? "" } : { image }),
        resources: {
          cpus: input.cpus,
          memory: yield* Flags.bytesOf("--memory", input.memory),
          disk: yield* Flags.bytesOf("--disk", input.disk)
        },
        rootDisk: input.rootDisk,
        env: Flags.variables(input),
        mounts: Object.fromEntries(mounts.map(([path, mount]) => [path, mount])),
        ports: input.ports.length === 0 ? undefined : input.ports.map(({ mapping }) => mapping),
        cwd: input.workdir,
        user: input.user,
        network: input.network,
        ...(input.secrets.length === 0 ? {} : { secrets: Object.fromEntries(input.secrets) }),
        // Without any, those of the snapshot's launch defaults stay.
        ...(Object.keys(services).length === 0 ? {} : { services }),
        pullPolicy: input.pullPolicy,
        labels: input.labels,
        maxDuration: input.maxDuration ?? (isDetached ? input.timeout : undefined),
        onPullProgress: yield* reportPull(image)
      }
      const launching =
        reuse && name !== undefined
          ? Sandbox.getOrCreate(name, options)
          : Sandbox.launch({ ...options, name, detached: isDetached })
      const sandbox = yield* launching.pipe(
        Effect.mapError(
          nameFlags({
            ...launchFlags,
            ...typedMounts("--mount", input.mounts),
            ...typedMounts("--volume", input.volumes),
            ...Object.fromEntries(
              input.ports.flatMap(({ typed }, index) =>
                ["", ".host", ".guest", ".bind"].map((field) => [`ports.${index}${field}`, `--port ${typed}`])
              )
            ),
            ...Object.fromEntries(
              typedServices.flatMap(({ name, probes }) => [
                [`services.${name}`, `--service ${name}`],
                [`services.${name}.command`, `--service ${name}`],
                ...probes.map(({ typed }, index) => [`services.${name}.ready.all.${index}`, `--ready ${typed}`])
              ])
            ),
            ...Object.fromEntries(
              input.secrets.flatMap(([name]) =>
                ["", ".hosts"].map((field) => [`secrets.${name}${field}`, `--secret ${name}`])
              )
            )
          })
        )
      )
      yield* reportPorts(sandbox, input.ports)
      if (!isDetached) {
        const command = words.length > 0 ? words : yield* defaultCommand(snapshot)
        return yield* runIn("run", sandbox, command).pipe(timeLimit("run", "the command", input.timeout))
      }
      if (detachFor !== undefined) yield* sandbox.detachFor(detachFor)
      yield* print(Shapes.Detached, { name: sandbox.name, id: sandbox.id }, { full: sandbox.name })
    },
    Effect.scoped,
    Effect.mapError(ownFailure)
  )
).pipe(
  Command.withDescription("Run a command or a shell in a new sandbox, and remove it afterwards"),
  Command.withExamples([
    {
      command: "lightbox run node-ci --mount .:/work --workdir /work -- npm test",
      description: "Run this folder's tests"
    },
    { command: "lightbox run --image alpine", description: "Open a shell" },
    { command: "lightbox run web --port 8080:80 --detach", description: "Start a sandbox that keeps running" },
    { command: "lightbox run web --name dev --reuse", description: "Open a shell in it again, starting it if needed" }
  ]),
  Command.provide(driver())
)

/** The command of a sandbox that keeps running is a job, which starts again with the sandbox. */
const mainOf = ([program, ...args]: ReadonlyArray<string>): NonNullable<Options["services"]> =>
  program === undefined ? {} : { main: { command: [program, ...args] } }

/** The command that the launch defaults of a snapshot name. */
const defaultCommand = Effect.fnUntraced(function* (snapshot: string | undefined) {
  const { cmd = [], entrypoint = [] } = snapshot === undefined ? {} : ((yield* Snapshot.get(snapshot)).defaults ?? {})
  return [...entrypoint, ...cmd]
})

const typedMounts = (flag: string, mounts: ReadonlyArray<readonly [path: string, mount: unknown, typed: string]>) =>
  Object.fromEntries(
    mounts.flatMap(([path, , typed]) =>
      ["", ".bind", ".hostPath", ".volume", ".name"].map((field) => [`mounts.${path}${field}`, `${flag} ${typed}`])
    )
  )

/** Prints which ports were chosen. */
const reportPorts = Effect.fnUntraced(function* (sandbox: Sandbox.Sandbox, ports: ReadonlyArray<Flags.TypedPort>) {
  if ((yield* Quiet) || (yield* Json) || ports.every(({ mapping }) => mapping.host !== 0)) return
  const { stderr } = yield* Outputs
  for (const { guest, ...at } of (yield* sandbox.info).ports)
    stderr.write(`${endpoint(at)} forwards to port ${guest}\n`)
})

/** Prints one line when an image is pulled, which can take minutes. */
export const reportPull = Effect.fnUntraced(function* (image: string | undefined) {
  if ((yield* Quiet) || (yield* Json)) return undefined
  const { stderr } = yield* Outputs
  let isReported = false
  return ({ _tag }: PullProgress) =>
    Effect.sync(() => {
      if (_tag === "Downloading" && !isReported) stderr.write(`pulling ${image ?? "the image of the snapshot"}\n`)
      isReported ||= _tag === "Downloading"
    })
})

const launchFlags = {
  image: "--image",
  reference: "--image",
  snapshot: "SNAPSHOT",
  name: "--name",
  "resources.cpus": "--cpus",
  "resources.memory": "--memory",
  "resources.disk": "--disk",
  rootDisk: "--root-disk",
  ...Flags.runningNames,
  mounts: "--mount",
  ports: "--port",
  network: "--network",
  pullPolicy: "--pull",
  secrets: "--secret",
  labels: "--label",
  maxDuration: "--max-duration"
}

const printPorts = (ports: ReadonlyArray<PublishedPort>, none: string) =>
  printList(Shapes.Ports, ports, {
    columns: ["ADDRESS", "GUEST", "PROTOCOL"],
    row: ({ guest, protocol, ...at }) => [endpoint(at), `${guest}`, protocol],
    none
  })

export const port = Command.make(
  "port",
  { name: Flags.nameOf("Name of a running sandbox"), ports: Flags.forwards },
  Effect.fnUntraced(
    function* ({ name, ports }) {
      if (ports.length === 0) {
        return yield* printPorts((yield* Sandbox.get(name)).ports, `No ports of "${name}" are published.`)
      }
      const sandbox = yield* Sandbox.connect(name)
      const forwards = yield* Effect.forEach(ports, ({ bind, guest, host, typed }) =>
        Effect.mapError(
          sandbox.forward(guest, { host, bind }),
          nameFlags({ guestPort: `PORT ${typed}`, host: `PORT ${typed}`, bind: `PORT ${typed}` })
        )
      )
      yield* printPorts(
        forwards.map(({ bind, guest, host }) => ({ host, guest, protocol: "tcp", bind })),
        ""
      )
      return yield* Effect.raceAllFirst(forwards.map(({ closed }) => closed))
    },
    Effect.scoped,
    namedArgument
  )
).pipe(
  Command.withDescription("Forward ports of a running sandbox to this machine until Ctrl+C or until it stops"),
  Command.withExamples([
    { command: "lightbox port web 3000", description: "Take a free port of this machine, and print it" },
    { command: "lightbox port web 8080:80 9229", description: "Reach two ports" },
    { command: "lightbox port web", description: "Print the ports that were published at launch" }
  ]),
  Command.provide(driver())
)

export const proxy = Command.make(
  "proxy",
  {
    port: Flags.count("port", "PORT", "Port of this machine; 0 is a free one (default: 1355)").pipe(Flag.withAlias("p"))
  },
  Effect.fnUntraced(function* ({ port }) {
    const proxy = yield* SandboxProxy.make({ port }).pipe(Effect.mapError(nameFlags({ port: "--port" })))
    yield* print(
      Shapes.Proxy,
      { port: proxy.port },
      { full: `Serving http://PORT-NAME.localhost:${proxy.port} until Ctrl+C`, brief: `${proxy.port}` }
    )
    return yield* Effect.never
  }, Effect.scoped)
).pipe(
  Command.withDescription("Serve the HTTP ports of all running sandboxes by name, until Ctrl+C"),
  Command.withExamples([
    { command: "lightbox proxy", description: "Port 3000 of web is now http://3000-web.localhost:1355" }
  ]),
  Command.provide(driver())
)

export const ps = Command.make(
  "ps",
  {
    labels: Flags.labels.pipe(Flag.withAlias("l"), Flag.withDescription("Only sandboxes with this label")),
    all: Flags.toggle("all", "Include stopped sandboxes, as it does anyway").pipe(Flag.withAlias("a")),
    ...Flags.listing
  },
  Effect.fnUntraced(function* ({ filters, format, labels }) {
    yield* printList(
      Shapes.Sandboxes,
      yield* Sandbox.list({ labels }),
      {
        columns: ["NAME", "STATUS", "IMAGE", "CPUS", "MEMORY", "PORTS", "CREATED"],
        row: ({ cpus, createdAt, image = "-", memory, name, ports, status }) => [
          name,
          status,
          image,
          `${cpus}`,
          mebibytes(memory),
          ports
            .map(({ bind, guest, host }) => `${bind === defaultBind ? host : endpoint({ bind, host })}->${guest}`)
            .join(", ") || "-",
          createdAt
        ],
        none: "There are no sandboxes."
      },
      { filters, format }
    )
  })
).pipe(Command.withDescription("List sandboxes"), Command.provide(driver()))

export const rm = Command.make(
  "rm",
  {
    names: Flags.nameOf("Names of sandboxes, or of snapshots with --snapshot").pipe(Argument.atLeast(1)),
    snapshot: Flags.toggle("snapshot", "Remove snapshots instead of sandboxes"),
    force: Flags.toggle("force", "Kill running sandboxes, and ignore names that do not exist").pipe(Flag.withAlias("f"))
  },
  Effect.fnUntraced(function* ({ force, names, snapshot }) {
    // Check all names before removing any.
    const exists = snapshot ? Snapshot.exists : (name: string) => isFound(Sandbox.get(name))
    const found = yield* Effect.filter(names, (name) =>
      force ? exists(name) : Effect.as(snapshot ? expectSnapshot(name) : expectSandbox(name), true)
    )
    yield* Effect.forEach(found, (name) => (snapshot ? Snapshot.remove(name) : Sandbox.remove(name, { force })), {
      discard: true
    })
    yield* printRemoved(found)
  }, namedArgument)
).pipe(Command.withDescription("Remove sandboxes, or snapshots with all their generations"), Command.provide(driver()))

/** In other tools, one command removes what has the name, whatever it is. */
const expectSandbox = Effect.fnUntraced(function* (name: string) {
  yield* Sandbox.get(name).pipe(
    Effect.catchReason("LightboxError", "NotFound", (_, error) =>
      Effect.flatMap(Snapshot.exists(name), (isSnapshot) =>
        Effect.fail(
          isSnapshot
            ? invalid("rm", "NAME", `"${name}" is the name of a snapshot; pass --snapshot to remove it`)
            : error
        )
      )
    )
  )
})

const expectSnapshot = Effect.fnUntraced(function* (name: string) {
  if (yield* Snapshot.exists(name)) return
  return yield* new LightboxError({ method: "rm", reason: new NotFound({ resource: "snapshot", name }) })
})
