"""The table and the figure of smaller networks, from literal measurements."""

from datetime import date

from memberlevel_spark.evaluation.compression_page import Measured, compression_page, compression_plot

QUALITY = {"log_loss": 0.25, "accuracy": 0.9, "macro_f1": 0.8, "upgrade_auc": None, "spend_mae": 12.5}
MEASURED = (
    Measured("model", 250_000, 230_000, 0.0, 400_000.4, 100_000.0, 1.0, 0.0, QUALITY),
    Measured("model_int8", 90_000, 60_000, 0.051, 500_000.0, 110_000.0, 0.9987, 0.00123, {**QUALITY, "log_loss": 0.26}),
)


def test_every_network_is_a_line_and_what_is_undefined_is_not_a_number():
    lines = compression_page(MEASURED, test_as_of=date(2024, 9, 28)).splitlines()
    assert lines[0] == "# Smaller networks, judged as of 2024-09-28"
    assert lines[5:9] == [
        "| network | kB | kB zstd | zeros | network rows/s | scored rows/s | same level | mean gap"
        " | log_loss | accuracy | macro_f1 | upgrade_auc | spend_mae |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        "| model | 250.0 | 230.0 | 0.0% | 400,000 | 100,000 | 100.00% | 0.00000"
        " | 0.2500 | 0.9000 | 0.8000 | n/a | 12.5000 |",
        "| model_int8 | 90.0 | 60.0 | 5.1% | 500,000 | 110,000 | 99.87% | 0.00123"
        " | 0.2600 | 0.9000 | 0.8000 | n/a | 12.5000 |",
    ]


def test_the_figure_is_the_same_for_the_same_numbers_and_another_for_others():
    figure = compression_plot(MEASURED)
    assert figure.startswith(b"\x89PNG") and figure == compression_plot(MEASURED)
    assert figure != compression_plot(MEASURED[:1])
