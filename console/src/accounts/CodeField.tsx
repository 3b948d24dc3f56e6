import { Button, Group, TextInput, type TextInputProps } from "@mantine/core";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { api, Problem } from "../api/client";
import type { Language } from "../kit/languages";
import { notices } from "../kit/notices";
import { withProof } from "./proof";
import { useWait } from "./useWait";

interface CodeFieldProps extends TextInputProps {
  purpose: "register" | "reset" | "verify";
  channel: "phone" | "email";
  address: string;
  /** Takes the handle that the code is good with; the form sends both. */
  onAsked: (handle: string) => void;
}

/** A code that is sent by SMS or mail, and the button that has it sent. */
export function CodeField({ purpose, channel, address, onAsked, ...input }: CodeFieldProps) {
  const { t, i18n } = useTranslation("accounts");
  const [wait, setWait] = useWait();
  const [busy, setBusy] = useState(false);

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
      if (data) {
        onAsked(data.handle);
        setWait(data.resend_after_seconds);
      }
      notices.done(t("code.sent"));
    } catch (error) {
      notices.failed(error);
      setWait(error instanceof Problem ? error.retryAfterSeconds : 0);
    } finally {
      setBusy(false);
    }
  }

  return (
    <TextInput
      label={t(`code.${channel}`)}
      inputMode="numeric"
      autoComplete="one-time-code"
      maxLength={10}
      // Beside the field itself, whatever stands over and under it.
      inputContainer={(field) => (
        <Group gap="xs" wrap="nowrap" my={5}>
          <div style={{ flex: 1 }}>{field}</div>
          <Button variant="default" onClick={send} loading={busy} disabled={wait > 0 || !address}>
            {wait > 0 ? t("code.wait", { seconds: wait }) : t("code.send")}
          </Button>
        </Group>
      )}
      styles={{ wrapper: { margin: 0 } }}
      {...input}
    />
  );
}
