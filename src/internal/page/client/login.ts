/** Keeps the key of a new session, and goes on to the page. */
import { keyName } from "./key.ts"

const key = document.querySelector('meta[name="lightbox-key"]')?.getAttribute("content")
if (key !== null && key !== undefined) localStorage.setItem(keyName, key)
location.replace(`/${location.hash}`)
