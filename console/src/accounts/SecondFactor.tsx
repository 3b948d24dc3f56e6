import {
  Badge,
  Button,
  Code,
  Group,
  Modal,
  SimpleGrid,
  Stack,
  Text,
  TextInput,
} from "@mantine/core";
import "@mantine/core/styles/SimpleGrid.css";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { renderSVG } from "uqr";
import type { Answer } from "../api/answers";
import { answer, api } from "../api/client";
import { ConfirmDialog } from "../kit/ConfirmDialog";
import { Copyable } from "../kit/Copyable";
import { notices } from "../kit/notices";
import { ProblemAlert } from "../kit/ProblemAlert";
import { queries } from "../kit/queries";
import { useStay } from "../kit/useStay";
import { meQuery } from "./queries";
import { Section } from "./Section";
import { useStepUp } from "./StepUp";

type Begun = Answer<"/api/me/totp", "post">;

interface SecondFactorProps {
  /** It is on, and the recovery codes, which are not shown again, are kept. */
  onSaved?: () => void;
}

/** A device that shows a code, beside the password. */
export function SecondFactor({ onSaved }: SecondFactorProps) {
  const { t } = useTranslation(["accounts", "kit"]);
  const { data: me } = useQuery(meQuery);
  const [begun, setBegun] = useState<Begun | null>(null);
  const [codes, setCodes] = useState<string[] | null>(null);
  const [leaving, setLeaving] = useState(false);
  const [withStepUp, stepUp] = useStepUp();
  const isOn = me?.totp ?? false;

  /** Does it, and shows what came of it. */
  async function act<T>(what: () => Promise<T>, then: (result: T) => void) {
    try {
      then(await withStepUp(what));
      await queries.invalidateQueries({ queryKey: meQuery.queryKey });
    } catch (error) {
      notices.failed(error);
    }
  }

  return (
    <Section title={t("totp.title")} text={t("totp.text")}>
      <Group>
        <Badge variant="light" color={isOn ? "teal" : "gray"} tt="none">
          {isOn ? t("totp.on", { count: me?.recovery_codes_left ?? 0 }) : t("totp.off")}
        </Badge>
        {isOn ? (
          <>
            <Button
              variant="default"
              onClick={() =>
                act(
                  () => answer(api.POST("/api/me/totp/recovery-codes")),
                  (made) => setCodes(made.recovery_codes),
                )
              }
            >
              {t("totp.renew")}
            </Button>
            <Button variant="light" color="red" onClick={() => setLeaving(true)}>
              {t("totp.leave")}
            </Button>
          </>
        ) : (
          <Button
            variant="default"
            onClick={() => act(() => answer(api.POST("/api/me/totp")), setBegun)}
          >
            {t("totp.begin")}
          </Button>
        )}
      </Group>
      {begun && (
        <SetUp
          begun={begun}
          onClose={() => setBegun(null)}
          onDone={(made) => {
            setBegun(null);
            setCodes(made);
            void queries.invalidateQueries({ queryKey: meQuery.queryKey });
          }}
        />
      )}
      {codes && (
        <RecoveryCodes
          codes={codes}
          onClose={() => {
            setCodes(null);
            onSaved?.();
          }}
        />
      )}
      <ConfirmDialog
        opened={leaving}
        onClose={() => setLeaving(false)}
        title={t("totp.leaveTitle")}
        consequence={t("totp.leaveText")}
        act={t("totp.leave")}
        onConfirm={() => {
          setLeaving(false);
          void act(
            () => api.DELETE("/api/me/totp"),
            () => notices.done(t("totp.left")),
          );
        }}
      />
      {stepUp}
    </Section>
  );
}

interface SetUpProps {
  begun: Begun;
  onClose: () => void;
  onDone: (codes: string[]) => void;
}

function SetUp({ begun, onClose, onDone }: SetUpProps) {
  const { t } = useTranslation(["accounts", "kit"]);
  const [code, setCode] = useState("");
  const [problem, setProblem] = useState<unknown>(null);
  const picture = `data:image/svg+xml,${encodeURIComponent(renderSVG(begun.uri, { border: 2 }))}`;

  async function submit(event: React.FormEvent) {
    event.preventDefault();
    try {
      const made = await answer(api.POST("/api/me/totp/confirm", { body: { code } }));
      onDone(made.recovery_codes);
    } catch (error) {
      setProblem(error);
    }
  }

  return (
    <Modal
      opened
      onClose={onClose}
      title={t("totp.setUp")}
      closeButtonProps={{ "aria-label": t("kit:close") }}
    >
      <form onSubmit={submit}>
        <Stack>
          <Text size="sm">{t("totp.scan")}</Text>
          <img src={picture} alt={t("totp.picture")} width={200} style={{ alignSelf: "center" }} />
          <Copyable text={begun.secret} what={t("totp.secret")} />
          <TextInput
            label={t("login.code")}
            inputMode="numeric"
            autoComplete="one-time-code"
            data-autofocus
            required
            withAsterisk={false}
            value={code}
            onChange={(event) => setCode(event.target.value)}
          />
          <ProblemAlert error={problem} />
          <Group justify="flex-end">
            <Button variant="default" onClick={onClose}>
              {t("kit:cancel")}
            </Button>
            <Button type="submit">{t("totp.confirm")}</Button>
          </Group>
        </Stack>
      </form>
    </Modal>
  );
}

/** Shown this once: only who says that they are kept leaves them. */
function RecoveryCodes({ codes, onClose }: { codes: string[]; onClose: () => void }) {
  const { t } = useTranslation(["accounts", "kit"]);
  useStay(() => true, true);
  return (
    <Modal
      opened
      onClose={onClose}
      title={t("totp.codes")}
      withCloseButton={false}
      closeOnEscape={false}
      closeOnClickOutside={false}
    >
      <Stack>
        <Text size="sm">{t("totp.codesText")}</Text>
        <SimpleGrid cols={2} spacing="xs">
          {codes.map((code) => (
            <Code key={code} fz="sm">
              {code}
            </Code>
          ))}
        </SimpleGrid>
        <Group justify="flex-end">
          <Button variant="default" onClick={() => notices.copy(codes.join("\n"))}>
            {t("kit:copy")}
          </Button>
          <Button onClick={onClose}>{t("totp.saved")}</Button>
        </Group>
      </Stack>
    </Modal>
  );
}
