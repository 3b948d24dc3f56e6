// Sensitive things ask the person to show again that it is them: the code of the second factor
// where there is one, the password otherwise. What was refused for that is then done again.

import { Button, Group, Modal, PasswordInput, Stack, Text, TextInput } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { type ReactNode, useState } from "react";
import { useTranslation } from "react-i18next";
import { api, Problem } from "../api/client";
import { ProblemAlert } from "../kit/ProblemAlert";
import { meQuery } from "./queries";

interface Waiting {
  again: () => void;
  giveUp: () => void;
}

/** Gives what wraps a sensitive act, and the dialog to be drawn. */
export function useStepUp(): [<T>(act: () => Promise<T>) => Promise<T>, ReactNode] {
  const [waiting, setWaiting] = useState<Waiting | null>(null);

  async function withStepUp<T>(act: () => Promise<T>): Promise<T> {
    try {
      return await act();
    } catch (error) {
      if (!(error instanceof Problem) || error.code !== "step_up_needed") {
        throw error;
      }
      await new Promise<void>((resolve, reject) => {
        setWaiting({ again: resolve, giveUp: () => reject(error) });
      });
      return await act();
    }
  }

  const dialog = waiting && (
    <StepUpDialog
      onDone={() => {
        setWaiting(null);
        waiting.again();
      }}
      onClose={() => {
        setWaiting(null);
        waiting.giveUp();
      }}
    />
  );
  return [withStepUp, dialog];
}

function StepUpDialog({ onDone, onClose }: { onDone: () => void; onClose: () => void }) {
  const { t } = useTranslation(["accounts", "kit"]);
  const { data: me } = useQuery(meQuery);
  const [value, setValue] = useState("");
  const [problem, setProblem] = useState<unknown>(null);
  const [busy, setBusy] = useState(false);

  async function submit(event: React.FormEvent) {
    event.preventDefault();
    setBusy(true);
    try {
      await api.POST("/api/me/step-up", { body: me?.totp ? { code: value } : { password: value } });
      onDone();
    } catch (error) {
      setProblem(error);
      setBusy(false);
    }
  }

  const field = {
    value,
    onChange: (event: React.ChangeEvent<HTMLInputElement>) => setValue(event.target.value),
    "data-autofocus": true,
    required: true,
  };
  return (
    <Modal
      opened
      onClose={onClose}
      title={t("stepUp.title")}
      closeButtonProps={{ "aria-label": t("kit:close") }}
    >
      <form onSubmit={submit}>
        <Stack>
          <Text size="sm">{t("stepUp.text")}</Text>
          {me?.totp ? (
            <TextInput
              label={t("login.code")}
              description={t("login.codeHint")}
              autoComplete="one-time-code"
              autoCapitalize="none"
              spellCheck={false}
              {...field}
            />
          ) : (
            <PasswordInput
              label={t("password.label")}
              autoComplete="current-password"
              visibilityToggleButtonProps={{ "aria-label": t("password.show") }}
              {...field}
            />
          )}
          <ProblemAlert error={problem} />
          <Group justify="flex-end">
            <Button variant="default" onClick={onClose}>
              {t("kit:cancel")}
            </Button>
            <Button type="submit" loading={busy}>
              {t("stepUp.submit")}
            </Button>
          </Group>
        </Stack>
      </form>
    </Modal>
  );
}
