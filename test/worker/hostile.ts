/** Throws at every question that can be asked of it, `instanceof` included. */
export function hostileProxy(): object {
  const refuse = (): never => {
    throw new Error("trap")
  }
  return new Proxy({}, { get: refuse, has: refuse, getPrototypeOf: refuse, ownKeys: refuse, getOwnPropertyDescriptor: refuse })
}
