/** `host`. */
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as Fs from "node:fs/promises"
import { Name } from "../../config/schemas.ts"
import { decoder, invalid } from "../../config/validation.ts"
import { fileFailure } from "../../host/fileFailure.ts"
import { directoryVariable, driver, print, tokenVariable } from "../environment.ts"
import { nameFlags } from "../failure.ts"
import * as Flags from "../flags.ts"
import * as Shapes from "../json.ts"
import { orNew } from "./token.ts"

const method = "host"

const decodeTokens = decoder(
  Schema.NonEmptyArray(
    Schema.Struct({
      name: Name,
      token: Schema.String,
      scopes: Schema.optional(Schema.NonEmptyArray(Schema.Literals(["read", "write"])))
    })
  ),
  method,
  "tokens"
)

/** Reads a file of tokens. Errors do not show them. */
const readTokens = (path: string) =>
  Effect.tryPromise({ try: () => Fs.readFile(path, "utf8"), catch: fileFailure(method, "read", path) }).pipe(
    Effect.flatMap((text) =>
      Effect.try({
        try: (): unknown => JSON.parse(text),
        catch: () => invalid(method, "tokens", `${path} is not JSON`)
      })
    ),
    Effect.flatMap(decodeTokens),
    Effect.mapError((error) =>
      error.reason._tag === "InvalidConfig"
        ? invalid(method, "--tokens", `${error.reason.field}: ${error.reason.problem}`)
        : error
    ),
    Effect.map((all) => all.map(({ token, ...rest }) => ({ ...rest, token: Redacted.make(token) })))
  )

export const host = Command.make(
  "host",
  {
    port: Flags.count("port", "PORT", "Port to listen on; 0 is a free one (default: 7400)"),
    bind: Flags.text("bind", "ADDRESS", "Address to listen on (default: 127.0.0.1); others need TLS, or --insecure"),
    certificate: Flags.text("tls-cert", "FILE", "Certificate of the host, in PEM"),
    key: Flags.text("tls-key", "FILE", "Key of the certificate, in PEM"),
    insecure: Flags.toggle("insecure", "Send tokens and data through the network without TLS"),
    tokens: Flags.text("tokens", "FILE", `Tokens as JSON, with name, token and scopes (default: $${tokenVariable})`),
    allowMounts: Flag.String("allow-mount").pipe(
      Flag.withMetavar("FOLDER"),
      Flag.withDescription("Let clients mount a folder of this machine, and what is below it; repeatable"),
      Flag.atLeast(0)
    ),
    lease: Flags.duration("lease", "Remove sandboxes of clients that are silent for so long (default: 30s)"),
    directory: Flags.text(
      "directory",
      "URL",
      `Be part of the fleet with this directory: a file of SQLite, or a postgres URL (default: $${directoryVariable})`
    ),
    advertise: Flags.text(
      "advertise",
      "URL",
      "Where programs of the fleet reach this host (default: where it listens)"
    ),
    labels: Flags.labels.pipe(Flag.withDescription("Add a label that programs of the fleet can ask for")),
    jobs: Flags.count("jobs", "COUNT", "Jobs of the fleet that this host conducts at once; 0: none (default: 16)"),
    prune: Flags.text(
      "prune",
      "CRON",
      'Have one host of the fleet prune unused results at these times (UTC), such as "0 3 * * *" (default: never)'
    ),
    pruneOlderThan: Flags.duration("prune-older-than", "Keep results that were used within this time (default: 7d)")
  },
  Effect.fnUntraced(function* ({
    advertise,
    allowMounts,
    bind,
    certificate,
    directory: given,
    insecure,
    jobs,
    key,
    labels,
    lease,
    port,
    prune,
    pruneOlderThan,
    tokens: file
  }) {
    if ((certificate === undefined) !== (key === undefined)) {
      return yield* invalid(method, certificate === undefined ? "--tls-cert" : "--tls-key", "pass both, or neither")
    }
    const own = file === undefined ? yield* orNew(method, tokenVariable) : undefined
    const tokens = own === undefined ? yield* readTokens(file ?? "") : [{ token: Redacted.make(own.value) }]
    // Effect's HTTP and RPC modules, which no other command needs.
    const Gateway = yield* Effect.promise(() => import("../../../Gateway.ts"))
    const directory = given ?? process.env[directoryVariable]
    const pruning = prune === undefined ? undefined : { cron: prune, olderThan: pruneOlderThan }
    if (prune === undefined && pruneOlderThan !== undefined) {
      return yield* invalid(method, "--prune-older-than", "it needs --prune")
    }
    const fleet =
      directory === undefined
        ? undefined
        : { url: Redacted.make(directory), address: advertise, labels, jobs, prune: pruning }
    const ofFleet = {
      "--advertise": advertise,
      "--label": Object.keys(labels).length > 0 ? labels : undefined,
      "--jobs": jobs,
      "--prune": prune
    }
    const [field] = Object.entries(ofFleet).flatMap(([flag, value]) => (value === undefined ? [] : [flag]))
    if (fleet === undefined && field !== undefined) {
      return yield* invalid(method, field, "it is for hosts of a fleet: pass --directory")
    }
    const { host, url } = yield* Gateway.serve({
      tokens,
      port,
      bind,
      insecure,
      allowMounts,
      lease: lease === undefined ? undefined : lease,
      tls: certificate === undefined || key === undefined ? undefined : { certificate, key },
      directory: fleet
    }).pipe(
      Effect.mapError(
        nameFlags({
          port: "--port",
          bind: "--bind",
          "tls.certificate": "--tls-cert",
          "tls.key": "--tls-key",
          allowMounts: "--allow-mount",
          lease: "--lease",
          "directory.url": given === undefined ? directoryVariable : "--directory",
          "directory.address": "--advertise",
          "directory.labels": "--label",
          "directory.jobs": "--jobs",
          "directory.prune": "--prune",
          "directory.prune.cron": "--prune",
          "directory.prune.olderThan": "--prune-older-than",
          tokens: "--tokens"
        })
      )
    )
    const shown = own?.isNew === true ? { token: own.value } : {}
    yield* print(
      Shapes.Serving,
      { url, ...shown, ...(host === undefined ? {} : { host }) },
      {
        full: [
          host === undefined ? `Serving ${url} until Ctrl+C` : `Serving ${url} as host ${host} of a fleet until Ctrl+C`,
          `On the other machine: ${tokenVariable}=${own?.isNew === true ? own.value : "…"} lightbox --host ${url} ps`
        ].join("\n"),
        brief: url
      }
    )
    return yield* Effect.never
  }, Effect.scoped)
).pipe(
  Command.withDescription("Let programs on other machines use this one"),
  Command.withExamples([
    { command: "lightbox host", description: "Serve this machine to itself, and through `ssh -L 7400:localhost:7400`" },
    {
      command: "lightbox host --bind 0.0.0.0 --tls-cert host.crt --tls-key host.key",
      description: "Serve the network"
    },
    { command: "lightbox host --directory postgres://db.example.com/fleet", description: "Be a host of a fleet" }
  ]),
  Command.provide(driver({ here: true }))
)
