/** Imported first by each child: its wall clock is wrong by CLOCK_OFFSET_MS. What must not depend on it (performance.now, timers) stays right. */
const offset = Number(process.env["CLOCK_OFFSET_MS"] ?? 0)

if (offset !== 0) {
  const RealDate = Date
  globalThis.Date = class extends RealDate {
    constructor(...args: any[]) {
      if (args.length === 0) super(RealDate.now() + offset)
      else super(...(args as [number]))
    }
    static override now(): number {
      return RealDate.now() + offset
    }
  } as DateConstructor
}
