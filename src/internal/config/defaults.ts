/** Merges launch defaults with the options that come first. */
import * as Predicate from "effect/Predicate"
import * as Struct from "effect/Struct"
import type { LaunchDefaults, Options } from "../../SandboxConfig.ts"

const isOffline = (network: unknown): boolean =>
  network === "none" || (Predicate.hasProperty(network, "policy") && network.policy === "none")

/** Merges one option. Values of the wrong type are left to the check of the result. */
const merged = (option: string, base: unknown, given: unknown): unknown => {
  if (given === undefined) return base
  if (!["env", "labels", "services"].includes(option)) return given
  if (base === undefined || !Predicate.isObject(given)) return given
  if (!Predicate.isObject(base)) return base
  return option === "services" && Object.keys(given).length === 0 ? given : { ...base, ...given }
}

/** Lays options of a launch, or later defaults, over defaults. The result is not checked. */
export const merge = <A extends object>(base: LaunchDefaults, given: A): A & LaunchDefaults => {
  const from: LaunchDefaults = isOffline(Reflect.get(given, "network")) ? Struct.omit(base, ["ports"]) : base
  const all = Object.entries(from).map(([option, value]) => [option, merged(option, value, Reflect.get(given, option))])
  return { ...given, ...Object.fromEntries(all) }
}

/** Options that can be checked before the services of the snapshot are known. */
export const withoutDependencies = <A extends { readonly services?: unknown }>(options: A): A => {
  const { services } = options
  if (!Predicate.isObject(services)) return options
  const alone = Object.entries(services).map(([name, service]) => [
    name,
    Predicate.isObject(service) && !Array.isArray(service) && Array.isArray(Reflect.get(service, "dependsOn"))
      ? { ...service, dependsOn: undefined }
      : service
  ])
  return { ...options, services: Object.fromEntries(alone) }
}

/** Options of sandboxes that boot from a disk on which these options already had their effect. */
export const withoutDiskChanges = <A extends Pick<Options, "patches" | "resources">>(options: A): A => ({
  ...options,
  patches: undefined,
  resources: { ...options.resources, disk: undefined }
})
