"""What an evaluation is shown as: numbers (metrics, curves, paired, activity, synops) and pages (report, page, parts, files)."""
