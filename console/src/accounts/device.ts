// What a browser calls itself, in the words that people know it by. A hint and nothing more:
// anybody may send any name.

/** The first that fits: others name themselves after those further down. */
const BROWSERS: [RegExp, string][] = [
  [/MicroMessenger\//, "WeChat"],
  [/Edg(e|A|iOS)?\//, "Edge"],
  [/OPR\//, "Opera"],
  [/SamsungBrowser\//, "Samsung Internet"],
  [/Firefox\/|FxiOS\//, "Firefox"],
  [/Chrome\/|CriOS\//, "Chrome"],
  [/Version\/.* Safari\//, "Safari"],
];
const SYSTEMS: [RegExp, string][] = [
  [/iPhone/, "iPhone"],
  [/iPad/, "iPad"],
  [/Android/, "Android"],
  [/Windows/, "Windows"],
  [/Mac OS X/, "macOS"],
  [/CrOS/, "ChromeOS"],
  [/Linux/, "Linux"],
];

/** "Chrome · Windows"; what is not known is said as it was sent. */
export function deviceOf(userAgent: string): string {
  const known = [BROWSERS, SYSTEMS].map((kind) => kind.find(([is]) => is.test(userAgent))?.[1]);
  return known[0] ? known.filter(Boolean).join(" · ") : userAgent;
}
