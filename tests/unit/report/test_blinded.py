"""What the report of a registered study shows before its look: validation, every cell its row."""

from helpers.synthetic_frames import SCRATCH, cell, frame

from kdpipe.report.builtin_tables import validation


def test_rivals_of_two_lengths_are_two_rows():
    """Of one network from scratch, for the price of KD and of the whole path."""
    labels = {"student": "small", "teacher": "large", "block": "main"}
    short, long = (
        cell([error] * 3, "scratch_long", epochs=epochs, val_error=error, **labels)
        for epochs, error in ((62, 9.0), (158, 8.0))
    )
    table = validation.render_validation_table(frame(SCRATCH, short, long))
    rows = [row for row in table.data.to_dict("records") if row["kind"] == "scratch_long"]
    assert [(row["epochs"], row["val_error"], row["n"]) for row in rows] == [
        (62, 9.0, 3),
        (158, 8.0, 3),
    ]
