import { Box } from "@mantine/core";
import { useRouter } from "@tanstack/react-router";
import { Problem } from "../api/client";
import { ProblemAlert } from "../kit/ProblemAlert";

/** A page that could not be shown: why, and a way to try again. */
export function Failed({ error }: { error: unknown }) {
  const router = useRouter();

  function again() {
    if (error instanceof Problem) {
      void router.invalidate();
    } else {
      // A part of the page itself did not come, and is not asked for twice.
      window.location.reload();
    }
  }

  return (
    <Box component="main" p="xl" maw={640} mx="auto">
      <ProblemAlert error={error} onRetry={again} />
    </Box>
  );
}
