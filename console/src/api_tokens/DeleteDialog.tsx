import { List, Stack, Text } from "@mantine/core";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { ConfirmDialog } from "../kit/ConfirmDialog";
import { notices } from "../kit/notices";
import { ProblemAlert } from "../kit/ProblemAlert";
import { fromNow } from "../kit/times";
import { changeAndTell } from "./many";
import { deleteToken, type Token, tokensChanged } from "./queries";

const NAMED_MAX = 8;

/** Before tokens are deleted: which ones, what stops working, and that it is for good. */
export function DeleteDialog({ tokens, onClose }: { tokens: Token[]; onClose: () => void }) {
  const { t, i18n } = useTranslation("api_tokens");
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<unknown>(null);
  const [first] = tokens;
  const name = first?.name ?? "";
  const used = first?.last_used_at;

  async function confirmed() {
    setBusy(true);
    try {
      if (tokens.length === 1 && first) {
        await deleteToken(first.id);
        notices.done(t("delete.done", { count: 1 }));
      } else {
        await changeAndTell(t, tokens, "delete", (count) => t("delete.done", { count }));
      }
      onClose();
    } catch (error) {
      setProblem(error);
      setBusy(false);
    }
    await tokensChanged();
  }

  return (
    <ConfirmDialog
      opened
      onClose={onClose}
      onConfirm={confirmed}
      busy={busy}
      title={
        tokens.length === 1
          ? t("delete.title", { name })
          : t("delete.titleMany", { count: tokens.length })
      }
      act={t("delete.act")}
      problem={<ProblemAlert error={problem} />}
      consequence={
        <Stack gap="xs">
          <Text size="sm">{t("delete.consequence")}</Text>
          {tokens.length === 1 ? (
            <Text size="sm" fw={600}>
              {used ? t("delete.used", { when: fromNow(used, i18n.language) }) : t("delete.unused")}
            </Text>
          ) : (
            <List size="sm">
              {tokens.slice(0, NAMED_MAX).map((token) => (
                <List.Item key={token.id}>{token.name}</List.Item>
              ))}
              {tokens.length > NAMED_MAX && <List.Item>…</List.Item>}
            </List>
          )}
        </Stack>
      }
    />
  );
}
