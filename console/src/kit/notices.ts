// Short notices in the corner; Mantine says them aloud to screen readers.

import { notifications } from "@mantine/notifications";
import i18next from "i18next";
import { Problem } from "../api/client";
import { copyText } from "./copyText";
import { problemText } from "./problemText";

function show(notice: Parameters<typeof notifications.show>[0]): void {
  const closeButtonProps = { "aria-label": i18next.t("close") };
  notifications.show({ ...notice, closeButtonProps });
}

function done(message: string): void {
  show({ message, color: "teal" });
}

function failed(error: unknown): void {
  const code = error instanceof Problem ? error.code : "";
  show({ title: problemText(error), message: code, color: "red", autoClose: 8000 });
}

/** Some of what was asked for was not done: what, and to which. */
function refused(title: string, message: string): void {
  show({ title, message, color: "red", autoClose: 15_000 });
}

/** Copies, and says whether that worked. */
async function copy(text: string): Promise<boolean> {
  const copied = await copyText(text);
  if (copied) {
    done(i18next.t("copied"));
  } else {
    show({ message: i18next.t("copyYourself"), color: "yellow" });
  }
  return copied;
}

export const notices = { done, failed, refused, copy };
