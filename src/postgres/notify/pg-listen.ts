import pg, { type ClientConfig } from "pg"
import pgListen from "pg-listen"

/** One subscriber of pg-listen: one connection, one use. */
export interface Subscriber {
  connect(): Promise<void>
  listenTo(channel: string): Promise<void>
  unlisten(channel: string): Promise<void>
  notify(channel: string, payload: string): Promise<void>
  /** Also stops pg-listen from reconnecting by itself. Never rejects; may stay pending on a connection that is dead. */
  close(): Promise<void>
}

interface SubscriberEvents {
  onNotification(channel: string, payload: string): void
  /** The connection has ended; pg-listen tells no cause. */
  onEnd(error: Error): void
}

/**
 * The only place that knows pg-listen. What is done to it, and why:
 * - `retryLimit: 1` makes it try a reconnect zero times: it reports the end at once, and the Listener makes a new subscriber on its own terms;
 * - `parse` as identity: by default a payload that is no JSON counts as an error of the connection;
 * - no `paranoidChecking`: its query has no time-out, so it does not notice a dead route and piles up;
 * - in the package it is bundled into this module (scripts/bundle-pg-listen.mjs), so that it uses the `pg` that the package depends on;
 * - it takes the class that stands in `pg.Client`, so one of the application's is put there for the moment in which it makes its client;
 * - its types say that the package is the function, under Node's module rules it is a namespace with `default`; at run time it is both.
 */
export function createSubscriber(Client: typeof pg.Client, config: ClientConfig, events: SubscriberEvents): Subscriber {
  const make = (): ReturnType<typeof pgListen.default> =>
    pgListen.default(config, { parse: (payload) => payload, serialize: (payload: string) => payload, paranoidChecking: false, retryLimit: 1 })
  const subscriber = Client === pg.Client ? make() : withClass(Client, make)
  subscriber.events.on("error", events.onEnd)
  // An empty payload comes as undefined.
  subscriber.events.on("notification", ({ channel, payload }) => events.onNotification(channel, typeof payload === "string" ? payload : ""))
  // It also emits each notification under its channel's name, and an emitter throws on "error" when nobody listens.
  subscriber.notifications.on("error", () => undefined)
  return {
    connect: () => subscriber.connect(),
    listenTo: async (channel) => {
      await subscriber.listenTo(channel)
    },
    unlisten: async (channel) => {
      await subscriber.unlisten(channel)
    },
    notify: async (channel, payload) => {
      await subscriber.notify(channel, payload)
    },
    close: () => subscriber.close(),
  }
}

function withClass<T>(Client: typeof pg.Client, make: () => T): T {
  const own = pg.Client
  try {
    pg.Client = Client
    return make()
  } finally {
    pg.Client = own
  }
}
