/** The order, the ports and the networks of a group of sandboxes. */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Admission from "../../Admission.ts"
import { isLightboxError, type LightboxError } from "../../LightboxError.ts"
import type * as Network from "../../Network.ts"
import * as Probe from "../../Probe.ts"
import type { Sandbox } from "../../Sandbox.ts"
import type { SandboxConfig } from "../../SandboxConfig.ts"
import { Port } from "../config/schemas.ts"
import { checkObject, circular, decoder, invalid } from "../config/validation.ts"
import { publishedPorts } from "../driver/ports.ts"
import type { Peers } from "./handle.ts"
import { allOrNothing } from "./launch.ts"
import * as Reach from "./peers.ts"

const method = "Sandbox.group"

const Own = Schema.Struct({
  dependsOn: Schema.optional(
    Schema.Record(
      Schema.String,
      Schema.Union([
        Schema.Literal("ready"),
        Schema.Struct({
          ports: Schema.Array(Port).check(
            Schema.makeFilter((ports) => (ports.length > 0 ? undefined : "expected at least one port"))
          )
        })
      ])
    )
  ),
  ready: Schema.optional(Probe.Probe)
})

type Own = typeof Own.Type

/** Names the member whose option is wrong. */
export const ofMember =
  (name: string) =>
  <E>(error: E): E | LightboxError =>
    isLightboxError(error) && error.reason._tag === "InvalidConfig"
      ? invalid(
          error.method.replace("Sandbox.launch", method),
          error.reason.field === "options" ? name : `${name}.${error.reason.field}`,
          error.reason.problem
        )
      : error

/** A member, and the options that only groups have. */
interface Member {
  readonly name: string
  readonly own: Own
}

/** Checks the members, and that they can start one after the other. */
export const check = Effect.fnUntraced(function* (members: {
  readonly [name: string]: object
}): Effect.fn.Return<ReadonlyArray<Member>, LightboxError> {
  yield* checkObject(method, members, "members")
  const checked = yield* Effect.forEach(
    Object.entries(members),
    Effect.fnUntraced(function* ([name, member]) {
      if (!/^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$/.test(name) || name === "localhost") {
        return yield* invalid(method, name, "expected a host name of lower-case letters, digits and dashes")
      }
      yield* checkObject(method, member, name)
      const fixed = ["detached", "ephemeral", "overwrite"].find((option) => option in member)
      if (fixed !== undefined)
        return yield* invalid(method, `${name}.${fixed}`, "is not an option of a member of a group")
      const { dependsOn, ready } = { dependsOn: undefined, ready: undefined, ...member }
      const own = yield* Effect.mapError(decoder(Own, method)({ dependsOn, ready }), ofMember(name))
      return { name, own }
    })
  )
  for (const { name, own } of checked) {
    for (const other of Object.keys(own.dependsOn ?? {})) {
      if (!Object.hasOwn(members, other)) {
        return yield* invalid(method, `${name}.dependsOn.${other}`, `there is no member "${other}"`)
      }
    }
  }
  const first = circular(checked.map(({ name, own }) => [name, Object.keys(own.dependsOn ?? {})]))
  return first === undefined
    ? checked
    : yield* invalid(method, `${first}.dependsOn`, "expected dependencies without a circle")
})

const portsOfProbe = (probe: Probe.Probe | undefined): ReadonlyArray<number> =>
  probe === undefined
    ? []
    : "port" in probe
      ? [probe.port]
      : "http" in probe
        ? [probe.http]
        : "all" in probe
          ? probe.all.flatMap(portsOfProbe)
          : "any" in probe
            ? probe.any.flatMap(portsOfProbe)
            : []

/** The ports that a member is known to serve: those that it publishes, and those of probes. */
const portsOf = (config: SandboxConfig, { ready }: Own): ReadonlyArray<number> => [
  ...new Set([
    ...publishedPorts(config).flatMap(({ guest, protocol }) => (protocol === "tcp" ? [guest] : [])),
    ...Object.values(config.services ?? {}).flatMap((service) => portsOfProbe(service.ready)),
    ...portsOfProbe(ready)
  ])
]

/** Nothing answers there. */
const noNameserver = "127.0.0.1:9"

/** Allows connections to other members, before all other rules. */
const allowing = (peers: ReadonlyArray<Reach.Peer>, network: Network.Network = "public"): Network.Network => {
  const { policy = "public", ...options } = typeof network === "object" ? network : { policy: network }
  const rules = peers.map(
    ({ address, ports }) => ({ action: "allow", to: { cidr: `${address}/32` }, protocols: ["tcp"], ports }) as const
  )
  if (policy === "none") {
    return { ...options, dns: { nameservers: [noNameserver] }, policy: { egress: "deny", ingress: "deny", rules } }
  }
  if (policy === "all") return { ...options, policy: { egress: "allow", ingress: "allow", rules } }
  const others: ReadonlyArray<Network.Rule> =
    policy === "public" ? [{ action: "allow", to: { group: "public" } }] : (policy.rules ?? [])
  return {
    ...options,
    policy: { ...(policy === "public" ? { egress: "deny" } : policy), rules: [...rules, ...others] }
  }
}

/** Launches members once those that they depend on are ready. All are removed together, in reverse order. */
export const launch = <A extends { readonly config: SandboxConfig }, R>(
  members: ReadonlyArray<Member & { readonly asked: A }>,
  boot: (
    asked: A,
    room: Admission.Room | undefined,
    peers: Peers | undefined
  ) => Effect.Effect<Sandbox, LightboxError, R | Scope.Scope>
): Effect.Effect<{ readonly [name: string]: Sandbox }, LightboxError, R | Admission.Admission | Scope.Scope> =>
  allOrNothing(
    Effect.gen(function* () {
      const states = members.map((member, index) => ({
        ...member,
        address: Reach.addressOf(index),
        launched: Deferred.makeUnsafe<Sandbox>()
      }))
      const wanted = yield* Effect.forEach(states, ({ name, own: { dependsOn = {} } }) =>
        Effect.forEach(
          states.filter((other) => Object.hasOwn(dependsOn, other.name)),
          (other) => {
            const dependency = dependsOn[other.name]
            const ports = typeof dependency === "object" ? dependency.ports : portsOf(other.asked.config, other.own)
            const problem = `"${other.name}" is not known to serve a port; pass { ports }`
            return ports.length > 0
              ? Effect.succeed({ ...other, ports })
              : Effect.fail(invalid(method, `${name}.dependsOn.${other.name}`, problem))
          }
        )
      )
      const admission = yield* Admission.Admission
      const rooms = yield* admission.admitAll(
        method,
        states.map(({ asked }) => asked.config.resources?.memory)
      )
      const found = yield* Effect.forEach(
        states,
        ({ asked, launched, name, own }, index) =>
          Effect.gen(function* () {
            const peers = yield* Effect.forEach(wanted[index] ?? [], (other) =>
              Effect.map(Deferred.await(other.launched), ({ guest, id, name }): Reach.Peer => ({
                ...other,
                guest,
                sandbox: { name, id }
              }))
            )
            const { hostname = name, network } = asked.config
            const reach = peers.length === 0 ? undefined : { proxy: yield* Reach.serve(method, peers), hosts: peers }
            const config = {
              ...asked.config,
              hostname,
              network: reach === undefined ? network : allowing(peers, network)
            }
            const sandbox = yield* boot({ ...asked, config }, rooms[index], reach)
            if (own.ready !== undefined) yield* sandbox.waitUntil(own.ready)
            yield* Deferred.succeed(launched, sandbox)
            return [name, sandbox] as const
          }),
        { concurrency: "unbounded" }
      )
      return Object.fromEntries(found)
    })
  )
