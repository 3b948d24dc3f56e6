import { Alert, Button, Checkbox, Group, Modal, Stack, Tabs, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { Copyable, Snippet } from "../kit/Copyable";
import { useStay } from "../kit/useStay";
import { useBaseUrl } from "../site/queries";
import { chatModelsQuery, type TokenMade } from "./queries";
import { curl, environment, exampleModel, javascript, python } from "./snippets";

/** The key, this once. It cannot be left before the key was copied or somebody says that it is
 * kept: not by Escape, not by a click beside it, not by the back button. */
export function SecretDialog({ made, onClose }: { made: TokenMade; onClose: () => void }) {
  const { t } = useTranslation("api_tokens");
  const baseUrl = useBaseUrl();
  const [copied, setCopied] = useState(false);
  const [saved, setSaved] = useState(false);
  const isTaken = copied || saved;
  useStay(() => !isTaken, !isTaken);
  const { data: chatting } = useQuery(chatModelsQuery(made.group.id));
  const model = exampleModel(chatting, made.models);
  const snippets = {
    curl: curl(baseUrl, made.secret, model),
    Python: python(baseUrl, made.secret, model),
    JavaScript: javascript(baseUrl, made.secret, model),
    env: environment(baseUrl, made.secret),
  };
  return (
    <Modal
      opened
      size="lg"
      onClose={() => undefined}
      withCloseButton={false}
      closeOnEscape={false}
      closeOnClickOutside={false}
      title={t("secret.title", { name: made.name })}
    >
      <Stack>
        <Alert color="orange" title={t("secret.once")}>
          {t("secret.warning")}
        </Alert>
        <Copyable
          text={made.secret}
          what={t("secret.key")}
          prominent
          onCopied={() => setCopied(true)}
        />
        <div>
          <Text size="sm" fw={600} mb={4}>
            {t("secret.use")}
          </Text>
          <Tabs defaultValue="curl">
            <Tabs.List>
              {Object.keys(snippets).map((name) => (
                <Tabs.Tab key={name} value={name}>
                  {name}
                </Tabs.Tab>
              ))}
            </Tabs.List>
            {Object.entries(snippets).map(([name, text]) => (
              <Tabs.Panel key={name} value={name} pt="xs">
                <Snippet text={text} what={name} />
              </Tabs.Panel>
            ))}
          </Tabs>
        </div>
        <Group justify="space-between">
          <Checkbox
            label={t("secret.saved")}
            checked={saved}
            onChange={(event) => setSaved(event.target.checked)}
          />
          <Button disabled={!isTaken} onClick={onClose}>
            {t("secret.close")}
          </Button>
        </Group>
      </Stack>
    </Modal>
  );
}
