import { Badge, Button, Group, Stack, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useTranslation } from "react-i18next";
import { api } from "../api/client";
import { notices } from "../kit/notices";
import { ProblemAlert } from "../kit/ProblemAlert";
import { queries } from "../kit/queries";
import { Moment } from "../kit/times";
import { deviceOf } from "./device";
import { sessionsQuery } from "./queries";
import { Section } from "./Section";

/** Where one is logged in, and a way to end it. */
export function Sessions() {
  const { t } = useTranslation("accounts");
  const { data, error } = useQuery(sessionsQuery);

  async function end(act: () => Promise<unknown>) {
    try {
      await act();
      notices.done(t("sessions.ended"));
    } catch (problem) {
      notices.failed(problem);
    }
    await queries.invalidateQueries({ queryKey: sessionsQuery.queryKey });
  }

  return (
    <Section title={t("sessions.title")} text={t("sessions.text")}>
      <ProblemAlert error={error} />
      {data?.items.map((session) => (
        <Group key={session.id} justify="space-between" wrap="nowrap" align="flex-start">
          <Stack gap={2} miw={0}>
            <Text size="sm" title={session.user_agent} style={{ overflowWrap: "anywhere" }}>
              {deviceOf(session.user_agent) || t("sessions.unknown")}
            </Text>
            <Text size="xs" c="dimmed" component="div">
              {session.ip} · <Moment at={session.seen_at} relative />
            </Text>
          </Stack>
          {session.is_current ? (
            <Badge variant="light" color="teal" tt="none" style={{ flexShrink: 0 }}>
              {t("sessions.here")}
            </Badge>
          ) : (
            <Button
              size="compact-sm"
              variant="default"
              style={{ flexShrink: 0 }}
              onClick={() =>
                end(() =>
                  api.DELETE("/api/me/sessions/{session_id}", {
                    params: { path: { session_id: session.id } },
                  }),
                )
              }
            >
              {t("sessions.end")}
            </Button>
          )}
        </Group>
      ))}
      {(data?.items.length ?? 0) > 1 && (
        <Group>
          <Button variant="default" onClick={() => end(() => api.DELETE("/api/me/sessions"))}>
            {t("sessions.endOthers")}
          </Button>
        </Group>
      )}
    </Section>
  );
}
