import { Alert, Button, Group, Modal, Stack, Textarea, TextInput } from "@mantine/core";
import { useForm } from "@mantine/form";
import { useDebouncedValue } from "@mantine/hooks";
import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { Problem } from "../api/client";
import { ConfirmDialog } from "../kit/ConfirmDialog";
import { refusedFields, showWrong } from "../kit/forms";
import { nanoOf } from "../kit/money";
import { notices } from "../kit/notices";
import { ProblemAlert } from "../kit/ProblemAlert";
import { useStay } from "../kit/useStay";
import { AdvancedFields } from "./AdvancedFields";
import { ExpiryField, GroupField, LimitFields, ModelsField } from "./fields";
import {
  CONTENT_DAYS_MAX,
  DESCRIPTION_CHARACTERS_MAX,
  FIELDS,
  type Form,
  formOf,
  NAME_CHARACTERS_MAX,
  type TokenForm,
  termsOf,
} from "./form";
import { PermissionView } from "./PermissionView";
import {
  changeToken,
  createToken,
  previewTerms,
  type Token,
  type TokenMade,
  tokensChanged,
} from "./queries";

interface TokenDialogProps {
  /** The one that is edited; without it a new one is made. */
  token?: Token;
  onClose: () => void;
  onMade: (made: TokenMade) => void;
}

/** Everything that is said about a token, new or there already. */
export function TokenDialog({ token, onClose, onMade }: TokenDialogProps) {
  const { t } = useTranslation(["api_tokens", "kit"]);
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<unknown>(null);
  const [asksToLeave, setAsksToLeave] = useState(false);
  const money = (text: string) =>
    text.trim() === "" || (nanoOf(text) ?? -1n) >= 0n ? null : t("form.amountWrong");
  const count = (text: string) => (/^\s*([1-9]\d*)?\s*$/.test(text) ? null : t("form.countWrong"));
  const form = useForm<TokenForm>({
    initialValues: formOf(token),
    validate: {
      name: (text) => (text.trim() ? null : t("form.nameMissing")),
      limit: money,
      total_limit: money,
      expires_at: (text, { expiry }) =>
        expiry === "custom" && !text ? t("form.whenMissing") : null,
      rpm: count,
      tpm: count,
      concurrency: count,
      requests_per_day: count,
      content_days: (text) =>
        /^\s*\d*\s*$/.test(text) && Number(text) <= CONTENT_DAYS_MAX
          ? null
          : t("form.contentWrong", { most: CONTENT_DAYS_MAX }),
    },
  });

  async function submit(values: TokenForm) {
    setBusy(true);
    setProblem(null);
    const terms = termsOf(values, token);
    try {
      if (token) {
        await changeToken(token.id, terms);
        notices.done(t("edit.done"));
        await tokensChanged();
        onClose();
      } else {
        onMade(await createToken({ ...terms, name: terms.name ?? "" }));
      }
    } catch (error) {
      setProblem(refusedFields(form, error, FIELDS));
      setBusy(false);
    }
  }

  // Only what differs from what is there already can be lost.
  const isTyped = form.isDirty();

  function leave() {
    if (isTyped) {
      // Not within the event: the Escape that asks would answer as well.
      setTimeout(() => setAsksToLeave(true));
    } else {
      onClose();
    }
  }

  useStay((to) => {
    if (isTyped && to === "/login") {
      setProblem(new Problem(401, "login_needed", ""));
    } else if (isTyped) {
      setAsksToLeave(true);
    }
    return isTyped;
  }, isTyped && !busy);

  const begunAnew = token && form.values.reset !== token.reset;
  return (
    <Modal
      opened
      size="lg"
      onClose={leave}
      closeOnEscape={!asksToLeave}
      title={token ? t("edit.title", { name: token.name }) : t("create.title")}
      closeButtonProps={{ "aria-label": t("kit:close") }}
    >
      <form
        onSubmit={form.onSubmit(submit, (wrong) => showWrong(form, Object.keys(wrong)))}
        noValidate
      >
        <Stack>
          <TextInput
            label={t("form.name")}
            description={t("form.nameHint")}
            required
            maxLength={NAME_CHARACTERS_MAX}
            data-autofocus
            {...form.getInputProps("name")}
          />
          <Textarea
            label={t("form.description")}
            description={t("form.descriptionHint")}
            maxLength={DESCRIPTION_CHARACTERS_MAX}
            autosize
            minRows={1}
            maxRows={4}
            {...form.getInputProps("description")}
          />
          <LimitFields form={form} />
          {begunAnew && <Alert color="orange">{t("form.resetChanged")}</Alert>}
          <ExpiryField form={form} />
          <GroupField form={form} token={token} />
          <ModelsField form={form} />
          <AdvancedFields form={form} />
          <Preview form={form} token={token} />
          <ProblemAlert error={problem} />
          <Group justify="flex-end">
            <Button variant="default" onClick={onClose}>
              {t("kit:cancel")}
            </Button>
            <Button type="submit" loading={busy}>
              {token ? t("edit.act") : t("create.submit")}
            </Button>
          </Group>
        </Stack>
      </form>
      <ConfirmDialog
        opened={asksToLeave}
        onClose={() => setAsksToLeave(false)}
        onConfirm={onClose}
        title={t("form.leaveTitle")}
        consequence={t("form.leaveText")}
        act={t("form.leave")}
      />
    </Modal>
  );
}

/** After so long without a change the server is asked what it comes to. */
const PAUSE_MS = 400;

function Preview({ form, token }: { form: Form; token?: Token }) {
  const [values] = useDebouncedValue(form.values, PAUSE_MS);
  const isWhole = values.expiry !== "custom" || values.expires_at !== "";
  const { data } = useQuery({
    queryKey: ["tokens", "terms", values],
    // A name is not needed to see what it could do, and is not there yet.
    queryFn: () => previewTerms({ ...termsOf(values, token), name: undefined }),
    enabled: isWhole,
    retry: false,
    placeholderData: keepPreviousData,
  });
  return <div aria-live="polite">{data !== undefined && <PermissionView permission={data} />}</div>;
}
