/** Commands and files on real microVMs, as the contract has them. */
import { onMicrovms } from "./onMicrovms.ts"

onMicrovms("commands", "files")
