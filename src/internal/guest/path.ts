import * as Path from "effect/Path"

/** Resolves Effect's POSIX paths against a folder of the guest instead of this process's working directory. */
export const make = (posix: Path.Path, cwd: string): Path.Path => {
  const resolve: Path.Path["resolve"] = (...segments) => posix.resolve(cwd, ...segments)
  return Path.make({
    ...posix,
    resolve,
    relative: (from, to) => posix.relative(resolve(from), resolve(to)),
    // Preserves a trailing slash.
    toFileUrl: (path) => posix.toFileUrl(posix.isAbsolute(path) ? path : posix.join(cwd, path))
  })
}
