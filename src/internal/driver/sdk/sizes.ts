/** The SDK counts memory, root disks and quotas in MiB. */
import { mebibyte } from "../../config/schemas.ts"

export const toMebibytes = (bytes: number): number => Math.round(bytes / mebibyte)

export const fromMebibytes = (count: number): number => count * mebibyte
