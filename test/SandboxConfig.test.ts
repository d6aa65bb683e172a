// Numbers that are not finite are among what programs pass.
// @effect-diagnostics schemaNumber:off
import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import { decoder } from "../src/internal/config/validation.ts"
import * as SandboxConfig from "../src/SandboxConfig.ts"
import { everything } from "./package/everything.ts"

const decode = decoder(SandboxConfig.SandboxConfig, "Sandbox.launch")
const decodeSource = decoder(SandboxConfig.Source, "Sandbox.launch", "image")

const refused = Effect.fnUntraced(function* (effect: Effect.Effect<unknown, { readonly reason: unknown }>) {
  const { reason } = yield* Effect.flip(effect)
  assert.include(reason, { _tag: "InvalidConfig" })
  return yield* Schema.decodeUnknownEffect(Schema.Struct({ field: Schema.String, problem: Schema.String }))(reason)
})

const secret = (more: object = {}) => ({ value: Redacted.make("s"), hosts: ["api.example.com"], ...more })

const rule = (more: object) => ({ network: { policy: { rules: [{ action: "allow", to: "any", ...more }] } } })

/** Invalid options, with the field that the error names and its problem. */
const wrong: ReadonlyArray<readonly [input: object, field: string, problem: string | RegExp]> = [
  [{ name: "" }, "name", /1 to 128 letters/],
  [{ name: "-a" }, "name", /starting with a letter or digit/],
  [{ name: "a/b" }, "name", /1 to 128 letters/],
  [{ name: "a".repeat(129) }, "name", /1 to 128 letters/],
  [{ name: 7 }, "name", /expected a string/],
  [{ nmae: "a" }, "nmae", "unknown option"],
  [{ resources: { cpus: 0 } }, "resources.cpus", "expected a whole number from 1 to 255"],
  [{ resources: { cpus: 256 } }, "resources.cpus", "expected a whole number from 1 to 255"],
  [{ resources: { cpus: 1.5 } }, "resources.cpus", "expected a whole number from 1 to 255"],
  [{ resources: { cpus: Number.NaN } }, "resources.cpus", /finite/],
  [{ resources: { cpus: "2" } }, "resources.cpus", /number/],
  [{ resources: { cpus: 4, maxCpus: 2 } }, "resources.maxCpus", "expected at least cpus, 4"],
  [{ resources: { memory: "1T" } }, "resources.memory", 'Invalid memory string: "1T". Use e.g. "512M" or "2G".'],
  [{ resources: { memory: "1.5G" } }, "resources.memory", /Invalid memory string/],
  [{ resources: { memory: "" } }, "resources.memory", /Invalid memory string/],
  [{ resources: { memory: "63M" } }, "resources.memory", /at least 64M/],
  [{ resources: { memory: 63 } }, "resources.memory", /at least 64/],
  [{ resources: { memory: -1 } }, "resources.memory", /at least 64/],
  [{ resources: { memory: 2 ** 60 } }, "resources.memory", /at most 4194303G/],
  [{ resources: { memory: 65 * 1024 ** 2 + 1 } }, "resources.memory", /whole number of MiB/],
  [{ resources: { memory: "100000 KiB" } }, "resources.memory", /whole number of MiB/],
  ...["1GB", "1 gb", "1g iB", "1giB", "1e3M", "-1G", "007M", "+1G", "1  G", " 1G", "1G ", "512", "0x10M"].map(
    (memory) =>
      [
        { resources: { memory } },
        "resources.memory",
        `Invalid memory string: "${memory}". Use e.g. "512M" or "2G".`
      ] as const
  ),
  [{ resources: { disk: "1GB" } }, "resources.disk", 'Invalid size string: "1GB". Use e.g. "512M" or "2G".'],
  [{ resources: { memory: "4194304G" } }, "resources.memory", /at most 4194303G/],
  [{ resources: { memory: "1G", maxMemory: "512M" } }, "resources.maxMemory", "expected at least memory, 1024 MiB"],
  [{ resources: { disk: "1M" } }, "resources.disk", /at least 16M/],
  [{ resources: { dsik: "1G" } }, "resources.dsik", "unknown option"],
  [{ cwd: "work" }, "cwd", "expected an absolute path in the guest"],
  [{ cwd: "/a/../b" }, "cwd", 'expected a path without ".."'],
  [{ cwd: "/a\nb" }, "cwd", "expected a path without control characters"],
  [{ shell: "sh" }, "shell", "expected an absolute path in the guest"],
  [{ user: "a b" }, "user", 'expected a user such as "app" or "1000:1000"'],
  [{ user: "a:b:c" }, "user", /expected a user/],
  [{ rootDisk: "qcow2" }, "rootDisk", /expected "auto", "copy" or "overlay"/],
  [{ hostname: "a_b" }, "hostname", /letters, digits and dashes/],
  [{ hostname: "-a" }, "hostname", /letters, digits and dashes/],
  [{ hostname: "a".repeat(64) }, "hostname", /1 to 63/],
  [{ env: { "A=B": "1" } }, "env.A=B", /variable name/],
  [{ env: { "": "1" } }, "env.", /variable name/],
  [{ env: { A: "a\0b" } }, "env.A", "expected text without NUL characters"],
  [{ env: { A: 1 } }, "env.A", "expected a string"],
  [{ entrypoint: ["a\0"] }, "entrypoint.0", /NUL/],
  [{ cmd: "sleep" }, "cmd", /array/],
  [{ scripts: { "../x": "" } }, "scripts.../x", /script name/],
  [{ init: { command: "" } }, "init.command", "expected the path of an init program"],
  [{ init: { command: "/sbin/init", env: { "A=": "" } } }, "init.env.A=", /variable name/],
  [{ rlimits: { files: 5 } }, "rlimits.files", /expected one of as, core/],
  [{ rlimits: { nofile: -1 } }, "rlimits.nofile", /whole number/],
  [{ rlimits: { nofile: { soft: 2, hard: 1 } } }, "rlimits.nofile.soft", /expected `soft` <= `hard`/],
  [{ security: "none" }, "security", /"default" | "restricted"/],
  [{ deployment: "shared" }, "deployment", /single-tenant/],
  [{ ephemeral: "yes" }, "ephemeral", /expected true or false/],
  [{ idleTimeout: -5 }, "idleTimeout", /positive duration/],
  [{ idleTimeout: "1500 millis" }, "idleTimeout", "expected whole seconds, at most 4294967295"],
  [{ idleTimeout: "soon" }, "idleTimeout", /positive duration/],
  [{ maxDuration: Number.POSITIVE_INFINITY }, "maxDuration", /positive duration/],
  [{ maxDuration: { seconds: 2 ** 33 } }, "maxDuration", "expected whole seconds, at most 4294967295"],
  [{ pullPolicy: "sometimes" }, "pullPolicy", /if-missing/],
  [{ registry: { username: "me" } }, "registry.password", "pass both username and password, or neither"],
  [{ registry: { password: Redacted.make("p") } }, "registry.username", "pass both username and password, or neither"],
  [{ registry: { username: "me", password: "clear" } }, "registry.password", /Redacted/i],
  [{ ports: { abc: 80 } }, "ports.abc", "Invalid port mapping: abc → 80"],
  [{ ports: { 8080: Number.NaN } }, "ports.8080", "Invalid port mapping: 8080 → NaN"],
  [{ ports: { 8080: 0 } }, "ports.8080", "Invalid port mapping: 8080 → 0"],
  [{ ports: { [-1]: 80 } }, "ports.-1", "Invalid port mapping: -1 → 80"],
  [{ ports: { 8080: 65_536 } }, "ports.8080", "Invalid port mapping: 8080 → 65536"],
  [{ ports: { 80: 1, "080": 2 } }, "ports.080", "each host port can be published only once"],
  [{ ports: { "8e1": 1, "0x50": 1 } }, "ports.0x50", "each host port can be published only once"],
  [{ ports: [{ host: 1, guest: 2, protocol: "sctp" }] }, "ports.0.protocol", /tcp/],
  [{ ports: [{ host: 1, guest: 2, bind: "localhost" }] }, "ports.0.bind", /expected an IP address/],
  [{ ports: [{ host: 1, guest: 2, bind: "fe80::1%lo" }] }, "ports.0.bind", /expected an IP address/],
  [
    {
      ports: [
        { host: 8080, guest: 80 },
        { host: 8081, guest: 80 },
        { host: 8080, guest: 81, protocol: "tcp", bind: "127.0.0.1" }
      ]
    },
    "ports.2.host",
    "each host port can be published only once"
  ],
  [{ ports: { 8080: 80 }, network: "none" }, "ports", 'ports cannot be published with network "none"'],
  [{ services: { Web: { command: "x" } } }, "services.Web", /service name/],
  [{ services: { web: { command: "x", dependsOn: ["db"] } } }, "services.web.dependsOn.0", 'there is no service "db"'],
  [
    { services: { a: { command: "x", dependsOn: ["b"] }, b: { command: "x", dependsOn: ["a"] } } },
    "services.a.dependsOn",
    "expected no circular dependencies"
  ],
  [{ services: { a: { command: "x", ready: { http: 0 } } } }, "services.a.ready.http", /from 1 to 65535/],
  [{ services: { a: { command: "x", ready: { http: 1, prot: 2 } } } }, "services.a.ready.prot", "unknown option"],
  [{ services: { a: { command: "x", ready: { all: [] } } } }, "services.a.ready.all", "expected at least one probe"],
  [{ network: "private" }, "network", /expected "none", "public" or "all"/],
  [{ network: { policy: "some" } }, "network.policy", /none/],
  [{ network: { policy: { egress: "maybe" } } }, "network.policy.egress", /allow/],
  ...["", "10.0.0.0/33", "10.0/8", "10.0.0.0/", "::/129", "10.0.0.0/8/8", "example.com"].map(
    (cidr) => [rule({ to: { cidr } }), "network.policy.rules.0.to.cidr", /expected a range of addresses/] as const
  ),
  ...["", "a b", "-a.com", "a..b", "*.example.com", "https://example.com", "a:443", `${"a".repeat(64)}.com`].flatMap(
    (name) =>
      ["domain", "domainSuffix"].map(
        (key) => [rule({ to: { [key]: name } }), `network.policy.rules.0.to.${key}`, /expected a domain name/] as const
      )
  ),
  ...["com", ".com", "com.", ".internal."].map(
    (domainSuffix) =>
      [
        rule({ to: { domainSuffix } }),
        "network.policy.rules.0.to.domainSuffix",
        'expected a domain name of at least two parts such as "example.com"'
      ] as const
  ),
  [rule({ to: { group: "lan" } }), "network.policy.rules.0.to.group", /expected "public", "private", /],
  [rule({ to: { domian: "a.com" } }), "network.policy.rules.0.to.domian", "unknown option"],
  [rule({ ports: [70_000] }), "network.policy.rules.0.ports.0", /65535/],
  [rule({ ports: [{ from: 2, to: 1 }] }), "network.policy.rules.0.ports.0.from", "expected `from` <= `to`"],
  [
    rule({ direction: "any", protocols: ["icmpv4"] }),
    "network.policy.rules.0.protocols",
    /ICMP is only allowed in egress rules/
  ],
  ...["", "1.1.1", "256.1.1.1", "1.1.1.1:0", "1.1.1.1:65536", "8.8.8.8:", "[::1]", "[1.1.1.1]:53", "a b", "::1%lo"].map(
    (server) =>
      [{ network: { dns: { nameservers: [server] } } }, "network.dns.nameservers.0", /expected an address/] as const
  ),
  [
    { network: { dns: { queryTimeout: "60 days" } } },
    "network.dns.queryTimeout",
    "expected whole milliseconds, at most 4294967295"
  ],
  [
    { network: { dns: { queryTimeout: "1500 micros" } } },
    "network.dns.queryTimeout",
    "expected whole milliseconds, at most 4294967295"
  ],
  [{ network: { dns: { queryTimeout: 0 } } }, "network.dns.queryTimeout", /positive duration/],
  [{ network: { tls: { interceptedPorts: [0] } } }, "network.tls.interceptedPorts.0", /65535/],
  [{ network: { maxConnections: 4097 } }, "network.maxConnections", "expected a whole number from 1 to 4096"],
  [{ network: { maxConnections: 0 } }, "network.maxConnections", /whole number/],
  [{ network: { rateLimit: { egress: { bytesPerSecond: 0 } } } }, "network.rateLimit.egress.bytesPerSecond", /whole/],
  [{ network: { plicy: "all" } }, "network.plicy", "unknown option"],
  [{ secrets: { "1A": secret() } }, "secrets.1A", "expected the name of an environment variable"],
  [{ secrets: { A: secret({ value: "clear" }) } }, "secrets.A.value", /Redacted/i],
  [{ secrets: { A: secret({ hosts: [] }) } }, "secrets.A.hosts", "pass at least one host"],
  [{ secrets: { A: secret({ inject: { heders: true } }) } }, "secrets.A.inject.heders", "unknown option"],
  [{ secrets: { A: secret() }, network: { policy: "none" } }, "secrets", 'secrets cannot be used with network "none"'],
  [{ patches: [{ _tag: "Write", path: "etc", content: "" }] }, "patches.0.path", /absolute path/],
  [{ patches: [{ _tag: "Write", path: "/etc/x", content: "", mode: 0o10000 }] }, "patches.0.mode", /4095/],
  [{ patches: [{ _tag: "CopyFile", hostPath: "", path: "/x" }] }, "patches.0.hostPath", "expected a path on the host"],
  [{ mounts: { work: "." } }, "mounts.work", /absolute path in the guest/],
  [{ mounts: { "/": "." } }, "mounts./", "cannot mount over the guest's root"],
  [{ mounts: { "/a:b": "." } }, "mounts./a:b", 'expected a path without ":" or ";"'],
  [{ mounts: { "/a/../b": "." } }, "mounts./a/../b", /absolute path in the guest/],
  [{ mounts: { "/work": "" } }, "mounts./work", "expected a path on the host"],
  [{ mounts: { "/work": ".", "/work/": "." } }, "mounts./work", "only one mount per path is allowed"],
  [{ mounts: { "/work": { bind: ".", quota: 0 } } }, "mounts./work.quota", /at least 1/],
  [{ mounts: { "/work": { volume: "a b" } } }, "mounts./work.volume", /1 to 128 letters/],
  [{ mounts: { "/work": { tmpfs: "1K" } } }, "mounts./work.tmpfs", /at least 1M/],
  [{ mounts: { "/work": { tmpfs: "1MB" } } }, "mounts./work.tmpfs", /Invalid memory string/],
  [
    { mounts: { "/work": { _tag: "Bind", hostPath: "." } } },
    "mounts./work",
    /expected a folder of the host, or one of/
  ],
  [{ mounts: { "/work": { bind: ".", volume: "x" } } }, "mounts./work.volume", "unknown option"],
  [{ mounts: { "/work": 7 } }, "mounts./work", /expected a folder of the host, or one of/],
  [{ mounts: { "/work": { disk: "d.img", format: "iso" } } }, "mounts./work.format", /qcow2/],
  [{ mounts: { "/work": { bind: ".", owner: { uid: -1, gid: 0 } } } }, "mounts./work.owner.uid", /0/],
  [{ mounts: { "/work": { bind: ".", readOnly: true } } }, "mounts./work.readOnly", "unknown option"],
  [{ labels: { "": "x" } }, "labels.", "a label cannot be empty"],
  [{ logLevel: "loud" }, "logLevel", /trace/],
  [{ metricsInterval: "60 days" }, "metricsInterval", "expected whole milliseconds, at most 4294967295"],
  [{ metricsInterval: "1500 micros" }, "metricsInterval", "expected whole milliseconds, at most 4294967295"],
  [{ metricsInterval: "100 micros" }, "metricsInterval", "expected whole milliseconds, at most 4294967295"],
  [{ metricsInterval: "never" }, "metricsInterval", /"off"|duration/]
]

describe("SandboxConfig", () => {
  it.effect.each(
    wrong.map(([input, field, problem]) => ({ text: JSON.stringify(input).slice(0, 80), input, field, problem }))
  )("rejects $text and names $field", ({ field, input, problem }) =>
    Effect.gen(function* () {
      const found = yield* refused(decode(input))
      assert.strictEqual(found.field, field)
      if (typeof problem === "string") assert.strictEqual(found.problem, problem)
      else assert.match(found.problem, problem)
    })
  )

  it.effect("decodes every option to one form", () =>
    Effect.gen(function* () {
      const config = yield* decode(everything)
      assert.deepStrictEqual(config.resources, {
        cpus: 2,
        maxCpus: 4,
        memory: 1024 ** 3,
        maxMemory: 2 * 1024 ** 3,
        disk: 8 * 1024 ** 3
      })
      assert.sameMembers(Object.keys(config), Object.keys(SandboxConfig.SandboxConfig.fields))
      assert.strictEqual(Duration.toSeconds(config.maxDuration ?? 0), 3600)
      assert.deepStrictEqual(config.mounts?.["/scratch"], { tmpfs: 64 * 1024 ** 2, nosuid: true })
      assert.deepInclude(config.mounts?.["/bind/"], { quota: 1024 ** 3 })
      assert.deepStrictEqual(config.services?.["db"]?.ready, {
        command: ["pg_isready"],
        timeout: Duration.minutes(2)
      })
    })
  )

  it.effect("accepts no options, and partial resources", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* decode({}), {})
      // The layer decides what it starts with.
      assert.deepStrictEqual(yield* decode({ resources: { maxMemory: "384M", maxCpus: 1 } }), {
        resources: { maxMemory: 384 * 1024 ** 2, maxCpus: 1 }
      })
    })
  )

  it.effect.each(["", " ", "-x", "a b", "a\u0000", "x".repeat(513)])("rejects the image %j", (reference) =>
    Effect.gen(function* () {
      const { field, problem } = yield* refused(decodeSource({ _tag: "Image", reference }))
      assert.strictEqual(field, "reference")
      assert.strictEqual(problem, 'expected an image reference such as "node:22"')
    })
  )

  it.effect.each(["node:22", "docker.io/library/alpine@sha256:0123", "localhost:5000/a/b:c"])(
    "accepts the image %s",
    (reference) => Effect.asVoid(decodeSource({ _tag: "Image", reference }))
  )

  const Mib = Schema.Int.check(Schema.isBetween({ minimum: 64, maximum: 4_194_303 }))

  it.effect.prop("decodes memory in every notation", [Mib], ([amount]) =>
    Effect.gen(function* () {
      for (const [memory, mib] of [
        [amount * 1024 ** 2, amount],
        [`${amount}M`, amount],
        [`${amount}m`, amount],
        [`${amount} MiB`, amount],
        [`${amount * 1024}K`, amount],
        [`${amount}G`, amount * 1024],
        [`${amount} GiB`, amount * 1024]
      ] as const) {
        assert.deepStrictEqual((yield* decode({ resources: { memory } })).resources, { memory: mib * 1024 ** 2 })
      }
    })
  )

  // What is not a finite number is among what programs pass.
  // @effect-diagnostics-next-line schemaNumber:off
  const AnyNumber = Schema.Number

  it.effect.prop(
    "accepts a port mapping only if the guest port is a port and the host port a port or 0",
    [AnyNumber, AnyNumber],
    ([host, guest]) =>
      Effect.gen(function* () {
        const isPort = (n: number) => Number.isInteger(n) && n > 0 && n < 65_536
        const exit = yield* Effect.exit(decode({ ports: { [host]: guest } }))
        assert.strictEqual(exit._tag, (host === 0 || isPort(host)) && isPort(guest) ? "Success" : "Failure")
      })
  )

  it.effect.prop('accepts only an absolute path without ".." as a mount', [Schema.String], ([text]) =>
    Effect.gen(function* () {
      const exit = yield* Effect.exit(decode({ mounts: { [text]: { tmpfs: true } } }))
      const parts = text.split("/").filter((part) => part !== "")
      const isGood = text.startsWith("/") && parts.length > 0 && !parts.includes("..") && !/[\0:;]/.test(text)
      assert.strictEqual(exit._tag, isGood ? "Success" : "Failure")
    })
  )

  it.effect.prop("never passes anything but positive whole numbers as resources", [Schema.Unknown], ([value]) =>
    Effect.gen(function* () {
      const exit = yield* Effect.exit(decode({ resources: { cpus: value, memory: value, disk: value } }))
      if (exit._tag === "Failure") return
      for (const n of Object.values(exit.value.resources ?? {})) {
        if (n !== undefined) assert.isTrue(Number.isSafeInteger(n) && n > 0)
      }
    })
  )
})
