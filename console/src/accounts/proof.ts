// Proof of work, when the server asks for it: an answer with which the hash of
// "<challenge>:<answer>" begins with so many zero bits. Found by trying, in a worker, so that the
// page stays usable. The hash is our own: crypto.subtle exists on secure addresses only.

import type { Body } from "../api/answers";
import { Problem } from "../api/client";

export type Proof = NonNullable<Body<"/api/auth/login", "post">["proof"]>;

/** More than one: the server may ask for more bits than it did a moment ago. */
const CHALLENGES_MAX = 3;

/** Sends a form; when work is asked for, does it and sends the form again. onWork: it takes a
 * moment now. */
export async function withProof<T>(
  send: (proof: Proof | undefined) => Promise<T>,
  onWork: (working: boolean) => void,
): Promise<T> {
  let proof: Proof | undefined;
  for (let solved = 0; ; solved += 1) {
    try {
      return await send(proof);
    } catch (error) {
      const asked = challengeOf(error);
      if (!asked || solved >= CHALLENGES_MAX) {
        throw error;
      }
      onWork(true);
      try {
        proof = { challenge: asked.challenge, answer: await solve(asked.challenge, asked.bits) };
      } finally {
        onWork(false);
      }
    }
  }
}

function challengeOf(error: unknown): { challenge: string; bits: number } | null {
  if (!(error instanceof Problem) || error.code !== "challenge_needed") {
    return null;
  }
  const { challenge, bits } = error.more;
  return typeof challenge === "string" && typeof bits === "number" ? { challenge, bits } : null;
}

function solve(challenge: string, bits: number): Promise<string> {
  const worker = new Worker(new URL("./proof.worker.ts", import.meta.url), { type: "module" });
  return new Promise<string>((resolve, reject) => {
    worker.onmessage = ({ data }: MessageEvent<string>) => resolve(data);
    worker.onerror = () => reject(new Error("the proof of work could not be computed"));
    worker.postMessage({ challenge, bits });
  }).finally(() => worker.terminate());
}
