"""One member's forecast now: the champion's bundle in this process, without a Spark session."""
