import { Button, Checkbox, Collapse, SimpleGrid, Stack, Textarea, TextInput } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { IconChevronDown, IconChevronRight } from "@tabler/icons-react";
import { useEffect } from "react";
import { useTranslation } from "react-i18next";
import { CONTENT_DAYS_MAX, COUNTS, type Form } from "./form";

/** What most tokens do without: addresses, limits of calls, the playground, what was said. */
export function AdvancedFields({ form }: { form: Form }) {
  const { t } = useTranslation("api_tokens");
  const { ips, playground_allowed, content_days } = form.values;
  const isUsed =
    ips !== "" ||
    !playground_allowed ||
    content_days !== "" ||
    COUNTS.some((name) => form.values[name]);
  const isWrong = ["ips", "content_days", ...COUNTS].some((name) => name in form.errors);
  const [opened, { toggle, open }] = useDisclosure(isUsed);
  // It stays open while what was wrong is put right.
  useEffect(() => {
    if (isWrong) {
      open();
    }
  }, [isWrong, open]);
  const Icon = opened || isWrong ? IconChevronDown : IconChevronRight;
  return (
    <Stack gap="xs">
      <Button
        variant="subtle"
        color="gray"
        px={4}
        style={{ alignSelf: "flex-start", height: "auto", minHeight: 36 }}
        styles={{ label: { whiteSpace: "normal", textAlign: "left" } }}
        leftSection={<Icon size={16} aria-hidden />}
        aria-expanded={opened || isWrong}
        onClick={toggle}
      >
        {t("form.advanced")}
      </Button>
      <Collapse expanded={opened || isWrong} transitionDuration={0}>
        <Stack>
          <Textarea
            label={t("form.ips")}
            description={t("form.ipsHint")}
            placeholder={"203.0.113.7\n2001:db8::/32"}
            autosize
            minRows={2}
            maxRows={6}
            styles={{ input: { fontFamily: "var(--mantine-font-family-monospace)" } }}
            {...form.getInputProps("ips")}
          />
          <SimpleGrid cols={{ base: 2, xs: 4 }}>
            {COUNTS.map((name) => (
              <TextInput
                key={name}
                label={t(`form.${name}`)}
                placeholder={t("form.unlimited")}
                inputMode="numeric"
                {...form.getInputProps(name)}
              />
            ))}
          </SimpleGrid>
          <Checkbox
            label={t("form.playground")}
            description={t("form.playgroundHint")}
            {...form.getInputProps("playground_allowed", { type: "checkbox" })}
          />
          <TextInput
            label={t("form.content_days")}
            description={t("form.contentHint", { most: CONTENT_DAYS_MAX })}
            placeholder={t("form.contentOff")}
            inputMode="numeric"
            {...form.getInputProps("content_days")}
          />
        </Stack>
      </Collapse>
    </Stack>
  );
}
