import * as Path from "effect/Path"

/** Effect's own POSIX paths, which begin at this process's working directory, begin at a folder of the guest. */
export const make = (posix: Path.Path, cwd: string): Path.Path => {
  const resolve: Path.Path["resolve"] = (...segments) => posix.resolve(cwd, ...segments)
  return Path.make({
    ...posix,
    resolve,
    relative: (from, to) => posix.relative(resolve(from), resolve(to)),
    // A trailing slash stays.
    toFileUrl: (path) => posix.toFileUrl(posix.isAbsolute(path) ? path : posix.join(cwd, path))
  })
}
