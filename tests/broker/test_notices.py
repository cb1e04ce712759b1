"""What the core notes for operators, in the log."""

from structlog.testing import capture_logs

from thingjobs_broker.notices import LoggedNotices


def test_a_thing_that_is_left_out_is_told_once_in_ten_seconds() -> None:
    """Control plane 1.9, "10-group limit": a log line and a metric; a large group does not flood the log."""
    now = 0.0
    notices = LoggedNotices(lambda: now)
    with capture_logs() as logs:
        for number in range(5):
            notices.left_out(f"T{number}", "G")
        now = 10.0
        notices.left_out("T5", "G")
    told = [(line["action"], line["log_level"], line["thing_name"], line["times"]) for line in logs]
    assert told == [("thing_left_out", "warning", "T0", 1), ("thing_left_out", "warning", "T5", 5)]
    assert notices.left_out_count == 6
