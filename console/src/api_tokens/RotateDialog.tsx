import { Button, Group, Modal, Radio, Stack, Text } from "@mantine/core";
import "@mantine/core/styles/Radio.css";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { ProblemAlert } from "../kit/ProblemAlert";
import { rotateToken, type Token, type TokenMade } from "./queries";

/** How long the old key may be good beside the new one. */
const GRACES = { now: 0, hour: 3_600, day: 86_400, week: 604_800 } as const;
type Grace = keyof typeof GRACES;

interface RotateDialogProps {
  token: Token;
  onClose: () => void;
  onMade: (made: TokenMade) => void;
}

/** Another key for the same token. */
export function RotateDialog({ token, onClose, onMade }: RotateDialogProps) {
  const { t } = useTranslation(["api_tokens", "kit"]);
  const [grace, setGrace] = useState<Grace>("day");
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<unknown>(null);

  async function rotate() {
    setBusy(true);
    try {
      onMade(await rotateToken(token.id, GRACES[grace]));
    } catch (error) {
      setProblem(error);
      setBusy(false);
    }
  }

  return (
    <Modal
      opened
      onClose={onClose}
      title={t("rotate.title", { name: token.name })}
      closeButtonProps={{ "aria-label": t("kit:close") }}
    >
      <Stack>
        <Text size="sm">{t("rotate.text")}</Text>
        <Radio.Group
          label={t("rotate.grace")}
          value={grace}
          onChange={(value) => setGrace(value as Grace)}
        >
          <Stack gap="xs" mt="xs">
            {(Object.keys(GRACES) as Grace[]).map((value) => (
              <Radio key={value} value={value} label={t(`rotate.${value}`)} />
            ))}
          </Stack>
        </Radio.Group>
        <ProblemAlert error={problem} />
        <Group justify="flex-end">
          <Button variant="default" onClick={onClose} data-autofocus>
            {t("kit:cancel")}
          </Button>
          <Button loading={busy} onClick={rotate}>
            {t("rotate.act")}
          </Button>
        </Group>
      </Stack>
    </Modal>
  );
}
