import { ActionIcon, Menu, useMantineColorScheme } from "@mantine/core";
import { IconDeviceDesktop, IconLanguage, IconMoon, IconSun } from "@tabler/icons-react";
import { useTranslation } from "react-i18next";
import { LANGUAGES, type Language, speak } from "../kit/languages";

/** Chooses the language; the page speaks it at once. */
export function LanguageMenu({ onChange }: { onChange?: (language: Language) => void }) {
  const { t, i18n } = useTranslation("shell");
  async function choose(language: Language) {
    await speak(language);
    onChange?.(language);
  }
  return (
    <Menu position="bottom-end">
      <Menu.Target>
        <ActionIcon variant="subtle" color="gray" size="lg" aria-label={t("language")}>
          <IconLanguage size={20} aria-hidden />
        </ActionIcon>
      </Menu.Target>
      <Menu.Dropdown>
        {(Object.keys(LANGUAGES) as Language[]).map((language) => (
          <Menu.RadioItem
            key={language}
            value={language}
            lang={language}
            closeMenuOnClick
            checked={i18n.language === language}
            onChange={() => choose(language)}
          >
            {LANGUAGES[language]}
          </Menu.RadioItem>
        ))}
      </Menu.Dropdown>
    </Menu>
  );
}

const THEMES = [
  { name: "light", icon: IconSun },
  { name: "dark", icon: IconMoon },
  { name: "auto", icon: IconDeviceDesktop },
] as const;

/** Chooses the theme: light, dark, or that of the device. */
export function ThemeMenu() {
  const { t } = useTranslation("shell");
  const { colorScheme, setColorScheme } = useMantineColorScheme();
  const Icon = THEMES.find((one) => one.name === colorScheme)?.icon ?? IconDeviceDesktop;
  return (
    <Menu position="bottom-end">
      <Menu.Target>
        <ActionIcon variant="subtle" color="gray" size="lg" aria-label={t("theme.label")}>
          <Icon size={20} aria-hidden />
        </ActionIcon>
      </Menu.Target>
      <Menu.Dropdown>
        {THEMES.map(({ name, icon: Choice }) => (
          <Menu.RadioItem
            key={name}
            value={name}
            closeMenuOnClick
            checked={colorScheme === name}
            onChange={() => setColorScheme(name)}
            rightSection={<Choice size={16} aria-hidden />}
          >
            {t(`theme.${name}`)}
          </Menu.RadioItem>
        ))}
      </Menu.Dropdown>
    </Menu>
  );
}
