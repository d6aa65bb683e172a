/** Jobs and readiness on real microVMs, as the contract has them. */
import { onMicrovms } from "./onMicrovms.ts"

onMicrovms("jobs", "readiness")
