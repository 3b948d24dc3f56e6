// When a token ends. The server takes "never", "7d", "30d" or a moment; a form shows moments in
// the viewer's own zone, as <input type="datetime-local"> has them.

export const EXPIRIES = ["never", "7d", "30d", "custom"] as const;
export type Expiry = (typeof EXPIRIES)[number];

/** A moment as the field has it: "2026-11-22T20:15", here. */
export function fieldOf(moment: Date): string {
  const pad = (number: number) => String(number).padStart(2, "0");
  const day = [moment.getFullYear(), pad(moment.getMonth() + 1), pad(moment.getDate())].join("-");
  return `${day}T${pad(moment.getHours())}:${pad(moment.getMinutes())}`;
}

/** What the server is sent. */
export function sentExpiry(expiry: Expiry, field: string): string {
  if (expiry !== "custom") {
    return expiry;
  }
  return new Date(field).toISOString();
}
