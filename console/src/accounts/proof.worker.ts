// Tries numbers until one solves the challenge; says which.

import { hasherAfter, zeroBits } from "./sha256";

self.onmessage = ({ data }: MessageEvent<{ challenge: string; bits: number }>) => {
  const hash = hasherAfter(`${data.challenge}:`);
  let number = 0;
  while (zeroBits(hash(String(number))) < data.bits) {
    number += 1;
  }
  self.postMessage(String(number));
};
