/**
 * The part of the SDK that this package uses, and whether the installed SDK has it: what an upgrade removed shows up
 * here, in seconds and by name, and not in a microVM.
 */
import { assert, beforeAll, describe, it } from "@effect/vitest"
import * as Sdk from "microsandbox"
import * as Native from "microsandbox/native"
import * as Fs from "node:fs"
import { createRequire } from "node:module"
import * as Path from "node:path"
import * as SdkErrors from "../../src/internal/driver/sdk/errors.ts"
import * as Members from "./members.ts"

const require = createRequire(import.meta.resolve("microsandbox"))

/** The native module, as bytes: the names that it gives to fields and errors are in there. */
const binary = (): Buffer => {
  const names = [`${process.platform}-${process.arch}`, `${process.platform}-${process.arch}-gnu`]
  for (const name of names) {
    try {
      const folder = Path.dirname(require.resolve(`@superradcompany/microsandbox-${name}/package.json`))
      return Fs.readFileSync(Path.join(folder, `microsandbox.${name}.node`))
    } catch {
      // It has the other name.
    }
  }
  throw new Error(`there is no native module at ${names.join(" or ")}`)
}

/** What an exported class has: of its own, and its instances; builders are functions whose instances tell. */
const holders = (module: object, name: string): ReadonlyArray<object> => {
  const value: unknown = Reflect.get(module, name)
  if (typeof value !== "function") return []
  const prototype: unknown = value.prototype
  return [
    value,
    ...(typeof prototype === "object" && prototype !== null ? [prototype] : []),
    // The builders of a proxy come only from others.
    ...(name.endsWith("Builder") && !name.endsWith("ProxyBuilder") ? [Reflect.construct(value, ["probe"])] : [])
  ]
}

const isThere = ({ name, owner }: Members.Member): boolean => {
  // The SDK's types of what the native module exports begin with its name.
  const exported = owner.replace(/^Napi/, "").replace(/Setters$/, "")
  return [...holders(Sdk, exported), ...holders(Native, exported)].some((holder) => name in holder)
}

const snakeCase = (name: string): string => name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)

describe("the SDK", () => {
  const tags = Object.keys(SdkErrors.reasons)
  let usage: Members.Usage
  let native: Buffer

  beforeAll(() => {
    usage = Members.usage()
    native = binary()
  }, 60_000)

  const named = (members: ReadonlyArray<Members.Member>) => members.map(({ name, owner }) => `${owner}.${name}`)

  it("declares everything the drivers use", () => {
    assert.deepStrictEqual(usage.problems, [])
    assert.isAbove(usage.members.length, 200)
    assert.isAbove(tags.length, 30)
  })

  it("exports the classes the drivers use", () => {
    const exported = usage.members.filter(Members.isExport)
    assert.includeMembers(
      exported.map(({ name }) => name),
      ["Sandbox", "Snapshot", "Volume", "Image", "AgentClient"]
    )
    assert.deepStrictEqual(named(exported.filter(({ name }) => !(name in Sdk))), [])
  })

  it("has the functions and accessors the drivers use", () => {
    const code = usage.members.filter((member) => member.isCode && !Members.isExport(member))
    assert.isAbove(code.length, 100)
    assert.deepStrictEqual(named(code.filter((member) => !isThere(member))), [])
    assert.isFalse(isThere({ owner: "SandboxHandle", name: "noSuchMember", isCode: true }))
  })

  it("knows the fields the drivers read", () => {
    const fields = usage.members.filter((member) => !member.isCode && !Members.isExport(member))
    assert.isAbove(fields.length, 50)
    const isKnown = (name: string) => native.includes(name) || native.includes(snakeCase(name))
    assert.deepStrictEqual(named(fields.filter(({ name }) => !isKnown(name))), [])
    assert.isFalse(isKnown("noSuchField"))
  })

  it("knows the errors the drivers distinguish", () => {
    assert.deepStrictEqual(
      tags.filter((tag) => !native.includes(tag)),
      []
    )
    assert.isFalse(native.includes("NoSuchTag"))
  })

  it("puts an error's tag where the drivers look, with or without a class for it", async () => {
    const withClass = await new Sdk.SandboxBuilder("probe").build().catch((error: unknown) => error)
    assert.instanceOf(withClass, Sdk.InvalidConfigError)
    assert.strictEqual(SdkErrors.parse(withClass).tag, "InvalidConfig")

    const without = await Sdk.Snapshot.open("/no/such/snapshot").catch((error: unknown) => error)
    assert.strictEqual(SdkErrors.parse(without).tag, "SnapshotNotFound")
  })
})
