// Moments, in the viewer's own time zone, with UTC for whoever points at them.

import { Tooltip } from "@mantine/core";
import { useTranslation } from "react-i18next";

/** "2026-11-22 20:15 UTC" */
export function inUtc(iso: string): string {
  return `${new Date(iso).toISOString().slice(0, 16).replace("T", " ")} UTC`;
}

/** Date and time as this language writes them, here. */
export function here(iso: string, language: string): string {
  const style = { dateStyle: "medium", timeStyle: "short" } as const;
  return new Intl.DateTimeFormat(language, style).format(new Date(iso));
}

const STEPS: [Intl.RelativeTimeFormatUnit, number][] = [
  ["day", 86_400],
  ["hour", 3_600],
  ["minute", 60],
  ["second", 1],
];

/** A day as columns have it: 2026/11/22 is shorter than 2026年11月22日, and in English no day at
 * all that everybody reads alike. */
const DAYS: Record<string, Intl.DateTimeFormatOptions> = {
  "zh-CN": { year: "numeric", month: "2-digit", day: "2-digit" },
};

/** The same in two parts, so that a narrow column breaks between them and nowhere else. */
function parts(iso: string, language: string): [string, string] {
  const moment = new Date(iso);
  return [
    new Intl.DateTimeFormat(language, DAYS[language] ?? { dateStyle: "medium" }).format(moment),
    new Intl.DateTimeFormat(language, { timeStyle: "short" }).format(moment),
  ];
}

const WHOLE = { whiteSpace: "nowrap" } as const;

/** "3 hours ago", "in 2 days" */
export function fromNow(iso: string, language: string, now = Date.now()): string {
  const seconds = Math.round((Date.parse(iso) - now) / 1000);
  const step = STEPS.find(([, size]) => Math.abs(seconds) >= size) ?? ["second", 1];
  const words = new Intl.RelativeTimeFormat(language, { numeric: "auto" });
  return words.format(Math.trunc(seconds / step[1]), step[0]);
}

interface MomentProps {
  at: string;
  /** How long ago instead of when. */
  relative?: boolean;
  /** With UTC beside it, for what is decided there. */
  withUtc?: boolean;
}

/** A moment. Pointing at it tells it in UTC. */
export function Moment({ at, relative = false, withUtc = false }: MomentProps) {
  const { i18n } = useTranslation();
  const exact = here(at, i18n.language);
  const [date, time] = parts(at, i18n.language);
  const label = relative ? `${exact} · ${inUtc(at)}` : inUtc(at);
  return (
    <Tooltip label={label} events={{ hover: true, focus: true, touch: true }}>
      <time dateTime={at}>
        {relative ? (
          <span style={WHOLE}>{fromNow(at, i18n.language)}</span>
        ) : (
          <>
            <span style={WHOLE}>{date}</span> <span style={WHOLE}>{time}</span>
            {withUtc && (
              <>
                {" "}
                <span style={WHOLE}>({inUtc(at)})</span>
              </>
            )}
          </>
        )}
      </time>
    </Tooltip>
  );
}
