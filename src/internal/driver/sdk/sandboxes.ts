/** Sandboxes as the SDK describes them, on any backend. */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Fs from "node:fs"
import { LightboxError, Replaced } from "../../../LightboxError.ts"
import type * as Microsandbox from "../../../Microsandbox.ts"
import { instanceLabel } from "../../ownership/labels.ts"
import { defaultBind, defaultResources } from "../../config/schemas.ts"
import { isFound } from "../../host/fileFailure.ts"
import { call } from "./calls.ts"
import { fromMebibytes } from "./sizes.ts"
import type { SandboxHandle, SandboxPage, Surface } from "./surface.ts"

export const date = (value: Date | null | undefined): DateTime.Utc | undefined =>
  value === null || value === undefined ? undefined : DateTime.fromDateUnsafe(value)

const property = (u: unknown, ...path: ReadonlyArray<string>): unknown =>
  path.reduce((value, key) => (Predicate.hasProperty(value, key) ? value[key] : undefined), u)

const text = (u: unknown): string | undefined => (Predicate.isString(u) ? u : undefined)

const number = (u: unknown): number | undefined => (Predicate.isNumber(u) ? u : undefined)

/**
 * The stored configuration. The SDK's `config()` renames keys, even those of labels and scripts. Never logged: it
 * contains secrets.
 */
const configOf = (handle: SandboxHandle): unknown => JSON.parse(handle.configJson)

const mountsIn = (config: unknown): ReadonlyArray<unknown> => {
  const mounts = property(config, "mounts")
  return Array.isArray(mounts) ? mounts : []
}

const portsIn = (config: unknown): ReadonlyArray<Microsandbox.PublishedPort> => {
  const ports = property(config, "network", "ports")
  return (Array.isArray(ports) ? ports : []).flatMap((port): ReadonlyArray<Microsandbox.PublishedPort> => {
    const host = number(property(port, "host_port"))
    const guest = number(property(port, "guest_port"))
    return host === undefined || guest === undefined
      ? []
      : [
          {
            host,
            guest,
            protocol: text(property(port, "protocol"))?.toLowerCase() === "udp" ? "udp" : "tcp",
            bind: text(property(port, "host_bind")) ?? defaultBind
          }
        ]
  })
}

export const sandboxInfo = (handle: SandboxHandle): Microsandbox.SandboxInfo => {
  const config = configOf(handle)
  const labels = property(config, "labels")
  return {
    name: handle.name,
    id: handle.id,
    status: handle.status,
    labels: Predicate.isObject(labels)
      ? Object.fromEntries(Object.entries(labels).map(([key, value]) => [key, String(value)]))
      : {},
    // The cloud uses other names for some fields.
    image: text(property(config, "image", "Oci", "reference")) ?? text(property(config, "image", "reference")),
    imageDigest: text(property(config, "manifest_digest")),
    cpus:
      number(property(config, "resources", "cpus")) ??
      number(property(config, "resources", "vcpus")) ??
      defaultResources.cpus,
    memory: Option.match(Option.fromUndefinedOr(number(property(config, "resources", "memory_mib"))), {
      onNone: () => defaultResources.memory,
      onSome: fromMebibytes
    }),
    volumes: mountsIn(config).flatMap((mount) => {
      const name = /^named$/i.test(text(property(mount, "type")) ?? "") ? text(property(mount, "name")) : undefined
      return name === undefined ? [] : [name]
    }),
    ports: portsIn(config),
    cwd: text(property(config, "runtime", "workdir")),
    shell: text(property(config, "runtime", "shell")) ?? "/bin/sh",
    createdAt: date(handle.createdAt)
  }
}

export const instanceOf = (handle: SandboxHandle): string | undefined =>
  text(property(configOf(handle), "labels", instanceLabel))

export const isEphemeral = (handle: SandboxHandle): boolean =>
  property(configOf(handle), "lifecycle", "ephemeral") === true

const isFile = (path: string | undefined): boolean =>
  path !== undefined && (Fs.statSync(path, { throwIfNoEntry: false })?.isFile() ?? false)

/**
 * Checks whether the native object of a sandbox may hold locks on disks that can be released. It would leave those of
 * directly mounted files behind. The runtime does not say which volumes are disks.
 */
export const mayHoldDisks = (handle: SandboxHandle): boolean => {
  const mounts = mountsIn(configOf(handle)).map((mount) => ({
    type: text(property(mount, "type"))?.toLowerCase(),
    host: text(property(mount, "host"))
  }))
  return (
    mounts.some(({ type }) => type === "diskimage" || type === "named") &&
    !mounts.some(({ host, type }) => type === "bind" && isFile(host))
  )
}

/** The SDK's handle of exactly this sandbox, not of another with its name. Handles hold no lock. */
export const handleOf = (
  { sdk }: { readonly sdk: Surface },
  method: string,
  sandbox: Microsandbox.SandboxRef
): Effect.Effect<SandboxHandle, LightboxError> =>
  Effect.filterOrFail(
    findHandle(sdk, method, sandbox.name),
    (handle) => handle.id === sandbox.id,
    () => new LightboxError({ method, reason: new Replaced({ name: sandbox.name }) })
  )

/** Calls the SDK with the handle of exactly this sandbox. */
export const onHandle = <A>(
  context: { readonly sdk: Surface },
  method: string,
  sandbox: Microsandbox.SandboxRef,
  run: (handle: SandboxHandle) => Promise<A>
): Effect.Effect<A, LightboxError> =>
  Effect.flatMap(handleOf(context, method, sandbox), (handle) =>
    call(method, { sandbox: sandbox.name }, () => run(handle))
  )

export const findHandle = (sdk: Surface, method: string, name: string): Effect.Effect<SandboxHandle, LightboxError> =>
  call(method, { sandbox: name }, () => sdk.Sandbox.get(name))

/** Whether the runtime knows a sandbox of this name. */
export const isKnown = (sdk: Surface, method: string, name: string): Effect.Effect<boolean, LightboxError> =>
  isFound(findHandle(sdk, method, name))

export const getSandbox = Effect.fn("Microsandbox.getSandbox")((sdk: Surface, name: string) =>
  Effect.map(findHandle(sdk, "Microsandbox.getSandbox", name), sandboxInfo)
)

/** Lists sandboxes, or those with all the given labels. */
export const listSandboxes = Effect.fn("Microsandbox.listSandboxes")(function* (
  sdk: Surface,
  filter: { readonly labels?: { readonly [key: string]: string } | undefined } | undefined
): Effect.fn.Return<ReadonlyArray<Microsandbox.SandboxInfo>, LightboxError> {
  const found: Array<Microsandbox.SandboxInfo> = []
  let cursor: string | undefined
  do {
    const page: SandboxPage = yield* call("Microsandbox.listSandboxes", {}, () =>
      sdk.Sandbox.listWith((list) => {
        list.limit(100).labels({ ...filter?.labels })
        return cursor === undefined ? list : list.cursor(cursor)
      })
    )
    found.push(...page.sandboxes.map(sandboxInfo))
    cursor = page.nextCursor
  } while (cursor !== undefined)
  return found
})
