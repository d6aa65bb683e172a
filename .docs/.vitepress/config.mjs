import { readFileSync } from "node:fs"
import { defineConfig } from "vitepress"
import { slugify } from "../pages.ts"

const out = new URL("../../.cache/docs/", import.meta.url)
const { version } = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8"))

export default defineConfig({
  title: "effect-lightbox",
  description: "Bake microVM snapshots and run sandboxes from TypeScript",
  lang: "en",
  // Set when the site does not stand at the root of its host.
  base: process.env.DOCS_BASE ?? "/",
  srcDir: "pages",
  outDir: "../.cache/docs/site",
  cacheDir: "../.cache/docs/vite",
  head: [["style", {}, readFileSync(new URL("style.css", import.meta.url), "utf8")]],
  markdown: { anchor: { slugify } },
  vite: { build: { chunkSizeWarningLimit: 4096 }, publicDir: false },
  themeConfig: {
    nav: [
      { text: "Guides", link: "/guides/concepts" },
      { text: "Examples", link: "/examples/" },
      { text: "API", link: "/api/" },
      { text: `v${version}`, link: "/" }
    ],
    sidebar: JSON.parse(readFileSync(new URL("navigation.json", out), "utf8")),
    outline: [2, 3],
    search: { provider: "local" },
    externalLinkIcon: true
  }
})
