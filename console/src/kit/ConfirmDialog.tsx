import { Button, Group, Modal, Stack, Text } from "@mantine/core";
import type { ReactNode } from "react";
import { useTranslation } from "react-i18next";

interface ConfirmDialogProps {
  opened: boolean;
  onClose: () => void;
  onConfirm: () => void;
  /** Names the thing: "Delete the token “production”?" */
  title: string;
  /** What follows from it, and whether it can be undone. */
  consequence: ReactNode;
  /** The word on the red button. */
  act: string;
  busy?: boolean;
  problem?: ReactNode;
}

/** Asks before something that cannot be taken back. Enter alone does nothing: the focus is on
 * Cancel. */
export function ConfirmDialog(props: ConfirmDialogProps) {
  const { t } = useTranslation();
  return (
    <Modal
      opened={props.opened}
      onClose={props.onClose}
      title={props.title}
      closeButtonProps={{ "aria-label": t("close") }}
    >
      <Stack>
        <Text size="sm" component="div">
          {props.consequence}
        </Text>
        {props.problem}
        <Group justify="flex-end">
          <Button variant="default" onClick={props.onClose} data-autofocus>
            {t("cancel")}
          </Button>
          <Button color="red.9" loading={props.busy} onClick={props.onConfirm}>
            {props.act}
          </Button>
        </Group>
      </Stack>
    </Modal>
  );
}
