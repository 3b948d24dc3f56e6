import { Badge, Button, Checkbox, Group, Stack, Text, TextInput } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { answer, api } from "../api/client";
import { ConfirmDialog } from "../kit/ConfirmDialog";
import { Copyable } from "../kit/Copyable";
import { notices } from "../kit/notices";
import { ProblemAlert } from "../kit/ProblemAlert";
import { queries } from "../kit/queries";
import { Moment } from "../kit/times";
import { accessTokensQuery } from "./queries";
import { Section } from "./Section";
import { useStepUp } from "./StepUp";

/** Credentials of one's own programs for this interface; not for calling models. */
export function AccessTokens() {
  const { t } = useTranslation(["accounts", "kit"]);
  const { data, error } = useQuery(accessTokensQuery);
  const [name, setName] = useState("");
  const [readOnly, setReadOnly] = useState(true);
  const [secret, setSecret] = useState("");
  const [busy, setBusy] = useState(false);
  const [leaving, setLeaving] = useState<{ id: number; name: string } | null>(null);
  const [withStepUp, stepUp] = useStepUp();

  async function act(what: () => Promise<unknown>) {
    setBusy(true);
    try {
      await withStepUp(what);
    } catch (problem) {
      notices.failed(problem);
    }
    setBusy(false);
    await queries.invalidateQueries({ queryKey: accessTokensQuery.queryKey });
  }

  async function create() {
    const body = { name: name.trim(), read_only: readOnly, expires_at: null };
    setSecret((await answer(api.POST("/api/me/access-tokens", { body }))).secret);
    setName("");
  }

  return (
    <Section title={t("access.title")} text={t("access.text")}>
      <ProblemAlert error={error} />
      {data?.items.map((token) => (
        <Group key={token.id} justify="space-between" wrap="nowrap">
          <Stack gap={2} miw={0}>
            <Group gap="xs">
              <Text size="sm" fw={600} style={{ overflowWrap: "anywhere" }}>
                {token.name}
              </Text>
              <Badge variant="light" color="gray" tt="none">
                {token.read_only ? t("access.reads") : t("access.writes")}
              </Badge>
            </Group>
            <Text size="xs" c="dimmed" component="div">
              {token.masked} · <Moment at={token.created_at} />
            </Text>
          </Stack>
          <Button
            size="compact-sm"
            variant="light"
            color="red"
            style={{ flexShrink: 0 }}
            aria-label={t("access.deleteTitle", { name: token.name })}
            onClick={() => setLeaving(token)}
          >
            {t("kit:delete")}
          </Button>
        </Group>
      ))}
      {secret && (
        <Stack gap="xs" role="status">
          <Text size="sm" fw={600}>
            {t("access.once")}
          </Text>
          <Copyable text={secret} what={t("access.title")} prominent />
        </Stack>
      )}
      <form
        onSubmit={(event) => {
          event.preventDefault();
          void act(create);
        }}
      >
        <Group align="flex-end">
          <TextInput
            label={t("access.name")}
            required
            withAsterisk={false}
            maxLength={60}
            value={name}
            onChange={(event) => setName(event.target.value)}
          />
          <Checkbox
            mb={8}
            label={t("access.reads")}
            checked={readOnly}
            onChange={(event) => setReadOnly(event.target.checked)}
          />
          <Button type="submit" variant="default" loading={busy}>
            {t("access.create")}
          </Button>
        </Group>
      </form>
      <ConfirmDialog
        opened={leaving !== null}
        onClose={() => setLeaving(null)}
        title={t("access.deleteTitle", { name: leaving?.name ?? "" })}
        consequence={t("access.deleteText")}
        act={t("kit:delete")}
        onConfirm={() => {
          const id = leaving?.id ?? 0;
          setLeaving(null);
          void act(() =>
            api.DELETE("/api/me/access-tokens/{access_token_id}", {
              params: { path: { access_token_id: id } },
            }),
          );
        }}
      />
      {stepUp}
    </Section>
  );
}
