/** Dockerfiles that were read. No declaration may mention a type of Effect. */
import type * as Snapshots from "../../Snapshot.ts"

const definitions = new WeakMap<Dockerfile, Snapshots.Definition>()

/**
 * A Dockerfile that {@link fromDockerfile} has read.
 *
 * @category models
 * @since 0.1.0
 */
export class Dockerfile {
  /** File and line of the stage that is built. */
  readonly declaredAt: string

  /** @internal */
  constructor(definition: Snapshots.Definition) {
    this.declaredAt = definition.declaredAt ?? ""
    definitions.set(this, definition)
  }
}

/** @internal */
export const definitionIn = (dockerfile: Dockerfile): Snapshots.Definition | undefined => definitions.get(dockerfile)

/** @internal */
export const isDockerfile = (u: unknown): u is Dockerfile => u instanceof Dockerfile && definitions.has(u)
