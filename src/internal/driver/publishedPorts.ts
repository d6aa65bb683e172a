import type { SandboxConfig } from "../../SandboxConfig.ts"

/** The ports of a configuration, each with everything said. */
export const publishedPorts = (
  config: SandboxConfig
): ReadonlyArray<{ host: number; guest: number; protocol: "tcp" | "udp"; bind: string | undefined }> =>
  Array.isArray(config.ports)
    ? config.ports.map(({ bind, guest, host, protocol = "tcp" }) => ({ host, guest, protocol, bind }))
    : Object.entries(config.ports ?? {}).map(([host, guest]) => ({
        host: Number(host),
        guest: Number(guest),
        protocol: "tcp",
        bind: undefined
      }))
