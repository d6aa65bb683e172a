import * as Redacted from "effect/Redacted"
import type * as SandboxConfig from "../../src/SandboxConfig.ts"

/** Every option with a value. Its files exist on the host, but are never read. */
export const everything = {
  name: "worker.1_a-b",
  resources: { cpus: 2, maxCpus: 4, memory: "1g", maxMemory: 2 * 1024 ** 3, disk: "8G" },
  cwd: "/work",
  shell: "/bin/bash",
  user: "1000:app",
  hostname: "worker-1",
  env: { A: "", "with space": "b\nc" },
  entrypoint: ["/init"],
  cmd: [],
  scripts: { "setup.sh": "true" },
  init: { command: "/sbin/init", args: ["-x"], env: { B: "c" } },
  rlimits: { nofile: 1024, nproc: { soft: 10, hard: 20 } },
  security: "restricted",
  deployment: "multi-tenant",
  ephemeral: true,
  idleTimeout: "5 minutes",
  maxDuration: { hours: 1 },
  rootDisk: "overlay",
  pullPolicy: "never",
  registry: { username: "me", password: Redacted.make("p"), insecure: true, caCerts: "LICENSE" },
  ports: [
    { host: 8080, guest: 80 },
    { host: 8080, guest: 81, bind: "::1" },
    { host: 8080, guest: 82, protocol: "udp" },
    { host: 5353, guest: 53, protocol: "udp", bind: "0.0.0.0" }
  ],
  network: {
    policy: {
      egress: "allow",
      ingress: "deny",
      rules: [
        { action: "allow", to: { domainSuffix: "example.com" }, protocols: ["tcp"], ports: [443, { from: 1, to: 9 }] },
        { action: "deny", to: { cidr: "10.0.0.0/8" }, direction: "any", protocols: ["udp"] },
        { action: "deny", to: { group: "metadata" }, direction: "egress", protocols: ["icmpv4", "icmpv6"] },
        { action: "allow", to: { domain: "example.org" } },
        { action: "deny", to: "any", direction: "ingress", ports: [22] }
      ]
    },
    dns: { nameservers: ["1.1.1.1", "[2606:4700::1111]:5353"], rebindProtection: false, queryTimeout: "2 seconds" },
    tls: {
      bypass: ["*.example.com"],
      verifyUpstream: false,
      interceptedPorts: [443, 8443],
      blockQuic: true,
      upstreamCaCerts: ["LICENSE"],
      authority: { certificate: "LICENSE", key: "package.json" }
    },
    maxConnections: 100,
    strict: true,
    trustHostCas: true,
    rateLimit: { egress: { bytesPerSecond: 1_000_000 }, ingress: { packetsPerSecond: 1000 } }
  },
  secrets: {
    PLAIN: { value: Redacted.make("one"), hosts: ["api.example.com"] },
    TOKEN: {
      value: Redacted.make("two"),
      hosts: ["api.example.com", "*.example.org"],
      placeholder: "$TOKEN",
      inject: { headers: false, basicAuth: false, query: true, body: true },
      requireTls: false
    }
  },
  patches: [
    { _tag: "Write", path: "/etc/motd", content: "hi", mode: 0o600, replace: true },
    { _tag: "Write", path: "/etc/bytes", content: new Uint8Array([0, 255]) },
    { _tag: "Append", path: "/etc/hosts", content: "127.0.0.1 me" },
    { _tag: "CopyFile", hostPath: "package.json", path: "/opt/package.json", mode: 0o640, replace: true },
    { _tag: "CopyFolder", hostPath: "src", path: "/opt/src", replace: true },
    { _tag: "Symlink", target: "../opt", path: "/srv/opt", replace: true },
    { _tag: "Mkdir", path: "/data", mode: 0o700 },
    { _tag: "Remove", path: "/etc/issue" }
  ],
  mounts: {
    "/work": ".",
    "/bind/": {
      bind: "src",
      readonly: true,
      quota: "1G",
      owner: { uid: 1000, gid: 1001 },
      statVirtualization: "relaxed",
      hostPermissions: "mirror"
    },
    "/cache": { volume: "npm-cache", create: false, noexec: true, statVirtualization: "off" },
    "/scratch": { tmpfs: "64M", nosuid: true },
    "/disk": { disk: "package.json", format: "qcow2", fstype: "ext4", nodev: true }
  },
  services: {
    db: { command: "exec postgres", user: "postgres", ready: { command: ["pg_isready"], timeout: "2 minutes" } },
    web: {
      command: ["npm", "start"],
      cwd: "/work",
      env: { PORT: "3000", TOKEN: Redacted.make("three") },
      ready: {
        all: [
          { http: 3000, path: "/health", status: 204 },
          { any: [{ port: 3001 }, { file: "/run/web" }, { log: "ready", job: "db" }] }
        ],
        interval: "1 second"
      },
      restart: "on-failure",
      dependsOn: ["db"]
    }
  },
  resume: "required",
  onResume: ["renew", "--all"],
  labels: { team: "platform" },
  logLevel: "debug",
  metricsInterval: "off"
} satisfies Required<SandboxConfig.Options>
