import { Paper, Stack, Text, Title } from "@mantine/core";
import type { FormEventHandler, ReactNode } from "react";

interface FormCardProps {
  title: string;
  text?: string;
  onSubmit: FormEventHandler<HTMLFormElement>;
  children: ReactNode;
}

/** The card of a form for visitors. */
export function FormCard({ title, text, onSubmit, children }: FormCardProps) {
  return (
    <Paper className="aipool-card" p="xl" shadow="sm">
      <Title order={1} size="h2">
        {title}
      </Title>
      {text && (
        <Text c="dimmed" size="sm" mt={4}>
          {text}
        </Text>
      )}
      <form onSubmit={onSubmit} noValidate>
        <Stack mt="lg">{children}</Stack>
      </form>
    </Paper>
  );
}
