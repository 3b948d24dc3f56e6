import { ActionIcon, Button, Code, Group, Tooltip } from "@mantine/core";
import { IconCheck, IconCopy } from "@tabler/icons-react";
import { useRef, useState } from "react";
import { useTranslation } from "react-i18next";
import { selectText } from "./copyText";
import { notices } from "./notices";

interface CopyableProps {
  text: string;
  /** What it is, for the button's name. */
  what: string;
  onCopied?: () => void;
  /** A button with words instead of a small one. */
  prominent?: boolean;
}

/** Text to be taken away: a button, and where no clipboard is, the text selected. */
export function Copyable({ text, what, onCopied, prominent = false }: CopyableProps) {
  const { t } = useTranslation();
  const shown = useRef<HTMLElement>(null);
  const [copied, setCopied] = useState(false);

  async function copy() {
    if (await notices.copy(text)) {
      setCopied(true);
    } else if (shown.current) {
      selectText(shown.current);
    }
    onCopied?.();
  }

  const label = t("copyWhat", { what });
  const Icon = copied ? IconCheck : IconCopy;
  return (
    <Group gap="xs" wrap={prominent ? "wrap" : "nowrap"} align="center">
      <Code
        ref={shown}
        block={prominent}
        fz={prominent ? "sm" : undefined}
        style={{
          overflowWrap: "anywhere",
          whiteSpace: "pre-wrap",
          flex: prominent ? 1 : undefined,
        }}
      >
        {text}
      </Code>
      {prominent ? (
        <Button leftSection={<Icon size={16} aria-hidden />} onClick={copy} aria-label={label}>
          {copied ? t("copied") : t("copy")}
        </Button>
      ) : (
        <Tooltip label={label}>
          <ActionIcon variant="subtle" color="gray" aria-label={label} onClick={copy}>
            <Icon size={16} aria-hidden />
          </ActionIcon>
        </Tooltip>
      )}
    </Group>
  );
}

/** A block of code with its own button. */
export function Snippet({ text, what }: { text: string; what: string }) {
  const { t } = useTranslation();
  const shown = useRef<HTMLPreElement>(null);

  async function copy() {
    if (!(await notices.copy(text)) && shown.current) {
      selectText(shown.current);
    }
  }

  return (
    <div style={{ position: "relative" }}>
      <Code
        block
        ref={shown}
        // Longer lines scroll, and a keyboard can do that too.
        tabIndex={0}
        aria-label={what}
        role="region"
        style={{ paddingRight: 44, overflowX: "auto" }}
      >
        {text}
      </Code>
      <ActionIcon
        variant="default"
        aria-label={t("copyWhat", { what })}
        onClick={copy}
        style={{ position: "absolute", top: 6, right: 6 }}
      >
        <IconCopy size={16} aria-hidden />
      </ActionIcon>
    </div>
  );
}
