import { Paper, Stack, Text } from "@mantine/core";
import type { FormEventHandler, ReactNode } from "react";
import { PageTitle } from "../site/PageTitle";

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
      <PageTitle>{title}</PageTitle>
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
