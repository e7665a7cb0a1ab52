/** Throws at every question that can be asked of it, `instanceof` included. */
export function hostileProxy(): object {
  const refuse = (): never => {
    throw new Error("trap")
  }
  return new Proxy({}, { get: refuse, has: refuse, getPrototypeOf: refuse, ownKeys: refuse, getOwnPropertyDescriptor: refuse })
}

/** An object with this `then`, or with a getter for it: what `await` takes for a promise. */
export function thenable(then: PropertyDescriptor): PromiseLike<any> {
  // biome-ignore lint/suspicious/noThenProperty: that is the point
  return Object.defineProperty({}, "then", then) as PromiseLike<any>
}
