/** Media types of files, by the ends of their names. Without one, a file is text. */
import * as Path from "node:path"

const types = new Map<string, string>(
  Object.entries({
    "image/png": "png",
    "image/jpeg": "jpg jpeg",
    "image/gif": "gif",
    "image/webp": "webp",
    "image/svg+xml": "svg",
    "image/heic": "heic",
    "image/heif": "heif",
    "audio/mpeg": "mp3",
    "audio/wav": "wav",
    "audio/aiff": "aiff",
    "audio/aac": "aac",
    "audio/ogg": "ogg",
    "audio/flac": "flac",
    "video/mp4": "mp4",
    "video/webm": "webm",
    "video/mpeg": "mpeg mpg",
    "video/quicktime": "mov",
    "video/x-msvideo": "avi",
    "video/x-flv": "flv",
    "video/x-ms-wmv": "wmv",
    "video/3gpp": "3gpp",
    "application/pdf": "pdf",
    "application/vnd.ms-powerpoint": "ppt",
    "application/vnd.openxmlformats-officedocument.presentationml.presentation": "pptx",
    "application/json": "json",
    "application/javascript": "js mjs cjs",
    "text/markdown": "md markdown",
    "text/html": "html htm",
    "text/css": "css",
    "text/csv": "csv",
    "text/xml": "xml"
  }).flatMap(([type, ends]) => ends.split(" ").map((end) => [`.${end}`, type] as const))
)

export const mediaTypeOf = (path: string): string => types.get(Path.posix.extname(path).toLowerCase()) ?? "text/plain"

export const isText = (type: string): boolean =>
  type.startsWith("text/") || ["application/json", "application/javascript", "image/svg+xml"].includes(type)
