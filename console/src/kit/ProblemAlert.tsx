import { Alert, Anchor, Button, Code, Group, Text } from "@mantine/core";
import { IconAlertTriangle } from "@tabler/icons-react";
import { useTranslation } from "react-i18next";
import { Problem } from "../api/client";
import { notices } from "./notices";

/** What went wrong in words for a person. */
export function useProblemText(): (error: unknown) => string {
  const { t } = useTranslation();
  return (error) => {
    if (!(error instanceof Problem)) {
      return t("problem.unexpected");
    }
    if (error.code === "unreachable") {
      return t("problem.unreachable");
    }
    return error.detail || t("problem.unexpected");
  };
}

interface ProblemAlertProps {
  error: unknown;
  onRetry?: () => void;
}

/** A refusal: the words, the code, and the request's id for whoever is asked about it. */
export function ProblemAlert({ error, onRetry }: ProblemAlertProps) {
  const { t } = useTranslation();
  const text = useProblemText();
  if (error === null || error === undefined) {
    return null;
  }
  const problem = error instanceof Problem ? error : null;
  return (
    <Alert
      color="red"
      role="alert"
      icon={<IconAlertTriangle size={18} aria-hidden />}
      title={text(error)}
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
        {onRetry && (
          <Button size="compact-xs" variant="default" onClick={onRetry}>
            {t("retry")}
          </Button>
        )}
      </Group>
    </Alert>
  );
}
