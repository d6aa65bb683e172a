/**
 * How to talk to a registry, by the rules of the runtime: the options of the caller, then the runtime's `config.json`,
 * then the logins of Docker.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as ChildProcess from "node:child_process"
import * as Fs from "node:fs/promises"
import * as Os from "node:os"
import * as Path from "node:path"
import { unlessMissing } from "../host/durable.ts"
import type { SandboxConfig } from "../../SandboxConfig.ts"

export interface Access {
  readonly isPlain: boolean
  /** PEM certificates of additional authorities. */
  readonly authorities: ReadonlyArray<string>
  /** Value of an `Authorization` header. */
  readonly basic: Redacted.Redacted<string> | undefined
}

/** Absent fields of the runtime's files and of registries may be null. */
export const maybe = <S extends Schema.Constraint>(schema: S) => Schema.optional(Schema.NullOr(schema))

const RuntimeConfig = Schema.Struct({
  registries: maybe(
    Schema.Struct({
      ca_certs: maybe(Schema.String),
      hosts: maybe(
        Schema.Record(
          Schema.String,
          Schema.Struct({
            insecure: maybe(Schema.Boolean),
            auth: maybe(
              Schema.Struct({
                username: Schema.String,
                password_env: maybe(Schema.String),
                secret_name: maybe(Schema.String)
              })
            )
          })
        )
      )
    })
  )
})

const DockerConfig = Schema.Struct({
  auths: maybe(Schema.Record(Schema.String, Schema.Struct({ auth: maybe(Schema.String) }))),
  credHelpers: maybe(Schema.Record(Schema.String, Schema.String)),
  credsStore: maybe(Schema.String)
})

const HelperAnswer = Schema.fromJsonString(
  Schema.Struct({ Username: Schema.NonEmptyString, Secret: Schema.NonEmptyString })
)

const decodeAnswer = Schema.decodeUnknownOption(HelperAnswer)

/** Reads a file of JSON. A file that does not exist is empty; any other failure is one. */
const readJson = <S extends Schema.Codec<unknown, unknown>>(schema: S, path: string) =>
  Effect.tryPromise(() => unlessMissing(Fs.readFile(path, "utf8"))).pipe(
    Effect.flatMap((text) => Schema.decodeEffect(Schema.fromJsonString(schema))(text ?? "{}")),
    Effect.mapError(() => `${path} cannot be read`)
  )

const encode = (username: string, password: string) =>
  Redacted.make(`Basic ${Buffer.from(`${username}:${password}`).toString("base64")}`)

/** Finds out how to talk to a registry. Fails with the problem. */
export const find = Effect.fnUntraced(function* (
  home: string,
  host: string,
  { caCerts, insecure, password, username }: NonNullable<SandboxConfig["registry"]>
): Effect.fn.Return<Access, string> {
  const { registries } = yield* readJson(
    RuntimeConfig,
    process.env["MSB_CONFIG_PATH"] ?? Path.join(home, "config.json")
  )
  const { auth, insecure: isInsecure } = registries?.hosts?.[host] ?? {}
  const files = [caCerts, registries?.ca_certs].flatMap((path) => path ?? [])
  const authorities = yield* Effect.forEach(files, (path) =>
    Effect.tryPromise({ try: () => Fs.readFile(path, "utf8"), catch: () => `${path} cannot be read` })
  )
  const basic =
    username !== undefined && password !== undefined
      ? encode(username, Redacted.value(password))
      : auth === undefined || auth === null
        ? yield* dockerLogin(host)
        : encode(auth.username, yield* secretOf(home, host, auth))
  return { isPlain: insecure === true || isInsecure === true, authorities, basic }
})

const secretOf = (
  home: string,
  host: string,
  {
    password_env: variable,
    secret_name: name
  }: { readonly password_env?: string | null | undefined; readonly secret_name?: string | null | undefined }
): Effect.Effect<string, string> => {
  const set = variable === undefined || variable === null ? undefined : process.env[variable]
  if (set !== undefined) return Effect.succeed(set)
  const problem = `the password of ${host} in config.json cannot be read`
  return name === undefined || name === null
    ? Effect.fail(problem)
    : Effect.tryPromise({
        try: async () => (await Fs.readFile(Path.join(home, "secrets", "registries", name), "utf8")).trim(),
        catch: () => problem
      })
}

/** The names under which Docker keeps the login of a registry. */
const serversOf = (host: string): ReadonlyArray<string> => [
  host,
  `https://${host}`,
  ...(host === "docker.io" ? ["index.docker.io", "https://index.docker.io", "https://index.docker.io/v1/"] : [])
]

const dockerLogin = Effect.fnUntraced(function* (
  host: string
): Effect.fn.Return<Redacted.Redacted<string> | undefined> {
  const folder = process.env["DOCKER_CONFIG"] ?? Path.join(Os.homedir(), ".docker")
  // As for the runtime, a file that cannot be read is no login.
  const config = yield* Effect.option(readJson(DockerConfig, Path.join(folder, "config.json")))
  if (Option.isNone(config)) return undefined
  const { auths, credHelpers, credsStore } = config.value
  for (const server of serversOf(host)) {
    const stored = auths?.[server]?.auth
    const helper = credHelpers?.[server] ?? (stored === undefined || stored === null ? credsStore : undefined)
    if (helper !== undefined && helper !== null) {
      const answer = decodeAnswer(yield* askHelper(helper, server))
      // Such a token is no password.
      if (Option.isSome(answer) && answer.value.Username !== "<token>") {
        return encode(answer.value.Username, answer.value.Secret)
      }
    } else if (stored !== undefined && stored !== null && stored !== "") {
      return Redacted.make(`Basic ${stored}`)
    }
  }
  return undefined
})

/** Asks a program of Docker's for a login. Returns nothing if it has none, or fails. */
const askHelper = (helper: string, server: string): Effect.Effect<string> =>
  Effect.callback<string>((resume, signal) => {
    const asked = ChildProcess.execFile(
      `docker-credential-${helper}`,
      ["get"],
      { signal, timeout: 10_000 },
      (cause, stdout) => resume(Effect.succeed(cause === null ? stdout : ""))
    )
    asked.stdin?.on("error", () => undefined)
    asked.stdin?.end(server)
  })
