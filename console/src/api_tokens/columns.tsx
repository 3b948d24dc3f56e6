import { Badge, Group, Stack, Switch, Text, Tooltip } from "@mantine/core";
import type { TFunction } from "i18next";
import type { Column } from "../kit/DataTable";
import { Moment } from "../kit/times";
import { type Act, Actions } from "./Actions";
import { ContentBadge } from "./ContentBadge";
import type { Token } from "./queries";
import { StatusBadge } from "./StatusBadge";
import { UsageCell } from "./UsageCell";

/** A longer name gets a wider column instead of many lines. */
const LONG_NAME = 40;

/** The columns of the list of tokens. onAct: something was chosen for a token. */
export function tokenColumns(
  t: TFunction<"api_tokens">,
  onAct: (act: Act, token: Token) => void,
  onSwitch: (token: Token, enabled: boolean) => void,
): Column<Token>[] {
  return [
    {
      key: "name",
      title: t("column.name"),
      sort: "name",
      fixed: true,
      cell: (token) => (
        <Stack
          gap={0}
          miw={token.name.length > LONG_NAME ? "min(220px, 38vw)" : 120}
          maw={240}
          align="flex-start"
          style={{ overflowWrap: "anywhere" }}
        >
          <Text size="sm" fw={600}>
            {token.name}
          </Text>
          {token.content_days > 0 && <ContentBadge days={token.content_days} />}
          {token.description && (
            <Text size="xs" c="dimmed" lineClamp={2}>
              {token.description}
            </Text>
          )}
        </Stack>
      ),
    },
    {
      key: "key",
      title: t("column.key"),
      cell: (token) => (
        <Text size="sm" ff="monospace" style={{ whiteSpace: "nowrap" }}>
          {token.masked}
        </Text>
      ),
    },
    {
      key: "status",
      title: t("column.status"),
      fixed: true,
      cell: (token) => (
        <Group gap={8} wrap="nowrap" w="max-content">
          <Switch
            size="sm"
            color="teal.9"
            checked={token.enabled}
            aria-label={t("switch", { name: token.name })}
            onChange={(event) => onSwitch(token, event.target.checked)}
          />
          <StatusBadge status={token.status} />
        </Group>
      ),
    },
    {
      key: "usage",
      title: t("column.usage"),
      sort: "remaining",
      cell: (token) => <UsageCell token={token} />,
    },
    {
      key: "group",
      title: t("column.group"),
      cell: (token) => (
        <Group gap={6} wrap="nowrap" w="max-content">
          <Text size="sm" maw={180} style={{ overflowWrap: "anywhere" }}>
            {token.group.name}
          </Text>
          {token.group.multiplier !== null && (
            <Badge variant="light" color="gray" tt="none" style={{ flexShrink: 0 }}>
              ×{token.group.multiplier}
            </Badge>
          )}
        </Group>
      ),
    },
    {
      key: "models",
      title: t("column.models"),
      cell: (token) => (
        <Tooltip
          multiline
          maw={320}
          label={token.models === null ? t("models.allHint") : token.models.join(", ")}
        >
          <Text size="sm" component="span" style={{ whiteSpace: "nowrap" }}>
            {token.models === null
              ? t("models.all", { count: token.models_count })
              : t("models.some", { count: token.models_count })}
          </Text>
        </Tooltip>
      ),
    },
    {
      key: "expires",
      title: t("column.expires"),
      sort: "expires",
      cell: (token) => (token.expires_at ? <Moment at={token.expires_at} /> : t("expiry.never")),
    },
    {
      key: "last_used",
      title: t("column.lastUsed"),
      cell: (token) =>
        token.last_used_at ? (
          <Moment at={token.last_used_at} relative />
        ) : (
          <span style={{ whiteSpace: "nowrap" }}>{t("neverUsed")}</span>
        ),
    },
    {
      key: "created",
      title: t("column.created"),
      sort: "created",
      cell: (token) => <Moment at={token.created_at} />,
    },
    {
      key: "actions",
      title: t("column.actions"),
      fixed: true,
      cell: (token) => <Actions token={token} onAct={onAct} />,
    },
  ];
}
