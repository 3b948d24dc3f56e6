import { Button, Group, TextInput, type TextInputProps } from "@mantine/core";
import { useEffect, useState } from "react";
import { useTranslation } from "react-i18next";
import { api, Problem } from "../api/client";
import type { Language } from "../kit/languages";
import { notices } from "../kit/notices";
import { withProof } from "./proof";

interface CodeFieldProps extends TextInputProps {
  purpose: "register" | "reset" | "verify";
  channel: "phone" | "email";
  address: string;
}

/** A code that is sent by SMS or mail, and the button that has it sent. */
export function CodeField({ purpose, channel, address, ...input }: CodeFieldProps) {
  const { t, i18n } = useTranslation("accounts");
  const [wait, setWait] = useState(0);
  const [busy, setBusy] = useState(false);

  useEffect(() => {
    if (wait <= 0) {
      return;
    }
    const timer = setTimeout(() => setWait(wait - 1), 1000);
    return () => clearTimeout(timer);
  }, [wait]);

  async function send() {
    setBusy(true);
    try {
      const { data } = await withProof(
        (proof) =>
          api.POST("/api/auth/codes", {
            body: {
              purpose,
              phone: channel === "phone" ? address : "",
              email: channel === "email" ? address : "",
              locale: i18n.language as Language,
              proof,
            },
          }),
        () => undefined,
      );
      notices.done(t("code.sent"));
      setWait(data?.resend_after_seconds ?? 0);
    } catch (error) {
      notices.failed(error);
      setWait(error instanceof Problem ? error.retryAfterSeconds : 0);
    } finally {
      setBusy(false);
    }
  }

  return (
    <Group align="flex-end" gap="xs" wrap="nowrap">
      <TextInput
        label={t(`code.${channel}`)}
        inputMode="numeric"
        autoComplete="one-time-code"
        maxLength={10}
        style={{ flex: 1 }}
        {...input}
      />
      <Button variant="default" onClick={send} loading={busy} disabled={wait > 0 || !address}>
        {wait > 0 ? t("code.wait", { seconds: wait }) : t("code.send")}
      </Button>
    </Group>
  );
}
