/**
 * The pages of the site: where each document of the repository goes, and what has to change on the way.
 */
import * as Fs from "node:fs"
import * as Path from "node:path"

type Modules = ReadonlyArray<{ readonly title: string; readonly names: ReadonlyArray<string> }>

const filesBelow = (folder: string): ReadonlyArray<string> =>
  Fs.readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => Path.join(entry.parentPath, entry.name))
    .toSorted()

/** The documents that are pages, by path in the repository, with the path of the page. */
const pageOf = (path: string, names: ReadonlyArray<string>): string | undefined => {
  if (path === "README.md") return "index.md"
  if (path === "src/AGENTS.md") return "agents.md"
  if (path === ".github/CONTRIBUTING.md") return "contributing.md"
  if (path === ".github/SECURITY.md") return "reporting.md"
  if (path === ".github/CHANGELOG.md") return "changelog.md"
  if (path.startsWith("examples/guides/")) return path.slice("examples/".length)
  const module = /^src\/([\w-]+)\.ts$/.exec(path)?.[1]
  if (module !== undefined && names.includes(module)) return `api/${module}.md`
  if (path.endsWith("README.md")) return path.replace(/README\.md$/, "index.md")
  return undefined
}

const fence = (code: string, language: string): string => `\`\`\`\`${language}\n${code.trimEnd()}\n\`\`\`\`\n`

const languageOf = (path: string): string => /\.(ts|py|sh|json|md|mjs)$/.exec(path)?.[1] ?? "text"

/** Applies a function to the text outside of fenced code. */
const outsideCode = (text: string, f: (part: string) => string): string =>
  text
    .split(/(^ *```[^]*?^ *```)/m)
    .map((part, index) => (index % 2 === 0 ? f(part) : part))
    .join("")

/** Writes a page for every document, and for every file or folder of the repository that a document links to. */
export const write = (root: string, pages: string, names: ReadonlyArray<string>): void => {
  const save = (page: string, text: string | Uint8Array): void => {
    const file = Path.join(pages, page)
    Fs.mkdirSync(Path.dirname(file), { recursive: true })
    Fs.writeFileSync(file, text)
  }

  /** The page of what a document links to, which is written if it is no document itself. */
  const linked = (path: string, from: string): string => {
    const source = Path.join(root, path)
    if (!Fs.existsSync(source)) throw new Error(`${from} links to ${path}, which does not exist`)
    const isFolder = Fs.statSync(source).isDirectory()
    if (isFolder && Fs.existsSync(Path.join(source, "README.md"))) return linked(Path.join(path, "README.md"), from)
    const page = pageOf(path, names)
    if (page !== undefined) return page
    // VitePress takes no page from a folder whose name begins with a dot.
    const name = `${path.replace(/^\./, "")}.md`
    if (!Fs.existsSync(Path.join(pages, name))) {
      const files = isFolder ? filesBelow(source) : [source]
      const sections = files.map((file) => {
        const title = isFolder ? `## ${Path.relative(source, file)}\n\n` : ""
        return title + fence(Fs.readFileSync(file, "utf8"), languageOf(file))
      })
      save(name, `# ${path}\n\n${sections.join("\n")}`)
    }
    return name
  }

  const documents = [
    "README.md",
    "src/AGENTS.md",
    ...[".github/CONTRIBUTING.md", ".github/SECURITY.md", ".github/CHANGELOG.md"].filter((path) =>
      Fs.existsSync(Path.join(root, path))
    ),
    ...filesBelow(Path.join(root, "examples"))
      .map((file) => Path.relative(root, file))
      .filter((path) => path.endsWith(".md"))
  ]
  for (const path of documents) {
    const page = pageOf(path, names)
    if (page === undefined) throw new Error(`${path} has no place on the site`)
    const text = outsideCode(Fs.readFileSync(Path.join(root, path), "utf8"), (part) =>
      part.replaceAll(/\]\((?!\w+:|#)([^)#\s]+)(#[^)\s]*)?\)/g, (_, target: string, hash: string = "") => {
        const file = Path.join(Path.dirname(path), target)
        // Beside the page that shows it.
        if (/\.(?:svg|png)$/.test(target)) {
          const image = Path.basename(target)
          save(Path.join(Path.dirname(page), image), Fs.readFileSync(Path.join(root, file)))
          return `](./${image})`
        }
        const to = linked(file.replace(/\/$/, ""), path)
        return `](/${to}${hash})`
      })
    )
    save(page, text)
  }
}

/** The identifier of a heading, as GitHub makes it. */
export const slugify = (heading: string): string =>
  heading
    .trim()
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N}\s_-]/gu, "")
    .replaceAll(/\s/g, "-")

/** Removes from a page of the reference what says nothing, or what the signature above it says. */
export const tidy = (page: string): string => {
  return outsideCode(page, (part) =>
    part
      .replaceAll(
        /^#+ (?:Inherited from|Overrides|Implementation of|Extends|Type Parameters)\n\n(?:(?!#+ |\*\*\*$).*\n)*/gm,
        ""
      )
      .replaceAll(/^#+ Stability\n\n(.+)$/gm, "*Stability: $1*")
      .replaceAll(/^(?:###### Returns\n\n.*|#+ Returns\n\n(?!.*\]\().*)\n+/gm, "")
      .replaceAll(/^#+ (?:Get Signature|Constructor)\n+/gm, "")
      .replaceAll(/^#+ Parameters\n\n\| Parameter \| Type \|\n(?:\|.*\n)+\n*/gm, (table) =>
        table.includes("](") && !table.includes("...`args`") ? table : ""
      )
      .replaceAll(/^\| .*`~effect-lightbox.*\n/gm, "")
      .replaceAll(/^## ([a-z])/gm, (_, letter: string) => `## ${letter.toUpperCase()}`)
      // A class that implements a type of its name counts twice there.
      .replaceAll(/\]\(#([a-z]+)-1\)/g, (link, slug: string) => (countOf(page, slug) === 1 ? `](#${slug})` : link))
  )
}

const countOf = (page: string, slug: string): number =>
  [...page.matchAll(/^#+ (.+)$/gm)].filter(([, heading = ""]) => slugify(heading) === slug).length

/** What the comment at the head of a module says first. */
const summary = (root: string, name: string): string => {
  const comment = /^\/\*\*([^]*?)\*\//.exec(Fs.readFileSync(Path.join(root, `src/${name}.ts`), "utf8"))?.[1] ?? ""
  const lines = comment.split("\n").map((line) => line.replace(/^ \* ?/, ""))
  const text = lines.slice(1, Math.max(2, lines.indexOf("", 1))).join(" ")
  return text.replaceAll(/\{@link (\w+)\}/g, "`$1`")
}

/** The first page of the reference. */
export const overview = (root: string, modules: Modules): string => {
  const index = Fs.readFileSync(Path.join(root, "src/index.ts"), "utf8")
  const namespaces = [...index.matchAll(/^export \* as (\w+)/gm)].map(([, name = ""]) => name).toSorted()
  return [
    "# API reference",
    "Import a module by its own name, such as `effect-lightbox/Sandbox`.",
    `\`effect-lightbox\` itself exports these as namespaces: ${namespaces.map((name) => `[\`${name}\`](./${name}.md)`).join(", ")}.`,
    ...modules.map(({ names, title }) =>
      [
        `## ${title}\n`,
        "| Module | Purpose |",
        "| --- | --- |",
        ...names.map((name) => `| [\`${name}\`](./${name}.md) | ${summary(root, name).replaceAll("|", "\\|")} |`)
      ].join("\n")
    )
  ].join("\n\n")
}

const titleOf = (file: string): string =>
  (/^# (.+)$/m.exec(Fs.readFileSync(file, "utf8"))?.[1] ?? Path.basename(file, ".md")).replaceAll("`", "")

/** The navigation beside the pages: guides in the order in which the README names them. */
export const navigation = (root: string, pages: string, modules: Modules): unknown => {
  const readme = Fs.readFileSync(Path.join(root, "README.md"), "utf8")
  const place = (page: string): number => {
    const index = readme.indexOf(`examples/${page}`)
    return index < 0 ? readme.length : index
  }
  const item = (page: string) => ({
    text: titleOf(Path.join(pages, page)),
    link: `/${page.replace(/(index)?\.md$/, "")}`
  })
  const guides = Fs.readdirSync(Path.join(pages, "guides"))
    .map((name) => `guides/${name}`)
    .toSorted((one, other) => place(one) - place(other) || one.localeCompare(other))
  const examples = filesBelow(Path.join(pages, "examples"))
    .map((file) => Path.relative(pages, file))
    .filter((page) => page.endsWith("index.md"))
  const optional = ["agents.md", "contributing.md", "reporting.md", "changelog.md"].filter((page) =>
    Fs.existsSync(Path.join(pages, page))
  )
  const project = optional.map((page) => (page === "changelog.md" ? { ...item(page), text: "Changelog" } : item(page)))
  return [
    { text: "Start", items: [{ text: "effect-lightbox", link: "/" }] },
    { text: "Guides", items: guides.map(item) },
    { text: "Examples", items: examples.map(item) },
    {
      text: "API reference",
      link: "/api/",
      items: modules.map(({ names, title }) => ({
        text: title,
        collapsed: true,
        items: names.map((name) => ({ text: name, link: `/api/${name}` }))
      }))
    },
    { text: "Project", items: project }
  ]
}

/** The links of a built site to pages, files or headings that it does not have. */
export const deadLinks = (site: string): ReadonlyArray<string> => {
  const files = filesBelow(site).filter((file) => file.endsWith(".html"))
  const idsOf = new Map(
    files.map((file) => [
      file,
      new Set([...Fs.readFileSync(file, "utf8").matchAll(/\sid="([^"]*)"/g)].map(([, id = ""]) => id))
    ])
  )
  return files.flatMap((file) =>
    [...Fs.readFileSync(file, "utf8").matchAll(/<a\s[^>]*href="([^"]*)"/g)].flatMap(([, href = ""]) => {
      if (/^\w+:/.test(href)) return []
      const { hash, pathname } = new URL(
        href.replaceAll("&amp;", "&"),
        `https://site.invalid/${Path.relative(site, file)}`
      )
      const path = Path.join(site, decodeURIComponent(pathname))
      const target = [path, `${path}.html`, Path.join(path, "index.html")].find((one) => idsOf.has(one))
      const problem = `${Path.relative(site, file)}: ${href}`
      if (target === undefined) return Fs.existsSync(path) && Fs.statSync(path).isFile() ? [] : [problem]
      return hash === "" || idsOf.get(target)?.has(decodeURIComponent(hash.slice(1))) === true ? [] : [problem]
    })
  )
}
