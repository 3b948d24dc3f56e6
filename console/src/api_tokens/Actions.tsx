import { ActionIcon, Group, Menu, Tooltip } from "@mantine/core";
import {
  IconDots,
  IconId,
  IconPencil,
  IconRefresh,
  IconShieldCheck,
  IconTrash,
} from "@tabler/icons-react";
import { useTranslation } from "react-i18next";
import { notices } from "../kit/notices";
import type { Token } from "./queries";

export type Act = "edit" | "rotate" | "permission" | "delete";

interface ActionsProps {
  token: Token;
  onAct: (act: Act, token: Token) => void;
}

/** What can be done with a token. Its key is not among it: nobody has that any more. */
export function Actions({ token, onAct }: ActionsProps) {
  const { t } = useTranslation("api_tokens");
  return (
    <Group gap={4} wrap="nowrap">
      <Tooltip label={t("act.edit")}>
        <ActionIcon
          variant="subtle"
          color="gray"
          aria-label={t("act.editNamed", { name: token.name })}
          onClick={() => onAct("edit", token)}
        >
          <IconPencil size={18} aria-hidden />
        </ActionIcon>
      </Tooltip>
      <Menu position="bottom-end" width={230}>
        <Menu.Target>
          <ActionIcon
            variant="subtle"
            color="gray"
            aria-label={t("act.more", { name: token.name })}
          >
            <IconDots size={18} aria-hidden />
          </ActionIcon>
        </Menu.Target>
        <Menu.Dropdown>
          <Menu.Item
            leftSection={<IconRefresh size={16} aria-hidden />}
            onClick={() => onAct("rotate", token)}
          >
            {t("act.rotate")}
          </Menu.Item>
          <Menu.Item
            leftSection={<IconShieldCheck size={16} aria-hidden />}
            onClick={() => onAct("permission", token)}
          >
            {t("act.permission")}
          </Menu.Item>
          <Menu.Item
            leftSection={<IconId size={16} aria-hidden />}
            onClick={() => notices.copy(String(token.id))}
          >
            {t("act.copyId")}
          </Menu.Item>
          <Menu.Divider />
          <Menu.Item
            color="red"
            leftSection={<IconTrash size={16} aria-hidden />}
            onClick={() => onAct("delete", token)}
          >
            {t("act.delete")}
          </Menu.Item>
        </Menu.Dropdown>
      </Menu>
    </Group>
  );
}
