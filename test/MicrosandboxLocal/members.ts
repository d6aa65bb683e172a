/**
 * The part of the SDK that this package uses, as the compiler sees it: new uses are found automatically.
 */
import type * as Ast from "typescript/unstable/ast"
import * as Is from "typescript/unstable/ast/is"
import { API, type Checker, type Symbol as TypeScriptSymbol, SymbolFlags } from "typescript/unstable/sync"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Sources from "../package/sources.ts"

/** A member of something that the SDK offers, such as `stop` of `Sandbox`. */
export interface Member {
  /** The class, interface or module that declares it. */
  readonly owner: string
  readonly name: string
  /** Whether it is a function, an accessor or a class, and so there at run time whatever the values are. */
  readonly isCode: boolean
}

/** Whether it is an export of the SDK itself. */
export const isExport = ({ owner }: Member): boolean => owner.startsWith('"')

export interface Usage {
  readonly members: ReadonlyArray<Member>
  /** The compiler's problems with the files that use the SDK. */
  readonly problems: ReadonlyArray<string>
}

const nodesOf = (file: Ast.SourceFile): ReadonlyArray<Ast.Node> => {
  const nodes: Array<Ast.Node> = []
  const visit = (node: Ast.Node): void => {
    nodes.push(node)
    node.forEachChild(visit)
  }
  visit(file)
  return nodes
}

/** The members that a file names, in `value.member`, `{ member } = value`, and `value["member"]`. */
const symbolsIn = (checker: Checker, nodes: ReadonlyArray<Ast.Node>): ReadonlyArray<TypeScriptSymbol> => {
  const property = (of: Ast.Node, names: ReadonlyArray<string>) => {
    const type = checker.getTypeAtLocation(of)
    return type === undefined ? [] : names.flatMap((name) => checker.getPropertyOfType(type, name) ?? [])
  }
  const named = nodes.flatMap((node) => (Is.isPropertyAccessExpression(node) ? [node.name] : []))
  return [
    ...checker.getSymbolAtLocation(named).flatMap((symbol) => symbol ?? []),
    ...nodes.flatMap((node) => {
      if (Is.isBindingElement(node)) {
        const name = node.propertyName ?? node.name
        return name !== undefined && Is.isIdentifier(name) ? property(node.parent, [name.text]) : []
      }
      if (!Is.isElementAccessExpression(node)) return []
      const key = checker.getTypeAtLocation(node.argumentExpression)
      const keys = key?.isUnionType() === true ? (key.getTypes() ?? []) : key === undefined ? [] : [key]
      return property(
        node.expression,
        keys.flatMap((key) => (key.isStringLiteralType() ? [key.value] : []))
      )
    })
  ]
}

const codeFlags =
  SymbolFlags.Method | SymbolFlags.GetAccessor | SymbolFlags.Function | SymbolFlags.Class | SymbolFlags.Alias

/** The classes of the SDK whose part the interfaces of `surface.ts` are. `undefined`: the module. */
const surfaces = new Map<string, string | undefined>([
  ["AgentStatics", "AgentClient"],
  ["ImageStatics", "Image"],
  ["ListQuery", "SandboxListBuilder"],
  ["SandboxBuilder", "SandboxBuilder"],
  ["SandboxHandle", "SandboxHandle"],
  ["SandboxStatics", "Sandbox"],
  ["Snapshot", "Snapshot"],
  ["SnapshotBuilder", "SnapshotBuilder"],
  ["SnapshotStatics", "Snapshot"],
  ["Surface", undefined],
  ["VolumeBuilder", "VolumeBuilder"],
  ["VolumeStatics", "Volume"]
])

/** Only the next version has these. */
const ofOthers = ["Snapshot.memory"]

const exportsOfModule = '"microsandbox"'

/** Reads all sources that use the SDK. */
export const usage = (): Usage => {
  const api = new API({ cwd: Sources.root })
  try {
    const project = api
      .updateSnapshot({ openProjects: [Path.join(Sources.root, "src/tsconfig.json")] })
      .getProjects()
      .at(0)
    if (project === undefined) throw new Error("the compiler does not open the project")
    const files = Fs.readdirSync(Path.join(Sources.root, "src"), { recursive: true, encoding: "utf8" }).flatMap(
      (name) => {
        const file = project.program.getSourceFile(Path.join(Sources.root, "src", name))
        const isUser = /\bfrom "(microsandbox|\S*\/sdk\/(surface|sandboxes)\.ts|\.\/surface\.ts)"/
        return file !== undefined && isUser.test(file.text) ? [file] : []
      }
    )
    const members = new Map<string, Member>()
    const problems: Array<string> = []
    for (const file of files) {
      const nodes = nodesOf(file)
      problems.push(
        ...project.program.getSemanticDiagnostics(file.fileName).map(({ text }) => `${file.fileName}: ${text}`)
      )
      for (const symbol of symbolsIn(project.checker, nodes)) {
        const declaration = symbol.valueDeclaration ?? symbol.declarations.at(0)
        const path = declaration?.path ?? ""
        const parent = symbol.getParent()?.name ?? ""
        const isSurface = path.endsWith("/driver/sdk/surface.ts")
        if (!isSurface && !path.includes("/node_modules/microsandbox/")) continue
        if (isSurface && (!surfaces.has(parent) || ofOthers.includes(`${parent}.${symbol.name}`))) continue
        const owner = isSurface ? (surfaces.get(parent) ?? exportsOfModule) : parent
        members.set(`${owner}.${symbol.name}`, { owner, name: symbol.name, isCode: (symbol.flags & codeFlags) !== 0 })
      }
    }
    return { members: [...members.values()], problems }
  } finally {
    api.close()
  }
}
