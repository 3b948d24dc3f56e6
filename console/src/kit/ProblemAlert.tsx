import { Alert, Anchor, Button, Code, Group, Text } from "@mantine/core";
import { IconAlertTriangle } from "@tabler/icons-react";
import { useEffect, useRef } from "react";
import { useTranslation } from "react-i18next";
import { Problem } from "../api/client";
import { notices } from "./notices";
import { problemText } from "./problemText";

interface ProblemAlertProps {
  error: unknown;
  onRetry?: () => void;
}

/** A refusal: the words, the code, and the request's id for whoever is asked about it. */
export function ProblemAlert({ error, onRetry }: ProblemAlertProps) {
  const { t } = useTranslation();
  const shown = useRef<HTMLDivElement>(null);
  // Under a long form it would be out of sight.
  useEffect(() => {
    if (error) {
      shown.current?.scrollIntoView({ block: "nearest" });
    }
  }, [error]);
  if (error === null || error === undefined) {
    return null;
  }
  const problem = error instanceof Problem ? error : null;
  return (
    <Alert
      color="red"
      role="alert"
      icon={<IconAlertTriangle size={18} aria-hidden />}
      ref={shown}
      title={problemText(error)}
    >
      <Group gap="sm">
        {problem !== null && (
          <Text size="xs" c="dimmed" component="span">
            {t("problem.code")} <Code>{problem.code}</Code>
          </Text>
        )}
        {problem?.requestId && (
          <Text size="xs" c="dimmed" component="span">
            {t("problem.request")} <Code>{problem.requestId}</Code>{" "}
            <Anchor
              component="button"
              type="button"
              size="xs"
              onClick={() => notices.copy(problem.requestId)}
            >
              {t("copy")}
            </Anchor>
          </Text>
        )}
        {problem?.code === "login_needed" && (
          <Anchor href="/login" target="_blank" size="xs" underline="always">
            {t("problem.login")}
          </Anchor>
        )}
        {onRetry && (
          <Button size="compact-xs" variant="default" onClick={onRetry}>
            {t("retry")}
          </Button>
        )}
      </Group>
    </Alert>
  );
}
