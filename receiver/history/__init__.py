"""What other products recorded before: their exports, row by row, as the spans and scores they would have sent by OTLP.

How an export's spans are understood is not decided here: their attributes are those of the vendor's own OpenTelemetry
export, which `etl.dialects` reads.
"""
