/**
 * Pulls from real registries, and questions to them. The runtime pulls without a microVM: a patch that cannot be
 * applied ends the creation after the pull, before the boot.
 */
import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, layer } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as ChildProcess from "node:child_process"
import * as Http from "node:http"
import * as Https from "node:https"
import { fileURLToPath } from "node:url"
import { native } from "../../src/internal/driver/local/driver.ts"
import * as Builder from "../../src/internal/driver/sdk/builder.ts"
import { fromSdk } from "../../src/internal/driver/sdk/errors.ts"
import type { SdkModule } from "../../src/internal/driver/sdk/module.ts"
import type { ImageUnavailable, LightboxError } from "../../src/LightboxError.ts"
import * as Microsandbox from "../../src/Microsandbox.ts"
import * as MicrosandboxLocal from "../../src/MicrosandboxLocal.ts"
import type { SandboxConfig } from "../../src/SandboxConfig.ts"
import * as Registry from "../images/Registry.ts"
import { freePort, temporary } from "../support.ts"

type Options = NonNullable<SandboxConfig["registry"]>

const login: Options = { username: Registry.login.username, password: Redacted.make(Registry.login.password) }
const wrongPassword = "wrong-password"

class Registries extends Context.Service<
  Registries,
  {
    readonly plain: string
    readonly secured: string
    readonly tls: string
    readonly nobody: string
    readonly authority: string
    readonly certificate: { readonly certificate: string; readonly key: string }
    readonly archives: { readonly before: string; readonly after: string }
    readonly digest: string
    readonly sdk: SdkModule
    readonly home: string
  }
>()("effect-lightbox/test/MicrosandboxLocal/registry.whole.test/Registries") {}

const registries = Layer.effect(
  Registries,
  Effect.gen(function* () {
    const fs = yield* FileSystem.FileSystem
    const folder = yield* fs.makeTempDirectoryScoped()
    const logins = `${folder}/logins`
    yield* fs.writeFileString(logins, Registry.login.line)
    const { authority, ...tls } = yield* Registry.certificate
    const archives = yield* Registry.archives
    const serve = (options: Omit<Parameters<typeof Registry.serve>[0], "folder">) =>
      Registry.serve({ folder: `${folder}/images`, ...options })
    const plain = yield* serve({})
    yield* Registry.push(archives.before, `${plain}/team/app:1`)
    const { home } = yield* Microsandbox.Microsandbox
    return {
      plain,
      secured: yield* serve({ logins }),
      tls: yield* serve({ tls, logins }),
      nobody: `localhost:${yield* freePort}`,
      authority,
      certificate: tls,
      archives,
      digest: yield* Registry.digestOf(`${plain}/team/app:1`),
      sdk: yield* native(home),
      home
    }
  })
)

const local = Layer.unwrap(Effect.map(temporary, (home) => MicrosandboxLocal.layer({ home, sweep: false })))

type Kind = Exclude<ImageUnavailable["kind"], undefined>

/** Pulls as a launch does, and returns the digest. */
const pull = (sdk: SdkModule, image: string, registry: Options): Effect.Effect<string, LightboxError> => {
  const stop = { _tag: "CopyFile", path: "/x", hostPath: "/no/such/file" } as const
  const config: SandboxConfig = { pullPolicy: "always", registry, patches: [stop] }
  let digest = ""
  return Effect.tryPromise({
    try: async () => {
      const builder = Builder.make(sdk, `pull-${pulls++}`, { _tag: "Image", reference: image }, config, {})
      const creation = await builder.createWithPullProgress()
      let isPulled = false
      for (let event = await creation.progress.recv(); event !== null; event = await creation.progress.recv()) {
        if (event.kind === "resolved") digest = event.manifestDigest ?? ""
        if (event.kind === "complete") isPulled = true
      }
      await creation.awaitSandbox().catch((cause: unknown) => {
        if (!isPulled) throw cause
      })
      return digest
    },
    catch: (cause) => fromSdk("pull", { image }, cause)
  })
}
let pulls = 0

const failuresOf = <A>(result: Result.Result<A, LightboxError>) => (Result.isFailure(result) ? [result.failure] : [])

/** What the runtime answers to a pull, and this library to a question: the digest, or why there is none. */
const both = Effect.fnUntraced(function* (image: string, registry: Options) {
  const driver = yield* Microsandbox.Microsandbox
  const { sdk } = yield* Registries
  const pulled = yield* Effect.result(pull(sdk, image, registry))
  const asked = yield* Effect.result(driver.resolveImage(image, { pullPolicy: "always", registry }))
  const errors = [...failuresOf(pulled), ...failuresOf(asked)]
  for (const error of errors) {
    const texts = [error.message, JSON.stringify(error), String(error.stack), String(error.reason.cause)]
    for (const secret of [Registry.login.password, wrongPassword]) assert.notInclude(texts.join("\n"), secret)
  }
  return { pulled, asked }
})

const kindOf = <A>(result: Result.Result<A, LightboxError>) => {
  const [error] = failuresOf(result)
  return error?.reason._tag === "ImageUnavailable"
    ? { kind: error.reason.kind, isRetryable: error.isRetryable }
    : assert.fail(`no image is unavailable: ${String(result)}`)
}

layer(registries.pipe(Layer.provideMerge(local), Layer.provideMerge(NodeServices.layer)), {
  excludeTestServices: true,
  timeout: 300_000
})("a registry", (it) => {
  // First: layers that are in the cache are not downloaded again.
  it.effect(
    "gives the rest of an image whose pull was cut off, or whose process was killed",
    () =>
      Effect.gen(function* () {
        const { archives, home, plain, sdk } = yield* Registries
        yield* Registry.push(archives.after, `${plain}/team/large:1`)
        const proxy = yield* proxyOf(plain)
        const image = `${proxy.host}/team/large:1`
        proxy.end = "cut"
        const cut = yield* Effect.result(pull(sdk, image, { insecure: true }))
        assert.isTrue(kindOf(cut).isRetryable)
        assert.isAbove(proxy.stumbles, 0)

        proxy.end = "hang"
        const before = proxy.stumbles
        const script = fileURLToPath(new URL("programs/pull.ts", import.meta.url))
        const child = ChildProcess.spawn(process.execPath, [script, home, image], { stdio: "inherit" })
        const exit = Effect.callback<string | null>((resume) => {
          child.once("exit", (_, signal) => resume(Effect.succeed(signal)))
        })
        yield* Effect.promise(() => proxy.stumbled(before + 1))
        child.kill("SIGKILL")
        assert.strictEqual(yield* exit, "SIGKILL")

        proxy.end = undefined
        const digest = yield* pull(sdk, image, { insecure: true })
        assert.strictEqual(digest, yield* Registry.digestOf(`${plain}/team/large:1`))
      }),
    120_000
  )

  it.effect(
    "gives an image by its tag, by its digest, with a login, and with TLS and an authority of its own",
    () =>
      Effect.gen(function* () {
        const { authority, digest, plain, secured, tls } = yield* Registries
        const insecure = true
        const right: ReadonlyArray<readonly [image: string, registry: Options]> = [
          [`${plain}/team/app:1`, { insecure }],
          [`${plain}/team/app@${digest}`, { insecure }],
          [`${secured}/team/app:1`, { insecure, ...login }],
          [`${tls}/team/app:1`, { caCerts: authority, ...login }]
        ]
        for (const [image, registry] of right) {
          const { asked, pulled } = yield* both(image, registry)
          assert.strictEqual(Result.getOrThrow(pulled), digest, image)
          assert.strictEqual(Result.getOrThrow(asked).digest, digest, image)
        }
      }),
    120_000
  )

  it.effect(
    "that gives none says why, to the runtime and to this library, and whether to try again",
    () =>
      Effect.gen(function* () {
        const { authority, nobody, plain, secured, tls } = yield* Registries
        const insecure = true
        const wrong = { ...login, password: Redacted.make(wrongPassword) }
        const rows: ReadonlyArray<readonly [image: string, registry: Options, kind: Kind, said: RegExp]> = [
          [`${plain}/team/app:2`, { insecure }, "NotFound", /has no image team\/app:2/],
          [`${plain}/team/other:1`, { insecure }, "NotFound", /has no image/],
          [`${plain}/team/app@sha256:${"0".repeat(64)}`, { insecure }, "NotFound", /has no image/],
          [`${secured}/team/app:1`, { insecure }, "Unauthorized", /requires a login/],
          [`${secured}/team/app:1`, { insecure, ...wrong }, "Unauthorized", /refused the login/],
          [`${tls}/team/app:1`, { caCerts: authority }, "Unauthorized", /requires a login/],
          [`${tls}/team/app:1`, login, "Tls", /certificate of localhost:\d+ is not trusted/],
          [`${tls}/team/app:1`, { insecure, ...login }, "Tls", /requires TLS/],
          [`${plain}/team/app:1`, {}, "Tls", /does not use TLS/],
          [`${nobody}/team/app:1`, { insecure }, "Unreachable", /cannot be reached: ECONNREFUSED/],
          [`${nobody}/team/app:1`, {}, "Unreachable", /cannot be reached: ECONNREFUSED/]
        ]
        for (const [image, registry, kind, said] of rows) {
          const { asked, pulled } = yield* both(image, registry)
          assert.deepStrictEqual(kindOf(asked), { kind, isRetryable: kind === "Unreachable" }, `${image} ${kind}`)
          assert.match(Result.isFailure(asked) ? asked.failure.message : "", said)
          // The runtime does not tell a registry that does not answer from one that is not trusted.
          const isVague = kind === "Tls" || kind === "Unreachable"
          assert.strictEqual(kindOf(pulled).kind, isVague ? undefined : kind, `${image} ${kind}`)
        }
      }),
    120_000
  )

  it.effect(
    "may redirect to TLS, and not from TLS to none",
    () =>
      Effect.gen(function* () {
        const fs = yield* FileSystem.FileSystem
        const driver = yield* Microsandbox.Microsandbox
        const { authority, certificate, plain } = yield* Registries
        const body = JSON.stringify({ schemaVersion: 2, manifests: [] })
        const server = Https.createServer(
          { cert: yield* fs.readFileString(certificate.certificate), key: yield* fs.readFileString(certificate.key) },
          ({ url }, response) => {
            const location = url === "/v2/app/manifests/here" ? "/there" : `http://${plain}/v2/team/app/manifests/1`
            if (url === "/there") response.end(body)
            else response.writeHead(307, { location }).end()
          }
        )
        yield* Effect.acquireRelease(
          Effect.callback<void>((resume) => void server.listen(0, "127.0.0.1", () => resume(Effect.void))),
          () => Effect.sync(() => server.close())
        )
        const host = `localhost:${Object(server.address()).port}`
        const asking = (tag: string) =>
          Effect.flip(
            driver.resolveImage(`${host}/app:${tag}`, { pullPolicy: "always", registry: { caCerts: authority } })
          )
        assert.match((yield* asking("here")).message, /has no variant of app:here/)
        assert.match((yield* asking("away")).message, /redirects to a URL that is not https/)
      }),
    120_000
  )

  it.effect(
    "is asked about a tag without a download, before and after it moves",
    () =>
      Effect.gen(function* () {
        const driver = yield* Microsandbox.Microsandbox
        const { archives, plain, sdk } = yield* Registries
        const proxy = yield* proxyOf(plain)
        const image = `${proxy.host}/team/moving:1`
        const registry = { insecure: true }
        const ask = driver.resolveImage(image, { pullPolicy: "always", registry })
        yield* Registry.push(archives.before, `${plain}/team/moving:1`)
        const first = yield* ask
        assert.isFalse(first.isCached)
        yield* Registry.push(archives.after, `${plain}/team/moving:1`)
        const second = yield* ask
        assert.notStrictEqual(second.digest, first.digest)
        assert.deepStrictEqual(proxy.paths, ["/v2/team/moving/manifests/1", "/v2/team/moving/manifests/1"])
        // Without the question, nothing is known.
        assert.deepStrictEqual(yield* driver.resolveImage(image), { digest: undefined, isCached: false })
        assert.strictEqual(proxy.paths.length, 2)
        assert.strictEqual(yield* pull(sdk, image, registry), second.digest)
      }),
    120_000
  )

  it.effect(
    "gives the login that Docker has, from its file and from its helper",
    () =>
      Effect.gen(function* () {
        const fs = yield* FileSystem.FileSystem
        const { digest, secured } = yield* Registries
        const folder = yield* fs.makeTempDirectoryScoped()
        const { password, username } = Registry.login
        const helper = `#!/bin/sh\nread -r server || true\n[ "$server" = ${secured} ] && printf '{"Username":"${username}","Secret":"${password}"}'\n`
        yield* fs.writeFileString(`${folder}/docker-credential-tests`, helper, { mode: 0o755 })
        const auth = Buffer.from(`${username}:${password}`).toString("base64")
        const configs = [{ auths: { [secured]: { auth } } }, { credHelpers: { [secured]: "tests" } }]
        yield* setting({ DOCKER_CONFIG: folder, PATH: `${folder}:${process.env["PATH"]}` })
        for (const config of configs) {
          yield* fs.writeFileString(`${folder}/config.json`, JSON.stringify(config))
          const { asked, pulled } = yield* both(`${secured}/team/app:1`, { insecure: true })
          assert.strictEqual(Result.getOrThrow(asked).digest, digest)
          assert.strictEqual(Result.getOrThrow(pulled), digest)
        }
      }),
    120_000
  )
})

/** Sets variables of the environment until the scope closes. */
const setting = (variables: { readonly [name: string]: string }) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const before = Object.keys(variables).map((name) => [name, process.env[name]] as const)
      Object.assign(process.env, variables)
      return before
    }),
    (before) =>
      Effect.sync(() => {
        for (const [name, value] of before) {
          if (value === undefined) delete process.env[name]
          else process.env[name] = value
        }
      })
  )

/** A proxy of a registry that can cut off or hold up each download half-way. */
const proxyOf = (host: string) =>
  Effect.acquireRelease(
    Effect.callback<Proxy>((resume) => {
      const waiting: Array<() => void> = []
      const server = Http.createServer((request, response) => {
        proxy.paths.push(request.url ?? "")
        const forwarded = Http.request(`http://${host}${request.url}`, { headers: request.headers }, (answer) => {
          response.writeHead(answer.statusCode ?? 500, answer.headers)
          const size = Number(answer.headers["content-length"])
          if (proxy.end === undefined || !request.url?.includes("/blobs/") || size < 100_000) {
            answer.pipe(response)
            return
          }
          let sent = 0
          answer.on("data", (part: Buffer) => {
            if (sent > size / 2) return
            response.write(part)
            sent += part.length
            if (sent <= size / 2) return
            proxy.stumbles++
            for (const wake of waiting.splice(0)) wake()
            if (proxy.end === "cut") setImmediate(() => response.destroy())
          })
        })
        forwarded.on("error", () => response.destroy())
        forwarded.end()
      })
      const proxy: Proxy = {
        host: "",
        paths: [],
        end: undefined,
        stumbles: 0,
        stumbled: async (times) => {
          while (proxy.stumbles < times) await new Promise<void>((wake) => void waiting.push(wake))
        },
        close: () => {
          server.close()
          server.closeAllConnections()
        }
      }
      server.listen(0, "127.0.0.1", () => {
        const address = server.address()
        resume(Effect.succeed(Object.assign(proxy, { host: `localhost:${Object(address).port}` })))
      })
    }),
    (proxy) => Effect.sync(proxy.close)
  )

interface Proxy {
  /** The paths that were asked for. */
  readonly paths: Array<string>
  readonly host: string
  end: "cut" | "hang" | undefined
  stumbles: number
  readonly stumbled: (times: number) => Promise<void>
  readonly close: () => void
}
