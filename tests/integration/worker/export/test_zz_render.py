from datetime import timedelta
from pathlib import Path

from tests.integration.worker.export.world import World, fill, finding

OUT = Path("/tmp/render-worker")


def test_render(database_url, tmp_path):
    OUT.mkdir(exist_ok=True)
    world = World(database_url, tmp_path)
    (OUT / "empty.pdf").write_bytes(world.export("pdf")[1])
    (OUT / "empty.html").write_bytes(world.export("html")[1])
    fill(world)
    long = world.schedule("Nightly_reconciliation_of_all_the_accounts_" * 5, "health_check")
    cjk = world.schedule("每日健康檢查 – 毎日レポート – 일일 보고서 🚀 ✓ العربية שלום", "sync")
    for d in range(1, 6):
        world.job(long, "failed", before=timedelta(days=d, hours=3), error="x" * 500, reason="error")
        world.job(
            cjk,
            "failed",
            before=timedelta(days=d, hours=4),
            task_type="sync",
            error="連線逾時：無法連線至伺服器 " * 5,
            reason="error",
        )
    big = world.repository("a_repository_with_a_very_long_name_" * 3)
    world.analysis(
        big,
        [
            finding(
                f"B{n}",
                n,
                ["error", "warning", "note"][n % 3],
                message={"text": "A very long message about what was found " * 4},
            )
            for n in range(120)
        ],
    )
    for form in ("pdf", "html", "xlsx", "csv", "json", "markdown", "sarif"):
        for kind in ("summary", "findings", "runs", "schedules"):
            if form == "sarif" and kind not in ("summary", "findings"):
                continue
            (OUT / f"{kind}.{form}").write_bytes(world.export(form, kind)[1])
    for days in (1, 30, 365):
        (OUT / f"summary-{days}.pdf").write_bytes(world.export("pdf", "summary", period_days=days)[1])
    (OUT / "summary-30.html").write_bytes(world.export("html", "summary", period_days=30)[1])
    world.close()
