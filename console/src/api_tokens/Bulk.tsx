import { Button, Group } from "@mantine/core";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { notices } from "../kit/notices";
import { DeleteDialog } from "./DeleteDialog";
import { changeAndTell } from "./many";
import { type Token, tokensChanged } from "./queries";

/** What is done with many tokens at once. */
export function Bulk({ tokens, onDone }: { tokens: Token[]; onDone: () => void }) {
  const { t } = useTranslation("api_tokens");
  const [deleting, setDeleting] = useState(false);

  async function change(action: "enable" | "disable") {
    try {
      await changeAndTell(t, tokens, action, (count) => t("bulk.done", { count }));
      onDone();
    } catch (error) {
      notices.failed(error);
    }
    await tokensChanged();
  }

  return (
    <Group gap="xs">
      <Button size="compact-sm" variant="default" onClick={() => change("enable")}>
        {t("bulk.enable")}
      </Button>
      <Button size="compact-sm" variant="default" onClick={() => change("disable")}>
        {t("bulk.disable")}
      </Button>
      <Button size="compact-sm" variant="light" color="red" onClick={() => setDeleting(true)}>
        {t("bulk.delete")}
      </Button>
      {deleting && (
        <DeleteDialog
          tokens={tokens}
          onClose={() => {
            setDeleting(false);
            onDone();
          }}
        />
      )}
    </Group>
  );
}
