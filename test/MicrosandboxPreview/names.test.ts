import { assert, describe, it } from "@effect/vitest"
import * as Names from "../../src/internal/driver/next/names.ts"

describe("the names of 0.7", () => {
  it("has destinations of a network policy under their kind", () => {
    const rule = { action: "allow", direction: "egress", protocols: ["tcp"], ports: [{ start: 443, end: 443 }] }
    const policy = {
      defaultEgress: "deny",
      defaultIngress: "allow",
      rules: [
        { ...rule, destination: { kind: "any" } },
        { ...rule, destination: { kind: "domainSuffix", suffix: "example.com" } },
        { ...rule, destination: { kind: "group", group: "link-local" } },
        { ...rule, destination: { kind: "cidr", cidr: "10.0.0.0/8" } }
      ]
    }
    assert.deepStrictEqual(JSON.parse(Names.policyJson(policy)), {
      default_egress: "deny",
      default_ingress: "allow",
      rules: [
        { ...rule, destination: "any" },
        { ...rule, destination: { domain_suffix: "example.com" } },
        { ...rule, destination: { group: "link_local" } },
        { ...rule, destination: { cidr: "10.0.0.0/8" } }
      ]
    })
  })

  it("teaches a module the names of 0.6, and leaves those that it has", () => {
    const said: Array<string> = []
    class SecretBuilder {
      allow(host: string) {
        said.push(`allow ${host}`)
        return this
      }
      substituteInHeaders() {
        return this
      }
      substituteInQuery() {
        return this
      }
      substituteInBody() {
        return this
      }
    }
    class NetworkBuilder {
      policyJson(json: string) {
        said.push(`policy ${json}`)
        return this
      }
    }
    Names.teach({ NetworkBuilder, SecretBuilder })
    Names.teach({ NetworkBuilder, SecretBuilder })
    const call = (target: object, name: string, ...args: ReadonlyArray<unknown>) => {
      const method: unknown = Reflect.get(target, name)
      assert.isFunction(method)
      return typeof method === "function" ? Reflect.apply(method, target, args) : undefined
    }
    const secret = new SecretBuilder()
    assert.strictEqual(call(secret, "allowHostPattern", "*.example.com"), secret)
    assert.strictEqual(call(secret, "injectBasicAuth", true), secret)
    const network = new NetworkBuilder()
    assert.strictEqual(call(network, "policy", { defaultEgress: "allow" }), network)
    assert.deepStrictEqual(said, ["allow *.example.com", 'policy {"default_egress":"allow"}'])
  })
})
