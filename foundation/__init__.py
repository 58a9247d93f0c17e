"""What every stage stands on and none owns: errors, narration, run report, settings, files."""
