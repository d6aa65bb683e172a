/** `fleet hosts`, `fleet cordon`, `fleet uncordon`, `fleet drain` and `fleet rm`; those of jobs are in `fleetJobs.ts`. */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Console from "effect/Console"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import { LightboxError, TimedOut } from "../../../LightboxError.ts"
import { invalid } from "../../config/validation.ts"
import type { Directory, Host } from "../../directory/directory.ts"
import { bytes, directoryVariable, Json, print, printList, Quiet } from "../environment.ts"
import * as Flags from "../flags.ts"
import * as Shapes from "../json.ts"
import { jobs, run } from "./fleetJobs.ts"

const method = "fleet"

const directory = Flags.text("directory", "URL", `The directory of the fleet (default: $${directoryVariable})`)

const id = Argument.String("host").pipe(Argument.withMetavar("HOST"), Argument.withDescription("Id of the host"))

const open = Effect.fnUntraced(function* (
  given: string | undefined
): Effect.fn.Return<Directory, LightboxError, Scope.Scope> {
  const url = given ?? process.env[directoryVariable]
  if (url === undefined) {
    return yield* invalid(method, "--directory", `expected the directory of a fleet, here or in $${directoryVariable}`)
  }
  const Directories = yield* Effect.promise(() => import("../../directory/open.ts"))
  return yield* Directories.open(method, given === undefined ? directoryVariable : "--directory", Redacted.make(url))
})

const unknown = (host: string) => invalid(method, "HOST", `the directory has no host ${host}`)

const found = Effect.fnUntraced(function* (directory: Directory, id: string): Effect.fn.Return<Host, LightboxError> {
  const host = (yield* directory.hosts).find((host) => host.id === id)
  return host ?? (yield* unknown(id))
})

const hosts = Command.make(
  "hosts",
  { directory, ...Flags.listing },
  Effect.fnUntraced(function* ({ directory: url, ...listing }) {
    const { listed } = yield* Effect.promise(() => import("../../directory/directory.ts"))
    const all = yield* (yield* open(url)).hosts
    yield* printList(
      Shapes.FleetHosts,
      all.map(listed),
      {
        columns: ["HOST", "STATUS", "SANDBOXES", "USED", "MEMORY", "CPUS", "SEEN", "ADDRESS", "REASON"],
        row: ({ address, cpus, id, memory, reason, sandboxes, seenMillisAgo, status, used }) => [
          id,
          status,
          String(sandboxes),
          bytes(used),
          bytes(memory),
          String(cpus),
          `${Math.round(seenMillisAgo / 1000)}s ago`,
          address,
          reason
        ],
        none: "The fleet has no hosts. Start one: lightbox host --directory URL"
      },
      listing
    )
  }, Effect.scoped)
).pipe(Command.withDescription("List the hosts of a fleet"))

const defaultReason = "by lightbox fleet"

const reason = Flags.text("reason", "TEXT", "Why, for those who list the hosts")

const cordon = Command.make(
  "cordon",
  { id, reason, directory },
  Effect.fnUntraced(function* ({ directory: url, id, reason = `cordoned ${defaultReason}` }) {
    if (!(yield* (yield* open(url)).cordon(id, reason))) return yield* unknown(id)
    yield* print(Shapes.FleetHost, { host: id }, { full: `Host ${id} gets no new sandboxes`, brief: id })
  }, Effect.scoped)
).pipe(Command.withDescription("Keep new sandboxes from a host"))

const uncordon = Command.make(
  "uncordon",
  { id, directory },
  Effect.fnUntraced(function* ({ directory: url, id }) {
    if (!(yield* (yield* open(url)).uncordon(id))) return yield* unknown(id)
    yield* print(Shapes.FleetHost, { host: id }, { full: `Host ${id} gets new sandboxes again`, brief: id })
  }, Effect.scoped)
).pipe(Command.withDescription("Give new sandboxes to a host again"))

/** How often a drain looks whether sandboxes are left. */
const lookInterval = Duration.seconds(1)

const drain = Command.make(
  "drain",
  {
    id,
    reason,
    timeout: Flags.duration("timeout", "Fail if sandboxes are left after so long (default: 10m)"),
    directory
  },
  Effect.fnUntraced(function* ({ directory: url, id, reason = `drained ${defaultReason}`, timeout }) {
    const limit = timeout ?? Duration.minutes(10)
    const directory = yield* open(url)
    if (!(yield* directory.cordon(id, reason))) return yield* unknown(id)
    const isSilent = (yield* Json) || (yield* Quiet)
    let shown = -1
    const left = Effect.gen(function* () {
      const names = (yield* directory.sandboxesOf(id)).filter(({ state }) => state !== "lost").map(({ name }) => name)
      if (names.length !== shown && names.length > 0 && !isSilent) {
        yield* Console.error(`Waiting for ${names.length} sandboxes: ${names.slice(0, 5).join(", ")}`)
      }
      shown = names.length
      return names.length
    })
    yield* left.pipe(
      Effect.tap((count) => (count === 0 ? Effect.void : Effect.sleep(lookInterval))),
      Effect.repeat({ until: (count) => count === 0 }),
      Effect.timeoutOrElse({
        duration: limit,
        orElse: () =>
          Effect.fail(
            new LightboxError({
              method,
              reason: new TimedOut({
                operation: `waiting for ${shown} sandboxes of host ${id} to end`,
                limitMillis: Duration.toMillis(limit)
              })
            })
          )
      })
    )
    yield* print(Shapes.FleetHost, { host: id }, { full: `Host ${id} has no sandboxes any more`, brief: id })
  }, Effect.scoped)
).pipe(Command.withDescription("Keep new sandboxes from a host, and wait until it has none"))

const rm = Command.make(
  "rm",
  { id, directory },
  Effect.fnUntraced(function* ({ directory: url, id }) {
    const { isAlive } = yield* Effect.promise(() => import("../../directory/directory.ts"))
    const directory = yield* open(url)
    const host = yield* found(directory, id)
    if (isAlive(host)) {
      return yield* invalid(method, "HOST", `${id} is alive; stop it first`)
    }
    yield* directory.remove(id)
    yield* print(Shapes.FleetHost, { host: id }, { full: `The fleet has forgotten host ${id}`, brief: id })
  }, Effect.scoped)
).pipe(Command.withDescription("Forget a host that will not be back, and what only it had"))

export const fleet = Command.make("fleet").pipe(
  Command.withDescription("List and drain the hosts of a fleet, and run jobs on them"),
  Command.withExamples([
    { command: "lightbox fleet hosts --directory sqlite:fleet.db", description: "List the hosts of a fleet" },
    {
      command: "lightbox --host sqlite:fleet.db run alpine uname",
      description: "Run a command on one of them; --host takes a directory, too"
    }
  ]),
  Command.withSubcommands([hosts, cordon, uncordon, drain, rm, run, jobs])
)
