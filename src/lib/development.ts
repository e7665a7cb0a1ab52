/** Whether code is being developed here, and modules are loaded again when they change: then what is defined later replaces what was there. */
export function isDevelopment(): boolean {
  return process.env.NODE_ENV === "development"
}
