/** What the SDK understood of the options, according to its own builders, without a microVM. */
import { assert, describe, expect, it, vi } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Sdk from "microsandbox"
import * as Path from "node:path"
import { defaultResources, mebibyte } from "../../src/internal/config/schemas.ts"
import { areTaken } from "../../src/internal/host/userAttributes.ts"
import * as Builder from "../../src/internal/driver/sdk/builder.ts"
import { decoder } from "../../src/internal/config/validation.ts"
import type * as Network from "../../src/Network.ts"
import * as SandboxConfig from "../../src/SandboxConfig.ts"
import { everything } from "../package/everything.ts"

const decode = decoder(SandboxConfig.SandboxConfig, "Sandbox.launch")

const image: Builder.Root = { _tag: "Image", reference: "node:22" }

const built = Effect.fnUntraced(function* (options: SandboxConfig.Options, root: Builder.Root = image) {
  const config = yield* decode(options)
  return yield* Effect.promise(() => Builder.make(Sdk, "one", root, config, { owner: "me" }).build())
})

const network = (config: Readonly<Record<string, unknown>>): object => {
  assert.isObject(config["network"])
  return Object(config["network"])
}

const flags = { readonly: false, noexec: false, nosuid: false, nodev: false }

const folder = { options: flags, statVirtualization: "strict", hostPermissions: "private" }

/** What every option becomes. */
const understood: Readonly<Record<string, unknown>> = {
  name: "one",
  image: { Oci: { reference: "node:22", rootDisk: { kind: "managed", sizeMib: 8192 } } },
  resources: { cpus: 2, maxCpus: 4, memoryMib: 1024, maxMemoryMib: 2048 },
  runtime: {
    workdir: "/work",
    shell: "/bin/bash",
    user: "1000:app",
    hostname: "worker-1",
    entrypoint: ["/init"],
    cmd: [],
    scripts: { "setup.sh": "true" },
    logLevel: "debug",
    disableMetricsSample: true
  },
  // The SDK keeps no order among them.
  env: expect.toSatisfy((entries: ReadonlyArray<unknown>) => {
    assert.sameDeepMembers(
      [...entries],
      [
        { key: "A", value: "" },
        { key: "with space", value: "b\nc" }
      ]
    )
    return true
  }),
  labels: { team: "platform", owner: "me" },
  rlimits: [
    { resource: "Nofile", soft: 1024, hard: 1024 },
    { resource: "Nproc", soft: 10, hard: 20 }
  ],
  init: { cmd: "/sbin/init", args: ["-x"], env: [["B", "c"]] },
  pullPolicy: "Never",
  securityProfile: "restricted",
  deploymentProfile: "multi_tenant",
  lifecycle: { ephemeral: true, idleTimeoutSecs: 300, maxDurationSecs: 3600 },
  mounts: [
    {
      ...folder,
      type: "Bind",
      host: Path.resolve("src"),
      guest: "/bind",
      options: { ...flags, readonly: true, overrideUid: 1000, overrideGid: 1001 },
      statVirtualization: "relaxed",
      hostPermissions: "mirror",
      quotaMib: 1024
    },
    {
      ...folder,
      type: "Named",
      name: "npm-cache",
      guest: "/cache",
      options: { ...flags, noexec: true },
      statVirtualization: "off"
    },
    {
      type: "DiskImage",
      host: Path.resolve("package.json"),
      guest: "/disk",
      format: "Qcow2",
      fstype: "ext4",
      options: { ...flags, nodev: true }
    },
    { type: "Tmpfs", guest: "/scratch", sizeMib: 64, options: { ...flags, nosuid: true } },
    {
      ...folder,
      type: "Bind",
      host: Path.resolve("."),
      guest: "/work",
      quotaMib: null,
      statVirtualization: areTaken(".") ? "strict" : "relaxed"
    }
  ],
  patches: [
    { Text: { path: "/etc/motd", content: "hi", mode: 0o600, replace: true } },
    { File: { path: "/etc/bytes", content: [0, 255], mode: null, replace: false } },
    { Append: { path: "/etc/hosts", content: "127.0.0.1 me" } },
    { CopyFile: { src: Path.resolve("package.json"), dst: "/opt/package.json", mode: 0o640, replace: true } },
    { CopyDir: { src: Path.resolve("src"), dst: "/opt/src", replace: true } },
    { Symlink: { target: "../opt", link: "/srv/opt", replace: true } },
    { Mkdir: { path: "/data", mode: 0o700 } },
    { Remove: { path: "/etc/issue" } }
  ]
}

const bucket = (size: number) => ({ size, refillTimeMs: 1000, oneTimeBurst: 0 })

/** The same for the network. */
const understoodNetwork: Readonly<Record<string, unknown>> = {
  enabled: true,
  ports: [
    { hostPort: 8080, guestPort: 80, protocol: "tcp", hostBind: "127.0.0.1" },
    { hostPort: 8080, guestPort: 81, protocol: "tcp", hostBind: "::1" },
    { hostPort: 8080, guestPort: 82, protocol: "udp", hostBind: "127.0.0.1" },
    { hostPort: 5353, guestPort: 53, protocol: "udp", hostBind: "0.0.0.0" }
  ],
  policy: {
    defaultEgress: "allow",
    defaultIngress: "deny",
    rules: [
      {
        action: "allow",
        direction: "egress",
        destination: { domainSuffix: "example.com" },
        protocols: ["tcp"],
        ports: [
          { start: 443, end: 443 },
          { start: 1, end: 9 }
        ]
      },
      { action: "deny", direction: "any", destination: { cidr: "10.0.0.0/8" }, protocols: ["udp"], ports: [] },
      {
        action: "deny",
        direction: "egress",
        destination: { group: "metadata" },
        protocols: ["icmpv4", "icmpv6"],
        ports: []
      },
      { action: "allow", direction: "egress", destination: { domain: "example.org" }, protocols: [], ports: [] },
      { action: "deny", direction: "ingress", destination: "any", protocols: [], ports: [{ start: 22, end: 22 }] }
    ]
  },
  dns: { nameservers: ["1.1.1.1:53", "[2606:4700::1111]:5353"], rebindProtection: false, queryTimeoutMs: 2000 },
  tls: {
    enabled: true,
    bypass: ["*.example.com"],
    verifyUpstream: false,
    interceptedPorts: [443, 8443],
    blockQuicOnIntercept: true,
    upstreamCaCert: [Path.resolve("LICENSE")],
    interceptCa: { certPath: Path.resolve("LICENSE"), keyPath: Path.resolve("package.json") }
  },
  secrets: {
    secrets: [
      {
        envVar: "PLAIN",
        value: "one",
        placeholder: "$MSB_PLAIN",
        allowedHosts: [{ exact: "api.example.com" }],
        injection: { headers: true, basicAuth: true, queryParams: false, body: false },
        requireTlsIdentity: true
      },
      {
        envVar: "TOKEN",
        value: "two",
        placeholder: "$TOKEN",
        allowedHosts: [{ exact: "api.example.com" }, { wildcard: "*.example.org" }],
        injection: { headers: false, basicAuth: false, queryParams: true, body: true },
        requireTlsIdentity: false
      }
    ]
  },
  maxConnections: 100,
  strict: true,
  trustHostCas: true,
  rateLimiter: { egress: { bandwidth: bucket(1_000_000) }, ingress: { ops: bucket(1000) } }
}

describe("the options given to the SDK", () => {
  it.effect.each(Object.entries(understood))("include %s", ([field, expected]) =>
    Effect.gen(function* () {
      expect(yield* built(everything)).toMatchObject({ [field]: expected })
    })
  )

  it.effect.each(Object.entries(understoodNetwork))("include network: %s", ([field, expected]) =>
    Effect.gen(function* () {
      expect(yield* built(everything)).toMatchObject({ network: { [field]: expected } })
    })
  )

  it.effect("include nothing that these tests do not check", () =>
    Effect.gen(function* () {
      const [without, config] = [yield* built({ network: {} }), yield* built(everything)]
      const changed = (before: object, after: object) =>
        Object.keys(after).filter(
          (key) => JSON.stringify(Reflect.get(before, key)) !== JSON.stringify(Reflect.get(after, key))
        )
      assert.includeMembers([...Object.keys(understood), "network"], changed(without, config))
      assert.includeMembers(Object.keys(understoodNetwork), changed(network(without), network(config)))
    })
  )

  it.effect("include recording that needs no user attributes where there may be none", () =>
    Effect.gen(function* () {
      const mounts = { "/proc-of-host": "/proc", "/asked": { bind: "/proc", statVirtualization: "strict" } } as const
      expect(yield* built({ mounts })).toMatchObject({
        mounts: [
          { guest: "/asked", statVirtualization: "strict" },
          { guest: "/proc-of-host", statVirtualization: "relaxed" }
        ]
      })
    })
  )

  it.effect("include the default resources", () =>
    Effect.gen(function* () {
      const { cpus, memory } = defaultResources
      expect(yield* built({})).toMatchObject({ resources: { cpus, memoryMib: memory / mebibyte } })
    })
  )

  it.effect("include how to reach a registry", () =>
    Effect.gen(function* () {
      // What a sandbox is created from does not tell.
      const insecure = vi.spyOn(Sdk.RegistryConfigBuilder.prototype, "insecure")
      yield* built(everything)
      const registry = insecure.mock.contexts[0]
      insecure.mockRestore()
      assert.deepStrictEqual(registry?.build(), {
        auth: { kind: "basic", username: "me", password: "p" },
        insecure: true,
        caCertsCount: 1
      })
    })
  )

  it.effect("include an automatic init, a metrics interval and numeric ports", () =>
    Effect.gen(function* () {
      expect(yield* built({ init: "auto", metricsInterval: "1500 millis", ports: { 8080: 80 } })).toMatchObject({
        init: { cmd: "auto" },
        runtime: { metricsSampleIntervalMs: 1500, disableMetricsSample: false },
        network: { ports: [{ hostPort: 8080, guestPort: 80, protocol: "tcp", hostBind: "127.0.0.1" }] }
      })
    })
  )

  it.effect.each([
    ["public", { enabled: true }],
    ["all", { enabled: true, policy: { defaultEgress: "allow", defaultIngress: "allow", rules: [] } }],
    ["none", { enabled: false }]
  ] as const)("include the policy %s, by name or in detail", ([policy, expected]) =>
    Effect.gen(function* () {
      expect(yield* built({ network: policy })).toMatchObject({ network: expected })
      expect(yield* built({ network: { policy } })).toMatchObject({ network: expected })
    })
  )

  it.effect("include the published ports and secrets with any network", () =>
    Effect.gen(function* () {
      const { ports, secrets } = everything
      for (const network of ["public", "all", { policy: "public" }, { strict: true }] as const) {
        expect(yield* built({ network, ports, secrets })).toMatchObject({
          network: { ports: understoodNetwork["ports"], secrets: understoodNetwork["secrets"] }
        })
      }
    })
  )

  it.effect("include ranges, names and addresses in every accepted form", () =>
    Effect.gen(function* () {
      const nameservers = [
        "9.9.9.9",
        "9.9.9.9:5353",
        "::1",
        "[::1]:53",
        "dns.example.com",
        "dns:5353",
        "[::ffff:1.2.3.4]:1"
      ]
      const destinations: ReadonlyArray<Network.Destination> = [
        ...["10.0.0.0/8", "10.0.0.1", "::1", "::/0", "fd00::/128", "0.0.0.0/32"].map((cidr) => ({ cidr })),
        ...["localhost", "EXAMPLE.com.", "_http._tcp.example.com", "xn--bcher-kva.example"].map((domain) => ({
          domain
        })),
        ...[".example.com", "a-b.example.com"].map((domainSuffix) => ({ domainSuffix }))
      ]
      const rules = destinations.map((to) => ({ action: "allow", to }) as const)
      expect(yield* built({ network: { policy: { rules }, dns: { nameservers } } })).toMatchObject({
        network: { policy: { rules: rules.map(() => ({ action: "allow" })) }, dns: { nameservers: { length: 7 } } }
      })
    })
  )

  it.effect("include a disk over an image, without pulling the image", () =>
    Effect.gen(function* () {
      expect(
        yield* built({ pullPolicy: "always" }, { _tag: "Disk", image: "node:22", path: "/root.qcow2", format: "qcow2" })
      ).toMatchObject({
        image: {
          Oci: {
            reference: "node:22",
            rootDisk: { kind: "disk-image", path: "/root.qcow2", format: "Qcow2", fstype: "ext4" }
          }
        },
        pullPolicy: "Never"
      })
    })
  )
})
