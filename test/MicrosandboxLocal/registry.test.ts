/** Questions to registries: what is sent to whom, and what is believed. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Crypto from "node:crypto"
import * as Fs from "node:fs"
import * as Http from "node:http"
import * as Path from "node:path"
import { ImageUnavailable, LightboxError } from "../../src/LightboxError.ts"
import { splitReference } from "../../src/internal/driver/imageReference.ts"
import { askDigest, explaining } from "../../src/internal/driver/local/registry.ts"
import { temporary } from "../support.ts"

type Answer = readonly [status: number, body: string, headers?: Http.OutgoingHttpHeaders]

/** A registry that answers as told, and keeps what was asked: the path, and the authorization. */
const registry = (answer: (path: string, authorization: string | undefined, host: string) => Answer) =>
  Effect.acquireRelease(
    Effect.callback<{
      readonly host: string
      readonly asked: Array<readonly [path: string, authorization: string | undefined]>
      readonly close: () => void
    }>((resume) => {
      const asked: Array<readonly [path: string, authorization: string | undefined]> = []
      const server = Http.createServer((request, response) => {
        const { authorization, host = "" } = request.headers
        const path = request.url ?? ""
        asked.push([path, authorization])
        const [status, body, headers] = answer(path, authorization, host)
        response.writeHead(status, headers).end(body)
      })
      server.listen(0, "127.0.0.1", () => {
        resume(
          Effect.succeed({ host: `localhost:${Object(server.address()).port}`, asked, close: () => server.close() })
        )
      })
    }),
    ({ close }) => Effect.sync(close)
  )

const manifestType = "application/vnd.oci.image.manifest.v1+json"
const manifest = JSON.stringify({ schemaVersion: 2, mediaType: manifestType, layers: [] })
const digest = `sha256:${Crypto.hash("sha256", manifest)}`

const login = { username: "ci", password: Redacted.make("pass:word 1") }
const basic = `Basic ${Buffer.from("ci:pass:word 1").toString("base64")}`

const ask = Effect.fnUntraced(function* (image: string, options: Parameters<typeof askDigest>[3], home?: string) {
  return yield* askDigest("test", home ?? (yield* temporary), image, { insecure: true, ...options })
})

const problemOf = <A, E extends { readonly reason: { readonly _tag: string } }, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.map(Effect.flip(effect), ({ reason }) => Object(reason))

describe("a question to a registry", () => {
  it.effect("gets a token with the login, and asks with the token", () =>
    Effect.gen(function* () {
      const { asked, host } = yield* registry((path, authorization, host) => {
        if (path.startsWith("/token")) return authorization === basic ? [200, '{"token":"abc"}'] : [401, ""]
        if (authorization === "Bearer abc") return [200, manifest]
        const realm = `realm="http://${host}/token",service="tests",scope="repository:team/app:pull"`
        return [401, "", { "www-authenticate": `Bearer ${realm}` }]
      })
      assert.strictEqual(yield* ask(`${host}/team/app:1`, login), digest)
      assert.deepStrictEqual(asked, [
        ["/v2/team/app/manifests/1", undefined],
        ["/token?scope=repository%3Ateam%2Fapp%3Apull&service=tests", basic],
        ["/v2/team/app/manifests/1", "Bearer abc"]
      ])
      assert.deepInclude(yield* problemOf(ask(`${host}/team/app:1`, {})), { kind: "Unauthorized" })
    })
  )

  it.effect("sends no login to a place that is none", () =>
    Effect.gen(function* () {
      for (const realm of ["", "file:///token", "ftp://x/", "not a place"]) {
        const { asked, host } = yield* registry(() => [401, "", { "www-authenticate": `Bearer realm="${realm}"` }])
        const { problem } = yield* problemOf(ask(`${host}/team/app`, login))
        assert.match(problem, /does not say where to log in/)
        assert.deepStrictEqual(asked, [["/v2/team/app/manifests/latest", undefined]])
      }
    })
  )

  it.effect("finds the image for this machine among those for others", () =>
    Effect.gen(function* () {
      const entry = (architecture: string, letter: string, os = "linux") => ({
        digest: `sha256:${letter.repeat(64)}`,
        platform: { os, architecture }
      })
      const own = process.arch === "x64" ? "amd64" : process.arch
      const { host } = yield* registry((path) => [
        200,
        JSON.stringify({
          schemaVersion: 2,
          manifests: [
            { digest: `sha256:${"0".repeat(64)}` },
            { digest: `sha256:${"6".repeat(64)}`, platform: { os: "linux" } },
            { digest: `sha256:${"7".repeat(64)}`, platform: { architecture: own, os: null } },
            entry("s390x", "1"),
            entry(own, "2", "windows"),
            { ...entry(own, "3"), mediaType: "application/vnd.in-toto.attestation+json" },
            ...(path.endsWith("all") ? [entry(own, "4"), entry(own, "5")] : [])
          ]
        })
      ])
      assert.strictEqual(yield* ask(`${host}/app:all`, {}), `sha256:${"4".repeat(64)}`)
      assert.deepInclude(yield* problemOf(ask(`${host}/app:none`, {})), { kind: "NotFound", isRetryable: false })
    })
  )

  it.effect("takes only a manifest for one", () =>
    Effect.gen(function* () {
      const plain = JSON.stringify({ schemaVersion: 2, layers: [] })
      const answers: { readonly [version: string]: Answer } = {
        typed: [200, plain, { "content-type": `${manifestType}; charset=utf-8` }],
        login: [200, "<html>Log in</html>", { "content-type": "text/html" }],
        dressed: [200, "<html>Log in</html>", { "content-type": manifestType }],
        untyped: [200, plain, { "content-type": "application/json" }],
        old: [200, JSON.stringify({ schemaVersion: 1, mediaType: manifestType }), { "content-type": manifestType }],
        broken: [200, JSON.stringify({ schemaVersion: 2, manifests: [{}] }), { "content-type": manifestType }]
      }
      const { host } = yield* registry((path) => answers[Path.basename(path)] ?? [404, ""])
      assert.strictEqual(yield* ask(`${host}/app:typed`, {}), `sha256:${Crypto.hash("sha256", plain)}`)
      for (const version of ["login", "dressed", "untyped", "old", "broken"]) {
        const { _tag, kind, problem } = yield* problemOf(ask(`${host}/app:${version}`, {}))
        const expected = [
          "ImageUnavailable",
          undefined,
          `${host} answered with something that is not an image manifest`
        ]
        assert.deepStrictEqual([_tag, kind, problem], expected, version)
      }
    })
  )

  it.effect("follows redirects, and takes the login to no other host", () =>
    Effect.gen(function* () {
      const other = yield* registry((path) => (path === "/there" ? [307, "", { location: "/blob" }] : [200, manifest]))
      const { asked, host } = yield* registry((path, authorization) => {
        if (authorization === undefined) return [401, "", { "www-authenticate": 'Basic realm="x"' }]
        return path === "/v2/app/manifests/1"
          ? [307, "", { location: "/moved" }]
          : [302, "", { location: `http://${other.host}/there` }]
      })
      assert.strictEqual(yield* ask(`${host}/app:1`, login), digest)
      assert.deepStrictEqual(asked.slice(1), [
        ["/v2/app/manifests/1", basic],
        ["/moved", basic]
      ])
      assert.deepStrictEqual(other.asked, [
        ["/there", undefined],
        ["/blob", undefined]
      ])
    })
  )

  it.effect("follows five redirects, and none to a URL that cannot be asked", () =>
    Effect.gen(function* () {
      const { asked, host } = yield* registry((path) => {
        const left = Number(/^\/left-(\d)$/.exec(path)?.[1] ?? Path.basename(path))
        if (left === 9) return [307, "", { location: "ftp://x/" }]
        return left === 0 ? [200, manifest] : [307, "", { location: `/left-${left - 1}` }]
      })
      assert.strictEqual(yield* ask(`${host}/app:5`, {}), digest)
      assert.lengthOf(asked, 6)
      assert.match((yield* problemOf(ask(`${host}/app:6`, {}))).problem, /redirected more than 5 times/)
      assert.lengthOf(asked, 12)
      assert.match((yield* problemOf(ask(`${host}/app:9`, {}))).problem, /redirects to a URL that is not https/)
    })
  )

  it.effect("does not read an answer without end, and may be asked again after an overload", () =>
    Effect.gen(function* () {
      const { host } = yield* registry((path) => (path.endsWith("large") ? [200, "x".repeat(5_000_000)] : [429, ""]))
      assert.match((yield* problemOf(ask(`${host}/app:large`, {}))).problem, /answered with more than 4 MiB/)
      const overload = yield* problemOf(ask(`${host}/app:busy`, {}))
      assert.deepInclude(overload, { isRetryable: true, problem: `${host} answered with status 429` })
    })
  )

  it.effect("uses the login and the settings of the runtime's configuration", () =>
    Effect.gen(function* () {
      const { asked, host } = yield* registry((_, authorization) =>
        authorization === basic ? [200, manifest] : [401, "", { "www-authenticate": 'Basic realm="x"' }]
      )
      const home = yield* temporary
      const configure = (auth: object) =>
        Fs.writeFileSync(
          Path.join(home, "config.json"),
          JSON.stringify({ other: 1, registries: { ca_certs: null, hosts: { [host]: { insecure: true, auth } } } })
        )
      Fs.mkdirSync(Path.join(home, "secrets/registries"), { recursive: true })
      Fs.writeFileSync(Path.join(home, "secrets/registries/tests"), "pass:word 1\n")
      configure({ username: "ci", secret_name: "tests" })
      assert.strictEqual(yield* askDigest("test", home, `${host}/app:1`, undefined), digest)
      assert.deepStrictEqual(asked.at(-1), ["/v2/app/manifests/1", basic])

      configure({ username: "ci", password_env: "LIGHTBOX_TEST_NO_SUCH_VARIABLE" })
      const { problem } = yield* problemOf(askDigest("test", home, `${host}/app:1`, undefined))
      assert.match(problem, new RegExp(`the password of ${host} in config\\.json cannot be read`))
      Fs.writeFileSync(Path.join(home, "config.json"), "{")
      assert.match((yield* problemOf(ask(`${host}/app:1`, {}, home))).problem, /config\.json cannot be read/)
    })
  )
})

describe("an error of the runtime", () => {
  const failed = (kind?: "NotCached") =>
    new LightboxError({
      method: "Microsandbox.createSandbox",
      reason: new ImageUnavailable({
        reference: "app",
        problem: "error sending request",
        cause: new Error("from the runtime"),
        ...(kind === undefined ? {} : { kind })
      })
    })

  it.effect("becomes the cause if the registry says why, and stays if not", () =>
    Effect.gen(function* () {
      const answers: { readonly [version: string]: Answer } = {
        secret: [401, ""],
        busy: [429, ""],
        there: [200, manifest]
      }
      const { asked, host } = yield* registry((path) => answers[Path.basename(path)] ?? [404, ""])
      const home = yield* temporary
      const explained = (version: string, error: LightboxError) =>
        Effect.fail(error).pipe(explaining(home, `${host}/app:${version}`, { insecure: true }), Effect.flip)
      const error = failed()
      const { method, reason } = yield* explained("secret", error)
      assert.strictEqual(method, error.method)
      assert.deepInclude(Object(reason), {
        _tag: "ImageUnavailable",
        kind: "Unauthorized",
        problem: `${host} requires a login`,
        reference: `${host}/app:secret`
      })
      assert.strictEqual(reason.cause, error.reason.cause)
      for (const version of ["busy", "there"]) assert.strictEqual(yield* explained(version, error), error, version)
      assert.lengthOf(asked, 3)
      const known = failed("NotCached")
      assert.strictEqual(yield* explained("secret", known), known)
      assert.lengthOf(asked, 3)
    })
  )
})

describe("the name of an image", () => {
  it("says which registry to ask for what", () => {
    for (const [reference, host, repository, version] of [
      ["alpine", "docker.io", "library/alpine", "latest"],
      ["team/app:1", "docker.io", "team/app", "1"],
      ["localhost/app", "localhost", "app", "latest"],
      ["localhost:5000/team/app:1.2", "localhost:5000", "team/app", "1.2"],
      ["localhost:5000/app@sha256:ab", "localhost:5000", "app", "sha256:ab"],
      ["localhost:5000/app:1@sha256:ab", "localhost:5000", "app", "sha256:ab"]
    ] as const) {
      assert.deepStrictEqual(splitReference(reference), { host, repository, version }, reference)
    }
  })
})
