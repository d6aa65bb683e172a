/** The driver, seen at each of its calls. */
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import type * as Microsandbox from "../../src/Microsandbox.ts"

type Driver = Microsandbox.Microsandbox["Service"]

/** Runs something before or around each call: `owner.note` is a call, as is `createSandbox`. */
export const around = (
  driver: Driver,
  onCall: <A, E, R>(operation: string, call: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
): Driver => wrap(driver, "", onCall)

const wrap = <Service extends object>(
  service: Service,
  prefix: string,
  onCall: <A, E, R>(operation: string, call: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
): Service => {
  const members = new Map<PropertyKey, unknown>()
  const see = (key: PropertyKey, value: unknown): unknown => {
    const operation = `${prefix}${String(key)}`
    if (Effect.isEffect(value)) return onCall(operation, value)
    if (Predicate.isFunction(value)) {
      return (...args: ReadonlyArray<unknown>) => {
        const result: unknown = Reflect.apply(value, service, args)
        return Effect.isEffect(result) ? onCall(operation, result) : result
      }
    }
    // What has no files is no place to be killed at.
    if (!Predicate.isObject(value)) return value
    return key === "owner" ? wrap(value, `${operation}.`, onCall) : key === "memory" ? wrap(value, "", onCall) : value
  }
  return new Proxy(service, {
    get: (target, key) => {
      if (!members.has(key)) members.set(key, see(key, Reflect.get(target, key)))
      return members.get(key)
    }
  })
}

/** Being killed before one of these is being killed at the next call: there is nothing new on the disk. */
export const isReading = (operation: string): boolean =>
  /^(get|list|open|inspect|verify|read|search|connect)|^owner\.(id|stage)$/.test(operation)
