import { Stack, Text, Title } from "@mantine/core";
import type { ReactNode } from "react";

interface SectionProps {
  title: string;
  text?: string;
  children: ReactNode;
}

/** A part of the account page. */
export function Section({ title, text, children }: SectionProps) {
  return (
    <Stack component="section" className="aipool-card" p="lg" gap="md">
      <div>
        <Title order={2} size="h4">
          {title}
        </Title>
        {text && (
          <Text size="sm" c="dimmed" mt={2}>
            {text}
          </Text>
        )}
      </div>
      {children}
    </Stack>
  );
}
