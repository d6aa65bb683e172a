/** Reads and writes whole buffers at positions of files: Node.js may do less than it is told. */
import type * as Fs from "node:fs/promises"

/** Reads exactly the bytes of a buffer. What is after the end of the file reads as zeros. */
export const readAt = async (file: Fs.FileHandle, buffer: Buffer, position: number): Promise<void> => {
  let filled = 0
  while (filled < buffer.length) {
    const { bytesRead } = await file.read(buffer, filled, buffer.length - filled, position + filled)
    if (bytesRead === 0) break
    filled += bytesRead
  }
  buffer.fill(0, filled)
}

/** Writes all of a buffer: the kernel writes less if the disk becomes full, and fails only at the next attempt. */
export const writeAt = async (file: Fs.FileHandle, buffer: Uint8Array, position: number): Promise<void> => {
  let written = 0
  while (written < buffer.length) {
    const { bytesWritten } = await file.write(buffer, written, buffer.length - written, position + written)
    written += bytesWritten
  }
}
