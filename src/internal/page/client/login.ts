/** Keeps the key of a new session, and goes on to the page. */
import { keyName } from "./names.ts"

const key = document.querySelector(`meta[name="${keyName}"]`)?.getAttribute("content")
if (key !== null && key !== undefined) localStorage.setItem(keyName, key)
location.replace(`/${location.hash}`)
