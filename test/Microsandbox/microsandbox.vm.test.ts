/** Images, sandboxes and captures on real microVMs, as the contract has them. */
import { onMicrovms } from "./onMicrovms.ts"

onMicrovms("images", "sandboxes", "captures")
